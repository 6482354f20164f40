"""Local processes that stand for containers, and the question whether they are ready."""

import concurrent.futures
import http.client
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

_SUPERVISE: Final = Path(__file__).with_name("supervise.py")
_PROBE_SECONDS: Final = 1.0
_END_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """What to start: the command, its whole environment, where it stands and where its output goes."""

    command: tuple[str, ...]
    environment: Mapping[str, str]
    directory: Path
    log: Path


class Running(Protocol):
    """One started container."""

    @property
    def pid(self) -> int | None:
        """Return the process id of the command itself, or None while it is not known."""

    def exit_code(self) -> int | None:
        """Return how it ended (128 + a signal's number), or None while it runs."""

    def terminate(self) -> None:
        """Ask it to end."""

    def kill(self) -> None:
        """End it, and everything that it started, at once."""

    def wait(self) -> None:
        """Return when it has ended; raise TimeoutError when it does not within seconds."""


class Launcher(Protocol):
    """Starts containers; `wake` is called whenever one has ended or a probe was answered, from any thread."""

    def start(self, container: Container, wake: Callable[[], None]) -> Running: ...

    def probe(self, url: str, wake: Callable[[], None]) -> "Probe": ...


class Probe(Protocol):
    """One question whether a container is ready."""

    def answer(self) -> bool | None:
        """Return whether it was, or None while nobody knows."""


class ProcessLauncher:
    """Starts each container below a supervisor, which dies with this process and takes everything with it."""

    def __init__(self) -> None:
        self._probes: Final = concurrent.futures.ThreadPoolExecutor(max_workers=4, thread_name_prefix="probe")

    def start(self, container: Container, wake: Callable[[], None]) -> "Process":
        return Process(container, wake)

    def probe(self, url: str, wake: Callable[[], None]) -> "HttpProbe":
        future = self._probes.submit(_is_answered, url)
        future.add_done_callback(lambda _: wake())
        return HttpProbe(future)

    def close(self) -> None:
        self._probes.shutdown(wait=True, cancel_futures=True)


class Process:
    """One supervised process."""

    def __init__(self, container: Container, wake: Callable[[], None]) -> None:
        self._pid: int | None = None
        self._control, theirs = socket.socketpair()
        self._control.setblocking(False)
        argv = (sys.executable, "-I", "-S", str(_SUPERVISE), str(theirs.fileno()), str(container.directory))
        with theirs, container.log.open("ab") as log:
            self._process = subprocess.Popen(
                (*argv, *container.command),
                env=dict(container.environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        threading.Thread(target=self._await, args=(wake,), daemon=True, name=f"wait-{self._process.pid}").start()

    def _await(self, wake: Callable[[], None]) -> None:
        self._process.wait()
        wake()

    @property
    def pid(self) -> int | None:
        if self._pid is None:
            try:
                text = self._control.recv(64)
            except (BlockingIOError, OSError):
                return None
            self._pid = int(text) if text else None
        return self._pid

    def exit_code(self) -> int | None:
        code = self._process.poll()
        if code is not None:
            self._control.close()
        return code if code is None or code >= 0 else 128 - code

    def terminate(self) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self._control.close()  # the supervisor's sign to kill everything and end

    def wait(self) -> None:
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise TimeoutError(f"process {self._process.pid} does not end") from error


class HttpProbe:
    """One GET, asked in another thread."""

    def __init__(self, future: "concurrent.futures.Future[bool]") -> None:
        self._future: Final = future

    def answer(self) -> bool | None:
        return self._future.result() if self._future.done() and not self._future.cancelled() else None


def _is_answered(url: str) -> bool:
    address, _, path = url.removeprefix("http://").partition("/")
    connection = http.client.HTTPConnection(address, timeout=_PROBE_SECONDS)
    try:
        connection.request("GET", f"/{path}")
        return 200 <= connection.getresponse().status < 400
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
