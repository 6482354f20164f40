"""The effective plan for a claim, each value with its origin, and what its Protection remembers."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from holdfast.model.claim import Identity
from holdfast.model.evidence import Doubt
from holdfast.model.intent import CopyMethod, Problem, Protect, RestoreMode, RunAs, Sourced, Tier
from holdfast.model.repository import Repository
from holdfast.model.verdict import Hold


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is done for a protected claim."""

    identity: Sourced[Identity]
    repository: Sourced[Repository]
    tier: Sourced[Tier]
    cron: str | None
    restore: Sourced[RestoreMode]
    copy_method: CopyMethod
    exclude: tuple[str, ...]
    run_as: RunAs | None
    accept_partial: str | None
    backup_now: str | None
    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class NoPlan:
    """Why nothing can be done for a claim, though it may be asked for."""

    why: Protect | Doubt | Hold
    detail: str
    problems: tuple[Problem, ...] = ()


class Health(StrEnum):
    """The one verdict of a ledger row."""

    PROTECTED = "Protected"  # a good backup, in time
    NEW = "New"  # no backup yet, and none is overdue
    LATE = "Late"  # the last good backup is older than two intervals
    FAILING = "Failing"  # the last run failed
    WAITING = "Waiting"  # the claim waits for its data
    RESTORING = "Restoring"
    FLAGGED = "Flagged"  # the newest backup is partial or empty
    BORN_UNARMED = "BornUnarmed"  # bound without us, and without the data that it should have got
    REVIEW = "NeedsReview"  # something written on the claim cannot be used
    RELEASED = "Released"  # the claim is gone; its history stays
    UNKNOWN = "Unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupMemory:
    """What a Protection remembers of backups: the last one that counted, the last run, the slot it served."""

    last_id: str | None = None
    last_time: datetime | None = None
    flags: tuple[str, ...] = ()
    files: int | None = None
    bytes: int | None = None
    slot: datetime | None = None  # the due moment that the last finished run served
    served_now: str | None = None  # the value of backup-now that was served
    attempt: int = 0  # failed attempts for the slot being served
    retry_at: datetime | None = None
    failure: str | None = None
    failed_now: str | None = None  # the value of backup-now that the last failed run was for
