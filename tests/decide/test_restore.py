"""The truth table of design: evidence × the claim's wish → verdict."""

import pytest
from hypothesis import given

from holdfast.decide import restore
from holdfast.model.evidence import Absent, Doubt, Evidence, Exists, Unknown
from holdfast.model.failure import FailureKind
from holdfast.model.intent import AsOf, Auto, ById, Never, Required, RestoreMode, Unreadable
from holdfast.model.snapshot import Flag
from holdfast.model.verdict import Declined, Hold, Restore, StartEmpty, Wait
from tests import builders, strategies

OLD = builders.snapshot("a" * 32, 5)
NEW = builders.snapshot("b" * 32, 1)
EXISTS = Exists(learned=builders.NOW, snapshots=(OLD, NEW))
ABSENT = Absent(learned=builders.NOW, marker=builders.marker(), listing=builders.listing(), recorded=0)
UNKNOWN = Unknown(learned=builders.NOW, why=FailureKind.UNREACHABLE, detail="connection refused")
REASON = Never(reason="a fresh start")


@pytest.mark.parametrize(
    ("evidence", "mode", "expected"),
    [
        (EXISTS, Auto(), Restore(snapshot=NEW)),
        (EXISTS, Required(), Restore(snapshot=NEW)),
        (EXISTS, REASON, StartEmpty(because=Declined(reason="a fresh start"))),
        (ABSENT, Auto(), StartEmpty(because=ABSENT)),
        (ABSENT, REASON, StartEmpty(because=Declined(reason="a fresh start"))),
        (UNKNOWN, REASON, StartEmpty(because=Declined(reason="a fresh start"))),
        (EXISTS, ById(snapshot=OLD.id), Restore(snapshot=OLD)),
        (EXISTS, ById(snapshot="aaaaaaaa"), Restore(snapshot=OLD)),
        (EXISTS, AsOf(time=builders.at(2)), Restore(snapshot=OLD)),
    ],
)
def test_what_is_known_is_done(evidence: Evidence, mode: RestoreMode, expected: object) -> None:
    assert restore.decide(evidence, mode, accept_partial=None) == expected


@pytest.mark.parametrize(
    ("evidence", "mode", "why"),
    [
        (ABSENT, Required(), Hold.REQUIRED),
        (UNKNOWN, Auto(), FailureKind.UNREACHABLE),
        (UNKNOWN, Required(), FailureKind.UNREACHABLE),
        (UNKNOWN, ById(snapshot=OLD.id), FailureKind.UNREACHABLE),
        (EXISTS, ById(snapshot="c" * 32), Hold.NOT_FOUND),
        (ABSENT, ById(snapshot="c" * 32), Hold.NOT_FOUND),
        (EXISTS, AsOf(time=builders.at(9)), Hold.NOT_FOUND),
        (EXISTS, Never(reason=None), Hold.NO_REASON),
        (ABSENT, Never(reason=None), Hold.NO_REASON),
        (ABSENT, Unreadable(text="newest"), Hold.UNREADABLE),
    ],
)
def test_what_is_not_clear_waits(evidence: Evidence, mode: RestoreMode, why: object) -> None:
    verdict = restore.decide(evidence, mode, accept_partial=None)
    assert isinstance(verdict, Wait)
    assert verdict.why == why
    assert verdict.detail
    assert verdict.retry_after.total_seconds() > 0


def test_a_newer_flagged_snapshot_is_skipped_and_named() -> None:
    flagged = builders.snapshot("b" * 32, 1, flags=frozenset({Flag.PARTIAL}))
    evidence = Exists(learned=builders.NOW, snapshots=(OLD, flagged))
    assert restore.decide(evidence, Auto(), accept_partial=None) == Restore(snapshot=OLD, skipped=(flagged,))


def test_accepting_partial_snapshots_restores_the_newest() -> None:
    flagged = builders.snapshot("b" * 32, 1, flags=frozenset({Flag.PARTIAL}))
    evidence = Exists(learned=builders.NOW, snapshots=(OLD, flagged))
    assert restore.decide(evidence, Auto(), accept_partial="logs only") == Restore(snapshot=flagged)


def test_only_flagged_snapshots_wait_and_name_the_way_out() -> None:
    flagged = builders.snapshot("b" * 32, 1, flags=frozenset({Flag.INCOMPLETE}))
    verdict = restore.decide(Exists(learned=builders.NOW, snapshots=(flagged,)), Auto(), accept_partial="logs only")
    assert isinstance(verdict, Wait)
    assert verdict.why is Hold.FLAGGED
    assert flagged.id in verdict.detail


def test_a_person_may_name_an_older_snapshot_when_the_newest_is_missing() -> None:
    evidence = Unknown(learned=builders.NOW, why=Doubt.NEWEST_MISSING, detail="the newest is gone", snapshots=(OLD,))
    assert isinstance(restore.decide(evidence, Auto(), accept_partial=None), Wait)
    assert restore.decide(evidence, ById(snapshot=OLD.id), accept_partial=None) == Restore(snapshot=OLD)


@given(evidence=strategies.evidences, mode=strategies.modes)
def test_nothing_but_proof_or_a_persons_reason_starts_empty(evidence: Evidence, mode: RestoreMode) -> None:
    verdict = restore.decide(evidence, mode, accept_partial=None)
    if isinstance(verdict, StartEmpty):
        assert mode == REASON


@given(evidence=strategies.evidences)
def test_flagged_snapshots_are_never_restored_by_themselves(evidence: Evidence) -> None:
    verdict = restore.decide(evidence, Auto(), accept_partial=None)
    if isinstance(verdict, Restore):
        assert not verdict.snapshot.flags


@pytest.mark.parametrize("why", [*Doubt, *FailureKind])
def test_every_doubt_is_asked_again(why: Doubt | FailureKind) -> None:
    assert restore.retry_after(why).total_seconds() > 0
