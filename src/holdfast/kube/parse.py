"""Kubernetes objects → the model's values. Every problem of an object is found at once, with its path and advice."""

import re
from fractions import Fraction
from typing import Final

from holdfast.kube import objects
from holdfast.model.claim import Claim, ClaimPhase, ClaimRef, DataSource, Owner
from holdfast.model.copying import User
from holdfast.model.population import Consumer

SELECTED_NODE: Final = "volume.kubernetes.io/selected-node"

_BINARY: Final = {f"{letter}i": Fraction(1024) ** power for power, letter in enumerate("KMGTPE", start=1)}
_DECIMAL: Final = {letter: Fraction(1000) ** power for power, letter in enumerate("kMGTPE", start=1)}
_SMALL: Final = {"n": Fraction(1, 10**9), "u": Fraction(1, 10**6), "m": Fraction(1, 1000), "": Fraction(1)}
_SUFFIXES: Final = _BINARY | _DECIMAL | _SMALL
_QUANTITY: Final = re.compile(r"([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+))(?:[eE]([+-]?[0-9]{1,3})|([KMGTPE]i|[numkMGTPE]|))")


def quantity(text: str) -> int:
    """Return the bytes that a Kubernetes quantity means, exactly; a fraction of a byte counts as one.

    Raises ValueError for anything else.
    """
    found = _QUANTITY.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no quantity such as 5Gi, 1500M or 1e9")
    number, exponent, suffix = found.groups()
    factor = Fraction(10) ** int(exponent) if exponent else _SUFFIXES[suffix]
    return -int(-Fraction(number) * factor // 1)


def claim(pvc: objects.PersistentVolumeClaim) -> Claim:
    """Return the claim as decisions see it; raise ValueError when it lacks what every stored claim has."""
    meta, spec = pvc.metadata, pvc.spec
    status = pvc.status or objects.ClaimStatus()
    requests = (spec.resources.requests if spec.resources else None) or {}
    if meta.namespace is None:
        raise ValueError(f"claim {meta.name}: metadata.namespace is missing")
    ref = ClaimRef(namespace=meta.namespace, name=meta.name)
    if "storage" not in requests:
        raise ValueError(f"claim {ref}: spec.resources.requests.storage is missing")
    if status.phase is None:
        raise ValueError(f"claim {ref}: status.phase is missing")
    capacity = (status.capacity or {}).get("storage")
    return Claim(
        ref=ref,
        uid=meta.uid,
        created=meta.creation_timestamp,
        labels=pvc.labels,
        annotations=pvc.annotations,
        phase=ClaimPhase(status.phase),
        storage_class=spec.storage_class_name,
        access_modes=tuple(spec.access_modes or ()),
        volume_mode=spec.volume_mode or "Filesystem",  # the API's own default
        requested_bytes=quantity(requests["storage"]),
        capacity_bytes=quantity(capacity) if capacity is not None else None,
        volume_name=spec.volume_name or None,
        source=_source(spec.data_source_ref or spec.data_source),
        owners=tuple(_owner(reference) for reference in meta.owner_references or ()),
        selected_node=pvc.annotations.get(SELECTED_NODE) or None,
        has_selector=spec.selector is not None,
        deleting=pvc.is_deleting,
    )


def user(pod: objects.Pod) -> User | None:
    """Return a pod that has a node; None for one that has none."""
    if not pod.spec.node_name:
        return None
    ended = pod.status is not None and pod.status.phase in ("Succeeded", "Failed")
    return User(
        name=pod.metadata.name,
        node=pod.spec.node_name,
        running=not ended,
        tolerations=pod.spec.tolerations or (),
    )


def consumer(pod: objects.Pod) -> Consumer:
    """Return what decides where the pod can run."""
    spec = pod.spec
    return Consumer(
        namespace=pod.metadata.namespace or "",
        node_selector=spec.node_selector or {},
        affinity=spec.affinity or {},
        tolerations=spec.tolerations or (),
        scheduler=spec.scheduler_name,
        resources=[each.resources or {} for each in spec.containers or ()],
    )


def _source(reference: objects.TypedReference | None) -> DataSource | None:
    if reference is None:
        return None
    return DataSource(group=reference.api_group or "", kind=reference.kind, name=reference.name)


def _owner(reference: objects.OwnerReference) -> Owner:
    return Owner(
        api_version=reference.api_version,
        kind=reference.kind,
        name=reference.name,
        uid=reference.uid,
        controller=reference.controller is True,
    )
