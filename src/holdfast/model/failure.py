"""Why an attempt failed, free of program text: storage and engines classify, decisions read the kind."""

from dataclasses import dataclass
from enum import StrEnum


class FailureKind(StrEnum):
    """One reason each; the value is the CamelCase reason shown on objects."""

    UNREACHABLE = "Unreachable"  # refused, no route, DNS, TLS, 5xx, throttled
    TIMEOUT = "TimedOut"  # no answer, or no progress, within our deadline
    FORBIDDEN = "Forbidden"  # 401, 403, unknown key, bad signature, expired token
    MISDIRECTED = "Misdirected"  # not a storage of ours: 404 without code, HTML, redirect, NoSuchBucket
    CLOCK_SKEW = "ClockSkew"
    STORAGE_MISSING = "StorageMissing"  # the directory is not there
    NO_MARKER = "NoMarker"  # the storage answered well, and our marker is not in it
    BAD_MARKER = "BadMarker"  # unreadable, or of a format that this version does not know
    WRONG_PASSWORD = "WrongPassword"
    NO_REPOSITORY = "NoRepository"  # the marker is there, the engine's repository is not
    REPLACED = "Replaced"  # another repository id than the marker's or the pin
    DAMAGED = "Damaged"  # the repository cannot be read whole
    PARTIAL_LISTING = "PartialListing"  # the engine listed, and complained or left out what must be there
    BAD_RECORD = "BadRecord"  # a record that cannot be read or authenticated
    LOCKED = "Locked"
    SNAPSHOT_MISSING = "SnapshotMissing"
    PATH_MISSING = "PathMissing"  # no such path in the snapshot
    NODE_NOT_KNOWN = "NodeNotKnown"  # the volume is a directory of a node, and nothing says of which
    NOT_ADMITTED = "NotAdmitted"  # the cluster refuses an object that the run takes
    NO_VOLUME_SNAPSHOT = "NoVolumeSnapshot"  # the cluster made no VolumeSnapshot to read
    SOURCE_UNREADABLE = "SourceUnreadable"  # the volume's root itself
    REPOSITORY_FULL = "RepositoryFull"
    TARGET_FULL = "TargetFull"
    MISMATCH = "Mismatch"  # restored or stored counts differ from the snapshot's
    NOT_EMPTY = "NotEmpty"  # refuses to initialise or to restore over something that is there
    CANCELED = "Canceled"  # stopped by a signal
    BAD_ORDER = "BadOrder"  # a work order or request that cannot be carried out as written
    NO_PROGRAM = "NoProgram"  # kopia or restic is missing, or of another version
    READER_DOWN = "ReaderDown"  # the repository's reader is not running or answered a cut answer
    UNKNOWN = "UnknownFailure"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A failed attempt: the kind decides what happens next, the detail is a sentence for people, redacted."""

    kind: FailureKind
    detail: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.detail}"
