"""Directory trees for tests: built the same every time, and described by programs that are not ours."""

import os
import random
import stat
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from holdfast.model.snapshot import Loss

LONG_AGO = 1_262_304_000_123_456_789  # 2010, with nanoseconds
FORM = r"%P\0%y\0%m\0%U:%G\0%T@\0%s\0%l\0%n\0"  # for find(1), and for parse()


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """One name as find(1) and sha256sum(1) see it; sizes of directories are not content and stay out."""

    kind: str
    mode: str
    owner: str
    modified: str
    size: int | None
    target: bytes
    links: int | None
    digest: str


def manifest(root: Path) -> dict[bytes, Described]:
    """Return every name below `root`, and `root` itself as b"", with what can be told of it."""
    found = subprocess.run(["find", root, "-printf", FORM], check=True, capture_output=True).stdout
    return parse(found, _sums(root))


def parse(found: bytes, sums: bytes) -> dict[bytes, Described]:
    """Return what `find . -printf FORM` and `sha256sum --zero` of the regular files have printed."""
    fields = found.split(b"\0")[:-1]
    pairs = (line.split(b"  ", 1) for line in sums.split(b"\0")[:-1])
    digests = {path.removeprefix(b"./"): digest.decode() for digest, path in pairs}
    described = {}
    for start in range(0, len(fields), 8):
        path, kind, mode, owner, modified, size, target, links = fields[start : start + 8]
        is_directory = kind == b"d"
        described[path] = Described(
            kind=kind.decode(),
            mode=mode.decode(),
            owner=owner.decode(),
            modified=modified.decode(),
            size=None if is_directory else int(size),
            target=target,
            links=None if is_directory else int(links),
            digest=digests.get(path, ""),
        )
    return described


def _sums(root: Path) -> bytes:
    names = subprocess.run(["find", ".", "-type", "f", "-print0"], check=True, capture_output=True, cwd=root).stdout
    if not names:
        return b""
    return subprocess.run(
        ["xargs", "-0", "sha256sum", "--zero", "--"], check=True, capture_output=True, input=names, cwd=root
    ).stdout


def without_times(
    described: Mapping[bytes, Described], *, of: Callable[[Described], bool]
) -> Mapping[bytes, Described]:
    """Return the description without the times of the names that `of` picks; the root keeps its own."""
    return {path: replace(each, modified="") if path and of(each) else each for path, each in described.items()}


def build(root: Path, *, big: int = 0) -> None:
    """Fill `root` with what every engine must keep: kinds, modes, owners, times, holes and difficult names.

    `big`: the bytes of one more file, which does not compress.
    """
    _directories(root)
    _files(root)
    if big:
        (root / "big").write_bytes(random.Random(big).randbytes(big))
    _links(root)
    if os.geteuid() == 0:
        for owner, name in ((1000, "notes.txt"), (65534, "deep/er/below.bin"), (4_000_000_000, "empty")):
            os.chown(root / name, owner, owner + 1)
        os.chown(root, 26, 27)
    _set_modes(root)
    _set_times(root)


def _directories(root: Path) -> None:
    root.mkdir(exist_ok=True)
    for name in ("deep/er", "empty directory", "sticky", "private", "naïve – 名前"):
        (root / name).mkdir(parents=True)


def _files(root: Path) -> None:
    (root / "notes.txt").write_bytes(b"hold fast\n")
    (root / "empty").write_bytes(b"")
    (root / "deep/er/below.bin").write_bytes(bytes(range(256)) * 4096)
    (root / "tool").write_bytes(b"#!/bin/sh\n")
    (root / "two\nlines").write_bytes(b"newline in the name")
    (root / " spaces  and 'quotes\" ").write_bytes(b"spaces")
    (root / "back\\slash*?[x]").write_bytes(b"globs")
    (root / "100%d %3D").write_bytes(b"formats")
    (root / "-dash").write_bytes(b"an option?")
    (root / "naïve – 名前" / "ÿ").write_bytes(b"unicode")
    (root / ("long" * 60)).write_bytes(b"a name of 240 bytes")
    with (root / "sparse").open("wb") as file:
        file.seek(8 << 20)
        file.write(b"the end of a hole")


