"""Volume snapshots of an app's claim, the way of one into our namespace, and the claim that a mover reads it from."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from holdfast.model.claim import Claim, ClaimRef
from holdfast.model.copying import ContentFacts
from holdfast.render import claims, names

API_VERSION: Final = "snapshot.storage.k8s.io/v1"
# What a driver needs to delete a snapshot is named on its content by these.
DELETION_SECRET: Final = "snapshot.storage.kubernetes.io/deletion-secret-"
COMPONENT: Final = "backup"


def taken(name: str, claim: Claim, snapshot_class: str) -> dict[str, Any]:
    """Return the VolumeSnapshot beside the app's claim."""
    spec = {
        "volumeSnapshotClassName": snapshot_class,
        "source": {"persistentVolumeClaimName": claim.ref.name},
    }
    return _snapshot(name, claim.ref.namespace, claim, spec)


def offered(name: str, namespace: str, claim: Claim) -> dict[str, Any]:
    """Return the VolumeSnapshot in our namespace, of the second content."""
    return _snapshot(name, namespace, claim, {"source": {"volumeSnapshotContentName": name}})


def _snapshot(name: str, namespace: str, claim: Claim, spec: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": API_VERSION,
        "kind": "VolumeSnapshot",
        "metadata": _metadata(name, namespace, claim.ref),
        "spec": dict(spec),
    }


def second_content(name: str, namespace: str, claim: Claim, first: ContentFacts) -> dict[str, Any]:
    """Return another content of the same driver's snapshot. Retain: both may go without it until one is to take it."""
    meta = _metadata(name, None, claim.ref)
    meta["annotations"] |= first.secrets
    spec: dict[str, Any] = {
        "driver": first.driver,
        "deletionPolicy": "Retain",
        "source": {"snapshotHandle": first.handle},
        "sourceVolumeMode": first.mode or claim.volume_mode,
        "volumeSnapshotRef": {"namespace": namespace, "name": name},
    }
    if first.snapshot_class is not None:
        spec["volumeSnapshotClassName"] = first.snapshot_class
    return {"apiVersion": API_VERSION, "kind": "VolumeSnapshotContent", "metadata": meta, "spec": spec}


def policy(name: str, ref: ClaimRef, *, retain: bool) -> dict[str, Any]:
    """Return the merge patch that marks a content as ours and says what becomes of the driver's snapshot."""
    meta = _metadata(name, None, ref)
    return {
        "metadata": {"labels": meta["labels"], "annotations": meta["annotations"]},
        "spec": {"deletionPolicy": "Retain" if retain else "Delete"},
    }


def temporary_claim(
    name: str, namespace: str, claim: Claim, *, access_modes: Sequence[str], size_bytes: int
) -> dict[str, Any]:
    """Return the claim that a mover reads: of the app's class, filled from our VolumeSnapshot."""
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": _metadata(name, namespace, claim.ref),
        "spec": {
            "accessModes": list(access_modes),
            "resources": {"requests": {"storage": str(size_bytes)}},
            "volumeMode": claim.volume_mode,
            "storageClassName": claim.storage_class,
            "dataSource": {"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": name},
        },
    }


def _metadata(name: str, namespace: str | None, ref: ClaimRef) -> dict[str, Any]:
    marks = {claims.CLAIM: str(ref)}
    return names.metadata(name, namespace, COMPONENT, labels={names.HASH: name}, annotations=marks)
