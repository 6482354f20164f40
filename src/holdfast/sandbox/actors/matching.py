"""Which volume fits a claim, and which node fits a volume or pod."""

from collections.abc import Iterable
from typing import Final

from holdfast.sandbox.store import quantity
from holdfast.sandbox.store.store import Store
from holdfast.sandbox.store.values import Json, at

SELECTED_NODE: Final = "volume.kubernetes.io/selected-node"
PROVISIONER: Final = "volume.kubernetes.io/storage-provisioner"
PROVISIONER_BETA: Final = "volume.beta.kubernetes.io/storage-provisioner"
BIND_COMPLETED: Final = "pv.kubernetes.io/bind-completed"
BOUND_BY_CONTROLLER: Final = "pv.kubernetes.io/bound-by-controller"
PROVISIONED_BY: Final = "pv.kubernetes.io/provisioned-by"


def annotation(item: Json, name: str) -> str | None:
    found = at(item, "metadata", "annotations", name)
    return None if found is None else str(found)


def class_of(store: Store, claim: Json) -> Json | None:
    name = claim["spec"].get("storageClassName")
    return store.find(store.kind_named("StorageClass"), "", name) if name else None


def waits_for_consumer(storage_class: Json | None) -> bool:
    return storage_class is not None and storage_class.get("volumeBindingMode") == "WaitForFirstConsumer"


def names_claim(volume: Json, claim: Json) -> bool:
    """Return whether the volume is reserved for this claim; a reservation without uid holds for any of that name."""
    reference, meta = at(volume, "spec", "claimRef"), claim["metadata"]
    if reference is None or (reference.get("namespace"), reference.get("name")) != (meta["namespace"], meta["name"]):
        return False
    return reference.get("uid") in (None, "", meta["uid"])


def is_big_enough(volume: Json, claim: Json) -> bool:
    wanted = at(claim, "spec", "resources", "requests", "storage")
    return quantity.parse(at(volume, "spec", "capacity", "storage")) >= quantity.parse(wanted)


def fits(volume: Json, claim: Json) -> bool:
    """Return whether the volume could be bound to the claim by what both say."""
    ours, theirs = claim["spec"], volume["spec"]
    return (
        (ours.get("storageClassName") or "") == (theirs.get("storageClassName") or "")
        and ours["volumeMode"] == theirs["volumeMode"]
        and set(ours["accessModes"]) <= set(theirs["accessModes"])
        and is_big_enough(volume, claim)
        and _selects(ours.get("selector"), volume["metadata"].get("labels") or {})
    )


def best_available(store: Store, claim: Json) -> Json | None:
    """Return the smallest unreserved volume that fits."""
    free = [
        volume
        for volume in store.all("PersistentVolume")
        if at(volume, "status", "phase") == "Available"
        and at(volume, "spec", "claimRef") is None
        and "deletionTimestamp" not in volume["metadata"]
        and fits(volume, claim)
    ]
    return min(free, key=lambda volume: quantity.parse(volume["spec"]["capacity"]["storage"]), default=None)


def node_fits(node: Json, terms: Iterable[Json]) -> bool:
    """Return whether any of the node selector terms holds for the node; no terms at all hold."""
    terms = list(terms)
    return not terms or any(_term_holds(node, term) for term in terms)


def volume_terms(volume: Json) -> list[Json]:
    return list(at(volume, "spec", "nodeAffinity", "required", "nodeSelectorTerms") or ())


def pod_terms(pod: Json) -> list[Json]:
    required = at(pod, "spec", "affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution")
    return list((required or {}).get("nodeSelectorTerms") or ())


def _selects(selector: Json | None, labels: Json) -> bool:
    if selector is None:
        return True
    wanted = selector.get("matchLabels") or {}
    rules = selector.get("matchExpressions") or ()
    return all(labels.get(key) == value for key, value in wanted.items()) and all(
        _holds(rule, labels) for rule in rules
    )


def _term_holds(node: Json, term: Json) -> bool:
    labels = node["metadata"].get("labels") or {}
    fields = {"metadata.name": node["metadata"]["name"]}
    return all(_holds(rule, labels) for rule in term.get("matchExpressions") or ()) and all(
        _holds(rule, fields) for rule in term.get("matchFields") or ()
    )


def _holds(rule: Json, labels: Json) -> bool:
    value, values = labels.get(rule["key"]), rule.get("values") or ()
    match rule["operator"]:
        case "In":
            return value in values
        case "NotIn":
            return value not in values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case _:
            return False  # Gt and Lt are not imitated: nothing fits
