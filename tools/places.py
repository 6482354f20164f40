"""Where setup keeps things, and the locks that let two setups run at once."""

import contextlib
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from tools.progress import SetupError

CHECKOUT = Path(__file__).resolve().parent.parent
ENVIRONMENT = CHECKOUT / ".venv"
PROGRAMS_DIRECTORY = ENVIRONMENT / "bin"
LOCK = CHECKOUT / ".cache" / "setup.lock"


def cache_directory(environment: Mapping[str, str]) -> Path:
    """Return the one directory for built programs and build caches; it exists and can be written.

    $HOLDFAST_CACHE, else $XDG_CACHE_HOME/holdfast, else ~/.cache/holdfast, else (no usable home) in the checkout.
    """
    chosen = environment.get("HOLDFAST_CACHE")
    if chosen:
        path = Path(chosen).expanduser().absolute()
        try:
            make_writable(path)
        except OSError as problem:
            raise SetupError(f"HOLDFAST_CACHE={chosen} cannot be used: {problem.strerror}.") from problem
        return path
    for variable, below in (("XDG_CACHE_HOME", "holdfast"), ("HOME", ".cache/holdfast")):
        base = environment.get(variable, "")
        if Path(base).is_absolute():
            with contextlib.suppress(OSError):
                path = Path(base, below)
                make_writable(path)
                return path
    path = CHECKOUT / ".cache" / "holdfast"
    make_writable(path)
    return path


def make_writable(path: Path) -> None:
    """Make the directory if needed; raise OSError when it cannot be written."""
    path.mkdir(parents=True, exist_ok=True)
    if not os.access(path, os.W_OK | os.X_OK):
        raise PermissionError(13, "permission denied")


def need_space(path: Path, *, megabytes: int, purpose: str) -> None:
    """Raise SetupError when the disk of `path` has less free space than the work needs."""
    free = shutil.disk_usage(path).free // 2**20
    if free < megabytes:
        raise SetupError(
            f"{path} has {free} MiB free; {purpose} needs about {megabytes} MiB.\n"
            "  Free some space, or set HOLDFAST_CACHE to a directory on a larger disk."
        )


@contextlib.contextmanager
def locked(path: Path, *, on_wait: Callable[[], None]) -> Iterator[None]:
    """Hold a lock among processes while the block runs; `on_wait` is called once if another holds it.

    Programs started meanwhile hold it too: if setup is killed, the next one waits until what it left has ended.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_wait()
            fcntl.flock(handle, fcntl.LOCK_EX)
        os.set_inheritable(handle.fileno(), True)
        yield
