"""Evidence and the user's wish → restore, start empty, or wait. Read this file first.

| Evidence         | auto                                     | required | never              |
|------------------|------------------------------------------|----------|--------------------|
| Exists           | Restore the newest complete, unflagged   | same     | StartEmpty, loud   |
| Absent (proven)  | StartEmpty                               | Wait     | StartEmpty         |
| Unknown          | Wait                                     | Wait     | StartEmpty         |

A snapshot id or a time asks for exactly that, whatever else there is. Nothing else starts a claim empty (P1).
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final, assert_never

from holdfast.model.evidence import Absent, Doubt, Evidence, Exists, Unknown
from holdfast.model.failure import FailureKind
from holdfast.model.intent import AsOf, Auto, ById, Never, Required, RestoreMode, Unreadable
from holdfast.model.snapshot import Flag, Snapshot
from holdfast.model.verdict import Declined, Hold, Restore, StartEmpty, Verdict, Wait

SOON: Final = timedelta(seconds=5)
LATER: Final = timedelta(minutes=1)


def decide(evidence: Evidence, mode: RestoreMode, *, accept_partial: str | None) -> Verdict:
    """Return what to do with a claim that asks for its data."""
    match mode:
        case Unreadable(text=text):
            return _hold(Hold.UNREADABLE, f"annotation holdfast.dev/restore says {text!r}, which cannot be read")
        case Never(reason=reason):
            if reason is None:
                return _hold(Hold.NO_REASON, "restore: never needs annotation holdfast.dev/restore-reason")
            return StartEmpty(because=Declined(reason=reason))
        case Auto() | Required() | ById() | AsOf():
            return _from_evidence(evidence, mode, accept_partial)
    assert_never(mode)


def _from_evidence(evidence: Evidence, mode: Auto | Required | ById | AsOf, accept_partial: str | None) -> Verdict:
    match evidence:
        case Unknown(why=why, detail=detail, snapshots=snapshots):
            # The witnesses disagree, yet a person may have looked at both and named one that is there.
            if isinstance(mode, ById) and snapshots:
                return _by_id(snapshots, mode.snapshot)
            return Wait(why=why, detail=detail, retry_after=retry_after(why))
        case Absent():
            return _absent(evidence, mode)
        case Exists(snapshots=snapshots):
            return _exists(snapshots, mode, accept_partial)
    assert_never(evidence)


def _absent(evidence: Absent, mode: Auto | Required | ById | AsOf) -> Verdict:
    match mode:
        case Auto():
            return StartEmpty(because=evidence)
        case Required():
            return _hold(Hold.REQUIRED, "restore: required, and there is no backup yet")
        case ById(snapshot=snapshot):
            return _hold(Hold.NOT_FOUND, f"snapshot {snapshot} is asked for, and there is no backup at all")
        case AsOf(time=time):
            return _hold(Hold.NOT_FOUND, f"the state of {time.isoformat()} is asked for, and there is no backup at all")
    assert_never(mode)


def _exists(snapshots: Sequence[Snapshot], mode: Auto | Required | ById | AsOf, accept_partial: str | None) -> Verdict:
    match mode:
        case ById(snapshot=wanted):
            return _by_id(snapshots, wanted)
        case AsOf(time=time):
            early = [each for each in snapshots if each.time <= time]
            if not early:
                first = f"the oldest backup is of {snapshots[0].time:%Y-%m-%d %H:%M}Z"
                return _hold(Hold.NOT_FOUND, f"no backup is as old as {time.isoformat()}; {first}")
            return _newest(early, accept_partial)
        case Auto() | Required():
            return _newest(snapshots, accept_partial)
    assert_never(mode)


def _by_id(snapshots: Sequence[Snapshot], wanted: str) -> Verdict:
    found = [each for each in snapshots if each.id.startswith(wanted)]
    match found:
        case [one]:
            return Restore(snapshot=one)
        case []:
            newest = f"the newest backup is {snapshots[-1].id} of {snapshots[-1].time:%Y-%m-%d %H:%M}Z"
            return _hold(Hold.NOT_FOUND, f"snapshot {wanted} is not in the repository; {newest}")
        case _:
            ids = ", ".join(each.id for each in found)
            return _hold(Hold.NOT_FOUND, f"{wanted} is the beginning of several snapshots: {ids}; write one in full")


def _newest(snapshots: Sequence[Snapshot], accept_partial: str | None) -> Verdict:
    accepted = frozenset({Flag.PARTIAL}) if accept_partial else frozenset()
    for index in range(len(snapshots) - 1, -1, -1):
        if not snapshots[index].flags - accepted:
            return Restore(snapshot=snapshots[index], skipped=tuple(snapshots[index + 1 :]))
    newest = snapshots[-1]
    flags = ", ".join(sorted(newest.flags))
    return _hold(
        Hold.FLAGGED,
        f"every backup is flagged; the newest, {newest.id} of {newest.time:%Y-%m-%d %H:%M}Z, is {flags}. "
        "To take it all the same set annotation holdfast.dev/restore to its id",
    )


def _hold(why: Hold, detail: str) -> Wait:
    return Wait(why=why, detail=detail, retry_after=LATER)


def retry_after(why: Doubt | FailureKind) -> timedelta:
    """Return when to ask again: soon where the cause may pass by itself, later where a person must act."""
    match why:
        case (
            Doubt.NOT_ASKED
            | FailureKind.UNREACHABLE
            | FailureKind.TIMEOUT
            | FailureKind.READER_DOWN
            | FailureKind.STORAGE_MISSING
            | FailureKind.LOCKED
            | FailureKind.CANCELED
        ):
            return SOON
        case (
            Doubt.NOT_CHOSEN
            | Doubt.NOT_READY
            | Doubt.PINNED_ELSEWHERE
            | Doubt.NEWEST_MISSING
            | Doubt.NO_RECORD
            | Doubt.REMEMBERED
            | FailureKind.FORBIDDEN
            | FailureKind.MISDIRECTED
            | FailureKind.CLOCK_SKEW
            | FailureKind.NO_MARKER
            | FailureKind.BAD_MARKER
            | FailureKind.WRONG_PASSWORD
            | FailureKind.NO_REPOSITORY
            | FailureKind.REPLACED
            | FailureKind.DAMAGED
            | FailureKind.PARTIAL_LISTING
            | FailureKind.BAD_RECORD
            | FailureKind.SNAPSHOT_MISSING
            | FailureKind.PATH_MISSING
            | FailureKind.NODE_NOT_KNOWN
            | FailureKind.NOT_ADMITTED
            | FailureKind.NO_VOLUME_SNAPSHOT
            | FailureKind.SOURCE_UNREADABLE
            | FailureKind.REPOSITORY_FULL
            | FailureKind.TARGET_FULL
            | FailureKind.MISMATCH
            | FailureKind.NOT_EMPTY
            | FailureKind.BAD_ORDER
            | FailureKind.NO_PROGRAM
            | FailureKind.UNKNOWN
        ):
            return LATER
    assert_never(why)
