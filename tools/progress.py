"""What a person sees while setup works, and the one way in which it starts programs."""

import collections
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TextIO

HEARTBEAT_SECONDS = 10.0
REDRAW_SECONDS = 0.2
TAIL_LINES = 15
NETWORK_TROUBLE = (
    "dial tcp",
    "no such host",
    "i/o timeout",
    "TLS handshake timeout",
    "Temporary failure in name resolution",
    "NewConnectionError",
    "Connection refused",
    "Read timed out",
    "CERTIFICATE_VERIFY_FAILED",
)


class SetupError(Exception):
    """Setup cannot go on; the text says what is wrong and what to do."""


class Step:
    """One thing being done: its name, since when, and what it is at."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.started = time.monotonic()
        self.detail = "starting"

    def __str__(self) -> str:
        return f"{self.name}: {self.detail} ({elapsed(time.monotonic() - self.started)})"


class Progress:
    """A line that is redrawn on a terminal; elsewhere a line at each start and end, and one every ten seconds."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._terminal = stream.isatty()
        self._lock = threading.Lock()
        self._steps: list[Step] = []
        self._children: set[subprocess.Popen[bytes]] = set()
        self._stop = threading.Event()
        self._stopped = False

    @contextlib.contextmanager
    def shown(self) -> Iterator[None]:
        """Show progress until the block ends, and end the programs that it leaves running."""
        painter = threading.Thread(target=self._paint, daemon=True)
        painter.start()
        try:
            yield
        finally:
            self.stop_children()
            self._stop.set()
            painter.join()

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[Step]:
        """Show a step; say how long it took when it ends well."""
        step = Step(name)
        with self._lock:
            self._steps.append(step)
        if not self._terminal:
            self.say(f"  {name} …")
        try:
            yield step
        except BaseException:
            with self._lock:
                self._steps.remove(step)
            raise
        with self._lock:
            self._steps.remove(step)
        self.say(f"✓ {step}")

    def say(self, text: str) -> None:
        """Print a line that stays."""
        with self._lock:
            self._stream.write(("\r\033[K" if self._terminal else "") + text + "\n")
            self._stream.flush()

    def run(
        self,
        step: Step,
        argv: Sequence[str],
        *,
        environment: Mapping[str, str],
        log: Path,
        directory: Path | None = None,
        on_line: Callable[[str], object] = str,
    ) -> None:
        """Run a program to its end, its output in `log`; raise SetupError with its last lines when it fails."""
        tail: collections.deque[str] = collections.deque(maxlen=TAIL_LINES)
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as record, self._started(argv, environment, directory) as child:
            assert child.stdout is not None
            for raw in child.stdout:
                record.write(raw)
                line = raw.decode(errors="replace").rstrip()
                tail.append(line)
                on_line(line)
            code = child.wait()
        if code != 0:
            raise SetupError(failure_text(step.name, argv, code, list(tail), log))

    @contextlib.contextmanager
    def _started(
        self, argv: Sequence[str], environment: Mapping[str, str], directory: Path | None
    ) -> Iterator[subprocess.Popen[bytes]]:
        with self._lock:
            if self._stopped:
                raise SetupError("setup was stopped")
            child = subprocess.Popen(
                argv,
                cwd=directory,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # so that stopping it stops what it started
                close_fds=False,  # it shares the locks of places.locked
            )
            self._children.add(child)
        try:
            yield child
        finally:
            end(child)
            if child.stdout is not None:
                child.stdout.close()
            child.wait()
            with self._lock:
                self._children.discard(child)

    def stop_children(self) -> None:
        """End every program that still runs, with what it started; start no more."""
        with self._lock:
            self._stopped = True
            children = list(self._children)
        for child in children:
            end(child)

    def _paint(self) -> None:
        while not self._stop.wait(REDRAW_SECONDS if self._terminal else HEARTBEAT_SECONDS):
            with self._lock:
                steps = list(self._steps)
                if not steps:
                    continue
                if self._terminal:
                    line = " · ".join(str(step) for step in steps)
                    self._stream.write("\r\033[K" + line[: terminal_columns() - 1])
                else:
                    self._stream.writelines(f"  … {step}\n" for step in steps)
                self._stream.flush()


def end(child: subprocess.Popen[bytes]) -> None:
    """End a program and everything in its process group, if it still runs."""
    if child.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)


def terminal_columns() -> int:
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns
    except (OSError, ValueError):
        return 80


def elapsed(seconds: float) -> str:
    """Return a duration as people read it: 0.4 s, 12 s, 3 min 05 s."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{int(seconds) // 60} min {int(seconds) % 60:02d} s"


def failure_text(step: str, argv: Sequence[str], code: int, tail: Sequence[str], log: Path) -> str:
    """Return what went wrong in a program that setup ran, with the likely cause when its words give one."""
    lines = [f"{step} failed: {Path(argv[0]).name} ended with exit code {code}."]
    lines += [f"    {line}" for line in tail if line]
    advice = likely_cause("\n".join(tail))
    if advice:
        lines.append(f"  {advice}")
    lines.append(f"  The whole output is in {log}; `make setup` goes on from here.")
    return "\n".join(lines)


def likely_cause(output: str) -> str | None:
    """Return advice for the failures that a machine, not Holdfast, causes; None for any other."""
    if "No space left on device" in output or "no space left on device" in output:
        return "The disk is full: free some space, or set HOLDFAST_CACHE to a directory on a larger disk."
    if any(sign in output for sign in NETWORK_TROUBLE):
        return "The first setup downloads packages: check the network, and proxy or certificate settings."
    if "do not match the hashes" in output or "SECURITY ERROR" in output:
        return "What was downloaded is not what is locked here. Do not go on; find out who served it."
    if "ensurepip" in output:
        return "This Python lacks venv. Debian and Ubuntu: apt-get install python3-venv"
    return None
