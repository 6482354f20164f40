"""Filling a claim: one next step from any state that a crash can leave."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.decide import population
from holdfast.model.claim import ClaimPhase, ClaimRef
from holdfast.model.evidence import Absent
from holdfast.model.failure import Failure, FailureKind
from holdfast.model.population import (
    Adopt,
    ByName,
    ChooseNode,
    ClassFacts,
    Discard,
    EarlierVolume,
    Finish,
    HandOver,
    JobFacts,
    JobState,
    MakePrime,
    MarkFilled,
    NeedVerdict,
    Nothing,
    PrimeFacts,
    RetryJob,
    SetAside,
    StartJob,
    Step,
    Taken,
    VolumeFacts,
    Waiting,
)
from holdfast.model.run import Restored, RunResult
from holdfast.model.verdict import Restore, StartEmpty, Verdict, Wait
from tests import builders

SNAPSHOT = builders.snapshot()
RESTORE = Restore(snapshot=SNAPSHOT)
EMPTY = StartEmpty(
    because=Absent(learned=builders.NOW, marker=builders.marker(), listing=builders.listing(), recorded=0)
)
WAIT = Wait(why=FailureKind.UNREACHABLE, detail="connection refused", retry_after=timedelta(seconds=5))
WFFC = ClassFacts(name="standard", waits_for_consumer=True)
PRIME = PrimeFacts(
    uid="prime-uid",
    created=builders.at(0.1),
    deleting=False,
    node="laptop",
    decided_for="uid-1",
    snapshot=SNAPSHOT.id,
    filled=False,
    attempt=0,
)
VOLUME = VolumeFacts(
    name="pv-1",
    provisioned=True,
    claim=ClaimRef(namespace="holdfast", name="fill"),
    claim_uid="prime-uid",
    capacity_bytes=1 << 30,
    access_modes=("ReadWriteOnce",),
)
HANDED = replace(VOLUME, claim=builders.REF, claim_uid="uid-1")
RUNNING = JobFacts(name="fill-0", state=JobState.RUNNING, ended=None, result=None, failure=None)
RESULT = RunResult(
    run="fill-0", outcome=Restored(snapshot=SNAPSHOT.id, files=3, bytes=30, owners_kept=True, seconds=1.0)
)
DONE = replace(RUNNING, state=JobState.ENDED, ended=builders.at(0), result=RESULT)
KILLED = replace(
    RUNNING,
    state=JobState.ENDED,
    ended=builders.at(1),
    failure=Failure(kind=FailureKind.CANCELED, detail="killed"),
)


def step(claim: Any = None, **facts: Any) -> Step:
    given_: dict[str, Any] = {
        "storage_class": WFFC,
        "prime": None,
        "volume": None,
        "job": None,
        "verdict": None,
        "now": builders.NOW,
    }
    return population.next_step(claim or builders.claim(), **(given_ | facts))


def test_the_repository_is_asked_first() -> None:
    assert step() == NeedVerdict()


def test_doubt_waits_with_its_reason() -> None:
    found = step(verdict=WAIT)
    assert isinstance(found, Waiting)
    assert (found.reason, found.alarm) == ("Unreachable", True)


def test_waiting_for_a_consumer_is_no_alarm() -> None:
    found = step(builders.claim(selected_node=None), verdict=RESTORE)
    assert isinstance(found, Waiting)
    assert (found.reason, found.alarm) == ("WaitForFirstConsumer", False)


def test_an_immediate_class_needs_no_consumer() -> None:
    immediate = ClassFacts(name="immediate", waits_for_consumer=False)
    found = step(builders.claim(selected_node=None), storage_class=immediate, verdict=RESTORE)
    assert isinstance(found, MakePrime)


def test_a_missing_class_is_said() -> None:
    found = step(storage_class=None, verdict=RESTORE)
    assert isinstance(found, Waiting)
    assert found.reason == "StorageClassMissing"


@pytest.mark.parametrize(("noted", "size"), [(None, 1 << 30), (5 << 30, 5 << 30), (1 << 20, 1 << 30)])
def test_the_prime_is_as_large_as_what_was_backed_up(noted: int | None, size: int) -> None:
    found = step(verdict=Restore(snapshot=replace(SNAPSHOT, capacity_bytes=noted)))
    assert found == MakePrime(
        verdict=Restore(snapshot=replace(SNAPSHOT, capacity_bytes=noted)), size_bytes=size, node="laptop"
    )


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"prime": PRIME, "volume": VOLUME}, StartJob(attempt=0)),
        ({"prime": PRIME, "volume": VOLUME, "job": DONE}, MarkFilled(result=RESULT)),
        ({"prime": replace(PRIME, filled=True), "volume": VOLUME}, HandOver(volume="pv-1")),
        ({"prime": replace(PRIME, snapshot=None), "volume": VOLUME}, HandOver(volume="pv-1")),
        (
            {"prime": PRIME, "volume": replace(VOLUME, provisioned=False)},
            Discard(why="it was bound to a volume that existed before", reclaim=False),
        ),
        (
            {"prime": PRIME, "volume": VOLUME, "job": KILLED},
            RetryJob(
                failure=KILLED.failure or Failure(kind=FailureKind.UNKNOWN, detail=""),
                attempt=1,
                due=builders.at(1) + timedelta(seconds=2),
            ),
        ),
    ],
)
def test_a_fill_goes_on_from_where_it_is(facts: dict[str, Any], expected: Step) -> None:
    assert step(**facts) == expected


@pytest.mark.parametrize(
    "facts",
    [
        {"prime": PRIME},
        {"prime": PRIME, "volume": VOLUME, "job": RUNNING},
        {"prime": replace(PRIME, filled=True), "volume": HANDED},
        {"prime": replace(PRIME, deleting=True)},
    ],
)
def test_what_is_under_way_is_waited_for_without_alarm(facts: dict[str, Any]) -> None:
    found = step(**facts)
    assert isinstance(found, Waiting)
    assert not found.alarm


def test_a_failed_mover_is_tried_again_after_a_pause() -> None:
    failed = replace(KILLED, ended=builders.NOW)
    found = step(prime=PRIME, volume=VOLUME, job=failed)
    assert isinstance(found, Waiting)
    assert found.alarm
    assert found.retry_after


def test_a_snapshot_that_vanished_is_decided_again() -> None:
    gone = replace(KILLED, failure=Failure(kind=FailureKind.SNAPSHOT_MISSING, detail="it is gone"))
    assert step(prime=PRIME, volume=VOLUME, job=gone) == Discard(why="it is gone")


def test_a_result_about_another_snapshot_does_not_count() -> None:
    other = RunResult(run="r", outcome=Restored(snapshot="f" * 32, files=3, bytes=30, owners_kept=True, seconds=1.0))
    assert not isinstance(step(prime=PRIME, volume=VOLUME, job=replace(DONE, result=other)), MarkFilled)


def test_another_node_chosen_meanwhile_discards_the_prime() -> None:
    assert isinstance(step(builders.claim(selected_node="other"), prime=PRIME), Discard)


class TestAClaimCreatedAgain:
    """A fill belongs to the identity: a new uid takes it over, unless there is news."""

    AGAIN = builders.claim(uid="uid-2")

    def test_asks_again_first(self) -> None:
        assert step(self.AGAIN, prime=PRIME, volume=VOLUME) == NeedVerdict()

    def test_takes_the_fill_over(self) -> None:
        assert step(self.AGAIN, prime=PRIME, volume=VOLUME, verdict=RESTORE) == Adopt()

    def test_waits_while_nobody_can_tell(self) -> None:
        assert isinstance(step(self.AGAIN, prime=PRIME, volume=VOLUME, verdict=WAIT), Waiting)

    def test_discards_it_when_a_newer_snapshot_exists(self) -> None:
        newer = Restore(snapshot=builders.snapshot("b" * 32))
        assert isinstance(step(self.AGAIN, prime=PRIME, volume=VOLUME, verdict=newer), Discard)

    def test_discards_an_empty_one_when_there_is_a_snapshot(self) -> None:
        empty = replace(PRIME, snapshot=None)
        assert isinstance(step(self.AGAIN, prime=empty, volume=VOLUME, verdict=RESTORE), Discard)

    def test_discards_one_that_is_too_small(self) -> None:
        grown = builders.claim(uid="uid-2", requested_bytes=2 << 30)
        assert isinstance(step(grown, prime=PRIME, volume=VOLUME, verdict=RESTORE), Discard)

    def test_hands_over_once_adopted(self) -> None:
        adopted = replace(PRIME, decided_for="uid-2", filled=True)
        assert step(self.AGAIN, prime=adopted, volume=HANDED) == HandOver(volume="pv-1")


class TestABoundClaim:
    BOUND = builders.claim(phase=ClaimPhase.BOUND, volume_name="pv-1")

    def test_is_finished_when_it_has_our_volume(self) -> None:
        assert step(self.BOUND, prime=replace(PRIME, filled=True), volume=HANDED) == Finish(volume="pv-1")

    def test_is_said_to_be_taken_when_it_has_another(self) -> None:
        taken = builders.claim(phase=ClaimPhase.BOUND, volume_name="pv-x")
        assert step(taken, prime=PRIME, volume=VOLUME) == Taken(volume="pv-x")

    def test_has_nothing_left_to_do_without_helpers(self) -> None:
        assert step(self.BOUND) == Nothing()

    def test_is_left_alone_while_its_identity_is_filled_for_another(self) -> None:
        other = replace(PRIME, decided_for="uid-9")
        assert step(builders.claim(phase=ClaimPhase.BOUND, volume_name="pv-x"), prime=other) == Nothing()


def test_a_claim_being_deleted_is_left_alone() -> None:
    assert step(builders.claim(deleting=True), prime=PRIME, volume=VOLUME) == Nothing()


class TestAClaimHeldByName:
    """Nobody chooses its node, and the name that it waits for must be free."""

    CLAIM = builders.claim(selected_node=None, volume_name="holdfast.apps.data")
    PLACED = ByName(expected=True, has_consumer=True, node="laptop", choosing=True, obstacle=None, earlier=None)
    LEFT = EarlierVolume(name="holdfast.apps.data", ours=True, retained=True)
    GIVEN = replace(HANDED, name="holdfast.apps.data")

    def step(self, by_name: ByName = PLACED, claim: Any = CLAIM, **facts: Any) -> Step:
        return step(claim, by_name=by_name, **facts)

    @pytest.mark.parametrize(
        ("changes", "reason", "alarm"),
        [
            ({"has_consumer": False}, "WaitForFirstConsumer", False),
            ({}, "ChoosingNode", False),
            ({"obstacle": "0/1 nodes are available"}, "ChoosingNode", True),
            ({"expected": False}, "ClassNotByName", True),
        ],
    )
    def test_waits_for_a_node(self, changes: dict[str, Any], reason: str, alarm: bool) -> None:
        found = self.step(replace(self.PLACED, node=None, **changes), verdict=RESTORE)
        assert isinstance(found, Waiting)
        assert (found.reason, found.alarm) == (reason, alarm)

    def test_has_a_node_chosen_once_it_is_known_what_is_done(self) -> None:
        unplaced = replace(self.PLACED, node=None, choosing=False)
        assert self.step(unplaced) == NeedVerdict()
        assert self.step(unplaced, verdict=EMPTY) == ChooseNode()

    @pytest.mark.parametrize("verdict", [RESTORE, EMPTY])
    def test_is_filled_on_the_chosen_node(self, verdict: Restore | StartEmpty) -> None:
        assert self.step(verdict=verdict) == MakePrime(verdict=verdict, size_bytes=1 << 30, node="laptop")

    def test_needs_no_node_where_the_class_is_immediate(self) -> None:
        immediate = ClassFacts(name="immediate", waits_for_consumer=False)
        unplaced = replace(self.PLACED, has_consumer=False, node=None, choosing=False)
        assert isinstance(self.step(unplaced, storage_class=immediate, verdict=RESTORE), MakePrime)

    def test_stays_where_it_is_filled_when_its_pod_is_gone(self) -> None:
        gone = replace(self.PLACED, has_consumer=False, node=None, choosing=False)
        assert self.step(gone, prime=PRIME, volume=VOLUME) == StartJob(attempt=0)
        assert isinstance(self.step(gone, prime=PRIME), Waiting)

    def test_is_placed_again_when_the_provisioner_refuses_the_node(self) -> None:
        assert isinstance(self.step(prime=replace(PRIME, node=None)), Discard)

    @pytest.mark.parametrize(
        ("earlier", "expected"),
        [
            (None, HandOver(volume="pv-1")),
            (LEFT, SetAside(volume="holdfast.apps.data")),
            (replace(LEFT, retained=False), "EarlierVolume"),
            (replace(LEFT, ours=False), "NameTaken"),
            (replace(LEFT, ours=False, retained=False), "NameTaken"),
        ],
    )
    def test_gets_the_volume_once_the_name_is_free(self, earlier: EarlierVolume | None, expected: Step | str) -> None:
        filled = replace(PRIME, filled=True)
        found = self.step(replace(self.PLACED, earlier=earlier), prime=filled, volume=VOLUME)
        assert (found.reason if isinstance(found, Waiting) else found) == expected

    @pytest.mark.parametrize("less", [{"capacity_bytes": 1 << 20}, {"access_modes": ("ReadOnlyMany",)}])
    def test_is_not_given_less_than_it_asked_for(self, less: dict[str, Any]) -> None:
        found = self.step(prime=replace(PRIME, filled=True), volume=replace(VOLUME, **less))
        assert isinstance(found, Waiting)
        assert (found.reason, found.alarm) == ("VolumeMismatch", True)

    def test_is_finished_once_bound(self) -> None:
        filled, bound = replace(PRIME, filled=True), replace(self.CLAIM, phase=ClaimPhase.BOUND)
        assert isinstance(self.step(prime=filled, volume=self.GIVEN), Waiting)
        assert self.step(claim=bound, prime=filled, volume=self.GIVEN) == Finish(volume="holdfast.apps.data")
        assert self.step(claim=bound, prime=filled, volume=VOLUME) == Taken(volume="holdfast.apps.data")

    def test_created_again_takes_the_offer_over(self) -> None:
        adopted = replace(PRIME, decided_for="uid-2", filled=True)
        again = replace(self.CLAIM, uid="uid-2")
        assert self.step(claim=again, prime=adopted, volume=self.GIVEN) == HandOver(volume="holdfast.apps.data")


def test_what_the_cluster_has_against_a_volume_is_said() -> None:
    quiet, loud = (step(prime=replace(PRIME, obstacle=why), volume=None) for why in (None, "the pool is full"))
    assert isinstance(quiet, Waiting)
    assert isinstance(loud, Waiting)
    assert (quiet.detail, quiet.alarm) == ("waiting for the volume", False)
    assert (loud.detail, loud.alarm) == ("waiting for the volume: the pool is full", True)


def test_a_fill_whose_volume_is_gone_is_begun_again() -> None:
    assert isinstance(step(prime=replace(PRIME, lost=True), volume=None), Discard)


def test_a_fill_that_lost_its_volume_to_the_claim_goes_on() -> None:
    found = step(prime=replace(PRIME, filled=True, lost=True), volume=HANDED)
    assert isinstance(found, Waiting)
    assert found.reason == "Binding"


primes = st.one_of(
    st.none(),
    st.builds(
        replace,
        st.just(PRIME),
        deleting=st.booleans(),
        node=st.sampled_from([None, "laptop"]),
        decided_for=st.sampled_from(["uid-1", "uid-0"]),
        snapshot=st.sampled_from([None, SNAPSHOT.id, "f" * 32]),
        filled=st.booleans(),
    ),
)
volumes = st.one_of(
    st.none(),
    st.builds(
        replace,
        st.sampled_from([VOLUME, HANDED]),
        provisioned=st.booleans(),
        claim_uid=st.sampled_from(["prime-uid", "uid-1", "uid-0"]),
    ),
)
jobs = st.sampled_from([None, RUNNING, DONE, KILLED])
verdicts: st.SearchStrategy[Verdict | None] = st.sampled_from([None, RESTORE, EMPTY, WAIT])
held_by_name = st.one_of(
    st.none(),
    st.builds(
        ByName,
        expected=st.booleans(),
        has_consumer=st.booleans(),
        node=st.sampled_from([None, "laptop"]),
        choosing=st.booleans(),
        obstacle=st.none(),
        earlier=st.one_of(
            st.none(),
            st.builds(EarlierVolume, name=st.just("holdfast.apps.data"), ours=st.booleans(), retained=st.booleans()),
        ),
    ),
)


@given(prime=primes, volume=volumes, job=jobs, verdict=verdicts, by_name=held_by_name)
def test_nothing_is_handed_over_unless_it_is_filled_or_meant_to_be_empty(
    prime: PrimeFacts | None,
    volume: VolumeFacts | None,
    job: JobFacts | None,
    verdict: Verdict | None,
    by_name: ByName | None,
) -> None:
    found = step(prime=prime, volume=volume, job=job, verdict=verdict, by_name=by_name)
    if isinstance(found, SetAside | HandOver) and by_name is not None and by_name.earlier is not None:
        assert isinstance(found, SetAside)
        assert by_name.earlier.ours
        assert by_name.earlier.retained
    if isinstance(found, HandOver | SetAside):
        assert prime is not None
        assert prime.filled or prime.snapshot is None
        assert prime.decided_for == "uid-1"
        assert volume is not None
        assert volume.provisioned
    if isinstance(found, MakePrime | Adopt):
        assert isinstance(verdict, Restore | StartEmpty)
    if isinstance(found, Discard) and volume is not None and not volume.provisioned:
        assert not found.reclaim or (prime is not None and prime.decided_for != "uid-1")


def test_a_fill_is_thrown_away_when_something_else_is_asked_for_meanwhile() -> None:
    found = step(prime=PRIME, volume=VOLUME, job=KILLED, wish="0123456789")
    assert isinstance(found, Discard)
    assert "0123456789 is asked for now" in found.why
    assert not isinstance(step(prime=replace(PRIME, wish="0123456789"), volume=VOLUME, wish="0123456789"), Discard)


def test_a_volume_that_was_handed_over_stays() -> None:
    filled = replace(PRIME, filled=True)
    assert not isinstance(step(prime=filled, volume=HANDED, wish="0123456789"), Discard)
