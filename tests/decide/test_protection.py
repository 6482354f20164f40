"""Whose history a claim reads and writes, and where."""

from datetime import timedelta
from typing import Any

import pytest

from holdfast.decide import intent, protection
from holdfast.model.claim import ClaimRef, Identity
from holdfast.model.evidence import Doubt
from holdfast.model.protection import BackupMemory, Health, NoPlan, Plan
from holdfast.model.repository import Grant, Repository
from holdfast.model.verdict import Hold
from tests import builders

DEFAULT = builders.repository()


def plan(repositories: dict[str, Repository | str], **changes: Any) -> Plan | NoPlan:
    claim = builders.claim(**changes)
    return protection.plan(claim.ref, intent.read(claim, {}), repositories)


def test_a_claim_goes_to_the_default_repository_under_its_own_name() -> None:
    found = plan({"default": DEFAULT, "other": builders.repository(name="other")})
    assert isinstance(found, Plan)
    assert found.repository.value.name == "default"
    assert found.identity.value == Identity(namespace="apps", claim="data")


def test_the_only_repository_is_the_default() -> None:
    found = plan({"nas": builders.repository(name="nas", cluster="home")})
    assert isinstance(found, Plan)
    assert str(found.identity.value) == "home/apps/data"


@pytest.mark.parametrize(
    ("repositories", "annotations", "why", "words"),
    [
        ({}, {}, Doubt.NOT_CHOSEN, "no Repository default"),
        ({"a": DEFAULT, "b": DEFAULT}, {}, Doubt.NOT_CHOSEN, "several"),
        ({"default": DEFAULT}, {"holdfast.dev/repository": "nas"}, Doubt.NOT_CHOSEN, "no Repository nas"),
        ({"default": "Secret missing"}, {}, Doubt.NOT_READY, "Secret missing"),
        ({"default": builders.repository(namespaces=("media",))}, {}, Doubt.NOT_CHOSEN, "spec.namespaces"),
        ({"default": DEFAULT}, {"holdfast.dev/identity": "other/data"}, Hold.NOT_GRANTED, "spec.grants"),
        ({"default": DEFAULT}, {"holdfast.dev/identity": "nonsense"}, Doubt.NOT_CHOSEN, "nonsense"),
    ],
)
def test_what_cannot_be_planned_says_why(
    repositories: dict[str, Repository | str], annotations: dict[str, str], why: object, words: str
) -> None:
    found = plan(repositories, annotations=annotations)
    assert isinstance(found, NoPlan)
    assert found.why == why
    assert words in found.detail


@pytest.mark.parametrize(
    ("grants", "identity", "granted"),
    [
        ((), "apps/other", True),
        ((), "media/data", False),
        ((Grant(reader="apps", owner="media"),), "media/data", True),
        ((Grant(reader="apps", owner="*"),), "media/data", True),
        ((Grant(reader="media", owner="apps"),), "media/data", False),
        ((), "old/apps/data", False),
        ((Grant(reader="apps", owner="old/apps"),), "old/apps/data", True),
    ],
)
def test_nobody_gets_anothers_history_without_a_grant(grants: tuple[Grant, ...], identity: str, granted: bool) -> None:
    repository = builders.repository(grants=grants)
    found = protection.identify(builders.REF, Identity.parse(identity), repository)
    assert isinstance(found, NoPlan) is not granted


def test_of_two_claims_with_one_identity_the_natural_one_writes() -> None:
    mine, thief = builders.REF, ClaimRef(namespace="apps", name="a-copy")
    key = ("default", builders.IDENTITY)
    other = ("default", Identity(namespace="apps", claim="third"))
    third = ClaimRef(namespace="apps", name="third")
    assert protection.clashes({thief: key, mine: key, third: other}) == {thief: mine}


def test_two_renamed_claims_with_one_identity_do_not_both_write() -> None:
    first, second = ClaimRef(namespace="apps", name="a"), ClaimRef(namespace="apps", name="b")
    key = ("default", builders.IDENTITY)
    assert protection.clashes({second: key, first: key}) == {second: first}


@pytest.mark.parametrize(
    ("memory", "restoring", "expected"),
    [
        (BackupMemory(last_id="a", last_time=builders.at(0.5)), None, Health.PROTECTED),
        (BackupMemory(), None, Health.NEW),
        (BackupMemory(last_id="a", last_time=builders.at(9)), None, Health.LATE),
        (BackupMemory(last_id="a", last_time=builders.at(0.5), failure="Unreachable: no"), None, Health.FAILING),
        (BackupMemory(last_id="a", last_time=builders.at(0.5), flags=("Partial",)), None, Health.FLAGGED),
        (BackupMemory(last_id="a", last_time=builders.at(0.5)), "Waiting", Health.WAITING),
        (BackupMemory(last_id="a", last_time=builders.at(0.5)), "Restoring", Health.RESTORING),
        (BackupMemory(last_id="a", last_time=builders.at(0.5)), "Done", Health.PROTECTED),
    ],
)
def test_the_ledger_has_one_word_for_a_claim(memory: BackupMemory, restoring: str | None, expected: Health) -> None:
    found = plan({"default": DEFAULT})
    assert isinstance(found, Plan)
    created = builders.NOW - timedelta(minutes=5)
    assert protection.health(found, memory, restoring=restoring, created=created, now=builders.NOW) is expected


def test_the_worst_state_comes_first() -> None:
    assert protection.worst([Health.PROTECTED, Health.LATE, Health.WAITING]) is Health.WAITING
    assert protection.worst([]) is None


def test_what_a_claim_is_can_keep_it_from_being_protected_or_restored() -> None:
    assert protection.limits(builders.claim()) == protection.unarmed(builders.claim()) == ()
    assert "volumeMode Filesystem" in str(protection.limits(builders.claim(volume_mode="Block"))[0])
    for static in (builders.claim(storage_class=""), builders.claim(has_selector=True)):
        assert "not restored by itself" in str(protection.unarmed(static)[0])
