"""One walk over a volume: what is in it, and what of it an engine might lose."""

import os
import stat
from collections import Counter
from errno import ENOTSUP
from pathlib import Path
from typing import Final

from holdfast.engines.protocol import EngineFailure
from holdfast.model.failure import FailureKind
from holdfast.model.run import Survey
from holdfast.model.snapshot import Loss

_CAPABILITY: Final = "security.capability"
_ACLS: Final = frozenset({"system.posix_acl_access", "system.posix_acl_default"})
_OWN: Final = ("user.", "trusted.")  # labels of the host's security modules are not the volume's data

_SPECIAL: Final = (
    (stat.S_ISFIFO, Loss.FIFOS),
    (stat.S_ISSOCK, Loss.SOCKETS),
    (stat.S_ISCHR, Loss.DEVICES),
    (stat.S_ISBLK, Loss.DEVICES),
)


def survey(root: Path) -> Survey:
    """Return a count of the regular files below `root`, their bytes, and the losses; blocks, so run it in a thread.

    Below the root, what cannot be read or has vanished is left out. Hard links count as a file each, and as a loss
    each. Raises EngineFailure(SOURCE_UNREADABLE) when the root itself cannot be read.
    """
    walk = _Walk()
    try:
        walk.directory(os.fspath(root))
    except OSError as error:
        raise EngineFailure(FailureKind.SOURCE_UNREADABLE, f"{root} cannot be read: {error.strerror}") from error
    while walk.waiting:
        try:
            walk.directory(walk.waiting.pop())
        except OSError:
            continue  # the engine reports what it could not read
    return Survey(files=walk.files, bytes=walk.bytes, losses=dict(walk.losses))


class _Walk:
    def __init__(self) -> None:
        self.waiting: list[str] = []
        self.files = 0
        self.bytes = 0
        self.losses: Counter[Loss] = Counter()
        self._has_attributes = hasattr(os, "listxattr")

    def directory(self, path: str) -> None:
        """Count a directory's own attributes and its entries, and queue the directories in it."""
        with os.scandir(path) as entries:
            self._attributes(path)
            for entry in entries:
                try:
                    self._entry(entry)
                except OSError:
                    continue  # vanished between the listing and here

    def _entry(self, entry: os.DirEntry[str]) -> None:
        if not entry.name.isascii() and not _is_utf8(entry.name):
            self.losses[Loss.NOT_UTF8] += 1
        if entry.is_dir(follow_symlinks=False):
            self.waiting.append(entry.path)
            return
        if entry.is_symlink():
            return
        status = entry.stat(follow_symlinks=False)
        if stat.S_ISREG(status.st_mode):
            self.files += 1
            self.bytes += status.st_size
            if status.st_nlink > 1:
                self.losses[Loss.HARD_LINKS] += 1
            self._attributes(entry.path)
            return
        for is_kind, loss in _SPECIAL:
            if is_kind(status.st_mode):
                self.losses[loss] += 1

    def _attributes(self, path: str) -> None:
        """Count what is attached to a file or directory; a file system that has no attributes is asked once."""
        if not self._has_attributes:
            return
        try:
            names = os.listxattr(path, follow_symlinks=False)
        except OSError as error:
            self._has_attributes = error.errno != ENOTSUP
            return
        if names:
            self.losses[Loss.CAPABILITIES] += _CAPABILITY in names
            self.losses[Loss.ACLS] += not _ACLS.isdisjoint(names)
            self.losses[Loss.XATTRS] += any(name.startswith(_OWN) for name in names)
            self.losses += Counter()  # drops the zeros


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
