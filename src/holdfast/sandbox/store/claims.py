"""What an API server does with claims and volumes as they are created and changed."""

from collections.abc import Iterator
from typing import Final

from holdfast.sandbox.store import quantity
from holdfast.sandbox.store.refusal import Cause, denied, required, wrong
from holdfast.sandbox.store.values import Json, at

CLAIM_FINALIZER: Final = "kubernetes.io/pvc-protection"
VOLUME_FINALIZER: Final = "kubernetes.io/pv-protection"
_SOURCES: Final = frozenset({("", "PersistentVolumeClaim"), ("snapshot.storage.k8s.io", "VolumeSnapshot")})
_NOT_A_SOURCE: Final = frozenset(
    {
        "accessModes", "capacity", "claimRef", "mountOptions", "nodeAffinity", "persistentVolumeReclaimPolicy",
        "storageClassName", "volumeAttributesClassName", "volumeMode",
    }
)  # fmt: skip


def normalized(claim: Json) -> Json:
    """Return the claim with `dataSource` and `dataSourceRef` brought together.

    A dataSource of a kind that the API server does not know vanishes without a word; only dataSourceRef is kept, and
    that only if it names no other namespace (feature gate CrossNamespaceVolumeDataSource, off by default).
    """
    spec = dict(claim.get("spec") or {})
    if (spec.get("dataSourceRef") or {}).get("namespace"):
        spec.pop("dataSourceRef")
    source, reference = spec.get("dataSource"), spec.get("dataSourceRef")
    if source is not None and (source.get("apiGroup") or "", source.get("kind")) not in _SOURCES:
        known_twin = reference is not None and _alike(source, reference)
        if not known_twin:
            spec.pop("dataSource")
            source = None
    if reference is None and source is not None:
        spec["dataSourceRef"] = dict(source)
    elif reference is not None and source is None:
        spec["dataSource"] = dict(reference)
    return {**claim, "spec": spec}


def claim_faults(claim: Json) -> Iterator[Cause]:
    """Yield what is wrong with a new claim."""
    spec = claim.get("spec") or {}
    if not spec.get("accessModes"):
        yield required("spec.accessModes")
    yield from _size_faults("spec.resources[storage]", at(spec, "resources", "requests", "storage"))
    source, reference = spec.get("dataSource"), spec.get("dataSourceRef")
    for field, value in (("spec.dataSource", source), ("spec.dataSourceRef", reference)):
        if value is None:
            continue
        for key in ("kind", "name"):
            if not value.get(key):
                yield required(f"{field}.{key}")
        if not value.get("apiGroup") and value.get("kind") != "PersistentVolumeClaim":
            yield wrong(field, "must be 'PersistentVolumeClaim' when referencing the default apiGroup")
    if source is not None and reference is not None and not _alike(source, reference):
        yield wrong("spec", "must match dataSourceRef")


def claim_change_faults(old: Json, new: Json) -> Iterator[Cause]:
    """Yield what may not change: all of the spec but volumeName while it is unset, and growth once it is bound."""
    before, after = dict(old["spec"]), dict(new.get("spec") or {})
    if not before.get("volumeName"):
        before.pop("volumeName", None)
        after.pop("volumeName", None)
    if at(old, "status", "phase") == "Bound":
        yield from _growth_faults(before.pop("resources", {}), after.pop("resources", {}))
    if before != after:
        yield denied(
            "spec",
            "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims",
        )


def volume_faults(volume: Json) -> Iterator[Cause]:
    """Yield what is wrong with a new volume."""
    spec = volume.get("spec") or {}
    if not spec.get("accessModes"):
        yield required("spec.accessModes")
    yield from _size_faults("spec.capacity", at(spec, "capacity", "storage"))
    sources = spec.keys() - _NOT_A_SOURCE
    if not sources:
        yield required("spec")
    elif len(sources) > 1:
        yield denied("spec", "may not specify more than 1 volume type")


def volume_change_faults(old: Json, new: Json) -> Iterator[Cause]:
    """Yield what may not change of a volume: its source, and a node affinity that is set."""
    before, after = old["spec"], new.get("spec") or {}
    keys = (before.keys() | after.keys()) - _NOT_A_SOURCE
    if any(before.get(key) != after.get(key) for key in keys):
        yield denied("spec.persistentvolumesource", "spec.persistentvolumesource is immutable after creation")
    if before.get("nodeAffinity") and before["nodeAffinity"] != after.get("nodeAffinity"):
        yield wrong("spec.nodeAffinity", "field is immutable")


def _alike(source: Json, reference: Json) -> bool:
    return all((source.get(key) or "") == (reference.get(key) or "") for key in ("apiGroup", "kind", "name"))


def _size_faults(field: str, size: object) -> Iterator[Cause]:
    if size is None:
        yield required(field)
        return
    try:
        if quantity.parse(size) <= 0:
            yield wrong(field, f'Invalid value: "{size}": must be greater than zero')
    except ValueError as error:
        yield wrong(field, str(error))


def _growth_faults(before: Json, after: Json) -> Iterator[Cause]:
    old, new = at(before, "requests", "storage"), at(after, "requests", "storage")
    if new is None or quantity.parse(new) < quantity.parse(old):
        yield denied("spec.resources.requests.storage", "field can not be less than previous value")
