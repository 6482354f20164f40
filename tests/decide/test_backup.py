"""When a backup starts, and when it counts."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from holdfast.decide import backup, capacity, intent, protection, quality, retry
from holdfast.model.backup import Counted, Due, Foreign, Held, NotCounted, NotDue, Running, Void
from holdfast.model.claim import ClaimPhase, ClaimRef
from holdfast.model.failure import Failure, FailureKind
from holdfast.model.population import JobFacts, JobState
from holdfast.model.protection import BackupMemory, Plan
from holdfast.model.run import BackedUp, RunResult
from holdfast.model.snapshot import Flag
from tests import builders

BOUND = builders.claim(phase=ClaimPhase.BOUND, volume_name="pv-1", created=builders.at(48))


def plan(**annotations: str) -> Plan:
    marked = {f"holdfast.dev/{key.replace('_', '-')}": value for key, value in annotations.items()}
    claim = builders.claim(annotations=marked)
    found = protection.plan(claim.ref, intent.read(claim, {}), {"default": builders.repository()})
    assert isinstance(found, Plan)
    return found


def due(claim: Any = BOUND, memory: BackupMemory | None = None, **facts: Any) -> Due | NotDue | Held:
    given: dict[str, Any] = {
        "started_empty": None,
        "restoring": False,
        "writer": None,
        "first_backup_after": timedelta(hours=2),
        "now": builders.NOW,
    }
    wish = facts.pop("plan", None) or plan()
    return backup.due(claim, wish, memory or BackupMemory(), **(given | facts))


def test_a_claim_without_backup_is_due_at_its_slot() -> None:
    found = due()
    assert isinstance(found, Due)
    assert builders.NOW - timedelta(hours=1) < found.slot <= builders.NOW


def test_a_served_slot_is_not_due_again() -> None:
    first = due()
    assert isinstance(first, Due)
    found = due(memory=BackupMemory(slot=first.slot, last_id="a", last_time=first.slot))
    assert found == NotDue(at=first.slot + timedelta(hours=1))


def test_missed_slots_are_caught_up_once() -> None:
    first = due()
    assert isinstance(first, Due)
    assert due(memory=BackupMemory(slot=first.slot - timedelta(hours=9))) == first


def test_a_new_claim_waits_for_its_first_slot() -> None:
    fresh = replace(BOUND, created=builders.NOW)
    assert isinstance(due(fresh), NotDue)


def test_a_claim_that_started_empty_waits_for_its_minimum_age() -> None:
    began = builders.NOW - timedelta(minutes=90)
    assert due(started_empty=began) == NotDue(at=began + timedelta(hours=2))


def test_backup_now_overrides_schedule_and_minimum_age() -> None:
    found = due(plan=plan(backup_now="1"), started_empty=builders.NOW)
    assert isinstance(found, Due)
    assert found.now_value == "1"
    assert isinstance(due(plan=plan(backup_now="1"), memory=BackupMemory(served_now="1", slot=builders.NOW)), NotDue)


def test_nothing_starts_during_a_restore() -> None:
    found = due(restoring=True, plan=plan(backup_now="1"))
    assert isinstance(found, Held)
    assert found.reason == "Restoring"


def test_a_claim_whose_history_another_writes_is_held() -> None:
    found = due(writer=ClaimRef(namespace="apps", name="other"))
    assert isinstance(found, Held)
    assert found.reason == "IdentityClash"


@pytest.mark.parametrize("claim", [builders.claim(), replace(BOUND, deleting=True)])
def test_a_claim_that_is_not_there_is_not_due(claim: Any) -> None:
    assert due(claim, plan=plan(backup_now="1")) == NotDue(at=None)


def test_a_failed_run_waits_for_its_retry() -> None:
    later = builders.NOW + timedelta(seconds=9)
    assert due(memory=BackupMemory(attempt=2, retry_at=later)) == NotDue(at=later)
    found = due(memory=BackupMemory(attempt=2, retry_at=builders.NOW))
    assert isinstance(found, Due)
    assert found.attempt == 2


def test_a_retry_waits_but_a_new_wish_of_a_person_does_not() -> None:
    failed = BackupMemory(attempt=3, retry_at=builders.at(-1), failure="RepositoryFull: no space", failed_now="1")
    assert due(memory=failed) == NotDue(at=builders.at(-1))
    assert due(plan=plan(backup_now="1"), memory=failed) == NotDue(at=builders.at(-1))
    assert isinstance(due(plan=plan(backup_now="2"), memory=failed), Due)


def test_a_volume_that_somebody_else_bound_is_not_backed_up_until_a_person_asks() -> None:
    taken = Foreign(reason="BoundByOther", detail="taken", since=builders.at(1))
    found = due(foreign=taken)
    assert isinstance(found, Held)
    assert found.reason == "BoundByOther"
    assert found.alarm
    old = BackupMemory(last_id="a", last_time=builders.at(2))
    assert isinstance(due(foreign=taken, memory=old), Held)
    assert isinstance(due(foreign=taken, plan=plan(backup_now="1")), Due)
    accepted = BackupMemory(last_id="b", last_time=builders.at(0.5), served_now="1")
    assert not isinstance(due(foreign=taken, memory=accepted, plan=plan(backup_now="1")), Held)


def test_nothing_is_backed_up_before_it_is_known_whether_a_restore_was_missed() -> None:
    found = due(unjudged=True, plan=plan(backup_now="1"))
    assert isinstance(found, Held)
    assert not found.alarm


def test_a_block_volume_is_never_read_as_a_file_system() -> None:
    found = due(replace(BOUND, volume_mode="Block"), plan=plan(backup_now="1"))
    assert isinstance(found, Held)
    assert found.reason == "Block"


OUTCOME = BackedUp(snapshot=builders.recorded(), new_bytes=1, seconds=1.0)
DONE = JobFacts(
    name="j", state=JobState.ENDED, ended=builders.NOW, result=RunResult(run="r", outcome=OUTCOME), failure=None
)


def judge(job: JobFacts, claim: Any = BOUND, now: datetime = builders.NOW) -> Counted | NotCounted | Void | Running:
    return backup.judge(job, claim=claim, claim_uid="uid-1", volume="pv-1", attempt=0, now=now)


def test_a_recorded_run_of_the_same_claim_counts() -> None:
    assert judge(DONE) == Counted(outcome=OUTCOME)


@pytest.mark.parametrize(
    "claim",
    [None, replace(BOUND, uid="uid-2"), replace(BOUND, deleting=True), replace(BOUND, volume_name="pv-2")],
)
def test_a_run_whose_claim_changed_meanwhile_is_void(claim: Any) -> None:
    found = judge(DONE, claim)
    assert isinstance(found, Void)
    assert "deleted or re-created" in found.detail


def test_a_run_that_read_another_volume_than_the_snapshot_s_does_not_count() -> None:
    found = backup.judge(DONE, claim=BOUND, claim_uid="uid-1", volume="pv-1", attempt=0, now=builders.NOW, stray=True)
    assert isinstance(found, NotCounted)
    assert found.failure.kind is FailureKind.NO_VOLUME_SNAPSHOT


def test_a_running_mover_is_waited_for() -> None:
    assert judge(replace(DONE, state=JobState.RUNNING, result=None)) == Running()


def test_a_failed_run_is_tried_again_later() -> None:
    failure = Failure(kind=FailureKind.REPOSITORY_FULL, detail="no space left")
    found = judge(replace(DONE, result=None, failure=failure))
    assert isinstance(found, NotCounted)
    assert found.failure == failure
    assert found.retry_at > builders.NOW


@pytest.mark.parametrize("kind", FailureKind)
def test_retries_never_end_and_grow_to_a_bound(kind: FailureKind) -> None:
    pauses = [retry.after(kind, attempt) for attempt in range(1, 40)]
    assert pauses == sorted(pauses)
    assert timedelta() < pauses[0]
    assert pauses[-1] <= timedelta(minutes=30)


def test_the_gate_admits_the_longest_waiting_first() -> None:
    waiting = [capacity.Waiting(key=str(hours), since=builders.at(hours)) for hours in (1, 3, 2)]
    assert capacity.admit(waiting, ["x"], 3) == ("3", "2")
    assert capacity.admit(waiting, ["x", "y", "z"], 3) == ()
    assert capacity.admit(waiting, ["3"], 2) == ("2",)


@pytest.mark.parametrize(
    ("files", "unreadable", "last", "expected"),
    [
        (3, 0, None, ()),
        (0, 0, None, ()),
        (0, 0, builders.recorded(files=0), ()),
        (0, 0, builders.recorded(files=9), (Flag.EMPTY,)),
        (3, 2, None, (Flag.PARTIAL,)),
        (0, 1, builders.recorded(files=9), (Flag.PARTIAL, Flag.EMPTY)),
    ],
)
def test_a_snapshot_is_judged_against_the_last_good_one(
    files: int, unreadable: int, last: Any, expected: tuple[Flag, ...]
) -> None:
    assert quality.flags(files, unreadable, last) == expected


def test_the_last_good_snapshot_is_unflagged_or_cleared() -> None:
    good = builders.recorded("a" * 32)
    flagged = builders.recorded("b" * 32, flags=(Flag.EMPTY,))
    cleared = builders.recorded("c" * 32, flags=(Flag.EMPTY,), cleared="moved away")
    assert quality.last_good((good, flagged)) == good
    assert quality.last_good((good, cleared)) == cleared
    assert quality.last_good((flagged,)) is None
