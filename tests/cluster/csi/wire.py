"""gRPC without generated code: messages and services straight from the published .proto files."""

import re
import tempfile
import time
from importlib import resources
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from grpc_tools import protoc

from tests.cluster.trouble import ClusterError


def load(file: Path) -> SimpleNamespace:
    """Return the messages of a .proto file by their names, and its services as `services`."""
    with tempfile.TemporaryDirectory() as directory:
        output = Path(directory, "descriptors")
        includes = (f"-I{file.parent}", f"-I{resources.files('grpc_tools') / '_proto'}")
        argv = ("protoc", *includes, "--include_imports", f"--descriptor_set_out={output}", str(file))
        if protoc.main(argv) != 0:
            raise ClusterError(f"{file} is no .proto file that can be read")
        descriptors = descriptor_pb2.FileDescriptorSet.FromString(output.read_bytes())
    pool = descriptor_pool.DescriptorPool()
    for each in descriptors.file:
        pool.Add(each)
    read = pool.FindFileByName(file.name)
    messages = {name: message_factory.GetMessageClass(each) for name, each in read.message_types_by_name.items()}
    return SimpleNamespace(**messages, services=read.services_by_name)


def service(description: Any, servant: object, *, silent: frozenset[str] = frozenset()) -> Any:
    """Return what answers the calls of a service with the methods of `servant` (`CreateVolume`: `create_volume`).

    Calls without a method are UNIMPLEMENTED. Each call is printed, except those in `silent`.
    """
    handlers = {}
    for method in description.methods:
        name = re.sub(r"(?<!^)(?=[A-Z])", "_", method.name).lower()
        answer = getattr(servant, name, None)
        if answer is not None:
            handlers[method.name] = grpc.unary_unary_rpc_method_handler(
                answer if method.name in silent else _told(method.name, answer),
                request_deserializer=message_factory.GetMessageClass(method.input_type).FromString,
                response_serializer=message_factory.GetMessageClass(method.output_type).SerializeToString,
            )
    return grpc.method_handlers_generic_handler(description.full_name, handlers)


def _told(name: str, answer: Any) -> Any:
    def call(request: Any, context: Any) -> Any:
        started = time.monotonic()
        try:
            return answer(request, context)
        finally:
            outcome = f"{context.code() or 'OK'} {(context.details() or b'').decode()}".strip()
            asked = " ".join(str(request).split())[:300]
            print(f"{name} {outcome} {time.monotonic() - started:.2f} s: {asked}", flush=True)

    return call
