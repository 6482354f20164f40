"""What two witnesses prove, and what they do not."""

from datetime import timedelta

import pytest
from hypothesis import given

from holdfast.decide import evidence
from holdfast.model.evidence import Absent, Doubt, Evidence, Exists, Inventory, Remembered, Unknown
from holdfast.model.failure import Failure, FailureKind
from holdfast.model.repository import EngineKind, Repository
from holdfast.model.snapshot import Flag
from tests import builders, strategies

A, B = builders.snapshot("a" * 32, 5), builders.snapshot("b" * 32, 1)
RA, RB = builders.recorded("a" * 32, 5), builders.recorded("b" * 32, 1)
MEMORY = Remembered(id="b" * 32, time=builders.at(1))


def judge(
    reading: Inventory | Failure | None,
    *,
    repository: Repository | None = None,
    remembered: Remembered | None = None,
) -> Evidence:
    return evidence.judge(
        builders.IDENTITY,
        reading,
        repository=repository or builders.repository(),
        asked=builders.NOW,
        remembered=remembered,
        now=builders.NOW,
    )


def why(found: Evidence) -> object:
    assert isinstance(found, Unknown), found
    assert found.detail
    return found.why


def test_nothing_listed_and_nothing_recorded_is_absent() -> None:
    found = judge(builders.inventory(builders.listing(), None))
    assert isinstance(found, Absent)
    assert found.marker == builders.marker()


def test_both_witnesses_agree_on_what_exists() -> None:
    found = judge(builders.inventory(builders.listing(A, B), builders.record(RA, RB)))
    assert isinstance(found, Exists)
    assert [each.id for each in found.snapshots] == [A.id, B.id]
    assert all(not each.flags for each in found.snapshots)


@pytest.mark.parametrize("kind", FailureKind)
def test_a_failed_inventory_is_unknown_for_its_reason(kind: FailureKind) -> None:
    assert why(judge(Failure(kind=kind, detail="it failed"))) is kind


def test_an_inventory_that_began_before_the_claim_asked_answers_nothing() -> None:
    early = builders.inventory(builders.listing(), None, began=builders.NOW - timedelta(seconds=1))
    assert why(judge(early)) is Doubt.NOT_ASKED


def test_an_inventory_about_others_answers_nothing() -> None:
    other = Inventory(began=builders.NOW, marker=builders.marker(), recorded=0, answers={})
    assert why(judge(other)) is Doubt.NOT_ASKED


def test_an_empty_listing_of_something_recorded_names_the_backup_that_is_gone() -> None:
    found = judge(builders.inventory(builders.listing(), builders.record(RA, RB)))
    assert why(found) is Doubt.NEWEST_MISSING
    assert isinstance(found, Unknown)
    assert (found.known, found.found) == (RB.id, None)


def test_a_missing_newest_backup_names_both() -> None:
    found = judge(builders.inventory(builders.listing(A), builders.record(RA, RB)))
    assert why(found) is Doubt.NEWEST_MISSING
    assert isinstance(found, Unknown)
    assert (found.known, found.found) == (RB.id, A.id)
    assert RB.id in found.detail
    assert A.id in found.detail


def test_snapshots_without_a_record_are_flagged() -> None:
    found = judge(builders.inventory(builders.listing(A), None))
    assert isinstance(found, Exists)
    assert found.snapshots[0].flags == {Flag.UNRECORDED}


def test_a_snapshot_newer_than_the_record_is_flagged() -> None:
    found = judge(builders.inventory(builders.listing(A, B), builders.record(RA)))
    assert isinstance(found, Exists)
    assert [each.flags for each in found.snapshots] == [frozenset(), {Flag.UNRECORDED}]


def test_flags_come_from_the_record() -> None:
    partial = builders.recorded("b" * 32, 1, flags=(Flag.PARTIAL,))
    found = judge(builders.inventory(builders.listing(A, B), builders.record(RA, partial)))
    assert isinstance(found, Exists)
    assert found.snapshots[1].flags == {Flag.PARTIAL}


