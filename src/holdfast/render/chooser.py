"""The Job that stands for a pod: the scheduler puts it where the pod could run, and so chooses a volume's node."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from holdfast.model.intent import MANAGED_BY
from holdfast.model.population import Consumer
from holdfast.render import install, names

KIND: Final = "place"
DEADLINE: Final = 3600  # seconds
LIFETIME: Final = 300  # after its end: what was begun for a claim that went away is not left behind
REQUIRED: Final = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED: Final = "preferredDuringSchedulingIgnoredDuringExecution"

Terms = Sequence[Mapping[str, Any]]  # alternatives


def job(
    name: str,
    namespace: str,
    image: str,
    consumer: Consumer,
    pins: Sequence[Terms],
    annotations: Mapping[str, str],
) -> dict[str, Any]:
    """Return the Job. `pins`: where the volumes are that the pod uses as well; every one of them must hold.

    Its containers ask for what the pod's ask for, or a node would be chosen where the pod finds no room.
    """
    pod: dict[str, Any] = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 0,
        "affinity": affinity(consumer, pins),
        "nodeSelector": dict(consumer.node_selector),
        "tolerations": [dict(each) for each in consumer.tolerations],
        "containers": [_container(number, image, each) for number, each in enumerate(consumer.resources)],
    }
    if consumer.scheduler is not None:
        pod["schedulerName"] = consumer.scheduler
    labels = {names.KIND: KIND}
    ours = {MANAGED_BY: names.MANAGER, names.COMPONENT: "fill", **labels}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": names.metadata(name, namespace, "fill", labels=labels, annotations=annotations),
        "spec": {
            "backoffLimit": 0,
            "activeDeadlineSeconds": DEADLINE,
            "ttlSecondsAfterFinished": LIFETIME,
            "template": {"metadata": {"labels": ours}, "spec": pod},
        },
    }


def on_node(name: str) -> Terms:
    """Return the terms that hold for one node; its hostname label may differ from its name."""
    return [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": [name]}]}]


def affinity(consumer: Consumer, pins: Sequence[Terms]) -> dict[str, Any]:
    """Return the pod's affinity, with the pins added to what it requires of nodes."""
    result = {key: dict(value) for key, value in consumer.affinity.items()}
    node = result.get("nodeAffinity", {})
    own: Terms = (node.get(REQUIRED) or {}).get("nodeSelectorTerms") or ()
    required = _all_of([terms for terms in (own, *pins) if terms])
    if required:
        result["nodeAffinity"] = node | {REQUIRED: {"nodeSelectorTerms": required}}
    for side in ("podAffinity", "podAntiAffinity"):
        if side in result:
            result[side] = _of_namespace(result[side], consumer.namespace)
    return result


def _all_of(alternatives: Sequence[Terms]) -> list[dict[str, Any]]:
    """Return terms of which one holds where one of each of the alternatives does."""
    if not alternatives:
        return []
    first, *rest = alternatives
    merged = [dict(each) for each in first]
    for terms in rest:
        merged = [
            {key: [*one.get(key, ()), *other.get(key, ())] for key in {**one, **other}}
            for one in merged
            for other in terms
        ]
    return merged


def _of_namespace(terms: Mapping[str, Any], namespace: str) -> dict[str, Any]:
    """A term that names no namespaces means those of its own pod, which is the consumer's and not ours."""

    def named(term: Mapping[str, Any]) -> dict[str, Any]:
        return (
            dict(term) if "namespaces" in term or "namespaceSelector" in term else {**term, "namespaces": [namespace]}
        )

    result = dict(terms)
    if REQUIRED in terms:
        result[REQUIRED] = [named(each) for each in terms[REQUIRED]]
    if _PREFERRED in terms:
        result[_PREFERRED] = [{**each, "podAffinityTerm": named(each["podAffinityTerm"])} for each in terms[_PREFERRED]]
    return result


def _container(number: int, image: str, resources: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": f"place-{number}",
        "image": image,
        "args": ["--version"],
        "resources": {key: resources[key] for key in ("requests", "limits") if resources.get(key)},
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": install.USER,
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }
