"""Collects what its owners left behind, empties namespaces, and lets go of claims and volumes that nobody uses."""

from collections.abc import Iterator
from typing import Final

from holdfast.sandbox.store.claims import CLAIM_FINALIZER, VOLUME_FINALIZER
from holdfast.sandbox.store.kinds import Kind
from holdfast.sandbox.store.lifecycle import Deletion
from holdfast.sandbox.store.store import Store
from holdfast.sandbox.store.values import Json, at, owners

_BACKGROUND: Final = Deletion(propagation="Background")


class Collector:
    """The controller-manager's garbage collector, namespace controller and protection controllers."""

    def __init__(self, store: Store) -> None:
        self._store: Final = store
        self._seen = 0

    def step(self) -> float | None:
        if self._seen == self._store.version:
            return None
        self._seen = self._store.version
        self._collect()
        self._empty_namespaces()
        self._release_claims()
        self._release_volumes()
        return None

    def _everything(self) -> Iterator[tuple[Kind, Json]]:
        for kind in tuple(self._store.kinds.values()):
            for item in tuple(self._store.objects[kind.key].values()):
                yield kind, item

    def _collect(self) -> None:
        uids = {item["metadata"]["uid"]: item for _, item in self._everything()}
        for kind, item in self._everything():
            references = owners(item)
            alive = [each for each in references if each["uid"] in uids]
            if references and not alive:
                self._delete(kind, item)
            elif len(alive) < len(references):
                self._amend(kind, item, {"ownerReferences": alive})
            elif any(self._waits_for_dependents(uids[each["uid"]]) for each in alive):
                self._delete(kind, item)
        for kind, item in self._everything():
            finalizers = item["metadata"].get("finalizers") or ()
            if "deletionTimestamp" in item["metadata"] and "orphan" in finalizers:
                self._orphan(item)
                self._let_go(kind, item, "orphan")
            if self._waits_for_dependents(item) and not any(self._blocks(each, item) for _, each in self._everything()):
                self._let_go(kind, item, "foregroundDeletion")

    def _waits_for_dependents(self, item: Json) -> bool:
        finalizers = item["metadata"].get("finalizers") or ()
        return "deletionTimestamp" in item["metadata"] and "foregroundDeletion" in finalizers

    def _blocks(self, item: Json, owner: Json) -> bool:
        return any(each["uid"] == owner["metadata"]["uid"] and each.get("blockOwnerDeletion") for each in owners(item))

    def _orphan(self, owner: Json) -> None:
        for kind, item in self._everything():
            rest = [each for each in owners(item) if each["uid"] != owner["metadata"]["uid"]]
            if len(rest) < len(owners(item)):
                self._amend(kind, item, {"ownerReferences": rest or None})

    def _empty_namespaces(self) -> None:
        for namespace in self._store.all("Namespace"):
            if "deletionTimestamp" not in namespace["metadata"]:
                continue
            name = namespace["metadata"]["name"]
            inside = [(kind, item) for kind, item in self._everything() if item["metadata"].get("namespace") == name]
            for kind, item in inside:
                self._delete(kind, item)
            if not any(place[0] == name for objects in self._store.objects.values() for place in objects):
                self._store.amend(self._store.kind_named("Namespace"), "", name, {"spec": {"finalizers": None}})

    def _release_claims(self) -> None:
        """Keep pvc-protection on claims, and take it off when they are being deleted and no pod names them."""
        kind = self._store.kind_named("PersistentVolumeClaim")
        for claim in self._store.all("PersistentVolumeClaim"):
            finalizers = claim["metadata"].get("finalizers") or []
            if "deletionTimestamp" not in claim["metadata"]:
                if CLAIM_FINALIZER not in finalizers:
                    self._amend(kind, claim, {"finalizers": [*finalizers, CLAIM_FINALIZER]})
            elif not self._is_mounted(claim):
                self._let_go(kind, claim, CLAIM_FINALIZER)

    def _is_mounted(self, claim: Json) -> bool:
        name, namespace = claim["metadata"]["name"], claim["metadata"]["namespace"]
        return any(
            at(volume, "persistentVolumeClaim", "claimName") == name
            for pod in self._store.all("Pod", namespace)
            if at(pod, "spec", "nodeName")
            for volume in pod["spec"].get("volumes") or ()
        )

    def _release_volumes(self) -> None:
        kind = self._store.kind_named("PersistentVolume")
        for volume in self._store.all("PersistentVolume"):
            if "deletionTimestamp" in volume["metadata"] and at(volume, "status", "phase") != "Bound":
                self._let_go(kind, volume, VOLUME_FINALIZER)

    def _delete(self, kind: Kind, item: Json) -> None:
        meta = item["metadata"]
        namespace, name = meta.get("namespace", ""), meta["name"]
        current = self._store.find(kind, namespace, name)
        if (
            current is not None
            and current["metadata"]["uid"] == meta["uid"]
            and "deletionTimestamp" not in current["metadata"]
        ):
            self._store.delete(kind, namespace, name, _BACKGROUND)

    def _let_go(self, kind: Kind, item: Json, finalizer: str) -> None:
        rest = [each for each in item["metadata"].get("finalizers") or () if each != finalizer]
        if len(rest) < len(item["metadata"].get("finalizers") or ()):
            self._amend(kind, item, {"finalizers": rest or None})

    def _amend(self, kind: Kind, item: Json, metadata: Json) -> None:
        meta = item["metadata"]
        self._store.amend(kind, meta.get("namespace", ""), meta["name"], {"metadata": metadata})
