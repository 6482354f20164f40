"""The evidence table as data: each situation, and what is decided about a claim with backups and one without.

The tests hold the real programs to it, and `docs/reference/evidence.md` shows it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from holdfast.model.failure import FailureKind
from holdfast.model.repository import EngineKind
from tests.support.misbehaving import Misbehaviour

Words = frozenset[str]  # one of these is decided; more than one where the moment decides

KOPIA, RESTIC, MEMORY = EngineKind.KOPIA, EngineKind.RESTIC, EngineKind.MEMORY


class Kind(StrEnum):
    """Where the objects lie."""

    DIRECTORY = "directory"
    S3 = "S3"


class Moment(StrEnum):
    """Which requests a misbehaving server spoils."""

    START = "from the first request"
    ENGINE = "from the engine's first request"
    PROGRAM = "for the engine's program alone"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What is decided about the claim that was backed up, and about the one that never was."""

    engine: EngineKind
    kind: Kind
    situation: str
    kept: Words
    new: Words


def words(*texts: str) -> Words:
    return frozenset(texts)


RESTORE: Final = words("Restore")
EMPTY: Final = words("StartEmpty")

# What our own client makes of each answer: the reason that a person reads, unless only the engine is spoilt.
REASONS: Final[Mapping[Misbehaviour, FailureKind]] = {
    Misbehaviour.NOT_FOUND_PLAIN: FailureKind.MISDIRECTED,
    Misbehaviour.NOT_FOUND_EMPTY: FailureKind.MISDIRECTED,
    Misbehaviour.NOT_FOUND_HTML: FailureKind.MISDIRECTED,
    Misbehaviour.NO_SUCH_BUCKET: FailureKind.MISDIRECTED,
    Misbehaviour.NO_SUCH_KEY: FailureKind.MISDIRECTED,
    Misbehaviour.NO_SUCH_KEY_ON_GET: FailureKind.DAMAGED,
    Misbehaviour.DELETE_MARKER: FailureKind.DAMAGED,
    Misbehaviour.ARCHIVED: FailureKind.DAMAGED,
    Misbehaviour.ACCESS_DENIED: FailureKind.FORBIDDEN,
    Misbehaviour.FORBIDDEN_PLAIN: FailureKind.FORBIDDEN,
    Misbehaviour.UNKNOWN_KEY: FailureKind.FORBIDDEN,
    Misbehaviour.BAD_SIGNATURE: FailureKind.FORBIDDEN,
    Misbehaviour.EXPIRED_TOKEN: FailureKind.FORBIDDEN,
    Misbehaviour.CLOCK_SKEW: FailureKind.CLOCK_SKEW,
    Misbehaviour.UNAUTHORIZED: FailureKind.FORBIDDEN,
    Misbehaviour.MOVED: FailureKind.MISDIRECTED,
    Misbehaviour.OTHER_REGION: FailureKind.MISDIRECTED,
    Misbehaviour.REDIRECTED: FailureKind.MISDIRECTED,
    Misbehaviour.SERVER_ERROR: FailureKind.UNREACHABLE,
    Misbehaviour.BAD_GATEWAY: FailureKind.UNREACHABLE,
    Misbehaviour.SLOW_DOWN: FailureKind.UNREACHABLE,
    Misbehaviour.FULL: FailureKind.REPOSITORY_FULL,
    Misbehaviour.OK_HTML: FailureKind.MISDIRECTED,
    Misbehaviour.OK_EMPTY: FailureKind.MISDIRECTED,
    Misbehaviour.LIST_ENDS_IN_GARBAGE: FailureKind.MISDIRECTED,
    Misbehaviour.LIST_ENDS_EARLY: FailureKind.UNREACHABLE,
    Misbehaviour.LIST_IN_CIRCLES: FailureKind.MISDIRECTED,
    Misbehaviour.LIST_WITHOUT_COUNT: FailureKind.UNREACHABLE,
    Misbehaviour.LIST_WITHOUT_END: FailureKind.UNREACHABLE,
    Misbehaviour.LIST_MISCOUNTED: FailureKind.UNREACHABLE,
    Misbehaviour.LIST_OF_OTHER_PREFIX: FailureKind.MISDIRECTED,
    Misbehaviour.LIST_OF_OTHER_BUCKET: FailureKind.MISDIRECTED,
    Misbehaviour.CUT: FailureKind.UNREACHABLE,
    Misbehaviour.DROPPED: FailureKind.UNREACHABLE,
    Misbehaviour.SILENT: FailureKind.TIMEOUT,
    Misbehaviour.REFUSED: FailureKind.UNREACHABLE,
}

