"""One rule: who is armed, who stays armed, who is left alone."""

from dataclasses import replace
from typing import Any

import pytest

from holdfast.decide import admission
from holdfast.model.admission import Arm, Creation, LeaveAlone, Unarmed
from holdfast.model.claim import DataSource, Owner

OURS = DataSource(group="holdfast.dev", kind="Restore", name="auto")
NAMED = DataSource(group="holdfast.dev", kind="Restore", name="mine")
OTHER = DataSource(group="snapshot.storage.k8s.io", kind="VolumeSnapshot", name="s")
DATABASE = Owner(api_version="postgresql.cnpg.io/v1", kind="Cluster", name="x", uid="u", controller=True)
POD = Owner(api_version="v1", kind="Pod", name="x", uid="u", controller=True)
STATEFUL = Owner(api_version="apps/v1", kind="StatefulSet", name="x", uid="u", controller=True)


def creation(**changes: Any) -> Creation:
    plain = Creation(
        namespace="apps",
        namespace_labels={},
        labels={"backup": "daily"},
        annotations={},
        owners=(),
        source=None,
        source_ref=None,
        volume_name="",
        storage_class="standard",
        volume_mode="Filesystem",
        has_selector=False,
    )
    return replace(plain, **changes)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"labels": {"backup": "fortnightly"}},
        {"labels": {}, "namespace_labels": {"backup": "daily"}},
        {"owners": (STATEFUL,)},
        {"owners": (DATABASE,), "annotations": {"holdfast.dev/restore": "auto"}},
        {"storage_class": None},
        {"labels": {}, "source": OURS},
    ],
)
def test_protected_claims_are_armed(changes: dict[str, Any]) -> None:
    assert admission.on_create(creation(**changes), own_namespace="holdfast") == Arm(restore="auto")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"labels": {}}, Unarmed.NOT_PROTECTED),
        ({"labels": {"backup": "disabled"}, "namespace_labels": {"backup": "daily"}}, Unarmed.NOT_PROTECTED),
        ({"labels": {"backup-exempt": "true"}, "namespace_labels": {"backup": "daily"}}, Unarmed.NOT_PROTECTED),
        ({"namespace": "holdfast"}, Unarmed.OURS),
        ({"labels": {"backup": "daily", "app.kubernetes.io/managed-by": "holdfast"}}, Unarmed.OURS),
        ({"labels": {"backup": "daily", "app.kubernetes.io/managed-by": "velero"}}, Unarmed.OURS),
        ({"owners": (POD,), "annotations": {"holdfast.dev/restore": "auto"}}, Unarmed.OPERATED),
        ({"owners": (DATABASE,)}, Unarmed.OPERATED),
        ({"source_ref": OTHER}, Unarmed.HAS_SOURCE),
        ({"source": OTHER}, Unarmed.HAS_SOURCE),
        ({"source_ref": NAMED}, Unarmed.HAS_SOURCE),
        ({"has_selector": True}, Unarmed.STATIC),
        ({"storage_class": ""}, Unarmed.STATIC),
        ({"volume_name": "pv-1"}, Unarmed.STATIC),
        ({"volume_mode": "Block"}, Unarmed.BLOCK),
    ],
)
def test_all_others_are_left_alone(changes: dict[str, Any], why: Unarmed) -> None:
    assert admission.on_create(creation(**changes), own_namespace="holdfast") == LeaveAlone(why=why)


def test_a_data_source_that_would_be_dropped_becomes_a_reference() -> None:
    trapped = creation(labels={}, source=NAMED)
    assert admission.on_create(trapped, own_namespace="holdfast") == Arm(restore="mine")


@pytest.mark.parametrize("new", [None, NAMED, OTHER])
def test_an_update_keeps_our_reference(new: DataSource | None) -> None:
    assert admission.on_update(OURS, new) == Arm(restore="auto")


@pytest.mark.parametrize(("old", "new"), [(OURS, OURS), (None, OURS), (OTHER, None), (None, None)])
def test_other_updates_pass(old: DataSource | None, new: DataSource | None) -> None:
    assert isinstance(admission.on_update(old, new), LeaveAlone)
