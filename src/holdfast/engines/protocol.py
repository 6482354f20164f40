"""What Holdfast asks of a backup program, and of the storage beside it.

A `Reader` cannot write: restore paths are handed one (P3). An `Engine` is a Reader that may also create, back up,
delete and maintain. Both are bound to one repository and always work from an empty cache when they list.
"""

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from holdfast.model.claim import Identity
from holdfast.model.entry import Entry
from holdfast.model.failure import Failure, FailureKind
from holdfast.model.run import Progress
from holdfast.model.snapshot import Flag, Listing, Loss, Record, Snapshot


class EngineFailure(Exception):
    """The one exception of this rank: a storage or an engine could not do what was asked."""

    def __init__(self, kind: FailureKind, detail: str) -> None:
        super().__init__(f"{kind}: {detail}")
        self.failure = Failure(kind=kind, detail=detail)


def brief(words: str) -> str:
    """Return a program's complaint in at most 240 characters: what it was at, and the cause, which it names last.

    What wraps an error says it again: kopia's of a full disk has 900 characters.
    """
    return words if len(words) <= 240 else f"{words[:99].rstrip()} … {words[-138:].lstrip()}"


Report = Callable[[Progress], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """A backup that was found again, by id and complete, in a fresh look at what is stored (P6)."""

    engine_id: str
    snapshot: Snapshot
    new_bytes: int | None
    unreadable: tuple[str, ...]  # at most 10 paths
    unreadable_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What a verification read."""

    snapshots: tuple[str, ...]
    read_bytes: int


class Reader(Protocol):
    """Reads one repository and never writes to it."""

    async def version(self) -> str:
        """Return the program's version; raise EngineFailure(NO_PROGRAM) unless it is one that we know."""

    async def listings(self, identities: Collection[Identity]) -> Mapping[Identity, Listing | Failure]:
        """Return every asked identity as the engine lists it, from an empty cache.

        A Listing says that this answer was whole: no complaint, nothing skipped, everything there that a healthy
        repository shows. Raises EngineFailure when the repository as a whole gives no such answer.
        """

    async def restore(self, identity: Identity, snapshot: str, target: Path, report: Report) -> None:
        """Fill the directory `target` with the snapshot's content, its root's owner and mode included.

        Raises SNAPSHOT_MISSING, before the target is touched, unless the identity has the snapshot now. The parent
        of `target` must be writable. What a killed restore left behind is completed or replaced.
        """

    async def ls(self, identity: Identity, snapshot: str, path: str) -> Sequence[Entry]:
        """Return the entries of the directory `path` ("" is the root) by name; raise PATH_MISSING, SNAPSHOT_MISSING."""

    def cat(self, identity: Identity, snapshot: str, path: str) -> AsyncIterator[bytes]:
        """Yield the content of the file `path`; raise EngineFailure, also at the end when it was cut short."""

    async def verify(self, identity: Identity, snapshots: Collection[str], percent: int, report: Report) -> Proof:
        """Read `percent` of the content of the snapshots; raise EngineFailure(DAMAGED) naming what is wrong."""


class Engine(Reader, Protocol):
    """A Reader that may also write."""

    async def initialize(self) -> str:
        """Create the repository where the storage holds none; return the repository id for the marker.

        Engines with a repository per identity create nothing here and return a new id of ours. The caller holds
        the initialisation lease and has proven the place empty; NOT_EMPTY when the engine disagrees.
        """

    async def backup(
        self,
        identity: Identity,
        source: Path,
        tags: Mapping[str, str],
        exclude: Sequence[str],
        report: Report,
        *,
        history: Record | None,
    ) -> Taken:
        """Back up the directory `source`, and find the snapshot again; MISMATCH when it is not there.

        Where the engine has a repository per identity, the first backup creates it. One that has a `history` has lost
        it where there is none: NO_REPOSITORY; and nothing is written into another in its place: REPLACED. The
        engine's own retention and ignore files stay off. The source may be a different path each time.
        """

    async def forget(self, identity: Identity, snapshots: Collection[str]) -> None:
        """Delete the named snapshots; SNAPSHOT_MISSING, with nothing deleted, when one is not there."""

    async def delete(self, identity: Identity) -> None:
        """Delete the whole history of the identity."""

    async def maintain(self, identity: Identity | None, *, full: bool) -> None:
        """Run the engine's maintenance; the caller holds the maintenance lease. restic needs the identity."""


LOST_BY_KOPIA = frozenset(Loss)
LOST_BY_RESTIC = frozenset({Loss.SOCKETS})


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredObject:
    """One key of a listing, relative to the storage's base; `age_seconds` by the storage's own clock."""

    key: str
    size: int
    age_seconds: float


class Storage(Protocol):
    """The bytes beside an engine: keys are relative to the base, "/" separates. Failures are EngineFailure.

    Nothing here creates a bucket or a base directory.
    """

    async def list(self, prefix: str) -> Sequence[StoredObject]:
        """Return all keys that start with `prefix`, sorted, from a complete, signed listing."""

    async def folders(self, prefix: str) -> Sequence[str]:
        """Return the names directly below `prefix` (which ends in "/"): folders with a trailing "/", keys without."""

    async def get(self, key: str) -> bytes | None:
        """Return the object's bytes; None only when the storage proved that there is no such key."""

    async def put(self, key: str, data: bytes) -> None:
        """Write the object whole or not at all, durably."""

    async def delete(self, key: str) -> None:
        """Delete the object; an absent one is no error."""


def saved(listed: Collection[Snapshot], snapshot: str) -> Snapshot:
    """Return the listed snapshot with this id; raise MISMATCH unless it is there, and whole (P6)."""
    found = next((each for each in listed if each.id == snapshot), None)
    if found is None:
        raise EngineFailure(
            FailureKind.MISMATCH, f"the engine reported snapshot {snapshot}, but a fresh listing does not show it"
        )
    if Flag.INCOMPLETE in found.flags:
        raise EngineFailure(FailureKind.MISMATCH, f"the engine saved snapshot {snapshot}, but not the whole of it")
    return found


def expect_engine(record: Record, engine_id: str | None) -> None:
    """Raise REPLACED unless the repository that the engine opened is the one that the record is of."""
    if engine_id != record.engine_id:
        raise EngineFailure(
            FailureKind.REPLACED,
            f"the record of {record.identity} is of repository {record.engine_id}, the engine opened "
            f"{engine_id}: another repository lies in its place",
        )
