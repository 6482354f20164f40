"""Everything that happened of late: what watches replay and what pages of one snapshot are rebuilt from."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from holdfast.sandbox.store.refusal import Refusal, expired
from holdfast.sandbox.store.selectors import Selector
from holdfast.sandbox.store.values import Json

Key = tuple[str, str]
Place = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One write: the object before and after it (None where it does not exist); `gone` is what a deletion shows."""

    version: int
    key: Key
    place: Place
    old: Json | None
    new: Json | None

    @property
    def gone(self) -> Json:
        """Return the object as it was, at the version of its disappearance."""
        assert self.old is not None
        return {**self.old, "metadata": {**self.old["metadata"], "resourceVersion": str(self.version)}}


class History:
    """The last changes, one for each version, oldest first."""

    def __init__(self, *, start: int, limit: int) -> None:
        self.oldest = start
        self._limit: Final = limit
        self._changes: list[Change] = []

    def restart(self, version: int) -> None:
        """Forget everything: what happens next comes after `version`, and every older watch is expired."""
        self.oldest = version
        self._changes.clear()

    def add(self, change: Change) -> None:
        self._changes.append(change)
        if len(self._changes) >= 2 * self._limit:
            self.forget(before=change.version - self._limit)

    def forget(self, *, before: int) -> None:
        """Drop what happened up to that version: watches and pages from before it are expired."""
        count = max(0, min(before - self.oldest, len(self._changes)))
        del self._changes[:count]
        self.oldest += count

    def since(self, version: int) -> Sequence[Change]:
        """Return all changes after `version`; raise Refusal 410 when some of them are forgotten."""
        if version < self.oldest:
            raise expired(f"too old resource version: {version} ({self.oldest})")
        return self._changes[version - self.oldest :]

    def rewound(self, key: Key, objects: Mapping[Place, Json], version: int) -> dict[Place, Json]:
        """Return the objects of a kind as they were at `version`; raise Refusal 410 when that is too long ago."""
        then = dict(objects)
        for change in reversed(self.since(version)):
            if change.key != key:
                continue
            if change.old is None:
                then.pop(change.place, None)
            else:
                then[change.place] = change.old
        return then


class Watch:
    """One client's view of what happens to a kind. `take` never blocks; the caller waits for the store's word."""

    def __init__(self, history: History, key: Key, selector: Selector, since: int) -> None:
        self._history: Final = history
        self._key: Final = key
        self._selector: Final = selector
        self.version = since

    def take(self) -> Iterator[tuple[str, Json]]:
        """Yield the events that came since the last call; an ERROR is the last one there is."""
        try:
            changes = self._history.since(self.version)
        except Refusal as refusal:
            yield "ERROR", refusal.status()
            return
        for change in changes:
            self.version = change.version
            if change.key != self._key:
                continue
            event = self._event(change)
            if event is not None:
                yield event

    def _event(self, change: Change) -> tuple[str, Json] | None:
        before, after = self._selector.admits(change.old), self._selector.admits(change.new)
        if after:
            assert change.new is not None
            return ("MODIFIED" if before else "ADDED"), change.new
        return ("DELETED", change.gone) if before else None
