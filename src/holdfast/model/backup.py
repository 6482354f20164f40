"""Facts about a claim's backups, and the one next step."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from holdfast.model.failure import Failure
from holdfast.model.run import BackedUp


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """A run is due: the slot it serves, or the value of `backup-now` it answers; attempts failed so far."""

    slot: datetime
    now_value: str | None
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NotDue:
    """Nothing to do until `at`; None: only a change can make it due."""

    at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A run is due and must not start: why; look again after. `alarm`: only a person can end it, so it is said."""

    reason: str
    detail: str
    retry_after: timedelta | None
    alarm: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """The run is done: its snapshot was found again and recorded, of the claim and volume that it began with."""

    outcome: BackedUp


@dataclass(frozen=True, slots=True, kw_only=True)
class NotCounted:
    """The run failed; the next attempt is due at `retry_at`."""

    failure: Failure
    retry_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Void:
    """The claim or volume that the run began with is gone: what it made counts for nobody, and nothing has failed."""

    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """The mover is at work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreign:
    """The claim was bound, at `since`, to a volume that may not hold its data: backups wait for a person."""

    reason: str
    detail: str
    since: datetime
