"""The admission rule over manifests: how the sandbox arms claims."""

from typing import Any, assert_never

from holdfast.decide import admission
from holdfast.kube import manifest
from holdfast.model.admission import Arm, LeaveAlone, Refuse, Rule
from holdfast.model.request import GROUP, KIND
from holdfast.sandbox.store.refusal import Refusal, forbidden

Json = dict[str, Any]


def admit(rule: Rule, operation: str, item: Json, old: Json | None, namespace: Json | None) -> Json | Refusal:
    """Apply the admission rule to what the sandbox is about to store."""
    if item.get("kind") != "PersistentVolumeClaim":
        return item
    labels = ((namespace or {}).get("metadata") or {}).get("labels") or {}
    try:
        new = manifest.creation(item, labels)
        if operation == "UPDATE" and old is not None:
            decided = admission.on_update(manifest.creation(old, labels), new, rule)
        else:
            decided = admission.on_create(new, rule)
    except ValueError:
        return item  # not ours to judge: the store refuses what is no claim
    match decided:
        case LeaveAlone():
            return item
        case Refuse(because=because):
            name = item["metadata"].get("name", "")
            return forbidden(f'persistentvolumeclaims "{name}" is forbidden: {because}')
        case Arm():
            return armed(item, decided)
    assert_never(decided)


def armed(item: Json, arm: Arm) -> Json:
    """Return the claim with its hold."""
    spec = dict(item["spec"])
    if arm.restore is not None:
        spec.pop("dataSource", None)
        spec["dataSourceRef"] = {"apiGroup": GROUP, "kind": KIND, "name": arm.restore}
    if arm.volume is not None:
        spec["volumeName"] = arm.volume
    return {**item, "spec": spec}
