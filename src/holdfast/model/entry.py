"""Entries of a snapshot's directories, for browsing."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class EntryKind(StrEnum):
    FILE = "file"
    DIRECTORY = "directory"
    LINK = "link"
    OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One name in a directory of a snapshot. Names that are not UTF-8 carry surrogate escapes."""

    name: str
    kind: EntryKind
    size: int
    mode: int  # permission bits with setuid, setgid and sticky, e.g. 0o4755
    modified: datetime | None
    uid: int
    gid: int
