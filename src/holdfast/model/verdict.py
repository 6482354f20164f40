"""What we do about a claim that asks for its data."""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from holdfast.model.evidence import Absent, Doubt
from holdfast.model.failure import FailureKind
from holdfast.model.snapshot import Snapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class Declined:
    """The user wrote `holdfast.dev/restore: never`, and why (`holdfast.dev/restore-reason`)."""

    reason: str


class Hold(StrEnum):
    """Why a claim waits although the evidence is clear."""

    REQUIRED = "BackupRequired"  # restore: required, and there is none
    FLAGGED = "OnlyFlaggedBackups"  # every snapshot is flagged
    NOT_FOUND = "SnapshotNotFound"  # the snapshot or time asked for is not there
    UNREADABLE = "RestoreAnnotationUnreadable"
    NO_REASON = "RestoreReasonMissing"  # restore: never without a reason
    NOT_GRANTED = "IdentityNotGranted"  # an identity of another namespace
    NO_REQUEST = "RestoreUnusable"  # the Restore object that the claim names is missing or cannot be read


@dataclass(frozen=True, slots=True, kw_only=True)
class Restore:
    """Bring `snapshot` back; `skipped` are newer ones that were passed over, with their flags."""

    snapshot: Snapshot
    skipped: tuple[Snapshot, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StartEmpty:
    """The claim binds empty. There is no third reason."""

    because: Absent | Declined


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """The claim stays Pending; try again after `retry_after`."""

    why: Doubt | FailureKind | Hold
    detail: str
    retry_after: timedelta


Verdict = Restore | StartEmpty | Wait
