"""Runs one container's command as a container would: when its first process ends, or the sandbox does, all end.

Started on its own, as `python -I -S supervise.py <descriptor> <working directory> <command…>`, so it imports nothing
of Holdfast. The descriptor is a socket to the sandbox: the command's process id is written to it; once the other end
is closed everything below this process is killed. On Linux orphans come back to this process (it is their subreaper),
so that programs in sessions of their own do not escape; elsewhere only the command's process group is killed.
"""

import contextlib
import ctypes
import os
import select
import signal
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
CANNOT_START = 127


def main() -> int:
    """Return the exit status of the command; 128 + the signal that ended it."""
    control, directory, command = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
    wake, waker = os.pipe()
    os.set_blocking(waker, False)
    signal.set_wakeup_fd(waker)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    first = os.fork()
    if first == 0:
        _become(command, directory, control)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _: _signal_group(first, received))
    with contextlib.suppress(OSError):
        os.write(control, f"{first}\n".encode())
    status = _wait(first, control, wake)
    _end_all(first)
    return status


def _become(command: list[str], directory: str, control: int) -> None:
    os.setsid()
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    os.close(control)
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        os.chdir(directory)
        os.execvp(command[0], command)  # noqa: S606
    except OSError as error:
        os.write(2, f"{command[0]}: {error.strerror}\n".encode())
        os._exit(CANNOT_START)


def _wait(first: int, control: int, wake: int) -> int:
    """Return the first process's status when it has ended; kill it when the sandbox has gone."""
    while True:
        ready, _, _ = select.select([control, wake], [], [])
        if wake in ready:
            os.read(wake, 512)
            status = _reap(first)
            if status is not None:
                return status
        if control in ready and _is_closed(control):
            _signal_group(first, signal.SIGKILL)
            return 128 + signal.SIGKILL


def _is_closed(control: int) -> bool:
    try:
        return not os.read(control, 64)
    except ConnectionResetError:  # closed with our first word still unread
        return True


def _reap(first: int) -> int | None:
    """Collect every child that has ended; return the first process's status if it was among them."""
    found = None
    while True:
        try:
            child, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        if child == 0:
            return found
        if child == first:
            code = os.waitstatus_to_exitcode(status)
            found = code if code >= 0 else 128 - code


def _end_all(first: int) -> None:
    """Kill what is left below this process until nothing is."""
    _signal_group(first, signal.SIGKILL)
    while children := _children():
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(-1, 0)


def _children() -> list[int]:
    try:
        text = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text(encoding="ascii")
    except OSError:
        return []
    return [int(each) for each in text.split()]


def _signal_group(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


if __name__ == "__main__":
    sys.exit(main())