def _links(root: Path) -> None:
    (root / "link").symlink_to("notes.txt")
    (root / "dangling").symlink_to("no/such/file")
    (root / "absolute").symlink_to("/etc/hostname")
    (root / "deep/up").symlink_to("../empty directory")


def _set_modes(root: Path) -> None:
    (root / "notes.txt").chmod(0o640)
    (root / "tool").chmod(0o4755)
    (root / "deep/er/below.bin").chmod(0o400)
    (root / "sticky").chmod(0o1777)
    (root / "private").chmod(0o700)
    (root / "empty directory").chmod(0o2775)
    root.chmod(0o2750)


def _set_times(root: Path) -> None:
    for number, path in enumerate(sorted(root.rglob("*"), reverse=True)):
        moment = LONG_AGO + number * 86_400_000_000_000
        os.utime(path, ns=(moment, moment), follow_symlinks=False)
    os.utime(root, ns=(LONG_AGO, LONG_AGO))


def add_lossy(root: Path, loss: Loss) -> bool:
    """Add to `root` what an engine that has this loss drops; return False when this place cannot hold it."""
    try:
        _LOSSY[loss](root)
    except OSError:
        return False
    return True


def has_lossy(root: Path, loss: Loss) -> bool:
    """Return whether what `add_lossy` added is in `root`, as it was."""
    try:
        return _HAS_LOSSY[loss](root)
    except OSError:
        return False


def _touch(root: Path, name: str | bytes) -> Path:
    path = root / os.fsdecode(name)
    path.write_bytes(os.fsencode(name))
    return path


# version 2, effective, cap_net_raw permitted
_CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")
# version 2: user::rw-, user:1234:r--, group::r--, mask::r--, other::---
_ACL = bytes.fromhex("02000000 01000600ffffffff 02000400d2040000 04000400ffffffff 10000400ffffffff 20000000ffffffff")


def _hard_links(root: Path) -> None:
    _touch(root, "first name")
    os.link(root / "first name", root / "second name")


def _not_utf8(root: Path) -> None:
    _touch(root, b"lat\xe9")
    _touch(root, b"lat\xe8")


def _socket(root: Path) -> None:
    os.mknod(root / "socket", stat.S_IFSOCK | 0o600)


_LOSSY: Mapping[Loss, Callable[[Path], None]] = {
    Loss.XATTRS: lambda root: os.setxattr(_touch(root, "xattr"), b"user.note", b"kept"),
    Loss.CAPABILITIES: lambda root: os.setxattr(_touch(root, "capable"), b"security.capability", _CAPABILITY),
    Loss.ACLS: lambda root: os.setxattr(_touch(root, "acl"), b"system.posix_acl_access", _ACL),
    Loss.HARD_LINKS: _hard_links,
    Loss.FIFOS: lambda root: os.mkfifo(root / "fifo"),
    Loss.DEVICES: lambda root: os.mknod(root / "device", stat.S_IFCHR | 0o600, os.makedev(1, 3)),
    Loss.SOCKETS: _socket,
    Loss.NOT_UTF8: _not_utf8,
}

_HAS_LOSSY: Mapping[Loss, Callable[[Path], bool]] = {
    Loss.XATTRS: lambda root: os.getxattr(root / "xattr", "user.note") == b"kept",
    Loss.CAPABILITIES: lambda root: os.getxattr(root / "capable", "security.capability") == _CAPABILITY,
    Loss.ACLS: lambda root: os.getxattr(root / "acl", "system.posix_acl_access") == _ACL,
    Loss.HARD_LINKS: lambda root: (root / "first name").samefile(root / "second name"),
    Loss.FIFOS: lambda root: (root / "fifo").is_fifo(),
    Loss.DEVICES: lambda root: (root / "device").lstat().st_rdev == os.makedev(1, 3),
    Loss.SOCKETS: lambda root: (root / "socket").is_socket(),
    Loss.NOT_UTF8: lambda root: (
        (root / os.fsdecode(b"lat\xe9")).read_bytes() == b"lat\xe9"
        and (root / os.fsdecode(b"lat\xe8")).read_bytes() == b"lat\xe8"
    ),
}


def copy(source: Path, target: Path) -> None:
    """Copy a tree as a snapshot driver does: other inodes and change times, the same everything else."""
    subprocess.run(["cp", "--archive", "--", source, target], check=True)
