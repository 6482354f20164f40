"""Makes a directory for each claim that asks, and deletes it with its volume."""

import os
import shutil
import stat
from pathlib import Path
from typing import Final

from holdfast.sandbox.actors import matching, reporting
from holdfast.sandbox.store.lifecycle import Deletion
from holdfast.sandbox.store.ownership import Writer
from holdfast.sandbox.store.store import Store
from holdfast.sandbox.store.values import Json, at

DIRECTORY: Final = "sandbox.holdfast.dev/directory"
IGNORES_SOURCES: Final = "sandbox.holdfast.dev/ignores-sources"  # as provisioners that know nothing of dataSourceRef


class Provisioner:
    """Volumes are `<directory>/<volume>/data`; nothing limits their size.

    Claims with a data source are left to whoever knows it; the other provisioner name ignores data sources.
    """

    def __init__(self, store: Store, directory: Path) -> None:
        self._store: Final = store
        self._directory: Final = directory.resolve()
        self._claims: Final = store.kind_named("PersistentVolumeClaim")
        self._volumes: Final = store.kind_named("PersistentVolume")

    def step(self) -> float | None:
        for claim in self._store.all("PersistentVolumeClaim"):
            provisioner = matching.annotation(claim, matching.PROVISIONER)
            if provisioner in (DIRECTORY, IGNORES_SOURCES) and _is_wanting(claim):
                self._provide(claim, provisioner)
        for volume in self._store.all("PersistentVolume"):
            provisioner = matching.annotation(volume, matching.PROVISIONED_BY)
            if provisioner in (DIRECTORY, IGNORES_SOURCES) and _is_over(volume):
                self._delete(volume)
        return None

    def _provide(self, claim: Json, provisioner: str) -> None:
        if provisioner == DIRECTORY and claim["spec"].get("dataSourceRef") is not None:
            self._say(claim, "Provisioning", "Assuming an external populator will provision the volume")
            return
        storage_class = matching.class_of(self._store, claim)
        if storage_class is None:
            return
        node = matching.annotation(claim, matching.SELECTED_NODE)
        if node is not None and self._store.find(self._store.kind_named("Node"), "", node) is None:
            self._say(claim, "ProvisioningFailed", f'node "{node}" not found', warning=True)
            self._annotate(claim, {matching.SELECTED_NODE: None})
            return
        name = f"pvc-{claim['metadata']['uid']}"
        if self._store.find(self._volumes, "", name) is not None:
            return
        path = self._directory / name / "data"
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(0o777)
        volume = _volume(name, path, claim, storage_class, node or reporting.NODE, provisioner)
        self._store.create(self._volumes, "", volume, Writer(manager="provisioner"))
        self._say(claim, "ProvisioningSucceeded", f"Successfully provisioned volume {name}")

    def _delete(self, volume: Json) -> None:
        path = Path(at(volume, "spec", "hostPath", "path") or "/")
        home = path.parent
        if home.parent != self._directory or path.name != "data":
            message = f"{path} is not one of this provisioner's directories"
            reporting.event(
                self._store,
                volume,
                "PersistentVolume",
                reason="VolumeFailedDelete",
                message=message,
                source="provisioner",
                warning=True,
            )
            return
        remove_tree(home)
        self._store.delete(self._volumes, "", volume["metadata"]["name"], Deletion())

    def _annotate(self, claim: Json, annotations: Json) -> None:
        meta = claim["metadata"]
        self._store.amend(self._claims, meta["namespace"], meta["name"], {"metadata": {"annotations": annotations}})

    def _say(self, claim: Json, reason: str, message: str, *, warning: bool = False) -> None:
        reporting.event(
            self._store,
            claim,
            "PersistentVolumeClaim",
            reason=reason,
            message=message,
            source="provisioner",
            warning=warning,
        )


def remove_tree(path: Path) -> None:
    """Delete a directory and all in it, whatever the modes inside; what is not there is fine."""
    if not path.exists():
        return
    for directory, _, _ in os.walk(path, onerror=None):
        Path(directory).chmod(stat.S_IRWXU)  # before the walk goes on below it
        for entry in os.scandir(directory):
            if entry.is_dir(follow_symlinks=False):
                Path(entry.path).chmod(stat.S_IRWXU)
    shutil.rmtree(path)


def _is_wanting(claim: Json) -> bool:
    return (
        not claim["spec"].get("volumeName")
        and "deletionTimestamp" not in claim["metadata"]
        and at(claim, "status", "phase") == "Pending"
    )


def _is_over(volume: Json) -> bool:
    return (
        at(volume, "status", "phase") == "Released"
        and volume["spec"]["persistentVolumeReclaimPolicy"] == "Delete"
        and "deletionTimestamp" not in volume["metadata"]
    )


def _volume(name: str, path: Path, claim: Json, storage_class: Json, node: str, provisioner: str) -> Json:
    terms = [{"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}]}]
    spec: Json = {
        "capacity": {"storage": claim["spec"]["resources"]["requests"]["storage"]},
        "accessModes": claim["spec"]["accessModes"],
        "volumeMode": claim["spec"]["volumeMode"],
        "persistentVolumeReclaimPolicy": storage_class["reclaimPolicy"],
        "storageClassName": storage_class["metadata"]["name"],
        "claimRef": {
            "kind": "PersistentVolumeClaim",
            "apiVersion": "v1",
            "namespace": claim["metadata"]["namespace"],
            "name": claim["metadata"]["name"],
            "uid": claim["metadata"]["uid"],
            "resourceVersion": claim["metadata"]["resourceVersion"],
        },
        "hostPath": {"path": str(path), "type": "Directory"},
        "nodeAffinity": {"required": {"nodeSelectorTerms": terms}},
    }
    annotations = {matching.PROVISIONED_BY: provisioner}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name, "annotations": annotations},
        "spec": spec,
    }
