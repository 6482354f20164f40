"""May a claim be deleted and created again, and as what?"""

from datetime import timedelta
from typing import Any

import pytest

from holdfast.decide import rearm
from holdfast.model.admission import Admission, Arm, LeaveAlone, Refuse, Unarmed
from holdfast.model.claim import DataSource
from holdfast.model.evidence import Doubt
from holdfast.model.rearm import Obstacle
from holdfast.model.verdict import Declined, Restore, StartEmpty, Verdict, Wait
from tests import builders

ARM = Arm(restore="auto")
RESTORE = Restore(snapshot=builders.snapshot())
WAIT = Wait(why=Doubt.NO_RECORD, detail="gone", retry_after=timedelta(seconds=1))
OURS = DataSource(group="holdfast.dev", kind="Restore", name="auto")


@pytest.mark.parametrize(
    ("changes", "again", "verdict", "pods", "expected"),
    [
        ({}, ARM, RESTORE, (), []),
        ({"source": OURS}, LeaveAlone(why=Unarmed.HELD), WAIT, ("pod web",), [Obstacle.HELD]),
        ({}, LeaveAlone(why=Unarmed.NOT_PROTECTED), RESTORE, (), [Obstacle.NOT_PROTECTED]),
        ({}, LeaveAlone(why=Unarmed.STATIC), RESTORE, (), [Obstacle.NEVER_ARMED]),
        ({}, Refuse(because="too long"), RESTORE, (), [Obstacle.NEVER_ARMED]),
        ({"deleting": True}, ARM, RESTORE, (), [Obstacle.DELETING]),
        ({}, ARM, StartEmpty(because=Declined(reason="x")), (), [Obstacle.NO_BACKUP]),
        ({}, ARM, WAIT, ("pod web",), [Obstacle.NO_BACKUP, Obstacle.IN_USE]),
    ],
)
def test_what_stands_against_it(
    changes: dict[str, Any], again: Admission, verdict: Verdict, pods: tuple[str, ...], expected: list[Obstacle]
) -> None:
    found = rearm.obstacles(builders.claim(**changes), again, verdict, pods)
    assert [each.why for each in found] == expected


def test_a_hold_that_was_ignored_must_be_another_one() -> None:
    claim = builders.claim(source=OURS)
    (found,) = rearm.obstacles(claim, LeaveAlone(why=Unarmed.HELD), RESTORE, (), born_unarmed=True)
    assert "--by-name" in found.todo
    named = Arm(volume="holdfast.apps.data")
    assert list(rearm.obstacles(claim, named, RESTORE, (), born_unarmed=True)) == []


def test_the_claim_is_what_a_person_wrote_and_our_hold() -> None:
    written = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "storageClassName": "s"}
    stored = {
        "metadata": {
            "name": "data",
            "namespace": "apps",
            "uid": "u",
            "resourceVersion": "7",
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "finalizers": ["kubernetes.io/pvc-protection"],
            "managedFields": [{}],
            "labels": {"backup": "daily"},
            "annotations": {
                "pv.kubernetes.io/bind-completed": "yes",
                "volume.kubernetes.io/selected-node": "n",
                "volume.beta.kubernetes.io/storage-provisioner": "p",
                "kubectl.kubernetes.io/last-applied-configuration": "{}",
            },
        },
        "spec": written | {"volumeName": "pvc-1", "volumeMode": "Filesystem"},
        "status": {"phase": "Bound"},
    }
    meta = {
        "name": "data",
        "namespace": "apps",
        "labels": {"backup": "daily"},
        "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}"},
    }
    reference = {"apiGroup": "holdfast.dev", "kind": "Restore", "name": "auto"}
    made = rearm.manifest(stored, ARM)
    assert made["metadata"] == meta
    assert made["spec"] == written | {"volumeMode": "Filesystem", "dataSourceRef": reference}
    named = rearm.manifest(stored, Arm(volume="holdfast.apps.data"))
    assert named["spec"] == written | {"volumeMode": "Filesystem", "volumeName": "holdfast.apps.data"}
