"""Prime claims, alias volumes and hand-overs."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from holdfast.model.claim import Claim, Identity
from holdfast.model.snapshot import Snapshot
from holdfast.render import names

SELECTED_NODE: Final = "volume.kubernetes.io/selected-node"
WISH: Final = names.PREFIX + "wish"  # the restore mode that the fill was decided by
DECIDED_FOR: Final = names.PREFIX + "decided-for"
SNAPSHOT: Final = names.PREFIX + "snapshot"
CONTENT: Final = names.PREFIX + "content"  # files,bytes of the snapshot
FILLED: Final = names.PREFIX + "filled"
OWNERS_LEFT_OUT: Final = names.PREFIX + "owners-left-out"
ATTEMPT: Final = names.PREFIX + "attempt"
IDENTITY: Final = names.PREFIX + "identity"
CLAIM: Final = names.PREFIX + "claim"
RECLAIM_POLICY: Final = names.PREFIX + "reclaim-policy"
CLAIM_UID: Final = names.PREFIX + "claim-uid"
VOLUME: Final = names.PREFIX + "volume"
CHOOSER: Final = names.PREFIX + "chooser"  # the Job that chose the prime's node
OFFERED_AS: Final = names.PREFIX + "offered-as"  # on a filled volume: its second object, of the reserved name
COPY_OF: Final = names.PREFIX + "copy-of"  # on that one: the volume whose bytes it names
BOUND_BY_CONTROLLER: Final = "pv.kubernetes.io/bound-by-controller"
EMPTY: Final = "none"  # the value of SNAPSHOT for a claim that starts empty


def owner(name: str, uid: str) -> dict[str, Any]:
    """Return the reference by which an object goes when this claim of its namespace has gone, whoever is there then."""
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "name": name, "uid": uid}


def prime_claim(
    name: str,
    namespace: str,
    claim: Claim,
    identity: Identity,
    *,
    snapshot: Snapshot | None,
    size_bytes: int,
    node: str | None,
    wish: str,
    chooser: str | None = None,
) -> dict[str, Any]:
    """Return the claim that is filled: the user's class and modes, pinned to the node that the scheduler chose."""
    annotations = {
        DECIDED_FOR: claim.uid,
        SNAPSHOT: snapshot.id if snapshot is not None else EMPTY,
        IDENTITY: str(identity),
        CLAIM: str(claim.ref),
        WISH: wish,
    }
    if snapshot is not None:
        annotations[CONTENT] = f"{snapshot.files},{snapshot.bytes}"
    if node is not None:
        annotations[SELECTED_NODE] = node
    if chooser is not None:
        annotations[CHOOSER] = chooser
    spec: dict[str, Any] = {
        "accessModes": list(claim.access_modes),
        "resources": {"requests": {"storage": str(size_bytes)}},
        "volumeMode": claim.volume_mode,
    }
    if claim.storage_class is not None:
        spec["storageClassName"] = claim.storage_class
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": names.metadata(name, namespace, "fill", annotations=annotations),
        "spec": spec,
    }


def hand_over(claim: Claim, reclaim_policy: str, noted_policy: str | None, resource_version: str) -> dict[str, Any]:
    """Return the one merge patch that gives a filled volume to the user's claim.

    Retain, the volume's own policy noted beside it, and the new claimRef go together: after a crash at any point the
    volume is either still the prime's, or the claim's and safe from deletion.
    """
    return {
        "metadata": {
            "resourceVersion": resource_version,
            "annotations": {RECLAIM_POLICY: noted_policy or reclaim_policy, CLAIM_UID: claim.uid},
        },
        "spec": {"persistentVolumeReclaimPolicy": "Retain", "claimRef": _reference(claim) | {"resourceVersion": None}},
    }


def retained(volume: Mapping[str, Any], offered_as: str) -> dict[str, Any]:
    """Return the merge patch after which the volume's object can go and its bytes stay, its own policy noted."""
    return {
        "metadata": {
            "resourceVersion": volume["metadata"]["resourceVersion"],
            "annotations": {RECLAIM_POLICY: _own_policy(volume), OFFERED_AS: offered_as},
        },
        "spec": {"persistentVolumeReclaimPolicy": "Retain"},
    }


