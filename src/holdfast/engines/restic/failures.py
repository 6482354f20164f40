"""From how restic ended to why: by exit code, then by whole messages of which a sample is kept in the tests."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from holdfast.engines.protocol import EngineFailure
from holdfast.engines.restic import parse
from holdfast.model.failure import FailureKind

UNREADABLE: Final = 3  # a backup was saved without some files

_CODES: Final = {
    10: FailureKind.NO_REPOSITORY,
    11: FailureKind.LOCKED,
    12: FailureKind.WRONG_PASSWORD,
    130: FailureKind.CANCELED,
    -2: FailureKind.CANCELED,
    -15: FailureKind.CANCELED,
}

_NOTHING: Final = "Fatal: unable to save snapshot: snapshot is empty"
_LOST_LOCK: Final = re.compile(r"error while unlocking: .*: no such file or directory")

_MESSAGES: Final = tuple(
    (re.compile(pattern, re.DOTALL), kind)
    for pattern, kind in (
        (r"(?:Fatal: )?(?:could not|failed to) find snapshot: .*no matching ID found.*", FailureKind.SNAPSHOT_MISSING),
        (r"(?:Fatal: )?path .*: (?:not found|not a directory)", FailureKind.PATH_MISSING),
        (r"Fatal: cannot dump file: path .* not found in snapshot", FailureKind.PATH_MISSING),
        (r'Fatal: cannot dump file: ".*" should be a .*, but is a ".*"', FailureKind.PATH_MISSING),
        (r"Fatal: config or key [0-9a-f]+ is damaged: ciphertext verification failed", FailureKind.DAMAGED),
        (r"(?:Fatal: )?config file has zero size, invalid repository\?.*", FailureKind.DAMAGED),
        (r"Fatal: repository contains errors", FailureKind.DAMAGED),
        (r".*: ciphertext verification failed", FailureKind.DAMAGED),
    )
)


def failure(exit_code: int, stderr: Sequence[str], *, full: FailureKind) -> EngineFailure:
    """Return why restic failed; `full` is what a full file system means in this call."""
    said = parse.messages(stderr)
    detail = said[-1] if said else f"restic ended with exit code {exit_code} and said nothing"
    return EngineFailure(_kind(exit_code, said, full), detail)


def _kind(exit_code: int, said: Sequence[str], full: FailureKind) -> FailureKind:
    known = _CODES.get(exit_code)
    if known is not None:
        return known
    if any(text.endswith(": no space left on device") for text in said):
        return full
    for text in reversed(said):
        for pattern, kind in _MESSAGES:
            if pattern.fullmatch(text):
                return kind
    return FailureKind.UNKNOWN


def verification(exit_code: int, stderr: Sequence[str]) -> EngineFailure:
    """Return what a check found wrong: the first complaint, and how many there are."""
    said = parse.messages(stderr)
    found = failure(exit_code, stderr, full=FailureKind.UNKNOWN)
    if found.failure.kind is not FailureKind.DAMAGED or len(said) < 2:
        return found
    return EngineFailure(FailureKind.DAMAGED, f"{said[0]} ({len(said) - 1} complaints)")


def found_nothing(exit_code: int, stderr: Sequence[str]) -> bool:
    """Tell whether restic refused to save a snapshot because there was nothing to put in it."""
    return exit_code == 1 and _NOTHING in parse.messages(stderr)


def lost_lock(line: str) -> bool:
    """Tell whether restic found its own lock gone at the end."""
    return _LOST_LOCK.fullmatch(line) is not None


def unreadable(stderr: Sequence[str], source: Path) -> tuple[str, ...]:
    """Return the paths below `source` that a backup could not read; what vanished meanwhile is not among them."""
    found = {
        trouble.item.removeprefix(f"{source}/")
        for trouble in parse.troubles(stderr)
        if not trouble.message.endswith(": no such file or directory")
    }
    return tuple(sorted(found))
