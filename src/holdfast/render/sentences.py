"""What people are told, from the same values that programs get."""

from typing import Final

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
