"""Failure and attempt → when to try again. A waiting claim never gives up, so there is always a time."""

from datetime import timedelta
from typing import assert_never

from holdfast.model.failure import FailureKind


def after(kind: FailureKind, attempt: int) -> timedelta:
    """Return how long to wait after the `attempt`-th failure in a row (from 1)."""
    match kind:
        case FailureKind.CANCELED | FailureKind.LOCKED | FailureKind.READER_DOWN:
            return _doubled(timedelta(seconds=2), attempt, timedelta(minutes=2))
        case (
            FailureKind.UNREACHABLE
            | FailureKind.TIMEOUT
            | FailureKind.STORAGE_MISSING
            | FailureKind.PARTIAL_LISTING
            | FailureKind.SNAPSHOT_MISSING
            | FailureKind.NODE_NOT_KNOWN
            | FailureKind.NOT_ADMITTED
            | FailureKind.NO_VOLUME_SNAPSHOT
            | FailureKind.UNKNOWN
        ):
            return _doubled(timedelta(seconds=5), attempt, timedelta(minutes=10))
        case (
            FailureKind.FORBIDDEN
            | FailureKind.MISDIRECTED
            | FailureKind.CLOCK_SKEW
            | FailureKind.NO_MARKER
            | FailureKind.BAD_MARKER
            | FailureKind.WRONG_PASSWORD
            | FailureKind.NO_REPOSITORY
            | FailureKind.REPLACED
            | FailureKind.DAMAGED
            | FailureKind.BAD_RECORD
            | FailureKind.PATH_MISSING
            | FailureKind.SOURCE_UNREADABLE
            | FailureKind.REPOSITORY_FULL
            | FailureKind.TARGET_FULL
            | FailureKind.MISMATCH
            | FailureKind.NOT_EMPTY
            | FailureKind.BAD_ORDER
            | FailureKind.NO_PROGRAM
        ):
            return _doubled(timedelta(seconds=30), attempt, timedelta(minutes=30))
    assert_never(kind)


def _doubled(first: timedelta, attempt: int, most: timedelta) -> timedelta:
    return min(first * (1 << min(max(attempt, 1) - 1, 16)), most)
