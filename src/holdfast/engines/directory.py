"""A directory as storage: a local disk, NFS, or whatever else is mounted there.

Every call runs in a thread of its own that nobody waits for at the end: a hung NFS mount costs a deadline, not the
process.
"""

import asyncio
import errno
import os
import re
import secrets
import stat
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Final, TypeVar

from holdfast.engines import aside
from holdfast.engines.protocol import EngineFailure, StoredObject
from holdfast.model.failure import FailureKind

T = TypeVar("T")

DEADLINE: Final = timedelta(seconds=60)
THREADS: Final = 8  # a hung mount keeps its threads for ever: only so many may hang

# Short, because a claim's name may leave no room for a suffix; no name in Kubernetes starts with a dot.
_TEMPORARY: Final = re.compile(r"\.~[0-9a-f]{12}")

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_FORBIDDEN: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_UNREACHABLE: Final = frozenset(
    {errno.EIO, errno.ESTALE, errno.ENXIO, errno.ENODEV, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENETDOWN}
    | {errno.ENETUNREACH, errno.ENOTCONN, errno.ECONNREFUSED, errno.ECONNRESET, errno.ETIMEDOUT, errno.EREMOTEIO}
    | {errno.ESHUTDOWN, errno.ECONNABORTED, errno.EAGAIN, errno.EINTR, errno.EPROTO}
)
_UNFIT: Final = frozenset({errno.ENAMETOOLONG, errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.EINVAL, errno.ELOOP})


