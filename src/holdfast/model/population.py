"""Facts about the objects that fill a claim, and the one next step."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from holdfast.model.claim import ClaimRef
from holdfast.model.failure import Failure
from holdfast.model.run import RunResult
from holdfast.model.snapshot import Snapshot
from holdfast.model.verdict import Restore, StartEmpty, Wait


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassFacts:
    """The claim's StorageClass."""

    name: str
    waits_for_consumer: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PrimeFacts:
    """The prime claim. `snapshot` None: it was made to stay empty. `decided_for` is the claim uid it was made for.

    `wish` is the restore mode, in words, that it was decided by.
    """

    uid: str
    created: datetime
    deleting: bool
    node: str | None
    decided_for: str
    snapshot: str | None
    filled: bool
    attempt: int
    wish: str = "auto"
    lost: bool = False  # its volume is gone, or a claim's
    obstacle: str | None = None  # what the cluster has against it


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeFacts:
    """The volume made for the prime. `provisioned` False: it existed before the prime asked for one."""

    name: str
    provisioned: bool
    claim: ClaimRef
    claim_uid: str | None
    capacity_bytes: int
    access_modes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Consumer:
    """What the scheduler reads of the pod that uses a claim, as the pod says it."""

    namespace: str
    node_selector: Mapping[str, str]
    affinity: Mapping[str, Any]
    tolerations: Sequence[Mapping[str, Any]]
    scheduler: str | None
    resources: Sequence[Mapping[str, Any]]  # of each container


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlierVolume:
    """A volume that has the reserved name and is not from this fill. `retained`: its data is the user's to delete."""

    name: str
    ours: bool
    retained: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ByName:
    """What else is known of a claim that is held by name. `expected`: so are all of its class, and we look for pods.

    No scheduler chooses a node for such a claim; `node` is where a Job that stands for the pod was put. `choosing`:
    that Job is there, and `obstacle` is what keeps it from being put anywhere.
    """

    expected: bool
    has_consumer: bool
    node: str | None
    choosing: bool
    obstacle: str | None
    earlier: EarlierVolume | None


class Pause(StrEnum):
    """What a fill waits for in the cluster; Doubt, Hold and FailureKind name what else a claim can wait for."""

    CLASS_MISSING = "StorageClassMissing"
    CLASS_NOT_BY_NAME = "ClassNotByName"
    CONSUMER = "WaitForFirstConsumer"
    NODE = "ChoosingNode"
    VOLUME = "Provisioning"
    MOVER = "Restoring"
    TOO_LITTLE = "VolumeMismatch"
    NAME_TAKEN = "NameTaken"
    EARLIER_VOLUME = "EarlierVolume"
    BINDING = "Binding"
    CLEARING = "Clearing"


class JobState(StrEnum):
    RUNNING = "Running"
    ENDED = "Ended"  # the pod terminated; the result says how
    STUCK = "CannotStart"  # past the start deadline


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFacts:
    """A mover's Job, read from its pod. `failure` says why there is no good result, `obstacle` why it has not begun."""

    name: str
    state: JobState
    ended: datetime | None
    result: RunResult | None
    failure: Failure | None
    obstacle: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NeedVerdict:
    """Ask the repository, then decide."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """Nothing can be done now: why, as a reason and a sentence; look again after a while or on a change."""

    reason: str
    detail: str
    retry_after: timedelta | None = None
    alarm: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ChooseNode:
    """Have the scheduler put a Job where the pod that uses the claim could run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MakePrime:
    verdict: Restore | StartEmpty
    size_bytes: int
    node: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopt:
    """The fill of an earlier claim of this identity serves this one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Discard:
    """Delete the prime and its Job. `reclaim`: the volume is ours to delete with it."""

    why: str
    reclaim: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class StartJob:
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryJob:
    """Delete the failed Job; the next attempt starts when `due` has come."""

    failure: Failure
    attempt: int
    due: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkFilled:
    result: RunResult


@dataclass(frozen=True, slots=True, kw_only=True)
class SetAside:
    """Give a volume of an earlier life another name, so that the reserved one is free."""

    volume: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HandOver:
    volume: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finish:
    """The claim is bound to the volume that we filled: status first, then the reclaim policy and the helpers."""

    volume: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """Somebody else bound the claim while we were filling it: the volume is kept, and it is said loudly."""

    volume: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Nothing:
    """There is nothing to do."""


Step = (
    NeedVerdict
    | Waiting
    | ChooseNode
    | MakePrime
    | Adopt
    | Discard
    | StartJob
    | RetryJob
    | MarkFilled
    | SetAside
    | HandOver
    | Finish
    | Taken
    | Nothing
)

Verdicts = Restore | StartEmpty | Wait


def wanted_snapshot(verdict: Restore | StartEmpty) -> Snapshot | None:
    """Return the snapshot that a verdict brings back; None when the claim starts empty."""
    match verdict:
        case Restore(snapshot=snapshot):
            return snapshot
        case StartEmpty():
            return None
