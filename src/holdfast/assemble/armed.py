"""The admission rule over manifests: how the sandbox arms claims."""

from typing import Any

from holdfast.decide import admission
from holdfast.model.admission import Arm, Creation, LeaveAlone
from holdfast.model.claim import DataSource, Owner
from holdfast.model.request import GROUP, KIND
from holdfast.model.settings import Settings

Json = dict[str, Any]


def admit(settings: Settings, operation: str, item: Json, old: Json | None, namespace: Json | None) -> Json:
    """Apply the admission rule to what the sandbox is about to store."""
    if item.get("kind") != "PersistentVolumeClaim":
        return item
    spec = item["spec"]
    if operation == "UPDATE" and old is not None:
        decided = admission.on_update(_source(old["spec"].get("dataSourceRef")), _source(spec.get("dataSourceRef")))
    else:
        decided = admission.on_create(
            _creation(item, namespace), own_namespace=settings.namespace, label=settings.label
        )
    match decided:
        case LeaveAlone():
            return item
        case Arm(restore=name):
            reference = {"apiGroup": GROUP, "kind": KIND, "name": name}
            kept = {key: value for key, value in spec.items() if key != "dataSource"}
            return {**item, "spec": {**kept, "dataSourceRef": reference}}


def _creation(item: Json, namespace: Json | None) -> Creation:
    meta, spec = item["metadata"], item["spec"]
    return Creation(
        namespace=meta["namespace"],
        namespace_labels=((namespace or {}).get("metadata") or {}).get("labels") or {},
        labels=meta.get("labels") or {},
        annotations=meta.get("annotations") or {},
        owners=tuple(
            Owner(
                api_version=each["apiVersion"],
                kind=each["kind"],
                name=each["name"],
                uid=each["uid"],
                controller=bool(each.get("controller")),
            )
            for each in meta.get("ownerReferences") or ()
        ),
        source=_source(spec.get("dataSource")),
        source_ref=_source(spec.get("dataSourceRef")),
        volume_name=spec.get("volumeName") or "",
        storage_class=spec.get("storageClassName"),
        volume_mode=spec.get("volumeMode") or "Filesystem",
        has_selector=spec.get("selector") is not None,
    )


def _source(reference: Json | None) -> DataSource | None:
    if reference is None:
        return None
    return DataSource(group=reference.get("apiGroup") or "", kind=reference["kind"], name=reference["name"])
