"""A CSI driver for tests: `python -m tests.cluster.csi.driver --name …`; volumes are directories of this machine.

It serves the CSI services, and kubelet's registration beside them, so that no registrar is needed. A snapshot is a
copy, instant only where the file system shares blocks, and never atomic against a writer. Sizes are numbers only.
"""

import argparse
import contextlib
import functools
import hashlib
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from concurrent import futures
from pathlib import Path
from typing import Any, Final

import grpc

from tests.cluster.csi import wire
from tests.cluster.csi.store import BusyError, Store, Stored

GIB: Final = 2**30
CHATTER: Final = frozenset({"Probe", "GetPluginInfo", "GetInfo", "NodeGetCapabilities"})


def refusing(method: Callable[..., Any]) -> Callable[..., Any]:
    """Let a method raise BusyError: the caller tries again later."""

    @functools.wraps(method)
    def call(self: object, request: Any, context: Any) -> Any:
        try:
            return method(self, request, context)
        except BusyError as busy:
            context.abort(grpc.StatusCode.ABORTED, str(busy))

    return call


def need(value: str, what: str, context: Any) -> str:
    if not value:
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"{what} is missing")
    return value


def need_mountable(capabilities: Sequence[Any], context: Any) -> None:
    if not capabilities:
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, "volume capabilities are missing")
    if any(each.HasField("block") for each in capabilities):
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, "block volumes are not served")


def identity_of(name: str, context: Any) -> str:
    """Return the id of what the caller calls `name`: the same each time, so a repeated call is harmless."""
    return hashlib.sha256(need(name, "name", context).encode()).hexdigest()[:24]


class Identity:
    """Who the driver is and which services it has."""

    def __init__(self, csi: Any, name: str) -> None:
        self._csi, self._name = csi, name

    def get_plugin_info(self, _request: Any, _context: Any) -> Any:
        return self._csi.GetPluginInfoResponse(name=self._name, vendor_version="1")

    def get_plugin_capabilities(self, _request: Any, _context: Any) -> Any:
        capability = self._csi.PluginCapability
        service = capability.Service
        kinds = (service.CONTROLLER_SERVICE, service.VOLUME_ACCESSIBILITY_CONSTRAINTS)
        return self._csi.GetPluginCapabilitiesResponse(
            capabilities=[capability(service=service(type=kind)) for kind in kinds]
        )

    def probe(self, _request: Any, _context: Any) -> Any:
        return self._csi.ProbeResponse(ready={"value": True})


