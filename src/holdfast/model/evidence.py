"""What is known about a claim's snapshots, and the two witnesses it is judged from."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from holdfast.model.claim import Identity
from holdfast.model.failure import Failure, FailureKind
from holdfast.model.repository import Marker
from holdfast.model.snapshot import Listing, Record, Snapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Both witnesses about one identity. `record` None: the complete listing of records has none for it."""

    listing: Listing | Failure
    record: Record | Failure | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """One reading of a repository from an empty engine cache; `began` is when it started.

    `recorded` counts the records in the storage: the length of a complete listing.
    """

    began: datetime
    marker: Marker
    recorded: int
    answers: Mapping[Identity, Answer]


class Doubt(StrEnum):
    """Why nobody can tell, beyond what a storage or an engine says (FailureKind)."""

    NOT_ASKED = "NotAskedYet"  # no inventory began after the claim asked
    NOT_CHOSEN = "NoRepositoryChosen"  # which Repository is not clear
    NOT_READY = "RepositoryNotReady"  # the Repository object cannot be used as it stands
    PINNED_ELSEWHERE = "AnotherRepository"  # the pin, or what we saw before, names another repository
    NEWEST_MISSING = "NewestBackupMissing"  # the record's newest snapshot is not in the repository
    NO_RECORD = "NoRecord"  # snapshots, but no record of ours vouches for any
    REMEMBERED = "BackupRemembered"  # the Protection remembers a snapshot that neither witness knows


@dataclass(frozen=True, slots=True, kw_only=True)
class Remembered:
    """What the Protection remembers: the last snapshot that counted as done."""

    id: str
    time: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Exists:
    """Both witnesses agree that there are snapshots; oldest first, at least one, flags joined in."""

    learned: datetime
    snapshots: tuple[Snapshot, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Absent:
    """Proven never to have had a restorable snapshot. Only `decide.evidence` builds it, from all that it names."""

    learned: datetime
    marker: Marker
    listing: Listing
    recorded: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown:
    """Nobody can tell: why, as a reason and as a sentence. `known` and `found` name the two sides of a disagreement.

    `snapshots` are what a whole listing did hold, so that a person may name one of them.
    """

    learned: datetime
    why: Doubt | FailureKind
    detail: str
    known: str | None = None
    found: str | None = None
    snapshots: tuple[Snapshot, ...] = ()


Evidence = Exists | Absent | Unknown
