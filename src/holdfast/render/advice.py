"""What a person can do about each reason why a claim waits, a run fails or a repository cannot be used."""

from typing import assert_never

from holdfast.model.evidence import Doubt
from holdfast.model.failure import FailureKind
from holdfast.model.population import Pause
from holdfast.model.verdict import Hold


def on(why: Doubt | FailureKind | Hold | Pause) -> str:
    """Return the advice as one sentence; "" where the reason says it already."""
    match why:
        case Doubt():
            return _doubt(why)
        case Hold():
            return _hold(why)
        case FailureKind():
            return _failure(why)
        case Pause():
            return _pause(why)
    assert_never(why)


def _doubt(why: Doubt) -> str:
    match why:
        case Doubt.NOT_ASKED:
            return "It is asked now: look again in a moment."
        case Doubt.NOT_CHOSEN:
            return "Create the Repository, or name one in annotation holdfast.dev/repository."
        case Doubt.NOT_READY:
            return "Put the Repository object or its Secret right; nothing else is needed."
        case Doubt.PINNED_ELSEWHERE:
            return "Check bucket, prefix and mount; if this storage is the right one, change spec.repositoryID."
        case Doubt.NEWEST_MISSING | Doubt.NO_RECORD | Doubt.REMEMBERED:
            return (
                "Find out what happened to the repository before anything else. To take a snapshot that is there, "
                "set annotation holdfast.dev/restore to its id."
            )
    assert_never(why)


def _hold(why: Hold) -> str:
    match why:
        case Hold.REQUIRED:
            return "Back its history up under this name, or remove annotation holdfast.dev/restore."
        case Hold.FLAGGED:
            return "Choose one of the snapshots by its id in annotation holdfast.dev/restore."
        case Hold.NOT_FOUND:
            return "Ask for a snapshot that is there: `holdfast snapshots` lists them."
        case Hold.UNREADABLE:
            return "Write auto, required, never, a snapshot id, or a time such as 2026-01-31T12:00:00Z."
        case Hold.NO_REASON:
            return "Write why in annotation holdfast.dev/restore-reason, or remove holdfast.dev/restore."
        case Hold.NOT_GRANTED:
            return "Ask a cluster administrator for the grant."
        case Hold.NO_REQUEST:
            return "Create the Restore that the claim names, or put it right."
    assert_never(why)


def _failure(why: FailureKind) -> str:
    match why:
        case FailureKind.UNREACHABLE | FailureKind.TIMEOUT:
            return "Is the storage running, and does the network lead there? It is tried again by itself."
        case FailureKind.FORBIDDEN:
            return "Check the keys in the Repository's Secret, their rights, and the region."
        case FailureKind.MISDIRECTED:
            return "Check endpoint and bucket: what answers there is not this storage."
        case FailureKind.CLOCK_SKEW:
            return "Set the clock of the machine, or of the storage."
        case FailureKind.STORAGE_MISSING:
            return "Mount the disk, or create the directory if the storage is new: Holdfast never creates it."
        case FailureKind.NO_MARKER:
            return "Check bucket, prefix and mount; if the storage is new, set spec.initializeUntil of the Repository."
        case FailureKind.BAD_MARKER:
            return "Was it made by a newer Holdfast, or damaged? Look at .holdfast/marker in the storage."
        case FailureKind.WRONG_PASSWORD:
            return "Put the repository's password into its Secret."
        case FailureKind.NO_REPOSITORY | FailureKind.REPLACED | FailureKind.DAMAGED | FailureKind.PARTIAL_LISTING:
            return "Find out what happened to the repository before anything else; a copy of the storage helps."
        case FailureKind.BAD_RECORD:
            return "Was the record changed by hand, or made with another password? Look below .holdfast/claims."
        case FailureKind.LOCKED:
            return "Another run holds the repository: it is tried again by itself."
        case FailureKind.SNAPSHOT_MISSING:
            return "`holdfast snapshots` lists those that are there."
        case FailureKind.PATH_MISSING:
            return "`holdfast ls` shows what is there."
        case FailureKind.NODE_NOT_KNOWN:
            return "Start the app, or give the volume a nodeAffinity."
        case FailureKind.NOT_ADMITTED:
            return (
                "Look at quotas, limits and policies of Holdfast's namespace. For a mover beside its app, look at the "
                "app's, and apply what `holdfast render guest NAMESPACE` prints."
            )
        case FailureKind.NO_VOLUME_SNAPSHOT:
            return "Look at the CSI driver and its snapshotter; `holdfast.dev/copy-method: Direct` does without them."
        case FailureKind.SOURCE_UNREADABLE:
            return "Check the rights on the root directory of the volume."
        case FailureKind.REPOSITORY_FULL:
            return "Make room in the storage: nothing was lost, and the run is tried again."
        case FailureKind.TARGET_FULL:
            return "Ask for a larger claim."
        case FailureKind.MISMATCH:
            return "Verify the repository; the run is tried again."
        case FailureKind.NOT_EMPTY:
            return "Look at what is there; Holdfast writes over nothing."
        case FailureKind.CANCELED:
            return "It is tried again by itself."
        case FailureKind.BAD_ORDER:
            return "Are all parts of Holdfast of the same version?"
        case FailureKind.NO_PROGRAM:
            return "Install kopia 0.23.1 and restic 0.19.1 where movers and readers run."
        case FailureKind.READER_DOWN:
            return "Is the operator running? It starts the reader; `holdfast status` shows both."
        case FailureKind.UNKNOWN:
            return "The log of the run's pod says more."
    assert_never(why)


def _pause(why: Pause) -> str:
    match why:
        case Pause.CLASS_MISSING:
            return "Create the StorageClass, or create the claim again with one that exists."
        case Pause.CLASS_NOT_BY_NAME:
            return "Give the operator the class by `--by-name`, as the cluster was armed with."
        case Pause.CONSUMER:
            return "Start the app: the claim waits for it, and it for the claim's data."
        case Pause.NODE:
            return "Where this lasts, look at the pod: its node selector, affinities, tolerations and requests."
        case Pause.VOLUME:
            return "Where this lasts, look at the Events of the claim of this name in Holdfast's namespace."
        case Pause.TOO_LITTLE:
            return "Ask for what the class can give, in a claim that is created again."
        case Pause.NAME_TAKEN:
            return "Look at what is in that volume, then delete it or rename the claim."
        case Pause.EARLIER_VOLUME:
            return "Where this lasts, look at the provisioner: it has to delete that volume."
        case Pause.MOVER | Pause.BINDING | Pause.CLEARING:
            return "Nothing: it goes on by itself."
    assert_never(why)
