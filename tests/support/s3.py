"""A real S3 server for tests: versitygw over a directory, with keys made up for the session."""

import contextlib
import os
import secrets
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from holdfast.model.repository import S3Storage
from tests.support.programs import find_program

BUCKET = "holdfast-tests"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One line of the server's access log; `key` is "-" for a request about the bucket."""

    operation: str  # "GetObject", "ListObjectsV2", …
    key: str
    status: int


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Server:
    """A running server. `data` is the bucket as a directory: remove or corrupt what is in it."""

    endpoint: str  # host:port
    bucket: str
    access_key: str
    secret_key: str = field(repr=False)
    data: Path
    log: Path

    def storage(self, prefix: str = "", *, endpoint: str | None = None) -> S3Storage:
        """Return the bucket as Holdfast is told of it; `endpoint` for a proxy in front."""
        return S3Storage(endpoint=endpoint or self.endpoint, bucket=self.bucket, prefix=prefix, tls=False)

    @property
    def environment(self) -> Mapping[str, str]:
        """The storage keys, as a mover gets them."""
        return {"AWS_ACCESS_KEY_ID": self.access_key, "AWS_SECRET_ACCESS_KEY": self.secret_key}

    def requests(self) -> list[Request]:
        """Return every request since the server started, in order."""
        lines = [line.split(" ") for line in self.log.read_text().splitlines() if " s3_" in line]
        return [_request(words) for words in lines]


def _request(words: list[str]) -> Request:
    position = next(index for index, word in enumerate(words) if word.startswith("s3_"))
    # The key may hold spaces; the path after it starts with "/" and is percent-encoded.
    path = next(index for index in range(position + 2, len(words)) if words[index].startswith("/"))
    return Request(
        operation=words[position].removeprefix("s3_"),
        key=" ".join(words[position + 1 : path]),
        status=int(words[path + 1]),
    )


@contextlib.contextmanager
def running_server(root: Path, *options: str, address: str = "127.0.0.1") -> Iterator[S3Server]:
    """Run a server in the empty directory `root` on a free port; `{port}` in an option stands for it."""
    program = find_program("versitygw")
    for name in ("iam", "data", f"data/{BUCKET}"):
        (root / name).mkdir()
    port = _free_port(address)
    server = S3Server(
        endpoint=f"{address}:{port}",
        bucket=BUCKET,
        access_key=f"test-{secrets.token_hex(6)}",
        secret_key=f"test-{secrets.token_hex(16)}",
        data=root / "data" / BUCKET,
        log=root / "access.log",
    )
    arguments = ["--port", server.endpoint, "--iam-dir", str(root / "iam"), "--quiet", "--access-log", str(server.log)]
    arguments += [option.format(port=port) for option in options]
    keys = {"ROOT_ACCESS_KEY": server.access_key, "ROOT_SECRET_KEY": server.secret_key}
    with (root / "output").open("wb") as output:
        process = subprocess.Popen(
            [program, *arguments, "posix", str(root / "data")],
            env={"PATH": os.environ.get("PATH", ""), "HOME": str(root), **keys},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            _await_start(server, process, root / "output")
            yield server
        finally:
            process.terminate()
            process.wait(timeout=30)


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with running_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def s3_prefix() -> str:
    """A base prefix of the bucket that no other test uses."""
    return f"base-{secrets.token_hex(6)}/"


def _free_port(address: str) -> int:
    with socket.socket() as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])


def _await_start(server: S3Server, process: subprocess.Popen[bytes], output: Path) -> None:
    host, _, port = server.endpoint.partition(":")
    deadline = time.monotonic() + 30
    while process.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection((host, int(port)), timeout=1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise RuntimeError(f"versitygw did not start: {output.read_text()}")