def test_a_persons_clearance_lifts_the_flags() -> None:
    partial = builders.recorded("b" * 32, 1, flags=(Flag.PARTIAL,), cleared="only a socket was missing")
    found = judge(builders.inventory(builders.listing(A, B), builders.record(RA, partial)))
    assert isinstance(found, Exists)
    assert not found.snapshots[1].flags


def test_a_remembered_backup_that_nobody_knows_is_doubt() -> None:
    assert why(judge(builders.inventory(builders.listing(), None), remembered=MEMORY)) is Doubt.REMEMBERED


def test_a_remembered_backup_whose_record_is_gone_is_doubt() -> None:
    assert why(judge(builders.inventory(builders.listing(A), None), remembered=MEMORY)) is Doubt.NO_RECORD


@pytest.mark.parametrize("field", ["pin", "known_id"])
def test_another_repository_than_expected_is_doubt(field: str) -> None:
    expected = builders.repository(**{field: "ff" * 16})
    assert why(judge(builders.inventory(builders.listing(), None), repository=expected)) is Doubt.PINNED_ELSEWHERE


def test_a_storage_of_another_engine_is_doubt() -> None:
    other = builders.repository(engine=EngineKind.RESTIC)
    assert why(judge(builders.inventory(builders.listing(), None), repository=other)) is Doubt.PINNED_ELSEWHERE


def test_an_engine_that_opened_another_repository_is_doubt() -> None:
    assert why(judge(builders.inventory(builders.listing(engine_id="ff" * 16), None))) is FailureKind.REPLACED


def test_a_restic_repository_that_its_record_does_not_know_is_doubt() -> None:
    reading = builders.inventory(
        builders.listing(A, engine_id="ff" * 16),
        builders.record(RA, engine_id="ee" * 16),
        marker_=builders.marker(engine=EngineKind.RESTIC),
    )
    assert why(judge(reading, repository=builders.repository(engine=EngineKind.RESTIC))) is FailureKind.REPLACED


def test_restic_without_a_repository_for_the_claim_is_absent() -> None:
    reading = builders.inventory(
        builders.listing(engine_id=None), None, marker_=builders.marker(engine=EngineKind.RESTIC)
    )
    assert isinstance(judge(reading, repository=builders.repository(engine=EngineKind.RESTIC)), Absent)


def test_a_record_that_cannot_be_read_is_doubt() -> None:
    broken = Failure(kind=FailureKind.BAD_RECORD, detail="not authentic")
    assert why(judge(builders.inventory(builders.listing(), broken))) is FailureKind.BAD_RECORD


def test_a_listing_that_failed_is_doubt() -> None:
    broken = Failure(kind=FailureKind.PARTIAL_LISTING, detail="skipped a manifest")
    assert why(judge(builders.inventory(broken, None))) is FailureKind.PARTIAL_LISTING


@given(reading=strategies.readings, remembered=strategies.remembered)
def test_absence_needs_every_proof(reading: Inventory | Failure | None, remembered: Remembered | None) -> None:
    found = judge(reading, remembered=remembered)
    if not isinstance(found, Absent):
        return
    assert isinstance(reading, Inventory)
    answer = reading.answers[builders.IDENTITY]
    assert answer.record is None
    assert not isinstance(answer.listing, Failure)
    assert answer.listing.snapshots == ()
    assert reading.began >= builders.NOW
    assert reading.marker.engine is EngineKind.KOPIA
    assert answer.listing.engine_id == reading.marker.repository_id
    assert remembered is None


@given(reading=strategies.inventories)
def test_existence_needs_the_newest_recorded_snapshot(reading: Inventory) -> None:
    found = judge(reading)
    if not isinstance(found, Exists):
        return
    answer = reading.answers[builders.IDENTITY]
    assert not isinstance(answer.record, Failure)
    good = [each for each in found.snapshots if not each.flags]
    if good:
        assert answer.record is not None
        assert answer.record.snapshots[-1].id in {each.id for each in found.snapshots}
