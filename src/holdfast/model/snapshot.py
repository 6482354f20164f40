"""Snapshots: restore points as an engine lists them, and what our own record says about them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from holdfast.model.claim import Identity


class Flag(StrEnum):
    """Why a snapshot is never restored automatically over a good one."""

    INCOMPLETE = "Incomplete"  # the engine says that the run was cut short
    PARTIAL = "Partial"  # files that could not be read are missing from it
    EMPTY = "Empty"  # holds no file, where the last good one held some
    UNRECORDED = "Unrecorded"  # in the repository, but not in our record: its run never counted as done


class Loss(StrEnum):
    """What an engine cannot keep, by kind; counted at the first walk."""

    XATTRS = "extendedAttributes"
    CAPABILITIES = "capabilities"
    ACLS = "accessControlLists"
    HARD_LINKS = "hardLinks"
    FIFOS = "fifos"
    DEVICES = "devices"
    SOCKETS = "sockets"
    NOT_UTF8 = "namesNotUtf8"


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """One restore point. `files` counts regular files, `bytes` their content before deduplication."""

    id: str
    identity: Identity
    time: datetime
    files: int
    bytes: int
    flags: frozenset[Flag] = frozenset()
    tags: Mapping[str, str] = field(default_factory=dict)
    capacity_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedSnapshot:
    """One line of a record: what we knew when the run was verified."""

    id: str
    time: datetime
    run: str
    claim_uid: str
    cluster_uid: str
    files: int
    bytes: int
    capacity_bytes: int | None = None
    flags: tuple[Flag, ...] = ()
    cleared: str | None = None  # the reason a person gave for lifting the flags
    unreadable: tuple[str, ...] = ()  # at most 10 paths
    losses: Mapping[Loss, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What we wrote beside the repository about one identity's snapshots, oldest first: the second witness.

    `engine_id` is the id of the engine's repository that holds them (restic: one per identity).
    """

    identity: Identity
    repository_id: str
    engine_id: str
    snapshots: tuple[RecordedSnapshot, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """One identity as the engine lists it, whole, oldest first, incomplete ones included and flagged.

    `engine_id` is None only when the storage proved that this identity has no repository of its own at all.
    """

    engine_id: str | None
    snapshots: tuple[Snapshot, ...]
