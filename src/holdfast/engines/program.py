"""The only code that starts a process: bounded in time and output, never left behind, secrets redacted.

A program runs in a session of its own, with nothing on stdin and only the environment it is given. It is stopped as a
group: TERM, a grace, KILL; also when we are cancelled. On Linux the kernel kills it when we die without a chance to do
so (`kill -9`), so that no orphan goes on writing into a repository or a volume. The kernel counts the death of the
*thread* that started it: start programs from the thread whose event loop lives as long as the process.
"""

import asyncio
import logging
import os
import shutil
import signal
import sys
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from pathlib import Path
from typing import Final

from holdfast.engines.protocol import EngineFailure
from holdfast.model.failure import FailureKind

GRACE: Final = timedelta(seconds=30)  # kopia saves a partial snapshot, restic removes its lock
TAIL_LINES: Final = 200
LINE_LIMIT: Final = 1 << 16  # characters of a line that are kept
STDOUT_LIMIT: Final = 256 << 20
_BUFFERED: Final = 4 << 20  # bytes that wait for our caller before the program is made to wait
_LINGER: Final = timedelta(seconds=5)  # for pipes that a grandchild holds after the program's end
_AFTER_KILL: Final = timedelta(seconds=1)
_NOT_EXECUTABLE: Final = 127

# Runs in a fresh interpreter that execs the program: doing this between fork and exec in our own process is not safe
# beside threads. The parent check closes the gap in which we die before the kernel has been asked.
_LAUNCH: Final = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, 9, 0, 0, 0)
if os.getppid() != int(sys.argv[1]):
    sys.exit(126)
try:
    os.execv(sys.argv[2], sys.argv[3:])
except OSError as error:
    print(error, file=sys.stderr)
    sys.exit(127)