class Controller:
    """Makes and deletes volumes and snapshots."""

    def __init__(self, csi: Any, *, volumes: Store, snapshots: Store | None, topology: dict[str, str]) -> None:
        self._csi, self._volumes, self._snapshots, self._topology = csi, volumes, snapshots, topology

    def controller_get_capabilities(self, _request: Any, _context: Any) -> Any:
        capability = self._csi.ControllerServiceCapability
        call = capability.RPC
        kinds = [call.CREATE_DELETE_VOLUME, call.CLONE_VOLUME]
        if self._snapshots is not None:
            kinds += [call.CREATE_DELETE_SNAPSHOT, call.LIST_SNAPSHOTS]
        return self._csi.ControllerGetCapabilitiesResponse(
            capabilities=[capability(rpc=call(type=kind)) for kind in kinds]
        )

    @refusing
    def create_volume(self, request: Any, context: Any) -> Any:
        identity = identity_of(request.name, context)
        need_mountable(request.volume_capabilities, context)
        asked = request.capacity_range
        with self._volumes.alone(identity):
            volume = self._volumes.get(identity)
            if volume is None:
                size = asked.required_bytes or asked.limit_bytes or GIB
                content = self._content(request.volume_content_source, size, context)
                volume = Stored(identity=identity, bytes_size=size, made_nanoseconds=time.time_ns())
                self._volumes.create(volume, content)
            elif volume.bytes_size < asked.required_bytes or 0 < asked.limit_bytes < volume.bytes_size:
                context.abort(grpc.StatusCode.ALREADY_EXISTS, f"{request.name} exists with another size")
        wanted = request.accessibility_requirements
        place = next(iter((*wanted.preferred, *wanted.requisite)), {"segments": self._topology})
        made = self._csi.Volume(volume_id=identity, capacity_bytes=volume.bytes_size, accessible_topology=[place])
        if request.HasField("volume_content_source"):
            made.content_source.CopyFrom(request.volume_content_source)  # else the provisioner deletes the volume
        return self._csi.CreateVolumeResponse(volume=made)

    def _content(self, source: Any, size: int, context: Any) -> Path | None:
        """Return the directory with the data that a volume begins with."""
        match source.WhichOneof("type"):
            case None:
                return None
            case "snapshot" if self._snapshots is not None:
                store, identity = self._snapshots, source.snapshot.snapshot_id
            case "volume":
                store, identity = self._volumes, source.volume.volume_id
            case other:
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"a volume cannot begin with a {other}")
        stored = store.get(identity)
        if stored is None:
            context.abort(grpc.StatusCode.NOT_FOUND, f"there is no source {identity}")
        elif size < stored.bytes_size:
            context.abort(grpc.StatusCode.OUT_OF_RANGE, f"{size} bytes are fewer than the source's {stored.bytes_size}")
        return store.data(identity)

    @refusing
    def delete_volume(self, request: Any, context: Any) -> Any:
        identity = need(request.volume_id, "volume id", context)
        with self._volumes.alone(identity):
            self._volumes.delete(identity)
        return self._csi.DeleteVolumeResponse()

    def validate_volume_capabilities(self, request: Any, context: Any) -> Any:
        identity = need(request.volume_id, "volume id", context)
        need_mountable(request.volume_capabilities, context)
        if self._volumes.get(identity) is None:
            context.abort(grpc.StatusCode.NOT_FOUND, f"there is no volume {identity}")
        answer = self._csi.ValidateVolumeCapabilitiesResponse
        return answer(confirmed=answer.Confirmed(volume_capabilities=request.volume_capabilities))

    @refusing
    def create_snapshot(self, request: Any, context: Any) -> Any:
        identity = identity_of(request.name, context)
        source = need(request.source_volume_id, "source volume id", context)
        snapshots = self._with_snapshots(context)
        with snapshots.alone(identity):
            snapshot = snapshots.get(identity)
            if snapshot is None:
                volume = self._volumes.get(source)
                if volume is None:
                    context.abort(grpc.StatusCode.NOT_FOUND, f"there is no volume {source}")
                    raise AssertionError  # abort has raised; the types do not say so
                now = time.time_ns()
                snapshot = Stored(identity=identity, bytes_size=volume.bytes_size, made_nanoseconds=now, source=source)
                snapshots.create(snapshot, self._volumes.data(source))
            elif snapshot.source != source:
                context.abort(grpc.StatusCode.ALREADY_EXISTS, f"{request.name} exists of another volume")
        return self._csi.CreateSnapshotResponse(snapshot=self._shown(snapshot))

    @refusing
    def delete_snapshot(self, request: Any, context: Any) -> Any:
        identity = need(request.snapshot_id, "snapshot id", context)
        snapshots = self._with_snapshots(context)
        with snapshots.alone(identity):
            snapshots.delete(identity)
        return self._csi.DeleteSnapshotResponse()

    def list_snapshots(self, request: Any, context: Any) -> Any:
        """Answer in pages; a token is the place where the next one begins."""
        found = [
            each
            for each in self._with_snapshots(context).all()
            if request.snapshot_id in ("", each.identity) and request.source_volume_id in ("", each.source)
        ]
        token = request.starting_token or "0"
        if not token.isdecimal() or int(token) > len(found):
            context.abort(grpc.StatusCode.ABORTED, f"{token} is no token of this list")
        end = int(token) + (request.max_entries or len(found))
        answer = self._csi.ListSnapshotsResponse
        entries = [answer.Entry(snapshot=self._shown(each)) for each in found[int(token) : end]]
        return answer(entries=entries, next_token=str(end) if end < len(found) else "")

    def _with_snapshots(self, context: Any) -> Store:
        if self._snapshots is None:
            context.abort(grpc.StatusCode.UNIMPLEMENTED, "this driver has no snapshots")
            raise AssertionError  # abort has raised; the types do not say so
        return self._snapshots

    def _shown(self, snapshot: Stored) -> Any:
        seconds, nanoseconds = divmod(snapshot.made_nanoseconds, 10**9)
        return self._csi.Snapshot(
            snapshot_id=snapshot.identity,
            source_volume_id=snapshot.source,
            size_bytes=snapshot.bytes_size,
            creation_time={"seconds": seconds, "nanos": nanoseconds},
            ready_to_use=True,
        )


