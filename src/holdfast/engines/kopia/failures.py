"""kopia's last words → FailureKind. It exits 1 for everything, so the whole documented message decides.

Each row is backed by captured outputs in tests/contract/outputs/kopia; what matches no row is UNKNOWN.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from holdfast.engines.program import Finished
from holdfast.engines.protocol import EngineFailure
from holdfast.model.failure import FailureKind

_NOT_THERE = r"BLOB not found"
_DECRYPT = r"(?:.*: )?(?:cipher: )?message authentication failed"

_ROWS: Final[tuple[tuple[FailureKind, str], ...]] = (
    (FailureKind.WRONG_PASSWORD, r".*unable to create format manager: invalid repository password"),
    (FailureKind.STORAGE_MISSING, r".*cannot access storage path: stat .*: no such file or directory"),
    (FailureKind.NO_REPOSITORY, rf".*error getting kopia\.repository blob: {_NOT_THERE}"),
    (FailureKind.NOT_EMPTY, r".*found existing data in storage location"),
    (FailureKind.NOT_EMPTY, r".*repository already initialized.*"),
    (FailureKind.FORBIDDEN, r".*: Access Denied\.?"),
    (FailureKind.FORBIDDEN, r".*The AWS Access Key Id you provided does not exist in our records\."),
    (FailureKind.FORBIDDEN, r".*The request signature we calculated does not match the signature you provided\..*"),
    (FailureKind.FORBIDDEN, r".*The provided token has expired\.?"),
    (FailureKind.FORBIDDEN, r".*401 Unauthorized"),
    (FailureKind.MISDIRECTED, r".*The specified bucket does not exist\.?"),
    (FailureKind.MISDIRECTED, r".*(?:301 Moved Permanently|307 Temporary Redirect)"),
    (FailureKind.CLOCK_SKEW, r".*The difference between the request time and the .*time is too large\..*"),
    (FailureKind.UNREACHABLE, r".*: connect: (?:connection refused|no route to host|network is unreachable)"),
    (FailureKind.UNREACHABLE, r".*: (?:no such host|i/o timeout|connection reset by peer)"),
    (FailureKind.UNREACHABLE, r".*(?:500 Internal Server Error|503 Service Unavailable)"),
    (FailureKind.UNREACHABLE, r".*We encountered an internal error.*"),
    (FailureKind.UNREACHABLE, r".*Please reduce your request rate\.?"),
    (FailureKind.DAMAGED, r".*can't parse format blob: invalid format blob: .*"),
    (FailureKind.DAMAGED, r".*unable to decrypt repository blobcfg blob.*"),
    (FailureKind.DAMAGED, rf".*error loading indexes.*: {_DECRYPT}"),
    (FailureKind.DAMAGED, r".*error loading indexes.*: ciphertext too short: \d+"),
    (FailureKind.DAMAGED, rf".*(?:unable to load manifest contents|failed to get blob with ID).*: {_NOT_THERE}"),
    (FailureKind.DAMAGED, rf".*invalid checksum at .*: {_DECRYPT}"),
    (FailureKind.DAMAGED, r".*is backed by missing blob .*"),
    (FailureKind.DAMAGED, r".*: content not found"),
    (FailureKind.SNAPSHOT_MISSING, r".*no snapshots matched .*"),
    (FailureKind.SNAPSHOT_MISSING, r".*: manifest [0-9a-f]{32}: not found"),
    (FailureKind.PATH_MISSING, r".*: entry not found"),
)
_FULL: Final = re.compile(r".*: (?:no space left on device|disk quota exceeded)")
_PARTIAL: Final = re.compile(r"Found \d+ fatal error\(s\) while snapshotting .*")
_ROOT_UNREADABLE: Final = re.compile(r"(?:.*: )?(?:upload error: permission denied|unsupported source: .*)")
_COMPILED: Final = tuple((kind, re.compile(pattern)) for kind, pattern in _ROWS)


def classify(stderr: Sequence[str], full: FailureKind = FailureKind.UNKNOWN) -> FailureKind:
    """Return what the last lines of a failed kopia mean: the last line that a row knows decides.

    `full` is what running out of space means in what was done.
    """
    for line in reversed(stderr):
        if _FULL.fullmatch(line.strip()):
            return full
        for kind, pattern in _COMPILED:
            if pattern.fullmatch(line.strip()):
                return kind
    return FailureKind.UNKNOWN


def failure(
    doing: str, exit_code: int, stderr: Sequence[str], full: FailureKind = FailureKind.UNKNOWN
) -> EngineFailure:
    """Return the failure that a finished kopia stands for, as a sentence that shows its own words."""
    words = stderr[-1].strip() if stderr else "it said nothing"
    return EngineFailure(classify(stderr, full), f"{doing}: kopia ended with {exit_code}: {words}")


def is_partial_backup(stderr: Sequence[str]) -> bool:
    """Tell whether a backup that ended with 1 was saved, and only lacks what could not be read."""
    return bool(stderr) and _PARTIAL.fullmatch(stderr[-1].strip()) is not None


def backup(source: Path, finished: Finished) -> EngineFailure:
    """Return why a backup saved nothing."""
    if any(_ROOT_UNREADABLE.fullmatch(line.strip()) for line in finished.stderr):
        return EngineFailure(FailureKind.SOURCE_UNREADABLE, f"{source} cannot be read: {finished.stderr[-1].strip()}")
    return failure("backing up", finished.exit_code, finished.stderr, FailureKind.REPOSITORY_FULL)


def verification(finished: Finished) -> EngineFailure:
    """Return why a verification did not pass: kopia prints its findings as JSON even then."""
    kind = classify(finished.stderr)
    return EngineFailure(
        FailureKind.DAMAGED if kind is FailureKind.UNKNOWN and b'"errorCount"' in finished.stdout else kind,
        f"verifying: {finished.stderr[-1].strip() if finished.stderr else 'it said nothing'}",
    )