"""

_INHERITED: Final = (
    *("PATH", "LANG", "LC_ALL", "SSL_CERT_FILE", "SSL_CERT_DIR", "GOMEMLIMIT", "GOMAXPROCS", "GOGC"),
    *("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"),
)


class Heard(Enum):
    """What a line of output says: news of work (not kept), nothing new (not kept), or text (kept, and news)."""

    PROGRESS = "progress"
    NOTHING = "nothing"
    TEXT = "text"


Listen = Callable[[str], Heard]

events = logging.getLogger("holdfast.program")


class _Starts:
    """How many programs this process has started: a figure for people."""

    number = 0


def number_started() -> int:
    """Return how many programs this process has started."""
    return _Starts.number


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How long a program may run, and how long it may show no progress."""

    total: timedelta
    inactivity: timedelta

    def within(self, other: "Limits") -> "Limits":
        """Return the stricter of both."""
        return Limits(total=min(self.total, other.total), inactivity=min(self.inactivity, other.inactivity))


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What to run. `argv[0]` is a name looked up on the environment's PATH, or a path."""

    argv: tuple[str, ...]
    environment: Mapping[str, str]
    directory: Path
    limits: Limits
    secrets: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return Path(self.argv[0]).name

    @property
    def command(self) -> str:
        """Return the program and what it is to do, as far as logs need it."""
        words = [each for each in self.argv[1:] if not each.startswith("-") and "=" not in each]
        return " ".join((self.name, *words[:2]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """How a program ended; a negative exit code is a signal. `stdout` and `stderr` hold the text that was kept.

    Of stderr these are the last lines, redacted. Bytes that are not UTF-8 are surrogate escapes.
    """

    exit_code: int
    stdout: bytes
    stderr: tuple[str, ...]


def inherited(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that any program may see: where programs, certificates and proxies are."""
    return {name: environment[name] for name in _INHERITED if name in environment}


def find(name: str, environment: Mapping[str, str]) -> str:
    """Return the absolute path of a program; raise EngineFailure(NO_PROGRAM) when there is none."""
    found = shutil.which(name, path=environment.get("PATH", os.defpath))
    if found is None:
        raise EngineFailure(
            FailureKind.NO_PROGRAM,
            f"{name} is not installed: no such program on PATH ({environment.get('PATH', os.defpath)})",
        )
    return str(Path(found).absolute())


def redact(text: str, secrets: tuple[str, ...]) -> str:
    """Return `text` without the secrets."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, "***")
    return text


async def run(
    program: Program,
    *,
    on_stdout: Listen | None = None,
    on_stderr: Listen | None = None,
    stdout_limit: int = STDOUT_LIMIT,
) -> Finished:
    """Run a program to its end and return how it ended.

    Without `on_stdout` all of stdout is kept; with it, the lines that it calls TEXT. Lines end at CR or LF.
    Raises EngineFailure: TIMEOUT, NO_PROGRAM, BAD_ORDER (argument with a NUL), UNKNOWN (too much output).
    """
    kept = bytearray()
    lines = Lines()
    async with started(program, on_stderr=on_stderr, news_on_stdout=on_stdout is None) as running:
        async for chunk in running.chunks():
            if on_stdout is None:
                kept += chunk
            else:
                for line in lines.add(chunk):
                    if running.hear(line, on_stdout) is Heard.TEXT:
                        kept += line.encode("utf-8", "surrogateescape") + b"\n"
            if len(kept) > stdout_limit:
                raise EngineFailure(FailureKind.UNKNOWN, f"{program.name} printed more than {stdout_limit} bytes")
        if on_stdout is not None:
            for line in lines.end():
                if running.hear(line, on_stdout) is Heard.TEXT:
                    kept += line.encode("utf-8", "surrogateescape") + b"\n"
        return await running.finished(bytes(kept))


@asynccontextmanager
async def started(
    program: Program, *, on_stderr: Listen | None = None, news_on_stdout: bool = True
) -> AsyncIterator["Running"]:
    """Start a program for the time of the block; leaving the block early, in whatever way, stops it.

    Read all of `chunks()`, then ask `finished()`.
    """
    loop = asyncio.get_running_loop()
    running = Running(program, on_stderr, news_on_stdout=news_on_stdout)
    path = find(program.argv[0], program.environment)
    argv = (path, *program.argv[1:])
    if sys.platform == "linux":
        argv = (sys.executable, "-I", "-S", "-c", _LAUNCH, str(os.getpid()), path, *argv)
    starting = asyncio.ensure_future(
        loop.subprocess_exec(
            lambda: running,
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            env=dict(program.environment),
            cwd=program.directory,
            start_new_session=True,
        )
    )
    try:
        transport, _ = await asyncio.shield(starting)
    except asyncio.CancelledError:
        # It may be there already, although we have not been told: it is ended like any other.
        await asyncio.shield(asyncio.ensure_future(_abandon(starting, running)))
        raise
    except ValueError as error:
        raise EngineFailure(FailureKind.BAD_ORDER, f"{program.name} cannot be given this argument: {error}") from error
    except OSError as error:
        raise EngineFailure(FailureKind.NO_PROGRAM, f"{program.name} cannot be started: {error}") from error
    _Starts.number += 1
    try:
        yield running
    finally:
        try:
            await running.stop()
            running.tell()
        finally:
            transport.close()


async def _abandon(starting: "asyncio.Future[tuple[asyncio.SubprocessTransport, Running]]", running: "Running") -> None:
    try:
        transport, _ = await starting
    except (OSError, ValueError):
        return
    try:
        await running.stop()
    finally:
        transport.close()


class Running(asyncio.SubprocessProtocol):
    """A started program: its stdout as chunks, then its end."""

    def __init__(self, program: Program, on_stderr: Listen | None, *, news_on_stdout: bool) -> None:
        self._program = program
        self._on_stderr = on_stderr
        self._news_on_stdout = news_on_stdout
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.SubprocessTransport | None = None
        self._chunks: deque[bytes] = deque()
        self._buffered = 0
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._stderr = Lines()
        self._open = {1, 2}
        self._exited = asyncio.Event()
        self._changed = asyncio.Event()
        self._began = self._last_news = self._loop.time()
        self._deadline = self._last_news + program.limits.total.total_seconds()
        self._broken: Exception | None = None
        self._stopping = False
        self._paused = False

    @property
    def buffered(self) -> int:
        """Bytes of stdout that wait for the reader of `chunks`."""
        return self._buffered

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield stdout as it comes; a reader that is slow makes the program wait."""
        while True:
            while self._chunks:
                chunk = self._chunks.popleft()
                self._buffered -= len(chunk)
                yield chunk
                if self._news_on_stdout:  # the time that our reader took is not the program's
                    self._last_news = self._loop.time()
            self._flow(paused=False)
            if 1 not in self._open or self._exited.is_set():
                await self._drained()
                if not self._chunks:
                    return
                continue
            await self._wait()

    async def finished(self, stdout: bytes = b"") -> Finished:
        """Return how the program ended, once it has ended."""
        while not self._exited.is_set():
            await self._wait()
        await self._drained()
        if self._broken is not None:
            raise self._broken
        for line in self._stderr.end():
            self._hear_stderr(line)
        assert self._transport is not None
        code = self._transport.get_returncode()
        assert code is not None
        if code == _NOT_EXECUTABLE:
            detail = " ".join(self._tail)
            raise EngineFailure(FailureKind.NO_PROGRAM, f"{self._program.name} cannot be started: {detail}")
        return Finished(exit_code=code, stdout=stdout, stderr=tuple(self._tail))

    def hear(self, line: str, listen: Listen) -> Heard:
        """Return what `listen` makes of a line; news puts off the inactivity deadline."""
        heard = listen(line)
        if heard is not Heard.NOTHING:
            self._last_news = self._loop.time()
        return heard

    def tell(self) -> None:
        """Log how long the program ran."""
        assert self._transport is not None
        seconds = round(self._loop.time() - self._began, 3)
        told = {"program": self._program.command, "exit_code": self._transport.get_returncode(), "seconds": seconds}
        events.info("program.ended", extra=told)

    async def stop(self) -> None:
        """Return once no process of the group is left: TERM, a grace, KILL."""
        self._stopping = True
        if self._exited.is_set():
            if self._open:
                self._signal(signal.SIGKILL)
            return
        self._flow(paused=False)
        self._signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(GRACE.total_seconds()):
                await self._exited.wait()
        except TimeoutError:
            self._signal(signal.SIGKILL)
            await self._exited.wait()
        except asyncio.CancelledError:  # asked a second time: no grace
            self._signal(signal.SIGKILL)
            with suppress(TimeoutError):  # a process that hangs in the kernel does not end even so
                async with asyncio.timeout(_AFTER_KILL.total_seconds()):
                    await self._exited.wait()
            raise

    async def _wait(self) -> None:
        """Return when something has changed; raise EngineFailure(TIMEOUT) when nothing may be waited for any more."""
        self._changed.clear()
        while not self._changed.is_set():
            if self._broken is not None:
                raise self._broken
            due = min(self._deadline, self._last_news + self._program.limits.inactivity.total_seconds())
            if self._loop.time() >= due:
                raise self._overdue()
            with suppress(TimeoutError):
                async with asyncio.timeout_at(due):
                    await self._changed.wait()

    async def _drained(self) -> None:
        """Return when both pipes are read to their end; a grandchild that holds one is killed after a while."""
        while not self._exited.is_set():
            await self._wait()
        with suppress(TimeoutError):
            async with asyncio.timeout(_LINGER.total_seconds()):
                await self._until_closed()
            return
        self._signal(signal.SIGKILL)
        if self._transport is not None:
            self._transport.close()
        self._open.clear()

    async def _until_closed(self) -> None:
        while self._open:
            if self._buffered:  # our reader takes it first
                return
            self._changed.clear()
            await self._changed.wait()

    def _overdue(self) -> EngineFailure:
        limits = self._program.limits
        if self._loop.time() >= self._deadline:
            detail = f"did not end within {limits.total.total_seconds():.0f} s"
        else:
            detail = f"showed no progress for {limits.inactivity.total_seconds():.0f} s"
        return EngineFailure(FailureKind.TIMEOUT, f"{self._program.name} {detail} and was stopped")

    def _signal(self, number: signal.Signals) -> None:
        assert self._transport is not None
        with suppress(ProcessLookupError, PermissionError):  # macOS answers EPERM for a group of zombies
            os.killpg(self._transport.get_pid(), number)

    def _flow(self, *, paused: bool) -> None:
        """Stop or go on reading stdout. Whether it is read is remembered here: Python 3.11.2 cannot tell."""
        pipe = self._transport.get_pipe_transport(1) if self._transport is not None else None
        if paused is self._paused or not isinstance(pipe, asyncio.ReadTransport) or pipe.is_closing():
            return
        self._paused = paused
        if paused:
            pipe.pause_reading()
        else:
            pipe.resume_reading()

    def _hear_stderr(self, line: str) -> None:
        listen = self._on_stderr if self._on_stderr is not None else _all_text
        if self.hear(line, listen) is Heard.TEXT:
            self._tail.append(redact(line, self._program.secrets))

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.SubprocessTransport)
        self._transport = transport

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        if self._stopping:
            return
        if fd == 1:
            self._chunks.append(data)
            self._buffered += len(data)
            if self._news_on_stdout:
                self._last_news = self._loop.time()
            if self._buffered > _BUFFERED:
                self._flow(paused=True)
        else:
            try:
                for line in self._stderr.add(data):
                    self._hear_stderr(line)
            except Exception as error:  # noqa: BLE001  a listener's own error is raised where we are awaited
                self._broken = error
        self._changed.set()

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:  # noqa: ARG002
        self._open.discard(fd)
        self._changed.set()

    def process_exited(self) -> None:
        self._exited.set()
        self._changed.set()


def _all_text(_line: str) -> Heard:
    return Heard.TEXT


class Lines:
    """Splits chunks at CR and LF; of a line longer than LINE_LIMIT the rest is dropped. Empty lines are left out."""

    def __init__(self) -> None:
        self._begun = bytearray()

    def add(self, chunk: bytes) -> list[str]:
        """Return the lines that `chunk` completes."""
        *complete, rest = chunk.replace(b"\r", b"\n").split(b"\n")
        lines = []
        for part in complete:
            self._grow(part)
            lines += self.end()
        self._grow(rest)
        return lines

    def end(self) -> list[str]:
        """Return the line that was begun, if any."""
        line = self._begun.decode("utf-8", "surrogateescape")
        self._begun.clear()
        return [line] if line else []

    def _grow(self, part: bytes) -> None:
        self._begun += part[: LINE_LIMIT - len(self._begun)]