class Node:
    """Brings a volume to where kubelet wants it, by a bind mount. There is no staging."""

    def __init__(self, csi: Any, *, name: str, volumes: Store, topology: dict[str, str]) -> None:
        self._csi, self._name, self._volumes, self._topology = csi, name, volumes, topology

    def node_get_info(self, _request: Any, _context: Any) -> Any:
        return self._csi.NodeGetInfoResponse(node_id=self._name, accessible_topology={"segments": self._topology})

    def node_get_capabilities(self, _request: Any, _context: Any) -> Any:
        return self._csi.NodeGetCapabilitiesResponse()

    @refusing
    def node_publish_volume(self, request: Any, context: Any) -> Any:
        identity = need(request.volume_id, "volume id", context)
        target = need(request.target_path, "target path", context)
        need_mountable([request.volume_capability] if request.HasField("volume_capability") else [], context)
        mode = request.volume_capability.access_mode
        read_only = request.readonly or mode.mode in (mode.SINGLE_NODE_READER_ONLY, mode.MULTI_NODE_READER_ONLY)
        with self._volumes.alone(identity):
            if self._volumes.get(identity) is None:
                context.abort(grpc.StatusCode.NOT_FOUND, f"there is no volume {identity}")
            Path(target).mkdir(parents=True, exist_ok=True)
            if not is_mounted(target):
                run("mount", "--bind", str(self._volumes.data(identity)), target)
                if read_only:
                    run("mount", "-o", "remount,bind,ro", target)
        return self._csi.NodePublishVolumeResponse()

    @refusing
    def node_unpublish_volume(self, request: Any, context: Any) -> Any:
        identity = need(request.volume_id, "volume id", context)
        target = need(request.target_path, "target path", context)
        with self._volumes.alone(identity):
            while is_mounted(target):
                run("umount", target)
            with contextlib.suppress(FileNotFoundError):
                Path(target).rmdir()
        return self._csi.NodeUnpublishVolumeResponse()


class Registration:
    """Tells kubelet where the driver is."""

    def __init__(self, kubelet: Any, *, name: str, endpoint: Path) -> None:
        self._kubelet, self._name, self._endpoint = kubelet, name, endpoint

    def get_info(self, _request: Any, _context: Any) -> Any:
        return self._kubelet.PluginInfo(
            type="CSIPlugin", name=self._name, endpoint=str(self._endpoint), supported_versions=["1.0.0"]
        )

    def notify_registration_status(self, _request: Any, _context: Any) -> Any:
        return self._kubelet.RegistrationStatusResponse()


def is_mounted(path: str) -> bool:
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    return any(line.split()[4] == path for line in mounts)


def run(*argv: str) -> None:
    subprocess.run(argv, check=True)


def serve(socket: Path, handlers: Sequence[Any]) -> Any:
    """Serve at a unix socket; one that a killed driver left is replaced."""
    socket.parent.mkdir(parents=True, exist_ok=True)
    socket.unlink(missing_ok=True)
    server = grpc.server(futures.ThreadPoolExecutor(8))
    server.add_generic_rpc_handlers(handlers)
    server.add_insecure_port(f"unix://{socket}")
    server.start()
    return server


def main() -> None:
    """Serve until a signal ends it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--name", required=True)
    parser.add_argument("--node", required=True)
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--socket", type=Path, required=True)
    parser.add_argument("--protocols", type=Path, required=True, help="the directory of csi.proto and api.proto")
    parser.add_argument("--registry", type=Path, help="kubelet's plugins_registry; nothing registers without")
    parser.add_argument("--without-snapshots", action="store_true")
    options = parser.parse_args()

    csi = wire.load(options.protocols / "csi.proto")
    volumes = Store(options.state / "volumes")
    snapshots = None if options.without_snapshots else Store(options.state / "snapshots")
    topology = {f"{options.name}/node": options.node}
    servants = {
        "Identity": Identity(csi, options.name),
        "Controller": Controller(csi, volumes=volumes, snapshots=snapshots, topology=topology),
        "Node": Node(csi, name=options.node, volumes=volumes, topology=topology),
    }
    handlers = [wire.service(csi.services[name], servant, silent=CHATTER) for name, servant in servants.items()]
    servers = [serve(options.socket, handlers)]
    if options.registry:  # after the driver itself: kubelet calls it as soon as this socket appears
        kubelet = wire.load(options.protocols / "api.proto")
        registration = Registration(kubelet, name=options.name, endpoint=options.socket)
        handler = wire.service(kubelet.services["Registration"], registration, silent=CHATTER)
        servers.append(serve(options.registry / f"{options.name}.sock", [handler]))

    over = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: over.set())
    over.wait()
    for server in reversed(servers):
        server.stop(grace=2).wait()


if __name__ == "__main__":
    main()
