"""One rule: who is armed, who stays armed, who is left alone."""

from typing import Any

import pytest

from holdfast.decide import admission
from holdfast.kube import manifest
from holdfast.model.admission import Admission, Arm, LeaveAlone, Refuse, Rule, Unarmed
from tests.support import arming
from tests.support.arming import CREATES, NAMESPACES, RULE, Case, claim


@pytest.mark.parametrize("case", CREATES, ids=lambda case: case.name)
def test_a_claim_is_armed_or_left_alone(case: Case) -> None:
    found = admission.on_create(manifest.creation(case.manifest(), NAMESPACES[case.namespace]), RULE)
    match case.expected:
        case Arm():
            assert found == case.expected
        case Unarmed():
            assert found == LeaveAlone(why=case.expected)
        case _:
            assert isinstance(found, Refuse)


def test_no_two_cases_have_one_name_and_every_reason_has_one() -> None:
    assert len({case.name for case in CREATES}) == len(CREATES)
    assert {case.expected for case in CREATES if isinstance(case.expected, Unarmed)} == set(Unarmed)


def test_the_label_is_a_setting() -> None:
    rule = Rule(own_namespace="holdfast", label="example.org/keep")
    item = claim("data", "apps", labels={"example.org/keep": "daily"})
    assert admission.on_create(manifest.creation(item, {}), rule) == Arm(restore="auto")
    item = claim("data", "apps", labels={"backup": "daily"})
    assert admission.on_create(manifest.creation(item, {}), rule) == LeaveAlone(why=Unarmed.NOT_PROTECTED)


@pytest.mark.parametrize("new", [None, arming.MINE, arming.CLONE])
def test_an_update_keeps_our_reference(new: dict[str, Any] | None) -> None:
    old = claim("data", "apps", dataSourceRef=arming.OURS)
    assert updated(old, claim("data", "apps", dataSourceRef=new)) == Arm(restore="auto")


@pytest.mark.parametrize("new", [None, "pv-1", "holdfast.apps.other"])
def test_an_update_keeps_the_reserved_name(new: str | None) -> None:
    old = claim("data", "apps", volumeName="holdfast.apps.data")
    assert updated(old, claim("data", "apps", volumeName=new)) == Arm(volume="holdfast.apps.data")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"dataSourceRef": arming.OURS}, {"dataSourceRef": arming.OURS}),
        ({}, {"dataSourceRef": arming.OURS}),
        ({"dataSourceRef": arming.CLONE}, {}),
        ({}, {}),
        ({"volumeName": "pv-1"}, {}),
        ({}, {"volumeName": "pv-1"}),
    ],
)
def test_other_updates_pass(old: dict[str, Any], new: dict[str, Any]) -> None:
    assert isinstance(updated(claim("data", "apps", **old), claim("data", "apps", **new)), LeaveAlone)


def updated(old: dict[str, Any], new: dict[str, Any]) -> Admission:
    return admission.on_update(manifest.creation(old, {}), manifest.creation(new, {}), RULE)
