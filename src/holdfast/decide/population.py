"""Facts about a claim, its prime claim, Job and volume → the one next step of filling it.

Every step may have been done before (at-least-once): a crash between any two writes leads back to the same step or
the next one. The prime belongs to the identity, so a claim that is deleted and re-created takes the fill over.

A claim that is held by name differs in two things: nobody chose a node for it, and it is given a second volume of the
reserved name, whose name must be free first.
"""

from datetime import datetime, timedelta
from typing import Final, assert_never

from holdfast.decide import retry
from holdfast.model.claim import Claim, ClaimPhase
from holdfast.model.failure import Failure, FailureKind
from holdfast.model.population import (
    Adopt,
    ByName,
    ChooseNode,
    ClassFacts,
    Discard,
    Finish,
    HandOver,
    JobFacts,
    JobState,
    MakePrime,
    MarkFilled,
    NeedVerdict,
    Nothing,
    Pause,
    PrimeFacts,
    RetryJob,
    SetAside,
    StartJob,
    Step,
    Taken,
    VolumeFacts,
    Waiting,
    wanted_snapshot,
)
from holdfast.model.run import Restored, RunResult
from holdfast.model.verdict import Restore, StartEmpty, Verdict, Wait

SOON: Final = timedelta(seconds=10)


def next_step(
    claim: Claim,
    *,
    storage_class: ClassFacts | None,
    prime: PrimeFacts | None,
    volume: VolumeFacts | None,
    job: JobFacts | None,
    verdict: Verdict | None,
    now: datetime,
    wish: str = "auto",
    by_name: ByName | None = None,
) -> Step:
    """Return the next step; `verdict` is None until evidence was gathered for this very claim.

    `wish` is the restore mode that is asked for now, in words; `by_name` None: the claim is held by reference.
    """
    if claim.phase is not ClaimPhase.PENDING:
        return bound(claim, prime, volume)
    if claim.deleting:
        return Nothing()
    if storage_class is None:
        return Waiting(
            reason=Pause.CLASS_MISSING,
            detail=f"there is no StorageClass {claim.storage_class or '(none named, and no default)'}",
            retry_after=SOON,
        )
    if prime is None:
        return _without_prime(claim, storage_class, verdict, by_name)
    if prime.deleting:
        return Waiting(reason=Pause.CLEARING, detail="an earlier attempt is being cleared away", alarm=False)
    if prime.decided_for != claim.uid:
        return _inherited(claim, prime, volume, verdict)
    if prime.wish != wish and not _is_handed_over(claim, volume):
        return Discard(why=f"{wish} is asked for now, it was made for {prime.wish}")
    return _filling(claim, storage_class, prime, volume, job, now, by_name)


def bound(claim: Claim, prime: PrimeFacts | None, volume: VolumeFacts | None) -> Finish | Taken | Nothing:
    """Return how the fill of a claim that has a volume ends: with ours, or with somebody else's."""
    if prime is None or prime.deleting:
        return Nothing()
    if volume is not None and claim.volume_name == volume.name:
        return Finish(volume=volume.name)
    if prime.decided_for == claim.uid:
        return Taken(volume=claim.volume_name or "")
    return Nothing()


def _without_prime(claim: Claim, storage_class: ClassFacts, verdict: Verdict | None, by_name: ByName | None) -> Step:
    match verdict:
        case None:
            return NeedVerdict()
        case Wait(why=why, detail=detail, retry_after=retry_after):
            return Waiting(reason=why.value, detail=detail, retry_after=retry_after)
        case Restore() | StartEmpty():
            pass
        case _:
            assert_never(verdict)
    node = claim.selected_node if by_name is None else by_name.node
    if storage_class.waits_for_consumer and node is None:
        return _unplaced(storage_class, by_name)
    return MakePrime(verdict=verdict, size_bytes=size_for(claim, verdict), node=node)


def _unplaced(storage_class: ClassFacts, by_name: ByName | None) -> Step:
    if by_name is not None and not by_name.expected:
        detail = f"it is held by name, and Holdfast was not told so of class {storage_class.name} (HOLDFAST_BY_NAME)"
        return Waiting(reason=Pause.CLASS_NOT_BY_NAME, detail=detail)
    if by_name is None or not by_name.has_consumer:
        return Waiting(
            reason=Pause.CONSUMER, detail="waiting for a pod that uses the claim to be scheduled", alarm=False
        )
    if not by_name.choosing:
        return ChooseNode()
    return Waiting(
        reason=Pause.NODE,
        detail=by_name.obstacle or "waiting for the node on which the pod can run",
        retry_after=SOON,
        alarm=by_name.obstacle is not None,
    )


def size_for(claim: Claim, verdict: Restore | StartEmpty) -> int:
    """Return the bytes to ask for: the claim's request, or what the volume had when it was backed up."""
    snapshot = wanted_snapshot(verdict)
    noted = snapshot.capacity_bytes if snapshot is not None else None
    return max(claim.requested_bytes, noted or 0)


