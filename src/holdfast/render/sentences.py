"""What people are told, from the same values that programs get."""

from datetime import datetime
from typing import Final, assert_never

from holdfast.model.admission import Arm, LeaveAlone, Refuse
from holdfast.model.claim import Claim
from holdfast.model.copying import AsGuest, ByAlias, BySnapshot, NoWay, Way
from holdfast.model.intent import CopyMethod
from holdfast.model.snapshot import Snapshot
from holdfast.model.verdict import Declined, Restore, StartEmpty

UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def size(count: int) -> str:
    """Return bytes for people: `12 GiB`."""
    value, unit = float(count), 0
    while value >= 1024 and unit < len(UNITS) - 1:
        value, unit = value / 1024, unit + 1
    return f"{value:.0f} {UNITS[unit]}" if unit == 0 or value >= 10 else f"{value:.1f} {UNITS[unit]}"


def snapshot(point: Snapshot) -> str:
    """Return a snapshot as one phrase."""
    files = "1 file" if point.files == 1 else f"{point.files} files"
    return f"{point.id[:16]} of {point.time:%Y-%m-%d %H:%M:%S}Z, {files}, {size(point.bytes)}"


def way(found: Way | None) -> tuple[str | None, str | None]:
    """Return by which method a claim is read, and why; the method is None where there is none, or none yet."""
    match found:
        case None:
            return None, None
        case BySnapshot(why=why):
            return CopyMethod.SNAPSHOT.value, why
        case ByAlias(why=why) | AsGuest(why=why):
            return CopyMethod.DIRECT.value, why
        case NoWay(detail=detail):
            return None, detail
    assert_never(found)


def missed(claim: Claim, count: int, newest: str, time: datetime) -> str:
    """Return what is told of a claim that was bound without its data."""
    backups = "there is a backup" if count == 1 else f"there are {count} backups, the newest"
    why = "it was created before Holdfast's policies could hold it"
    if claim.source is not None:
        why = f"class {claim.storage_class} ignores dataSourceRef and must be held by name (--by-name)"
    return (
        f"{why}, so its data was not brought back: {backups} of {time:%Y-%m-%d %H:%M:%S}Z ({newest[:16]}). No new "
        f"one is made meanwhile; `holdfast rearm {claim.ref}` tells how to get it back"
    )


def armed(standing: Arm | Refuse | LeaveAlone | None, *, born_unarmed: bool) -> tuple[str, str, str]:
    """Return status, reason and message of a Protection's condition Armed."""
    if born_unarmed:
        return "False", "BornUnarmed", "it was bound without Holdfast, and lacks its data"
    match standing:
        case None:
            return "True", "Held", "it was held until its data was there"
        case LeaveAlone(why=why):
            return "False", why.value, "it is backed up, and not restored by itself when it is created again"
        case Arm():
            return "False", "NotHeld", "it was created without Holdfast's hold; it is held when it is created again"
        case Refuse(because=because):
            return "False", "Refused", f"it cannot be created again: {because}"
    assert_never(standing)


def verdict(decided: Restore | StartEmpty) -> tuple[str, str]:
    """Return the Event's reason and message for what is about to be done."""
    match decided:
        case Restore(snapshot=chosen, skipped=skipped):
            passed = "".join(
                f" Skipped the newer {snapshot(each)} ({', '.join(sorted(each.flags))});"
                f" to take it, set annotation holdfast.dev/restore to {each.id}."
                for each in skipped
            )
            return "WillRestore", f"Will restore snapshot {snapshot(chosen)}.{passed}"
        case StartEmpty(because=Declined(reason=reason)):
            return "WillStartEmpty", f"Starting empty although there may be backups, as asked: {reason}"
        case StartEmpty():
            return "WillStartEmpty", "There never was a backup of this claim: starting empty"


def done(restored: str | None, *, owners_kept: bool) -> tuple[str, str]:
    """Return the reason and the sentence for a claim that is bound: which snapshot it holds, None for none."""
    if restored is None:
        return "StartedEmpty", "started empty"
    if owners_kept:
        return "Restored", f"restored {restored}"
    return "Restored", (
        f"restored {restored}, its files without their owners: the mover is not root and may not set them, "
        "so all of them belong to its user"
    )
