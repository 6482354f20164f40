"""A directory tree as values and back: what the memory engine stores.

Keeps modes, owners, times, links, hard links, holes, fifos, devices, extended attributes and any name; not sockets.
"""

import base64
import contextlib
import os
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from hashlib import sha256
from pathlib import Path
from typing import Final

CHUNK: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """Bytes of a file at `offset` that lie at `start` in the content; between extents there are holes."""

    offset: int
    start: int
    length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One file, directory, link or special file; `path` is relative to the root, which is ""."""

    path: str
    mode: int  # st_mode, the type included
    uid: int
    gid: int
    mtime_ns: int
    size: int = 0
    digest: str = ""  # SHA-256 of the extents' bytes
    extents: tuple[Extent, ...] = ()
    target: str = ""  # of a symbolic link
    same_as: str = ""  # the path of an earlier name of the same file
    device: int = 0
    xattrs: Mapping[str, str] = field(default_factory=dict)  # values in base64


@dataclass(frozen=True, slots=True, kw_only=True)
class Captured:
    nodes: tuple[Node, ...]  # parents before children
    content: bytes
    unreadable: tuple[str, ...]

    @property
    def files(self) -> int:
        return sum(stat.S_ISREG(node.mode) for node in self.nodes)

    @property
    def bytes(self) -> int:
        return sum(node.size for node in self.nodes if stat.S_ISREG(node.mode))


def is_excluded(path: str, *, is_directory: bool, patterns: Sequence[str]) -> bool:
    """Return whether a pattern names `path`: as in a .gitignore at the root, without negation."""
    parts = path.split("/")
    for pattern in patterns:
        if pattern.endswith("/") and not is_directory:
            continue
        wanted = pattern.strip("/").split("/")
        anchored = "/" in pattern.rstrip("/")
        if _matches(parts if anchored else parts[-1:], wanted):
            return True
    return False


def _matches(parts: Sequence[str], wanted: Sequence[str]) -> bool:
    if not wanted:
        return not parts
    if wanted[0] == "**":
        return any(_matches(parts[skipped:], wanted[1:]) for skipped in range(len(parts) + 1))
    return bool(parts) and fnmatchcase(parts[0], wanted[0]) and _matches(parts[1:], wanted[1:])


class _Capture:
    def __init__(self, root: Path, exclude: Sequence[str], advance: Callable[[int, int], None]) -> None:
        self.root = root
        self.exclude = exclude
        self.advance = advance
        self.nodes: list[Node] = []
        self.content = bytearray()
        self.unreadable: list[str] = []
        self.first_names: dict[tuple[int, int], str] = {}
        self.files = 0

    def directory(self, path: str) -> None:
        full = self.root / path
        self.nodes.append(_node(path, full, full.lstat()))
        try:
            names = sorted(each.name for each in full.iterdir())
        except OSError:
            if not path:
                raise
            self.unreadable.append(path)
            return
        for name in names:
            self.entry(f"{path}/{name}" if path else name)

    def entry(self, path: str) -> None:
        full = self.root / path
        with contextlib.suppress(FileNotFoundError):  # it vanished since it was listed
            status = full.lstat()
            is_directory = stat.S_ISDIR(status.st_mode)
            if is_excluded(path, is_directory=is_directory, patterns=self.exclude) or stat.S_ISSOCK(status.st_mode):
                return
            if is_directory:
                self.directory(path)
                return
            try:
                self.nodes.append(self.leaf(path, full, status))
            except PermissionError:
                self.unreadable.append(path)

    def leaf(self, path: str, full: Path, status: os.stat_result) -> Node:
        inode = (status.st_dev, status.st_ino)
        if status.st_nlink > 1 and inode in self.first_names:
            self.files += stat.S_ISREG(status.st_mode)
            return _node(path, full, status, same_as=self.first_names[inode])
        if not stat.S_ISREG(status.st_mode):
            node = _node(path, full, status)
        else:
            digest, extents, size = self.read(full)
            node = _node(path, full, status, digest=digest, extents=extents, size=size)
            self.files += 1
            self.advance(self.files, len(self.content))
        self.first_names[inode] = path
        return node

    def read(self, full: Path) -> tuple[str, tuple[Extent, ...], int]:
        digest, extents = sha256(), []
        with full.open("rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            for offset, end in list(_data_ranges(file.fileno(), size)):
                start = len(self.content)
                file.seek(offset)
                while offset + len(self.content) - start < end:
                    chunk = file.read(min(CHUNK, end - offset - (len(self.content) - start)))
                    if not chunk:
                        break
                    self.content += chunk
                    digest.update(chunk)
                extents.append(Extent(offset=offset, start=start, length=len(self.content) - start))
        return digest.hexdigest(), tuple(extents), size


def _data_ranges(descriptor: int, size: int) -> Iterator[tuple[int, int]]:
    offset = 0
    while offset < size:
        try:
            offset = os.lseek(descriptor, offset, os.SEEK_DATA)
        except OSError:  # ENXIO: only a hole is left
            return
        end = os.lseek(descriptor, offset, os.SEEK_HOLE)
        yield offset, end
        offset = end


def _node(
    path: str,
    full: Path,
    status: os.stat_result,
    *,
    digest: str = "",
    extents: tuple[Extent, ...] = (),
    size: int | None = None,
    same_as: str = "",
) -> Node:
    names = os.listxattr(full, follow_symlinks=False)
    values = {name: os.getxattr(full, name, follow_symlinks=False) for name in names}
    return Node(
        path=path,
        mode=status.st_mode,
        uid=status.st_uid,
        gid=status.st_gid,
        mtime_ns=status.st_mtime_ns,
        size=status.st_size if size is None else size,
        digest=digest,
        extents=extents,
        target=os.readlink(full) if stat.S_ISLNK(status.st_mode) else "",  # noqa: PTH115  Path would tidy it
        same_as=same_as,
        device=status.st_rdev,
        xattrs={name: base64.b64encode(value).decode() for name, value in values.items()},
    )


def capture(root: Path, exclude: Sequence[str], advance: Callable[[int, int], None]) -> Captured:
    """Return the tree below `root`; `advance` hears of files and bytes done. Raises OSError for the root itself."""
    work = _Capture(root, exclude, advance)
    work.directory("")
    return Captured(nodes=tuple(work.nodes), content=bytes(work.content), unreadable=tuple(work.unreadable))


def fill(target: Path, nodes: Sequence[Node], content: bytes, advance: Callable[[int, int], None]) -> None:
    """Make `target` hold the nodes, replacing what has their names; other names stay."""
    target.mkdir(exist_ok=True)
    files = written = 0
    for node in nodes:
        full = target / node.path
        if stat.S_ISDIR(node.mode):
            _make_directory(full)
            continue
        _remove(full)
        _make(target, full, node, content)
        files += stat.S_ISREG(node.mode)
        written += sum(extent.length for extent in node.extents)
        advance(files, written)
    for node in reversed(nodes):  # directories last: their times and missing write bits must survive the filling
        _set_attributes(target / node.path, node)


def _make_directory(full: Path) -> None:
    if full.is_symlink() or (full.exists() and not full.is_dir()):
        full.unlink()
    full.mkdir(exist_ok=True)
    if not _is_others(full):
        full.chmod(0o700)


def _is_others(full: Path) -> bool:
    """Return whether only somebody else may set its attributes: a volume's root, without root's rights."""
    return os.geteuid() not in (0, full.lstat().st_uid)


def _remove(full: Path) -> None:
    if full.is_dir() and not full.is_symlink():
        shutil.rmtree(full)
    else:
        full.unlink(missing_ok=True)


def _make(target: Path, full: Path, node: Node, content: bytes) -> None:
    if node.same_as:
        os.link(target / node.same_as, full, follow_symlinks=False)
    elif stat.S_ISLNK(node.mode):
        full.symlink_to(node.target)
    elif stat.S_ISREG(node.mode):
        with full.open("xb") as file:
            file.truncate(node.size)
            for extent in node.extents:
                file.seek(extent.offset)
                file.write(content[extent.start : extent.start + extent.length])
    else:
        os.mknod(full, node.mode, node.device)


def _set_attributes(full: Path, node: Node) -> None:
    if node.same_as or _is_others(full):
        return
    try:
        os.lchown(full, node.uid, node.gid)
    except PermissionError:
        if os.geteuid() == 0:
            raise
    for name, value in node.xattrs.items():
        os.setxattr(full, name, base64.b64decode(value), follow_symlinks=False)
    if not stat.S_ISLNK(node.mode):
        full.chmod(stat.S_IMODE(node.mode))
    os.utime(full, ns=(node.mtime_ns, node.mtime_ns), follow_symlinks=False)
