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

_LOCKED: Final = "unable to create lock"  # what follows is the advice to remove it
_NOTHING: Final = "Fatal: unable to save snapshot: snapshot is empty"
_LOST_LOCK: Final = re.compile(r"error while unlocking: .*: no such file or directory")

_GONE: Final = r"(?:: no such file or directory|key does not exist\.)"

_SAID: Final = tuple(
    (re.compile(pattern), kind)
    for pattern, kind in (
        (r"Fatal: (?:could not|failed to) find snapshot: no matching ID found .*", FailureKind.SNAPSHOT_MISSING),
        (
            r"Fatal: (?:could not|failed to) find snapshot: .*" + _GONE,
            FailureKind.SNAPSHOT_MISSING,
        ),
        (r"path .*: (?:not found|not a directory)", FailureKind.PATH_MISSING),
        (r'Fatal: cannot dump file: path ".*" not found in snapshot', FailureKind.PATH_MISSING),
        (r'Fatal: cannot dump file: ".*" should be a .*, but is a ".*"', FailureKind.PATH_MISSING),
        (r"Fatal: Fatal: create (?:key in )?repository .* failed: .*already initialized", FailureKind.NOT_EMPTY),
        (r"Fatal: Fatal: create (?:key in )?repository .* failed: config file already exists", FailureKind.NOT_EMPTY),
        (r"Fatal: Fatal: create (?:key in )?repository .* failed: .*already contains .*", FailureKind.NOT_EMPTY),
        (r"Fatal: unable to open config file: Stat: Access Denied\.", FailureKind.FORBIDDEN),
        (r"Fatal: config cannot be loaded: open .*: permission denied", FailureKind.FORBIDDEN),
        (
            r"Fatal: unable to open repository at .*: s3\.getCredentials: no credentials found\. .*",
            FailureKind.FORBIDDEN,
        ),
        (r"config file has zero size, invalid repository\?", FailureKind.DAMAGED),
        (r".*\bciphertext verification failed", FailureKind.DAMAGED),
        (r".*\bid [0-9a-f]{64} not found in repository", FailureKind.DAMAGED),
        (r".*\bLoadRaw\(<\w+/[0-9a-f]+>\): invalid data returned", FailureKind.DAMAGED),
        (
            r".*\bReadFull\(<data/[0-9a-f]+>\): .*" + _GONE,
            FailureKind.DAMAGED,
        ),
        (
            r"Load\(<data/[0-9a-f]+>, \d+, \d+\) failed: .*" + _GONE,
            FailureKind.DAMAGED,
        ),
        (r"Fatal: repository contains errors", FailureKind.DAMAGED),
    )
)


def failure(exit_code: int, stderr: Sequence[str], *, full: FailureKind) -> EngineFailure:
    """Return why restic failed; `full` is what a full file system means in this call."""
    said = parse.messages(stderr)
    last = said[-1] if said else f"restic ended with exit code {exit_code} and said nothing"
    if exit_code in _CODES:
        return EngineFailure(_CODES[exit_code], next((text for text in said if text.startswith(_LOCKED)), last))
    full_up = next((text for text in said if text.endswith(": no space left on device")), None)
    if full_up is not None:
        return EngineFailure(full, full_up)
    for text in reversed(said):
        for pattern, kind in _SAID:
            if pattern.fullmatch(text):
                return EngineFailure(kind, text)
    return EngineFailure(FailureKind.UNKNOWN, last)


def verification(exit_code: int, stderr: Sequence[str]) -> EngineFailure:
    """Return what a check found wrong: its first complaint says what, its last only that."""
    found = failure(exit_code, stderr, full=FailureKind.UNKNOWN)
    first = parse.messages(stderr)[:1]
    return EngineFailure(found.failure.kind, first[0]) if found.failure.kind is FailureKind.DAMAGED else found


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
