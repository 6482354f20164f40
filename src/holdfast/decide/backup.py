"""When a claim's next backup starts, and whether one that ended counts."""

from datetime import datetime, timedelta
from typing import Final, assert_never

from holdfast.decide import retry, schedule
from holdfast.model.backup import Counted, Due, Foreign, Held, NotCounted, NotDue, Running, Void
from holdfast.model.claim import Claim, ClaimPhase, ClaimRef
from holdfast.model.failure import Failure, FailureKind
from holdfast.model.population import JobFacts, JobState
from holdfast.model.protection import BackupMemory, Plan
from holdfast.model.run import BackedUp

SOON: Final = timedelta(seconds=10)


def due(
    claim: Claim,
    plan: Plan,
    memory: BackupMemory,
    *,
    started_empty: datetime | None,
    restoring: bool,
    writer: ClaimRef | None,
    first_backup_after: timedelta,
    now: datetime,
    foreign: Foreign | None = None,
    unjudged: bool = False,
) -> Due | NotDue | Held:
    """Return whether a run of the claim is due.

    `started_empty`: when the claim started empty, for the minimum age of a first backup. `writer`: the other claim
    that writes this identity, if there is one. `foreign`: the claim's volume may not hold its data; `unjudged`: nobody
    knows yet whether. A person's `backup-now` overrides schedule and minimum age, and accepts such a volume.
    """
    if claim.deleting or claim.phase is not ClaimPhase.BOUND:
        return NotDue(at=None)
    if writer is not None:
        return Held(
            reason="IdentityClash",
            detail=f"claim {writer} writes the history {plan.identity.value}: two claims must not share one. "
            "Remove annotation holdfast.dev/identity from one of them, or the claim",
            retry_after=None,
        )
    if claim.volume_mode == "Block":
        return Held(
            reason="Block",
            detail="volumeMode is Block: neither backed up nor restored. Use a claim of volumeMode Filesystem",
            retry_after=None,
        )
    if restoring:
        return Held(reason="Restoring", detail="its data is being restored", retry_after=SOON, alarm=False)
    if unjudged:
        return Held(
            reason="NotJudged", detail="whether it missed a restore is asked first", retry_after=SOON, alarm=False
        )
    wish = _wish(claim, plan, memory, started_empty, first_backup_after, now)
    if not isinstance(wish, Due):
        return wish
    if foreign is not None and wish.now_value is None and is_standing(foreign, memory):
        accept = "To back it up all the same, set annotation holdfast.dev/backup-now to a new value"
        return Held(reason=foreign.reason, detail=f"{foreign.detail}. {accept}", retry_after=None)
    # A value of backup-now that has not failed yet is a person's new wish: it waits for no retry.
    if memory.retry_at is not None and now < memory.retry_at and wish.now_value in (None, memory.failed_now):
        return NotDue(at=memory.retry_at)
    return wish


def is_standing(foreign: Foreign, memory: BackupMemory) -> bool:
    """Return whether nobody has accepted the volume since: a backup that counts is made only on a person's word."""
    return memory.last_time is None or memory.last_time < foreign.since


def _wish(
    claim: Claim,
    plan: Plan,
    memory: BackupMemory,
    started_empty: datetime | None,
    first_backup_after: timedelta,
    now: datetime,
) -> Due | NotDue:
    if plan.backup_now is not None and plan.backup_now != memory.served_now:
        return Due(slot=now, now_value=plan.backup_now, attempt=memory.attempt)
    identity, tier, cron = str(plan.identity.value), plan.tier.value, plan.cron
    slot = schedule.due_since(tier, cron, identity, now)
    following = schedule.next_due(tier, cron, identity, now)
    if slot is None:
        return NotDue(at=None)
    served = memory.slot is not None and memory.slot >= slot
    # One catch-up for all that was missed; a claim's first slot is the first one after it was created.
    if served or (memory.slot is None and slot < claim.created):
        return NotDue(at=following)
    ripe = started_empty + first_backup_after if started_empty is not None and memory.last_time is None else now
    if now < ripe:
        return NotDue(at=ripe)
    return Due(slot=slot, now_value=None, attempt=memory.attempt)


def judge(
    job: JobFacts,
    *,
    claim: Claim | None,
    claim_uid: str,
    volume: str,
    attempt: int,
    now: datetime,
    stray: bool = False,
) -> Counted | NotCounted | Void | Running:
    """Return whether a run that was started on claim `claim_uid` and `volume` counts.

    pvc-protection does not see our alias of the volume: a volume deleted meanwhile reads as empty, exit 0. So the
    claim must still be the same one, bound to the same volume and not being deleted. `stray`: the volume that
    was read is none made from our snapshot of the claim.
    """
    match job.state:
        case JobState.RUNNING:
            return Running()
        case JobState.STUCK | JobState.ENDED:
            pass
        case _:
            assert_never(job.state)
    if claim is None or claim.uid != claim_uid or claim.volume_name != volume or claim.deleting:
        return Void(detail="the claim was deleted or re-created during the run")
    if stray:
        stranger = Failure(kind=FailureKind.NO_VOLUME_SNAPSHOT, detail="another volume was read than the snapshot's")
        return NotCounted(failure=stranger, retry_at=now + retry.after(stranger.kind, attempt + 1))
    if job.result is not None and isinstance(job.result.outcome, BackedUp):
        return Counted(outcome=job.result.outcome)
    failure = job.failure or Failure(kind=FailureKind.UNKNOWN, detail="the mover ended without a result")
    return NotCounted(failure=failure, retry_at=(job.ended or now) + retry.after(failure.kind, attempt + 1))
