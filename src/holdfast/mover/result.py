"""A run's result as the at most 4096 bytes that Kubernetes keeps of a termination message."""

import dataclasses
from collections.abc import Iterator
from typing import Final, assert_never

from holdfast.model import wire
from holdfast.model.failure import Failure
from holdfast.model.run import (
    RESULT_LIMIT,
    BackedUp,
    Deleted,
    Failed,
    Initialized,
    Outcome,
    Restored,
    RunResult,
    Verified,
)

# How many ids or paths are kept, and how many characters of a path or a detail: tried in this order.
_SIZES: Final = ((1000, 4000), (100, 2000), (40, 1000), (20, 500), (10, 250), (10, 100), (5, 100), (2, 50), (0, 30))


def fit(result: RunResult) -> bytes:
    """Return the result as JSON of at most RESULT_LIMIT bytes; lists and sentences are cut until it fits."""
    whole = wire.encode(result)
    if len(whole) <= RESULT_LIMIT:
        return whole
    for cut in _cut(result.outcome):
        data = wire.encode(RunResult(run=result.run, outcome=cut))
        if len(data) <= RESULT_LIMIT:
            return data
    raise ValueError(f"the result of run {result.run[:300]!r} cannot be cut to {RESULT_LIMIT} bytes")


def _cut(outcome: Outcome) -> Iterator[Outcome]:
    """Yield the outcome shorter and shorter."""
    return (_shorten(outcome, count, characters) for count, characters in _SIZES)


def _shorten(outcome: Outcome, count: int, characters: int) -> Outcome:
    match outcome:
        case Initialized() | Restored():
            return outcome
        case BackedUp(snapshot=snapshot):
            unreadable = tuple(_text(path, characters) for path in snapshot.unreadable[:count])
            cleared = None if snapshot.cleared is None else _text(snapshot.cleared, characters)
            return dataclasses.replace(
                outcome, snapshot=dataclasses.replace(snapshot, unreadable=unreadable, cleared=cleared)
            )
        case Verified(snapshots=snapshots):
            return dataclasses.replace(outcome, snapshots=snapshots[:count])
        case Deleted(snapshots=snapshots):
            return Deleted(snapshots=snapshots[:count])
        case Failed(failure=failure):
            return Failed(failure=Failure(kind=failure.kind, detail=_text(failure.detail, characters)))
        case _:
            assert_never(outcome)


def _text(text: str, characters: int) -> str:
    return text if len(text) <= characters else f"{text[: characters - 1]}…"
