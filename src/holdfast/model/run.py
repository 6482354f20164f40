"""Runs: one attempt each, and what came of it (termination message, at most 4096 bytes of JSON)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from holdfast.model.failure import Failure
from holdfast.model.snapshot import Loss, RecordedSnapshot

RESULT_LIMIT: Final = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Initialized:
    repository_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BackedUp:
    """The snapshot was found again by id in a fresh listing, and its record is written."""

    snapshot: RecordedSnapshot
    new_bytes: int | None  # what was added to the repository, when the engine tells
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """Files and bytes counted in the target; `owners_kept` is False when the mover may not set owners."""

    snapshot: str
    files: int
    bytes: int
    owners_kept: bool
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    snapshots: tuple[str, ...]
    read_bytes: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Deleted:
    snapshots: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    failure: Failure


Outcome = Initialized | BackedUp | Restored | Verified | Deleted | Failed


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    run: str
    outcome: Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where a running engine is; totals and time left are None while it does not know."""

    phase: str  # "scanning" | "copying" | "checking" | "recording"
    files_done: int
    bytes_done: int
    files_total: int | None = None
    bytes_total: int | None = None
    seconds_left: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """A walk over a volume: regular files, their bytes, and what each engine might lose."""

    files: int
    bytes: int
    losses: Mapping[Loss, int] = field(default_factory=dict)