# Complete listings with a fault that no program minds: what they say is true, and ours alone refuses them.
HARMLESS: Final = frozenset(
    {
        Misbehaviour.LIST_WITHOUT_COUNT,
        Misbehaviour.LIST_WITHOUT_END,
        Misbehaviour.LIST_MISCOUNTED,
        Misbehaviour.LIST_OF_OTHER_PREFIX,
        Misbehaviour.LIST_OF_OTHER_BUCKET,
    }
)
# Listings of which a program wants more without end: they cost the deadline.
ENDLESS: Final = frozenset(
    {Misbehaviour.LIST_ENDS_IN_GARBAGE, Misbehaviour.LIST_ENDS_EARLY, Misbehaviour.LIST_IN_CIRCLES}
)

# What a program that is alone with the misbehaving server says of it, where that is not our client's reason.
_NO_REPOSITORY: Final = {
    Misbehaviour.NOT_FOUND_PLAIN,
    Misbehaviour.NOT_FOUND_EMPTY,
    Misbehaviour.NOT_FOUND_HTML,
    Misbehaviour.NO_SUCH_BUCKET,
    Misbehaviour.NO_SUCH_KEY,
    Misbehaviour.NO_SUCH_KEY_ON_GET,
    Misbehaviour.DELETE_MARKER,
}
# It shows the server's own text and no status: nothing of ours is read into an unknown one.
_NO_WORDS_OF_KOPIA: Final = {Misbehaviour.UNAUTHORIZED, Misbehaviour.BAD_GATEWAY, Misbehaviour.FULL}
_FORBIDDEN_BY_RESTIC: Final = {Misbehaviour.ARCHIVED, Misbehaviour.CLOCK_SKEW}
# restic tries all of these again until it is stopped.
RETRIED_BY_RESTIC: Final = frozenset(
    {
        Misbehaviour.EXPIRED_TOKEN,
        Misbehaviour.UNAUTHORIZED,
        Misbehaviour.MOVED,
        Misbehaviour.OTHER_REGION,
        Misbehaviour.REDIRECTED,
        Misbehaviour.SERVER_ERROR,
        Misbehaviour.BAD_GATEWAY,
        Misbehaviour.SLOW_DOWN,
        Misbehaviour.FULL,
        Misbehaviour.OK_HTML,
        Misbehaviour.OK_EMPTY,
        Misbehaviour.CUT,
        Misbehaviour.DROPPED,
        Misbehaviour.REFUSED,
    }
)
MODES: Final = tuple(mode for mode in Misbehaviour if mode is not Misbehaviour.HEALTHY)


def moments(engine: EngineKind, mode: Misbehaviour) -> tuple[Moment, ...]:
    """Return when the mode is tried: memory has no program, and nobody is refused from some request on."""
    found = [Moment.START]
    if mode is not Misbehaviour.REFUSED:
        found.append(Moment.ENGINE)
    if engine is not MEMORY:
        found.append(Moment.PROGRAM)
    return tuple(found)


def of_misbehaviour(engine: EngineKind, mode: Misbehaviour, moment: Moment) -> Row:
    """Return what must be decided while the server misbehaves so."""
    kept, new = _expected(engine, mode, moment)
    return Row(engine=engine, kind=Kind.S3, situation=f"{mode.value}, {moment.value}", kept=kept, new=new)


def _expected(engine: EngineKind, mode: Misbehaviour, moment: Moment) -> tuple[Words, Words]:
    ours = words(REASONS[mode])
    # kopia alone lists its objects, so our client meets no spoilt listing once it has read the records.
    by_program = moment is Moment.PROGRAM or (moment is Moment.ENGINE and engine is KOPIA and mode.name[:5] == "LIST_")
    if not by_program:
        return ours, ours
    if mode in HARMLESS:
        return RESTORE, EMPTY
    said = _said_by_kopia(mode) if engine is KOPIA else _said_by_restic(mode)
    # No restic is started for a claim of which neither record nor folder is there.
    return said, (EMPTY if engine is RESTIC else said)


def _said_by_kopia(mode: Misbehaviour) -> Words:
    if mode in _NO_REPOSITORY:
        return words(FailureKind.NO_REPOSITORY)
    if mode in _NO_WORDS_OF_KOPIA:
        return words(FailureKind.UNKNOWN)
    return words(FailureKind.TIMEOUT) if mode in ENDLESS else words(REASONS[mode])


def _said_by_restic(mode: Misbehaviour) -> Words:
    if mode in _NO_REPOSITORY:
        return words(FailureKind.NO_REPOSITORY)
    if mode in _FORBIDDEN_BY_RESTIC:
        return words(FailureKind.FORBIDDEN)
    if mode in RETRIED_BY_RESTIC or mode in ENDLESS:
        return words(FailureKind.UNREACHABLE, FailureKind.TIMEOUT)
    return words(REASONS[mode])
