"""Deployments: so many pods of one template; another template replaces them, old ones first."""

import hashlib
import json
from typing import Final

from holdfast.sandbox.actors import reporting
from holdfast.sandbox.actors.jobs import create_pod
from holdfast.sandbox.store.lifecycle import Deletion
from holdfast.sandbox.store.store import Store
from holdfast.sandbox.store.values import Json, at

HASH_LABEL: Final = "pod-template-hash"
_SOURCE: Final = "deployment-controller"


class Deployments:
    """The deployment controller, without ReplicaSets; every rollout is done as the strategy Recreate says."""

    def __init__(self, store: Store) -> None:
        self._store: Final = store
        self._deployments: Final = store.kind_named("Deployment")
        self._pods: Final = store.kind_named("Pod")

    def step(self) -> float | None:
        for deployment in self._store.all("Deployment"):
            if "deletionTimestamp" not in deployment["metadata"]:
                self._sync(deployment)
        return None

    def _sync(self, deployment: Json) -> None:
        namespace = deployment["metadata"]["namespace"]
        pods = [pod for pod in self._store.all("Pod", namespace) if reporting.owned_by(pod, deployment)]
        wanted, version = deployment["spec"]["replicas"], _hash(deployment["spec"]["template"])
        current = [pod for pod in pods if at(pod, "metadata", "labels", HASH_LABEL) == version and not _is_over(pod)]
        for pod in [each for each in pods if each not in current] + current[wanted:]:
            if "deletionTimestamp" not in pod["metadata"]:
                self._store.delete(self._pods, namespace, pod["metadata"]["name"], Deletion())
        if len(current) == len(pods):
            for _ in range(wanted - len(current)):
                self._start(deployment, version)
        self._report(deployment, len(pods), current[:wanted])

    def _start(self, deployment: Json, version: str) -> None:
        template, meta = deployment["spec"]["template"], deployment["metadata"]
        owner = {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "name": meta["name"],
            "uid": meta["uid"],
            "controller": True,
            "blockOwnerDeletion": True,
        }
        body: Json = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "generateName": f"{meta['name']}-{version}-",
                "labels": {**(at(template, "metadata", "labels") or {}), HASH_LABEL: version},
                "annotations": at(template, "metadata", "annotations") or {},
                "ownerReferences": [owner],
            },
            "spec": template["spec"],
        }
        create_pod(self._store, deployment, "Deployment", body, _SOURCE)

    def _report(self, deployment: Json, total: int, current: list[Json]) -> None:
        ready = sum(1 for pod in current if _is_ready(pod))
        enough = ready >= deployment["spec"]["replicas"]
        conditions = reporting.with_condition(
            deployment,
            self._store.now(),
            name="Available",
            status="True" if enough else "False",
            reason="MinimumReplicasAvailable" if enough else "MinimumReplicasUnavailable",
        )
        meta = deployment["metadata"]
        status = {
            "observedGeneration": meta["generation"],
            "replicas": total or None,
            "updatedReplicas": len(current) or None,
            "readyReplicas": ready or None,
            "availableReplicas": ready or None,
            "unavailableReplicas": (deployment["spec"]["replicas"] - ready) or None,
            "conditions": conditions,
        }
        self._store.amend(self._deployments, meta["namespace"], meta["name"], {"status": status})


def _hash(template: Json) -> str:
    return hashlib.sha256(json.dumps(template, sort_keys=True).encode()).hexdigest()[:10]


def _is_over(pod: Json) -> bool:
    return at(pod, "status", "phase") in ("Succeeded", "Failed")


def _is_ready(pod: Json) -> bool:
    conditions = at(pod, "status", "conditions") or ()
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
