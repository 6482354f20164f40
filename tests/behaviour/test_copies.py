"""Backups by volume snapshot. The sandbox takes none, so the test is the snapshot controller and the driver."""

from datetime import timedelta
from typing import Any

import pytest

from holdfast.kube import objects
from holdfast.kube.objects import VolumeSnapshot
from tests.support.town import APPS, MovableClock, Town

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.sandbox("tests/e2e/test_snapshot_movers.py does it with a real driver"),
]

GROUP = "snapshot.storage.k8s.io"
DRIVER = "csi.example"
KINDS = (objects.SNAPSHOTS, objects.CONTENTS, objects.SNAPSHOT_CLASSES)


async def serve_snapshots(town: Town) -> None:
    """Let the cluster have volume snapshots, and a class of our driver, when the operator starts."""
    await town.stop()
    for kind in KINDS:
        version = {
            "name": "v1",
            "served": True,
            "storage": True,
            "subresources": {"status": {}},
            "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
        }
        spec = {
            "group": GROUP,
            "names": {"kind": kind.kind, "plural": kind.plural},
            "scope": "Namespaced" if kind.namespaced else "Cluster",
            "versions": [version],
        }
        meta = {"name": f"{kind.plural}.{GROUP}"}
        crd = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": meta}
        answer = await town.kube.http.post(
            "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", json={**crd, "spec": spec}
        )
        assert answer.status_code == 201, answer.text
    await town.kube.create(
        {
            "apiVersion": f"{GROUP}/v1",
            "kind": "VolumeSnapshotClass",
            "metadata": {"name": "fast"},
            "driver": DRIVER,
            "deletionPolicy": "Delete",
        }
    )
    await town.kube.create(
        {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {"name": "fast"},
            "provisioner": DRIVER,
            "volumeBindingMode": "WaitForFirstConsumer",
        }
    )
    await town.start()


async def bound_claim(town: Town, name: str) -> None:
    """Make a protected claim that is bound to a volume of the driver's."""
    spec = {
        "accessModes": ["ReadWriteOnce"],
        "capacity": {"storage": "64Mi"},
        "storageClassName": "fast",
        "persistentVolumeReclaimPolicy": "Delete",
        "claimRef": {"namespace": APPS, "name": name},
        "csi": {"driver": DRIVER, "volumeHandle": "handle"},
    }
    meta = {"name": f"volume-{name}", "annotations": {"pv.kubernetes.io/provisioned-by": DRIVER}}
    await town.kube.create({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": meta, "spec": spec})
    await town.claim(name, labels={"backup": "manual"}, storage_class="fast")
    await town.until(f"{name} is bound", lambda: town.is_bound(name))


async def taken_snapshot(town: Town, namespace: str) -> VolumeSnapshot:
    """Wait for a VolumeSnapshot of the operator's in a namespace."""

    async def found() -> VolumeSnapshot | None:
        return next(iter(await town.kube.list(objects.SNAPSHOTS, namespace)), None)

    return await town.until(f"a VolumeSnapshot in {namespace}", found)


async def say(town: Town, snapshot: VolumeSnapshot, **status: Any) -> None:
    meta = snapshot.metadata
    await town.kube.patch(objects.SNAPSHOTS, meta.name, meta.namespace, {"status": status}, subresource="status")


async def make_content(town: Town, taken: VolumeSnapshot) -> str:
    """Do what the snapshot controller and the driver do first; return the content's name once it is retained."""
    content = f"snapcontent-{taken.metadata.uid}"
    meta = taken.metadata
    spec = {
        "driver": DRIVER,
        "deletionPolicy": "Delete",
        "volumeSnapshotRef": {"namespace": meta.namespace, "name": meta.name, "uid": meta.uid},
    }
    kind = {"apiVersion": f"{GROUP}/v1", "kind": "VolumeSnapshotContent", "metadata": {"name": content}}
    await town.kube.create({**kind, "spec": spec})
    body = {"status": {"snapshotHandle": "snapshot"}}
    await town.kube.patch(objects.CONTENTS, content, None, body, subresource="status")
    await say(town, taken, boundVolumeSnapshotContentName=content)

    async def retained() -> bool:
        return (await town.kube.get(objects.CONTENTS, content)).spec.deletion_policy == "Retain"

    await town.until("the driver's snapshot is kept", retained)
    return content


async def test_a_content_whose_annotations_were_written_over_is_cleared_away_all_the_same(town: Town) -> None:
    """The snapshot controller's sidecar replaces all annotations with those that it knew before."""
    await serve_snapshots(town)
    await bound_claim(town, "data")
    await town.annotate("data", {"holdfast.dev/backup-now": "1"})
    taken = await taken_snapshot(town, APPS)
    content = await make_content(town, taken)
    lost = {"metadata": {"annotations": {"holdfast.dev/claim": None}}}
    await town.kube.patch(objects.CONTENTS, content, None, lost)
    await say(town, taken, readyToUse=True)
    await taken_snapshot(town, town.settings.namespace)
    label = {"metadata": {"labels": {"backup": "disabled"}}}
    await town.kube.patch(objects.CLAIMS, "data", APPS, label)

    async def nothing() -> bool:
        return not [*await town.kube.list(objects.CONTENTS), *await town.kube.list(objects.SNAPSHOTS)]

    await town.until("nothing is left", nothing)


async def test_a_clock_that_is_ahead_of_the_clusters_takes_no_passing_error_for_a_failure(town: Town) -> None:
    """The snapshot controller shows conflicts of its own as errors, and mends them in seconds."""
    await serve_snapshots(town)
    await bound_claim(town, "data")
    await town.stop()
    town.clock = MovableClock()
    town.clock.jump(timedelta(minutes=10))
    await town.start()
    await town.annotate("data", {"holdfast.dev/backup-now": "1"})
    taken = await taken_snapshot(town, APPS)
    await say(town, taken, error={"message": "the object has been modified"})
    await make_content(town, taken)
    await say(town, taken, error=None, readyToUse=True)
    await taken_snapshot(town, town.settings.namespace)
    assert (await town.backup("data")).get("failure") is None
