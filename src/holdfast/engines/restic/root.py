"""The root directory's own owner, mode, time and extended attributes.

restic keeps them for every directory but the one it is started in, so they travel in a tag of the snapshot.
"""

import base64
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote

from holdfast.engines.protocol import EngineFailure
from holdfast.model.failure import FailureKind


@dataclass(frozen=True, slots=True, kw_only=True)
class RootAttributes:
    """What a directory has besides its content."""

    mode: int
    uid: int
    gid: int
    mtime_ns: int
    xattrs: Mapping[str, bytes]


def read(directory: Path) -> RootAttributes:
    """Return the attributes of a directory; raise OSError when it cannot be read."""
    status = directory.stat()
    return RootAttributes(
        mode=stat.S_IMODE(status.st_mode),
        uid=status.st_uid,
        gid=status.st_gid,
        mtime_ns=status.st_mtime_ns,
        xattrs={name: os.getxattr(directory, name) for name in sorted(os.listxattr(directory))},
    )


def render(root: RootAttributes) -> str:
    """Return the value of the tag: `<mode>:<uid>:<gid>:<mtime in ns>[:<name>=<base64>]…`."""
    xattrs = [
        f"{quote(name, safe='')}={base64.urlsafe_b64encode(value).decode()}" for name, value in root.xattrs.items()
    ]
    return ":".join([f"{root.mode:o}", str(root.uid), str(root.gid), str(root.mtime_ns), *xattrs])


def parse(text: str) -> RootAttributes:
    """Return the attributes that a tag holds; raise EngineFailure(DAMAGED) for anything else."""
    try:
        mode, uid, gid, mtime_ns, *xattrs = text.split(":")
        pairs = (each.partition("=") for each in xattrs)
        return RootAttributes(
            mode=int(mode, 8),
            uid=int(uid),
            gid=int(gid),
            mtime_ns=int(mtime_ns),
            xattrs={unquote(name): base64.b64decode(value, altchars=b"-_", validate=True) for name, _, value in pairs},
        )
    except ValueError as error:
        raise EngineFailure(FailureKind.DAMAGED, f"the snapshot's tag {text!r} holds no attributes") from error


def apply(root: RootAttributes, directory: Path) -> None:
    """Give a directory the attributes; raise OSError.

    Without root's rights the owner stays, as restic's files do, and a directory of somebody else stays as it is.
    """
    if os.geteuid() not in (0, directory.stat().st_uid):
        return
    try:
        os.chown(directory, root.uid, root.gid)
    except PermissionError:
        if os.geteuid() == 0:
            raise
    for name, value in root.xattrs.items():
        os.setxattr(directory, name, value)
    directory.chmod(root.mode)
    os.utime(directory, ns=(root.mtime_ns, root.mtime_ns))
