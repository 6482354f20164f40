"""The scheduler's part: chooses a node, has the pod's claims provisioned for it, and waits until all are bound."""

from typing import Final

from holdfast.sandbox.actors import matching, reporting
from holdfast.sandbox.actors.binder import reserve
from holdfast.sandbox.store.store import Store
from holdfast.sandbox.store.values import Json, at

_SOURCE: Final = "default-scheduler"


class Scheduler:
    """Places pods. Resources, taints and pod affinity are not looked at."""

    def __init__(self, store: Store) -> None:
        self._store: Final = store
        self._pods: Final = store.kind_named("Pod")
        self._claims: Final = store.kind_named("PersistentVolumeClaim")

    def step(self) -> float | None:
        for pod in self._store.all("Pod"):
            if not at(pod, "spec", "nodeName") and "deletionTimestamp" not in pod["metadata"]:
                self._schedule(pod)
        return None

    def _schedule(self, pod: Json) -> None:
        claims: list[Json] = []
        for name in _claim_names(pod):
            claim = self._store.find(self._claims, pod["metadata"]["namespace"], name)
            if claim is None:
                return self._wait(pod, f'persistentvolumeclaim "{name}" not found')
            if "deletionTimestamp" in claim["metadata"]:
                return self._wait(pod, f'persistentvolumeclaim "{name}" is being deleted')
            claims.append(claim)
        unbound = [claim for claim in claims if not _is_bound(claim)]
        if any(not self._is_delayed(claim) for claim in unbound):
            return self._wait(pod, "pod has unbound immediate PersistentVolumeClaims")
        node = next((node for node in self._store.all("Node") if self._fits(node, pod, claims)), None)
        if node is None:
            return self._wait(pod, "no node fits the pod and its volumes")
        if unbound:
            for claim in unbound:
                self._provision(claim, node["metadata"]["name"])
            return None
        return self._place(pod, node["metadata"]["name"])

    def _is_delayed(self, claim: Json) -> bool:
        waits = matching.waits_for_consumer(matching.class_of(self._store, claim))
        return waits and not claim["spec"].get("volumeName")

    def _fits(self, node: Json, pod: Json, claims: list[Json]) -> bool:
        labels = node["metadata"].get("labels") or {}
        if at(node, "spec", "unschedulable"):
            return False
        if any(labels.get(key) != value for key, value in (pod["spec"].get("nodeSelector") or {}).items()):
            return False
        if not matching.node_fits(node, matching.pod_terms(pod)):
            return False
        return all(self._claim_fits(node, claim) for claim in claims)

    def _claim_fits(self, node: Json, claim: Json) -> bool:
        if not _is_bound(claim):
            return matching.annotation(claim, matching.SELECTED_NODE) in (None, node["metadata"]["name"])
        volume = self._store.find(self._store.kind_named("PersistentVolume"), "", claim["spec"]["volumeName"])
        return volume is not None and matching.node_fits(node, matching.volume_terms(volume))

    def _provision(self, claim: Json, node: str) -> None:
        """Give the claim an existing volume that fits, or ask for a new one on the node."""
        if matching.annotation(claim, matching.SELECTED_NODE) is not None:
            return
        existing = matching.best_available(self._store, claim)
        if existing is not None:
            reserve(self._store, existing, claim)
            return
        meta = claim["metadata"]
        change = {"metadata": {"annotations": {matching.SELECTED_NODE: node}}}
        self._store.amend(self._claims, meta["namespace"], meta["name"], change)

    def _place(self, pod: Json, node: str) -> None:
        conditions = reporting.with_condition(pod, self._store.now(), name="PodScheduled", status="True")
        self._amend(pod, {"spec": {"nodeName": node}, "status": {"conditions": conditions}})
        name = f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
        message = f"Successfully assigned {name} to {node}"
        reporting.event(self._store, pod, "Pod", reason="Scheduled", message=message, source=_SOURCE)

    def _wait(self, pod: Json, why: str) -> None:
        message = f"0/{len(self._store.all('Node'))} nodes are available: {why}."
        conditions = reporting.with_condition(
            pod, self._store.now(), name="PodScheduled", status="False", reason="Unschedulable", message=message
        )
        self._amend(pod, {"status": {"conditions": conditions}})
        reporting.event(
            self._store, pod, "Pod", reason="FailedScheduling", message=message, source=_SOURCE, warning=True
        )

    def _amend(self, pod: Json, change: Json) -> None:
        self._store.amend(self._pods, pod["metadata"]["namespace"], pod["metadata"]["name"], change)


def _claim_names(pod: Json) -> list[str]:
    sources = (at(volume, "persistentVolumeClaim", "claimName") for volume in pod["spec"].get("volumes") or ())
    return [name for name in sources if name is not None]


def _is_bound(claim: Json) -> bool:
    return bool(at(claim, "status", "phase") == "Bound")
