"""Did a claim that was bound without a hold miss its data?"""

from dataclasses import replace
from typing import Any

import pytest

from holdfast.decide import protection, unheld
from holdfast.decide.intent import read
from holdfast.model.admission import Rule
from holdfast.model.claim import ClaimPhase, DataSource, Identity, Owner
from holdfast.model.evidence import Answer, Inventory
from holdfast.model.failure import Failure, FailureKind
from holdfast.model.protection import Plan
from holdfast.model.snapshot import Listing
from tests import builders

RULE = Rule(own_namespace="holdfast", by_name=("local-path",))
BROKEN = Failure(kind=FailureKind.DAMAGED, detail="damaged")
CHOSEN = {"pv.kubernetes.io/bound-by-controller": "yes"}
BOUND: dict[str, Any] = {"phase": ClaimPhase.BOUND, "volume_name": "pvc-1", "annotations": CHOSEN}
OURS = DataSource(group="holdfast.dev", kind="Restore", name="auto")
DATABASE = Owner(api_version="postgresql.cnpg.io/v1", kind="Cluster", name="x", uid="u", controller=True)


def asked(*, filled: bool = False, **changes: Any) -> bool:
    claim = builders.claim(**BOUND | changes)
    plan = protection.plan(claim.ref, read(claim, {}), {"default": builders.repository()})
    assert isinstance(plan, Plan)
    return unheld.is_asked(claim, plan, {}, RULE, filled_by_us=filled)


def test_a_claim_that_the_rule_would_hold_today_is_asked_about() -> None:
    assert asked()
    assert asked(storage_class="local-path")
    assert not asked(filled=True)


def test_a_hold_that_the_provisioner_ignored_is_asked_about() -> None:
    assert asked(source=OURS)
    assert not asked(source=OURS, filled=True)
    assert not asked(source=replace(OURS, name="mine"))  # another history than its own


@pytest.mark.parametrize(
    "changes",
    [
        {"phase": ClaimPhase.PENDING},
        {"deleting": True},
        {"volume_name": "holdfast.apps.data"},
        {"annotations": {}},  # a person named the volume
        {"storage_class": ""},
        {"has_selector": True},
        {"owners": (DATABASE,)},
        {"annotations": CHOSEN | {"holdfast.dev/restore": "never", "holdfast.dev/restore-reason": "new"}},
    ],
)
def test_others_are_not(changes: dict[str, Any]) -> None:
    assert not asked(**changes)


def judged(answer: Answer | None, uid: str = "uid-1") -> unheld.Judgement:
    answers = {builders.IDENTITY: answer} if answer is not None else {}
    inventory = Inventory(began=builders.NOW, marker=builders.marker(), recorded=1, answers=answers)
    return unheld.judge(inventory, builders.IDENTITY, uid)


def listing(*uids: str) -> Listing:
    snapshots = tuple(
        replace(builders.snapshot(str(index) * 32, 9 - index), tags={"claim-uid": uid} if uid else {})
        for index, uid in enumerate(uids)
    )
    return Listing(engine_id=builders.REPOSITORY_ID, snapshots=snapshots)


def test_backups_of_earlier_claims_alone_were_missed() -> None:
    record = builders.record(builders.recorded("a" * 32, 2), builders.recorded("b" * 32, 1))
    found = judged(Answer(listing=listing(), record=record))
    assert found == unheld.Missed(count=2, newest="b" * 32, time=builders.at(1))
    assert isinstance(judged(Answer(listing=listing("uid-0"), record=None)), unheld.Missed)


def test_a_backup_of_its_own_says_that_nothing_is_missed_whatever_else_is_broken() -> None:
    record = builders.record(builders.recorded(), builders.recorded("b" * 32, claim_uid="uid-1"))
    assert judged(Answer(listing=BROKEN, record=record)) == unheld.Nothing()
    assert judged(Answer(listing=listing("uid-0", "uid-1"), record=BROKEN)) == unheld.Nothing()


def test_without_history_nothing_is_missed() -> None:
    assert judged(Answer(listing=listing(), record=None)) == unheld.Nothing()
    assert judged(Answer(listing=listing(""), record=None)) == unheld.Nothing()  # made by others: nobody's


@pytest.mark.parametrize(
    "answer",
    [
        Answer(listing=BROKEN, record=None),
        Answer(listing=listing(), record=BROKEN),
        Answer(listing=listing("uid-0"), record=BROKEN),
        None,
    ],
)
def test_what_is_not_whole_is_unclear(answer: Answer | None) -> None:
    assert isinstance(judged(answer), unheld.Unclear)


def test_a_repository_that_cannot_be_asked_is_unclear() -> None:
    assert isinstance(unheld.judge(BROKEN, Identity(namespace="apps", claim="data"), "u"), unheld.Unclear)
