"""A new snapshot against the last good one → flags (P5)."""

from holdfast.model.snapshot import Flag, RecordedSnapshot


def flags(files: int, unreadable: int, last_good: RecordedSnapshot | None) -> tuple[Flag, ...]:
    """Return why the snapshot must not be restored automatically; nothing when it is good.

    A first backup may be empty: there is no better one that it could push out.
    """
    found = []
    if unreadable:
        found.append(Flag.PARTIAL)
    if files == 0 and last_good is not None and last_good.files > 0:
        found.append(Flag.EMPTY)
    return tuple(found)


def last_good(snapshots: tuple[RecordedSnapshot, ...]) -> RecordedSnapshot | None:
    """Return the newest snapshot without a flag, or whose flags a person cleared."""
    return next((each for each in reversed(snapshots) if not each.flags or each.cleared is not None), None)
