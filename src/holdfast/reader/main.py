"""A reader: a long-lived process that reads one repository for the operator, writes nothing and keeps nothing."""

import asyncio
import logging
import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, NoReturn

import uvicorn
from starlette.types import ASGIApp

from holdfast.engines import choose, log
from holdfast.engines.protocol import EngineFailure
from holdfast.model import wire
from holdfast.model.failure import FailureKind
from holdfast.model.workorder import RepositoryAccess
from holdfast.reader import server
from holdfast.reader.service import Service

REPOSITORY: Final = "HOLDFAST_REPOSITORY"
LISTEN: Final = "HOLDFAST_LISTEN"
TOKEN: Final = "HOLDFAST_TOKEN"
ROOT: Final = "HOLDFAST_ROOT"
SECRETS: Final = (choose.PASSWORD, TOKEN, "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
STOP_SECONDS: Final = 10
_SCRATCH: Final = "holdfast-reader-"

events = logging.getLogger("holdfast.reader")


def main() -> NoReturn:
    """Serve until told to stop, and exit: 0 when stopped, 2 when the environment cannot be read."""
    code = serve(dict(os.environ))
    sys.stderr.flush()
    # Not sys.exit: it would wait for threads that a hung mount keeps for ever.
    os._exit(code)


def serve(environment: Mapping[str, str]) -> int:
    """Return the exit code once the server has ended."""
    log.to_stderr(tuple(environment[name] for name in SECRETS if environment.get(name)))
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    try:
        access, token = _access(environment), _needed(environment, TOKEN)
        listening = _bind(_needed(environment, LISTEN))
    except EngineFailure as error:
        events.error("reader.not_started", extra={"detail": error.failure.detail})
        return 2
    _remove_stale(Path(tempfile.gettempdir()))
    scratch = Path(tempfile.mkdtemp(prefix=f"{_SCRATCH}{os.getpid()}-"))
    try:
        service = Service(access, Path(environment.get(ROOT, "/")), environment, scratch)
        host, port = listening.getsockname()[:2]
        events.info("reader.listening", extra={"host": host, "port": port, "engine": access.engine.value})
        asyncio.run(_serve(server.application(service, token), listening))
        events.info("reader.stopped")
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return 0


class _Server(uvicorn.Server):
    """A server whose signals are ours: uvicorn would raise them again after it has stopped."""

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


async def _serve(application: ASGIApp, listening: socket.socket) -> None:
    config = uvicorn.Config(
        application,
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=STOP_SECONDS,
    )
    running = _Server(config)

    def stop() -> None:
        running.should_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    await running.serve(sockets=[listening])


def _access(environment: Mapping[str, str]) -> RepositoryAccess:
    try:
        return wire.decode(RepositoryAccess, _needed(environment, REPOSITORY))
    except wire.WireError as error:
        raise EngineFailure(FailureKind.BAD_ORDER, f"${REPOSITORY} cannot be read: {error}") from error


def _needed(environment: Mapping[str, str], name: str) -> str:
    value = environment.get(name, "")
    if not value:
        raise EngineFailure(FailureKind.BAD_ORDER, f"${name} is not set")
    return value


def _bind(text: str) -> socket.socket:
    """Return a socket that listens on `address:port` (`[address]:port` for IPv6)."""
    address, _, port = text.rpartition(":")
    address = address.strip("[]")
    try:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        return socket.create_server((address, int(port)), family=family)
    except (OSError, ValueError, OverflowError) as error:
        raise EngineFailure(FailureKind.BAD_ORDER, f"${LISTEN} ({text}) cannot be listened on: {error}") from error


def _remove_stale(folder: Path) -> None:
    """Remove what readers left that were killed: in a container they had our process id, elsewhere theirs is gone."""
    for left in folder.glob(f"{_SCRATCH}*-*"):
        number = left.name.removeprefix(_SCRATCH).partition("-")[0]
        if number.isdecimal() and (int(number) == os.getpid() or not _is_alive(int(number))):
            shutil.rmtree(left, ignore_errors=True)


def _is_alive(process: int) -> bool:
    with suppress(PermissionError):
        try:
            os.kill(process, 0)
        except (ProcessLookupError, OverflowError):
            return False
    return True
