"""Binds claims and volumes to each other as the controller-manager does, write by write."""

from datetime import datetime, timedelta
from typing import Final

from holdfast.sandbox.actors import matching, reporting
from holdfast.sandbox.store.history import Change, Place
from holdfast.sandbox.store.store import Store
from holdfast.sandbox.store.values import Json, at

RESYNC: Final = timedelta(seconds=15)
_SOURCE: Final = "persistentvolume-controller"


class Binder:
    """The persistent volume controller.

    It looks at a claim that names its volume when the claim changes, and otherwise only at the resync: a volume that
    appears later is not noticed before, nor is a volume that was taken from a bound claim.
    """

    def __init__(self, store: Store, *, resync: timedelta = RESYNC) -> None:
        self._store: Final = store
        self._claims: Final = store.kind_named("PersistentVolumeClaim")
        self._volumes: Final = store.kind_named("PersistentVolume")
        self._resync: Final = resync
        self._next_resync: datetime = store.now()
        self._changed: set[Place] = set()
        store.listeners.add(self._notice)

    def _notice(self, change: Change) -> None:
        if change.key == self._claims.key:
            self._changed.add(change.place)

    def step(self) -> float | None:
        now = self._store.now()
        is_resync = now >= self._next_resync
        if is_resync:
            self._next_resync = now + self._resync
        changed, self._changed = self._changed, set()
        for volume in self._store.all("PersistentVolume"):
            self._sync_volume(volume)
        for claim in self._store.all("PersistentVolumeClaim"):
            place = claim["metadata"]["namespace"], claim["metadata"]["name"]
            if is_resync or place in changed or not claim["spec"].get("volumeName"):
                self._sync_claim(claim)
        return max(0.0, (self._next_resync - now).total_seconds())

    def _sync_volume(self, volume: Json) -> None:
        reference = at(volume, "spec", "claimRef")
        if reference is None or not reference.get("uid"):
            if at(volume, "status", "phase") != "Bound" or reference is None:
                self._phase(volume, "Available")
            return
        claim = self._store.find(self._claims, reference.get("namespace", ""), reference["name"])
        if claim is None or claim["metadata"]["uid"] != reference["uid"]:
            self._released(volume)
        elif claim["spec"].get("volumeName") == volume["metadata"]["name"]:
            self._phase(volume, "Bound")
        elif claim["spec"].get("volumeName"):
            self._released(volume)  # the claim has another volume

    def _released(self, volume: Json) -> None:
        if at(volume, "status", "phase") == "Failed":
            return
        self._phase(volume, "Released")
        deletes = volume["spec"]["persistentVolumeReclaimPolicy"] == "Delete"
        if deletes and matching.annotation(volume, matching.PROVISIONED_BY) is None:
            self._phase(volume, "Failed")
            message = "no provisioner is known that could delete this volume"
            self._say(volume, "PersistentVolume", "VolumeFailedDelete", message, warning=True)

    def _sync_claim(self, claim: Json) -> None:
        if matching.annotation(claim, matching.BIND_COMPLETED) is not None:
            self._sync_bound(claim)
        elif claim["spec"].get("volumeName"):
            self._sync_named(claim)
        else:
            self._sync_unbound(claim)

    def _sync_bound(self, claim: Json) -> None:
        volume = self._volume(claim["spec"]["volumeName"])
        if volume is None:
            self._lose(claim, "ClaimLost", "Bound claim has lost its PersistentVolume. Data on the volume is lost!")
        elif at(volume, "spec", "claimRef", "uid") == claim["metadata"]["uid"]:
            self._mark_bound(claim, volume)
        elif at(volume, "spec", "claimRef") is None:
            self._bind(claim, volume, by_controller=True)
        else:
            message = "Two claims are bound to the same volume, this one is bound incorrectly"
            self._lose(claim, "ClaimMisbound", message)

    def _sync_named(self, claim: Json) -> None:
        volume = self._volume(claim["spec"]["volumeName"])
        if volume is None:
            return  # held by name: nothing happens until such a volume is there
        if at(volume, "spec", "claimRef") is None:
            if matching.fits(volume, claim):
                self._bind(claim, volume, by_controller=False)
            else:
                self._say(claim, "PersistentVolumeClaim", "VolumeMismatch", "the volume does not fit", warning=True)
        elif matching.names_claim(volume, claim):
            self._bind(claim, volume, by_controller=False)
        else:
            message = f'volume "{claim["spec"]["volumeName"]}" already bound to a different claim.'
            self._say(claim, "PersistentVolumeClaim", "FailedBinding", message, warning=True)

    def _sync_unbound(self, claim: Json) -> None:
        reserved = next(
            (
                volume
                for volume in self._store.all("PersistentVolume")
                if matching.names_claim(volume, claim) and matching.is_big_enough(volume, claim)
            ),
            None,
        )
        storage_class = matching.class_of(self._store, claim)
        waits = matching.waits_for_consumer(storage_class)
        found = reserved or (None if waits else matching.best_available(self._store, claim))
        if found is not None:
            self._bind(claim, found, by_controller=True)
        elif not claim["spec"].get("storageClassName"):
            message = "no persistent volumes available for this claim and no storage class is set"
            self._say(claim, "PersistentVolumeClaim", "FailedBinding", message)
        elif storage_class is None:
            message = f'storageclass.storage.k8s.io "{claim["spec"]["storageClassName"]}" not found'
            self._say(claim, "PersistentVolumeClaim", "ProvisioningFailed", message, warning=True)
        elif waits and matching.annotation(claim, matching.SELECTED_NODE) is None:
            message = "waiting for first consumer to be created before binding"
            self._say(claim, "PersistentVolumeClaim", "WaitForFirstConsumer", message)
        else:
            self._ask_provisioner(claim, storage_class["provisioner"])

    def _ask_provisioner(self, claim: Json, provisioner: str) -> None:
        if matching.annotation(claim, matching.PROVISIONER) != provisioner:
            self._annotate(claim, {matching.PROVISIONER: provisioner, matching.PROVISIONER_BETA: provisioner})
        message = f"Waiting for a volume to be created either by the external provisioner '{provisioner}' or by hand."
        self._say(claim, "PersistentVolumeClaim", "ExternalProvisioning", message)

    def _bind(self, claim: Json, volume: Json, *, by_controller: bool) -> None:
        """Write the volume's reference and phase, then the claim's volume, then the claim's status."""
        volume = reserve(self._store, volume, claim)
        self._phase(volume, "Bound")
        marks = {matching.BIND_COMPLETED: "yes"}
        if by_controller and not claim["spec"].get("volumeName"):
            marks[matching.BOUND_BY_CONTROLLER] = "yes"
        meta = claim["metadata"]
        change = {"metadata": {"annotations": marks}, "spec": {"volumeName": volume["metadata"]["name"]}}
        bound = self._store.amend(self._claims, meta["namespace"], meta["name"], change)
        if bound is not None:
            self._mark_bound(bound, volume)

    def _mark_bound(self, claim: Json, volume: Json) -> None:
        status = {
            "phase": "Bound",
            "accessModes": volume["spec"]["accessModes"],
            "capacity": volume["spec"]["capacity"],
        }
        meta = claim["metadata"]
        self._store.amend(self._claims, meta["namespace"], meta["name"], {"status": status})

    def _lose(self, claim: Json, reason: str, message: str) -> None:
        meta = claim["metadata"]
        self._store.amend(self._claims, meta["namespace"], meta["name"], {"status": {"phase": "Lost"}})
        self._say(claim, "PersistentVolumeClaim", reason, message, warning=True)

    def _phase(self, volume: Json, phase: str) -> None:
        self._store.amend(self._volumes, "", volume["metadata"]["name"], {"status": {"phase": phase}})

    def _annotate(self, claim: Json, annotations: Json) -> None:
        meta = claim["metadata"]
        self._store.amend(self._claims, meta["namespace"], meta["name"], {"metadata": {"annotations": annotations}})

    def _volume(self, name: str) -> Json | None:
        return self._store.find(self._volumes, "", name)

    def _say(self, about: Json, kind: str, reason: str, message: str, *, warning: bool = False) -> None:
        reporting.event(self._store, about, kind, reason=reason, message=message, source=_SOURCE, warning=warning)


def reserve(store: Store, volume: Json, claim: Json) -> Json:
    """Return the volume with a claimRef to the claim, uid included; only a volume that had none is marked as ours."""
    old = at(volume, "spec", "claimRef")
    if old is not None and old.get("uid") == claim["metadata"]["uid"]:
        return volume
    reference = {
        "kind": "PersistentVolumeClaim",
        "apiVersion": "v1",
        "namespace": claim["metadata"]["namespace"],
        "name": claim["metadata"]["name"],
        "uid": claim["metadata"]["uid"],
        "resourceVersion": claim["metadata"]["resourceVersion"],
    }
    change: Json = {"spec": {"claimRef": reference}}
    if old is None:
        change["metadata"] = {"annotations": {matching.BOUND_BY_CONTROLLER: "yes"}}
    kind = store.kind_named("PersistentVolume")
    return store.amend(kind, "", volume["metadata"]["name"], change) or volume