class Directory:
    """`protocol.Storage` over the directory `root`, which must exist: an unmounted disk must not look empty.

    Ages are taken by the file system's clock as far as a write of ours has shown it; until then, by this host's.
    A folder that lost its last key stays, so `folders` may name an empty one.
    """

    def __init__(self, root: Path, *, called: str = "", deadline: timedelta = DEADLINE) -> None:
        self._root = root
        self._called = called or str(root)  # by people
        self._deadline = deadline
        self._slots = asyncio.Semaphore(THREADS)
        self._ahead = 0.0  # seconds by which this host's clock is ahead of the file system's

    async def aclose(self) -> None:
        """Release nothing: present so that every storage is closed alike."""

    async def list(self, prefix: str) -> Sequence[StoredObject]:
        """Return all keys that start with `prefix`, sorted."""
        return await self._run("list", lambda _: self._list(prefix))

    async def folders(self, prefix: str) -> Sequence[str]:
        """Return the names directly below `prefix`: folders with a trailing "/", keys without."""
        return await self._run("list", lambda _: self._folders(prefix))

    async def get(self, key: str) -> bytes | None:
        """Return the file's bytes; None when the directory is there and the file is not."""
        return await self._run("read", lambda _: self._get(key))

    async def put(self, key: str, data: bytes) -> None:
        """Replace the file by rename, flushed to the disk with its folder; only folders below the root are made."""
        await self._run("write", lambda given_up: self._put(key, data, given_up))

    async def delete(self, key: str) -> None:
        """Delete the file; an absent one is no error."""
        await self._run("delete", lambda _: self._delete(key))

    async def _run(self, verb: str, work: Callable[[threading.Event], T]) -> T:
        given_up = threading.Event()
        try:
            async with asyncio.timeout(self._deadline.total_seconds()):
                await self._slots.acquire()
                return await aside.start(lambda: work(given_up), self._slots.release)
        except TimeoutError as error:
            seconds = round(self._deadline.total_seconds())
            raise EngineFailure(
                FailureKind.TIMEOUT, f"could not {verb} in {self._called} within {seconds} s: does the mount hang?"
            ) from error
        except OSError as error:
            raise EngineFailure(_kind_of(error), f"could not {verb} in {self._called}: {_sentence(error)}") from error
        finally:
            given_up.set()

    def _list(self, prefix: str) -> Sequence[StoredObject]:
        before = self._identity()
        folder, _, start = prefix.rpartition("/")
        now = time.time() - self._ahead
        found = [
            StoredObject(key=key, size=status.st_size, age_seconds=max(0.0, now - status.st_mtime))
            for key, status in _walk(self._path(folder), f"{folder}/" if folder else "", start)
        ]
        self._expect(before)
        return sorted(found, key=lambda each: each.key)

    def _folders(self, prefix: str) -> Sequence[str]:
        before = self._identity()
        names = [
            f"{entry.name}/" if entry.is_dir() else entry.name
            for entry in _entries(self._path(prefix.rstrip("/")))
            if not _TEMPORARY.fullmatch(entry.name)
        ]
        self._expect(before)
        return sorted(names)

    def _get(self, key: str) -> bytes | None:
        before = self._identity()
        try:
            # A pipe in place of a file must not hang us.
            handle = os.open(self._path(key), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            self._expect(before)
            return None
        try:
            mode = os.fstat(handle).st_mode
            if stat.S_ISDIR(mode):
                return None
            if not stat.S_ISREG(mode):
                raise EngineFailure(FailureKind.DAMAGED, f"{self._root / key} is not a regular file")
            with os.fdopen(handle, "rb", closefd=False) as file:
                return file.read()
        finally:
            os.close(handle)

    def _put(self, key: str, data: bytes, given_up: threading.Event) -> None:
        self._identity()
        target = self._path(key)
        self._make_folders(target.parent)
        temporary = target.parent / f".~{secrets.token_hex(6)}"
        try:
            self._write(temporary, data)
            # The caller may have written something newer since: a write that was given up must not replace it.
            if given_up.is_set():
                raise TimeoutError(errno.ETIMEDOUT, "given up", str(target))
            temporary.rename(target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _flush(target.parent)

    def _write(self, temporary: Path, data: bytes) -> None:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(handle)
            # Taken after the flush, so an age is rather too small than too great and no lease dies early.
            self._ahead = time.time() - os.fstat(handle).st_mtime

    def _make_folders(self, folder: Path) -> None:
        missing = []
        while folder != self._root and not folder.is_dir():
            missing.append(folder)
            folder = folder.parent
        for each in reversed(missing):
            try:
                each.mkdir(mode=0o700)
            except FileExistsError:
                if not each.is_dir():
                    raise
            _flush(each.parent)

    def _delete(self, key: str) -> None:
        before = self._identity()
        target = self._path(key)
        try:
            target.unlink()
        except (FileNotFoundError, NotADirectoryError):
            self._expect(before)
            return
        _flush(target.parent)

    def _path(self, key: str) -> Path:
        if any(part in (".", "..") for part in key.split("/")) or key.startswith("/"):
            raise EngineFailure(FailureKind.BAD_ORDER, f"{key!r} is no key: it leads out of the storage")
        return self._root / key

    def _identity(self) -> tuple[int, int]:
        """Return which directory the root is now; raise STORAGE_MISSING when it is not there."""
        try:
            status = self._root.stat()
        except (FileNotFoundError, NotADirectoryError) as error:
            raise self._missing() from error
        if not stat.S_ISDIR(status.st_mode):
            raise self._missing()
        return status.st_dev, status.st_ino

    def _expect(self, before: tuple[int, int]) -> None:
        """Raise when the root is no longer the directory that it was: what was not found may be in the other one."""
        if self._identity() != before:
            raise EngineFailure(
                FailureKind.UNREACHABLE, f"another file system was mounted on {self._called} while it was read"
            )

    def _missing(self) -> EngineFailure:
        return EngineFailure(
            FailureKind.STORAGE_MISSING, f"directory {self._called} is not there: is the disk mounted?"
        )


def _walk(folder: Path, base: str, start: str) -> Iterator[tuple[str, os.stat_result]]:
    """Yield every file below `folder` whose name there starts with `start`, with its key; links are followed."""
    for entry in _entries(folder):
        if not entry.name.startswith(start) or _TEMPORARY.fullmatch(entry.name):
            continue
        if entry.is_dir():
            yield from _walk(Path(entry.path), f"{base}{entry.name}/", "")
            continue
        try:
            yield base + entry.name, entry.stat()
        except FileNotFoundError:
            if entry.is_symlink():  # it leads nowhere, so what it stands for cannot be told
                raise


def _entries(folder: Path) -> Sequence[os.DirEntry[str]]:
    """Return what is in the folder; a folder that is not there, or no longer, holds nothing.

    A link that leads nowhere is no such folder: it stands for one on a disk that is not mounted.
    """
    try:
        with os.scandir(folder) as entries:
            return [*entries]
    except (FileNotFoundError, NotADirectoryError):
        if folder.is_symlink():
            raise
        return []


def _flush(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems cannot, and need not
            raise
    finally:
        os.close(handle)


def _kind_of(error: OSError) -> FailureKind:
    number = error.errno
    if number in _FULL:
        return FailureKind.REPOSITORY_FULL
    if number in _FORBIDDEN:
        return FailureKind.FORBIDDEN
    if number in _UNREACHABLE:
        return FailureKind.UNREACHABLE
    if number == errno.ENOENT:  # what a link stands for
        return FailureKind.STORAGE_MISSING
    if number in _UNFIT:
        return FailureKind.BAD_ORDER
    return FailureKind.UNKNOWN


def _sentence(error: OSError) -> str:
    where = f" ({error.filename})" if error.filename else ""
    return f"{error.strerror or error}{where}"
