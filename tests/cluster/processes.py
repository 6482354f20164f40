"""The daemons of the cluster: started, found again and ended without ever touching a stranger.

Each daemon carries its name and checkout in its environment, and what it starts (the shims of containerd) inherits
that. So they are found by /proc alone, whoever started them and whatever was killed meanwhile, and signalled through
a pidfd, which cannot come to mean another process.
"""

import contextlib
import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Final

from tests.cluster import places
from tests.cluster.trouble import ClusterError

MARK: Final = "HOLDFAST_E2E_DAEMON"
DAEMONS: Final = places.RUN / "daemons"
_LOOKS: Final = 20
_APART: Final = ("setsid", "--fork")  # nobody's child, since a daemon outlives whoever starts it


@dataclass(frozen=True, slots=True, kw_only=True)
class Daemon:
    """A program that runs as long as the cluster."""

    name: str
    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)


def start(daemon: Daemon) -> None:
    """Start the daemon in a session of its own; its output is appended to `logs/NAME.log`."""
    DAEMONS.mkdir(parents=True, exist_ok=True)
    places.LOGS.mkdir(parents=True, exist_ok=True)
    known = {"argv": daemon.argv, "environment": dict(daemon.environment)}
    (DAEMONS / f"{daemon.name}.json").write_text(json.dumps(known))
    with (places.LOGS / f"{daemon.name}.log").open("ab") as log:
        subprocess.run(
            (*_APART, *daemon.argv),
            cwd="/",
            env={**os.environ, **daemon.environment, MARK: f"{daemon.name} {places.CHECKOUT}"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            check=True,
        )
    while any(_is_starting(_command(pid)) for pid in _all_running()):
        time.sleep(0.001)  # `ended` would miss it and `kill` would not know it


def start_again(name: str) -> None:
    """Start a daemon as it was started before."""
    start(_known(name))


def names() -> Sequence[str]:
    """Return the daemons that were started, in no order, whether or not they still run."""
    return sorted(path.stem for path in DAEMONS.glob("*.json"))


def running() -> Mapping[str, list[int]]:
    """Return the processes of each daemon that has any; what containerd started counts as containerd's."""
    found: dict[str, list[int]] = {}
    for pid in _pids():
        name = _daemon_of(pid)
        if name is not None and _state(pid) not in ("Z", "X"):
            found.setdefault(name, []).append(pid)
    return found


def checkouts() -> frozenset[str]:
    """Return the checkouts whose daemons run."""
    marks = (_mark_of(pid) for pid in _all_running())
    return frozenset(mark.partition(" ")[2] for mark in marks if mark is not None)


def ended() -> Sequence[str]:
    """Return the daemons that were started and run no more, though something that they started may."""
    commands = {_command(pid) for pid in _all_running()}
    return [name for name in names() if _known(name).argv not in commands]


def end(chosen: Iterable[str], *, grace: timedelta) -> None:
    """End the daemons: ask all of them, wait, kill what is left."""
    wanted = {_known(name).argv for name in set(chosen) & set(names())}
    for number, patience in ((signal.SIGTERM, grace), (signal.SIGKILL, timedelta(seconds=10))):
        with _held(_all_running(), lambda pid: _command(pid) in wanted) as handles:
            _signal(handles, number, patience)


def kill_all() -> None:
    """Kill all daemons and what they have started: the shims of containerd heed no other signal.

    What one starts while it is being killed is found at the next look.
    """
    for _ in range(_LOOKS):
        if not (pids := _all_running()):
            return
        kill_pids(pids, ours=lambda pid: _daemon_of(pid) is not None)


def kill(name: str) -> None:
    """Kill a daemon at once, as a crash does; what it has started lives on."""
    argv = _known(name).argv
    kill_pids(running().get(name, ()), ours=lambda pid: _command(pid) == argv)


def kill_pids(pids: Iterable[int], *, ours: Callable[[int], bool]) -> None:
    """Kill those of the processes that are ours, and wait until they are dead."""
    with _held(pids, ours) as handles:
        _signal(handles, signal.SIGKILL, timedelta(seconds=10))


def until(true: Callable[[], bool], *, within: timedelta, what: str) -> None:
    """Wait until something is true; raise ClusterError, naming daemons that have ended, when it does not become so."""
    deadline = time.monotonic() + within.total_seconds()
    while not true():
        gone = ended()
        if gone or time.monotonic() > deadline:
            why = f"{', '.join(gone)} ended" if gone else f"not within {within.total_seconds():g} s"
            logs = [_tail(places.LOGS / f"{name}.log") for name in gone]
            raise ClusterError("\n".join((f"waited for {what}: {why} (logs: {places.LOGS})", *logs)))
        time.sleep(0.1)  # a daemon does not tell when it is ready


def _tail(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return "\n".join(f"    {line[:300]}" for line in lines[-8:])


def _all_running() -> Sequence[int]:
    return [pid for pids in running().values() for pid in pids]


@contextlib.contextmanager
def _held(pids: Iterable[int], ours: Callable[[int], bool]) -> Iterator[list[int]]:
    """Hold a pidfd for each process that is ours; asked only once it is held, since until then a number may pass on."""
    handles: list[int] = []
    try:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                handle = os.pidfd_open(pid)
                if ours(pid):
                    handles.append(handle)
                else:
                    os.close(handle)
        yield handles
    finally:
        for handle in handles:
            os.close(handle)


def _signal(handles: Iterable[int], number: signal.Signals, patience: timedelta) -> None:
    """Send the signal and wait; a pidfd is readable once its process is dead, also before anyone has reaped it."""
    waiting = set(handles)
    poll = select.poll()
    for handle in waiting:
        poll.register(handle, select.POLLIN)
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(handle, number)
    deadline = time.monotonic() + patience.total_seconds()
    while waiting and (left := deadline - time.monotonic()) > 0:
        for handle, _ in poll.poll(left * 1000):
            poll.unregister(handle)
            waiting.discard(handle)


def _pids() -> Iterator[int]:
    return (int(entry) for entry in os.listdir("/proc") if entry.isdecimal())  # noqa: PTH208


def _daemon_of(pid: int) -> str | None:
    mark = _mark_of(pid)
    return None if mark is None else mark.partition(" ")[0]


def _mark_of(pid: int) -> str | None:
    with contextlib.suppress(OSError):
        for setting in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
            if setting.startswith(f"{MARK}=".encode()):
                return setting.partition(b"=")[2].decode()
    return None


def _known(name: str) -> Daemon:
    known = json.loads((DAEMONS / f"{name}.json").read_text())
    return Daemon(name=name, argv=tuple(known["argv"]), environment=known["environment"])


def _command(pid: int) -> tuple[str, ...]:
    """Return the argv of a process; one empty word while it becomes another program."""
    try:
        return tuple(Path(f"/proc/{pid}/cmdline").read_bytes().decode().rstrip("\0").split("\0"))
    except OSError:
        return ()


def _is_starting(argv: tuple[str, ...]) -> bool:
    """Return whether a daemon is not itself yet."""
    return argv == ("",) or argv[: len(_APART)] == _APART


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "X"
