"""The one gate: which waiting runs may start now. Restores have places of their own and go first."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A run that is due: its key and since when."""

    key: str
    since: datetime


def admit(waiting: Sequence[Waiting], running: Collection[str], limit: int) -> tuple[str, ...]:
    """Return the keys that may start now, longest waiting first; `running` runs hold their places."""
    free = max(limit - len(running), 0)
    queue = sorted((each for each in waiting if each.key not in running), key=lambda each: (each.since, each.key))
    return tuple(each.key for each in queue[:free])