def _inherited(claim: Claim, prime: PrimeFacts, volume: VolumeFacts | None, verdict: Verdict | None) -> Step:
    """The prime was made for an earlier claim of this identity, class and mode (P7: unless there is news)."""
    match verdict:
        case None:
            return NeedVerdict()
        case Wait(why=why, detail=detail, retry_after=retry_after):
            return Waiting(reason=why.value, detail=detail, retry_after=retry_after)
        case Restore() | StartEmpty():
            pass
        case _:
            assert_never(verdict)
    snapshot = wanted_snapshot(verdict)
    if prime.snapshot != (snapshot.id if snapshot else None):
        return Discard(why="it was filled from another snapshot than the one to restore now")
    if volume is not None and volume.capacity_bytes < size_for(claim, verdict):
        return Discard(why="its volume is smaller than the claim asks for")
    if claim.selected_node is not None and prime.node != claim.selected_node:
        return Discard(why="its volume was made for another node")
    return Adopt()


def _filling(
    claim: Claim,
    storage_class: ClassFacts,
    prime: PrimeFacts,
    volume: VolumeFacts | None,
    job: JobFacts | None,
    now: datetime,
    by_name: ByName | None,
) -> Step:
    if prime.lost and not _is_handed_over(claim, volume):
        return Discard(why="its volume is gone")
    if volume is None:
        if storage_class.waits_for_consumer and _is_elsewhere(claim, prime, by_name):
            return Discard(why="the scheduler chose another node")
        detail = "waiting for the volume" + (f": {prime.obstacle}" if prime.obstacle is not None else "")
        return Waiting(reason=Pause.VOLUME, detail=detail, retry_after=SOON, alarm=prime.obstacle is not None)
    if not volume.provisioned:
        return Discard(why="it was bound to a volume that existed before", reclaim=False)
    if prime.snapshot is not None and not prime.filled:
        return _moving(prime, prime.snapshot, job, now)
    if not _is_handed_over(claim, volume):
        return _offer(claim, volume, by_name) if by_name is not None else HandOver(volume=volume.name)
    return Waiting(
        reason=Pause.BINDING, detail="waiting for the filled volume to be bound", retry_after=SOON, alarm=False
    )


def _is_elsewhere(claim: Claim, prime: PrimeFacts, by_name: ByName | None) -> bool:
    """A provisioner that cannot serve a node takes the choice back; by name, nobody else makes another."""
    return claim.selected_node != prime.node if by_name is None else prime.node is None


def _offer(claim: Claim, volume: VolumeFacts, by_name: ByName) -> Step:
    """Nothing compares a claim with the volume that it names: what does not fit would be bound all the same."""
    if volume.capacity_bytes < claim.requested_bytes or not set(claim.access_modes) <= set(volume.access_modes):
        modes = ", ".join(volume.access_modes)
        detail = f"volume {volume.name} of {volume.capacity_bytes} bytes ({modes}) is less than what was asked for"
        return Waiting(reason=Pause.TOO_LITTLE, detail=detail, retry_after=SOON)
    earlier = by_name.earlier
    if earlier is None:
        return HandOver(volume=volume.name)
    if not earlier.ours:
        detail = f"volume {earlier.name} was not made by Holdfast and has the name that the claim waits for: delete it"
        return Waiting(reason=Pause.NAME_TAKEN, detail=detail, retry_after=SOON)
    if earlier.retained:
        return SetAside(volume=earlier.name)
    detail = f"waiting until volume {earlier.name} of an earlier claim is deleted"
    return Waiting(reason=Pause.EARLIER_VOLUME, detail=detail, retry_after=SOON)


def _is_handed_over(claim: Claim, volume: VolumeFacts | None) -> bool:
    return volume is not None and volume.claim_uid == claim.uid and volume.claim == claim.ref


def _moving(prime: PrimeFacts, snapshot: str, job: JobFacts | None, now: datetime) -> Step:
    if job is None:
        return StartJob(attempt=prime.attempt)
    match job.state:
        case JobState.RUNNING:
            against = f", and its mover does not start: {job.obstacle}" if job.obstacle is not None else ""
            return Waiting(reason=Pause.MOVER, detail=f"restoring snapshot {snapshot}{against}", alarm=False)
        case JobState.STUCK:
            stuck = job.failure or Failure(kind=FailureKind.UNKNOWN, detail="the mover's pod does not start")
            return _failed(prime, stuck, now, now)
        case JobState.ENDED:
            pass
        case _:
            assert_never(job.state)
    result = job.result
    if result is not None and _restored(result, snapshot):
        return MarkFilled(result=result)
    failure = job.failure or Failure(kind=FailureKind.UNKNOWN, detail="the mover ended without a result")
    if failure.kind is FailureKind.SNAPSHOT_MISSING:
        return Discard(why=failure.detail)
    return _failed(prime, failure, job.ended or now, now)


def _restored(result: RunResult, snapshot: str) -> bool:
    return isinstance(result.outcome, Restored) and result.outcome.snapshot == snapshot


def _failed(prime: PrimeFacts, failure: Failure, ended: datetime, now: datetime) -> Step:
    due = ended + retry.after(failure.kind, prime.attempt + 1)
    if now < due:
        return Waiting(reason=failure.kind.value, detail=failure.detail, retry_after=due - now)
    return RetryJob(failure=failure, attempt=prime.attempt + 1, due=due)