def second_volume(volume: Mapping[str, Any], name: str, claim: Claim) -> dict[str, Any]:
    """Return a second object for the bytes of a filled volume, under the name that the claim waits for.

    All of it is copied: provisioners find the bytes by source, node affinity and annotations when they delete them.
    """
    annotations = {
        RECLAIM_POLICY: _own_policy(volume),
        COPY_OF: volume["metadata"]["name"],
        CLAIM_UID: claim.uid,
    }
    return _copy(volume, name, "fill", annotations, {"claimRef": _reference(claim)})


def kept_volume(volume: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return a second object for a volume that a claim of earlier left; still of that claim, so that none takes it."""
    reference = {key: value for key, value in volume["spec"]["claimRef"].items() if key != "resourceVersion"}
    return _copy(volume, name, "kept", {}, {"claimRef": reference})


def pointed_at(claim: Claim, resource_version: str) -> dict[str, Any]:
    """Return the merge patch that gives a volume of the reserved name to the claim of today."""
    return {
        "metadata": {"resourceVersion": resource_version, "annotations": {CLAIM_UID: claim.uid}},
        "spec": {"claimRef": _reference(claim) | {"resourceVersion": None}},
    }


def _own_policy(volume: Mapping[str, Any]) -> str:
    noted: str | None = (volume["metadata"].get("annotations") or {}).get(RECLAIM_POLICY)
    return noted or volume["spec"]["persistentVolumeReclaimPolicy"]


def _copy(
    volume: Mapping[str, Any], name: str, component: str, annotations: Mapping[str, str], spec: Mapping[str, Any]
) -> dict[str, Any]:
    theirs = {
        key: value
        for key, value in (volume["metadata"].get("annotations") or {}).items()
        if not key.startswith(names.PREFIX) and key != BOUND_BY_CONTROLLER
    }
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": names.metadata(name, None, component, annotations={**theirs, **annotations}),
        "spec": {**volume["spec"], **spec, "persistentVolumeReclaimPolicy": "Retain"},
    }


def _reference(claim: Claim) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "namespace": claim.ref.namespace,
        "name": claim.ref.name,
        "uid": claim.uid,
    }


def settled(noted_policy: str) -> dict[str, Any]:
    """Return the merge patch that gives a volume its own reclaim policy back."""
    return {
        "metadata": {"annotations": {RECLAIM_POLICY: None}},
        "spec": {"persistentVolumeReclaimPolicy": noted_policy},
    }


def alias_volume(
    name: str,
    namespace: str,
    source: Mapping[str, Any],
    *,
    access_modes: Sequence[str],
    capacity: str,
    node_affinity: Mapping[str, Any] | None,
    annotations: Mapping[str, str],
) -> dict[str, Any]:
    """Return a second, read-only PersistentVolume on an app's volume.

    Retain and only our annotations: with the provisioner's and Delete it would delete the app's data.
    """
    spec: dict[str, Any] = {
        "accessModes": list(access_modes),
        "capacity": {"storage": capacity},
        "persistentVolumeReclaimPolicy": "Retain",
        "storageClassName": "",
        "claimRef": {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": namespace, "name": name},
        **source,
    }
    if node_affinity:
        spec["nodeAffinity"] = dict(node_affinity)
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": names.metadata(name, None, "backup", annotations=annotations),
        "spec": spec,
    }


def alias_claim(
    name: str, namespace: str, *, access_modes: Sequence[str], capacity: str, annotations: Mapping[str, str]
) -> dict[str, Any]:
    """Return the claim of ours that binds the alias volume."""
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": names.metadata(name, namespace, "backup", annotations=annotations),
        "spec": {
            "accessModes": list(access_modes),
            "resources": {"requests": {"storage": capacity}},
            "storageClassName": "",
            "volumeName": name,
        },
    }
