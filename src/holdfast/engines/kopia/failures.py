"""kopia's last words → FailureKind. It exits 1 for everything, so the whole documented message decides.

Each row is backed by captured outputs in tests/contract/outputs/kopia; what matches no row is UNKNOWN.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from holdfast.engines.program import Finished
from holdfast.engines.protocol import EngineFailure, brief
from holdfast.model.failure import FailureKind

_OPEN: Final = r"open repository: unable to open repository: "
_STORAGE: Final = _OPEN + r'cannot open storage: error retrieving storage config from bucket "[^"]+": '
_FORMAT: Final = _OPEN + r"unable to create format manager: "
_INDEX: Final = _OPEN + r"unable to create shared content manager: error loading indexes: .*: "

_ROWS: Final[tuple[tuple[FailureKind, str], ...]] = (
    (FailureKind.WRONG_PASSWORD, _FORMAT + r"invalid repository password"),
    (
        FailureKind.NO_REPOSITORY,
        _FORMAT + r"unable to read format blob: error getting kopia\.repository blob: BLOB not found",
    ),
    (FailureKind.DAMAGED, _FORMAT + r"can't parse format blob: invalid format blob: .*"),
    (FailureKind.DAMAGED, _FORMAT + r"deserialize blob config: unable to decrypt repository blobcfg blob"),
    (FailureKind.DAMAGED, _INDEX + r"(?:cipher: message authentication failed|ciphertext too short: \d+)"),
    (
        FailureKind.STORAGE_MISSING,
        _OPEN + r"cannot open storage: cannot access storage path: stat .*: no such file or directory",
    ),
    (FailureKind.FORBIDDEN, _OPEN + r".*: permission denied"),
    (FailureKind.FORBIDDEN, _STORAGE + r"Access Denied\.?"),
    (FailureKind.FORBIDDEN, _STORAGE + r"The AWS Access Key Id you provided does not exist in our records\."),
    (
        FailureKind.FORBIDDEN,
        _STORAGE + r"The request signature we calculated does not match the signature you provided\..*",
    ),
    (FailureKind.FORBIDDEN, _STORAGE + r"The provided token has expired\.?"),
    (FailureKind.FORBIDDEN, _STORAGE + r"401 Unauthorized"),
    (FailureKind.CLOCK_SKEW, _STORAGE + r"The difference between the request time and the current time is too large\."),
    (FailureKind.MISDIRECTED, _STORAGE + r"(?:301 Moved Permanently|307 Temporary Redirect)"),
    (
        FailureKind.MISDIRECTED,
        _STORAGE + r"The bucket you are attempting to access must be addressed using the specified endpoint\..*",
    ),
    (FailureKind.MISDIRECTED, _STORAGE + r"The authorization header is malformed; .*"),
    (FailureKind.MISDIRECTED, _STORAGE + r"Last-Modified time format is invalid, .*"),
    (
        FailureKind.MISDIRECTED,
        r"unable to get repository storage: error listing blobs: The specified bucket does not exist\.",
    ),
    (FailureKind.UNREACHABLE, _STORAGE + r"(?:502 Bad Gateway|503 Service Unavailable|504 Gateway Timeout)"),
    (FailureKind.UNREACHABLE, _STORAGE + r"We encountered an internal error\. Please try again\."),
    (FailureKind.UNREACHABLE, _STORAGE + r"Please reduce your request rate\."),
    (FailureKind.UNREACHABLE, _STORAGE + r'Get "[^"]*": .*: (?:connect: connection refused|no such host)'),
    (FailureKind.UNREACHABLE, _STORAGE + r'Get "[^"]*": tls: failed to verify certificate: .*'),
    (FailureKind.UNREACHABLE, _STORAGE + r'Get "[^"]*": Connection closed by foreign host .*'),
    (FailureKind.UNREACHABLE, _STORAGE + r"unexpected EOF"),
    (FailureKind.UNREACHABLE, _OPEN + r".*: input/output error"),
    (FailureKind.DAMAGED, _STORAGE + r"The operation is not valid for the object's storage class"),
    (FailureKind.NOT_EMPTY, r"unable to get repository storage: found existing data in storage location"),
    (FailureKind.DAMAGED, r".*: failed to get blob with ID \S+: BLOB not found"),
    (FailureKind.DAMAGED, r'.*: invalid \(offset=\d+,length=\d+\) for blob "\S+" of size \d+'),
    (FailureKind.DAMAGED, r".*: invalid checksum at .*: cipher: message authentication failed"),
    (FailureKind.DAMAGED, r"object \S+ is backed by missing blob \S+"),
    (FailureKind.SNAPSHOT_MISSING, r'error getting metadata for "[0-9a-f]{32}": manifest [0-9a-f]{32}: not found'),
    (FailureKind.SNAPSHOT_MISSING, r"error deleting snapshots by root ID .*: no snapshots matched .*"),
    (FailureKind.SNAPSHOT_MISSING, r"found \d+ of the \d+ requested snapshot IDs to verify"),
    (FailureKind.PATH_MISSING, r"unable to parse ID: .*: error reading directory: entry not found"),
    (FailureKind.PATH_MISSING, r'unable to parse ID: .*: entry not found ".*": parent is not a directory'),
)
_FULL: Final = re.compile(r".*: (?:no space left on device|disk quota exceeded)")
_PARTIAL: Final = re.compile(r"Found \d+ fatal error\(s\) while snapshotting .*")
_ROOT_UNREADABLE: Final = re.compile(r"upload error: (?:permission denied|unsupported source: .*)")
_COMPILED: Final = tuple((kind, re.compile(pattern, re.DOTALL)) for kind, pattern in _ROWS)


def classify(stderr: Sequence[str], full: FailureKind = FailureKind.UNKNOWN) -> FailureKind:
    """Return what the last line of a failed kopia means; `full` is what running out of space means in what was done."""
    last = stderr[-1].strip() if stderr else ""
    if _FULL.fullmatch(last):
        return full
    return next((kind for kind, pattern in _COMPILED if pattern.fullmatch(last)), FailureKind.UNKNOWN)


def rows() -> Sequence[tuple[FailureKind, re.Pattern[str]]]:
    """Return the table, for the test that holds a captured output against each row."""
    return _COMPILED


def failure(
    doing: str, exit_code: int, stderr: Sequence[str], full: FailureKind = FailureKind.UNKNOWN
) -> EngineFailure:
    """Return the failure that a finished kopia stands for, as a sentence that shows its own words."""
    words = stderr[-1].strip() if stderr else "it said nothing"
    return EngineFailure(classify(stderr, full), f"{doing}: kopia ended with {exit_code}: {brief(words)}")


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
