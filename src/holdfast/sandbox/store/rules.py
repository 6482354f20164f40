"""What differs from kind to kind: defaults, first status, validation, and what may not change."""

import base64
import binascii
import re
from collections.abc import Iterator
from typing import Any, Final

from holdfast.sandbox.store import claims, schema
from holdfast.sandbox.store.kinds import Kind
from holdfast.sandbox.store.refusal import Cause, bad_request, denied, required, wrong
from holdfast.sandbox.store.values import Json, at

_MICRO_TIME: Final = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}(Z|[+-]\d\d:\d\d)$")
_CONFIG_BYTES: Final = 1024 * 1024
_FIRST_STATUS: Final[dict[str, Json]] = {
    "PersistentVolumeClaim": {"phase": "Pending"},
    "PersistentVolume": {"phase": "Pending"},
    "Namespace": {"phase": "Active"},
    "Pod": {"phase": "Pending", "qosClass": "BestEffort"},
}
_CONTAINER: Final[Json] = {
    "imagePullPolicy": "IfNotPresent",
    "terminationMessagePath": "/dev/termination-log",
    "terminationMessagePolicy": "File",
    "resources": {},
}
_POD: Final[Json] = {
    "restartPolicy": "Always",
    "terminationGracePeriodSeconds": 30,
    "dnsPolicy": "ClusterFirst",
    "schedulerName": "default-scheduler",
    "securityContext": {},
    "enableServiceLinks": True,
}
_JOB: Final[Json] = {
    "backoffLimit": 6,
    "completions": 1,
    "parallelism": 1,
    "completionMode": "NonIndexed",
    "suspend": False,
    "podReplacementPolicy": "TerminatingOrFailed",
}
_DEPLOYMENT: Final[Json] = {"replicas": 1, "progressDeadlineSeconds": 600, "revisionHistoryLimit": 10}
_STORAGE_CLASS: Final[Json] = {"reclaimPolicy": "Delete", "volumeBindingMode": "Immediate"}
_POD_MAY_CHANGE: Final = frozenset(
    {"activeDeadlineSeconds", "tolerations", "nodeName", "terminationGracePeriodSeconds"}
)


def defaulted(kind: Kind, item: Json) -> Json:
    """Return the object with what an API server fills in."""
    if kind.custom:
        filled = schema.defaulted(kind.schema, {key: value for key, value in item.items() if key != "metadata"})
        return {**filled, "metadata": item["metadata"]}
    spec: Json = item.get("spec") or {}
    match kind.kind:
        case "PersistentVolumeClaim":
            return {**item, "spec": {"volumeMode": "Filesystem", **spec}}
        case "PersistentVolume":
            return {**item, "spec": {"volumeMode": "Filesystem", "persistentVolumeReclaimPolicy": "Retain", **spec}}
        case "Namespace":
            return {**item, "spec": {"finalizers": ["kubernetes"], **spec}}
        case "Pod":
            return {**item, "spec": _pod_spec(spec)}
        case "Job" | "Deployment":
            defaults = _JOB if kind.kind == "Job" else _DEPLOYMENT
            template = spec.get("template") or {}
            pod = _pod_spec(template.get("spec") or {}) if kind.kind == "Deployment" else template.get("spec") or {}
            return {**item, "spec": {**defaults, **spec, "template": {**template, "spec": pod}}}
        case "StorageClass":
            return {**_STORAGE_CLASS, **item}
        case "Secret":
            return _with_text_data({"type": "Opaque", **item})
        case _:
            return item


def born(kind: Kind, item: Json) -> Json:
    """Return a new object with its first status and what only the API server may set; it has its uid already."""
    if kind.has_status:
        item = {key: value for key, value in item.items() if key != "status"}
        if not kind.custom and kind.kind in _FIRST_STATUS:
            item["status"] = dict(_FIRST_STATUS[kind.kind])
    if kind.custom:
        return item
    match kind.kind:
        case "PersistentVolumeClaim":
            return claims.normalized(_with_finalizer(item, claims.CLAIM_FINALIZER))
        case "PersistentVolume":
            return _with_finalizer(item, claims.VOLUME_FINALIZER)
        case "Namespace":
            return _labelled(item, {"kubernetes.io/metadata.name": item["metadata"]["name"]})
        case "Job":
            return _job_with_selector(item)
        case _:
            return item


def faults(kind: Kind, item: Json) -> Iterator[Cause]:
    """Yield what is wrong with the object as it is."""
    if kind.custom:
        yield from schema.faults(kind.schema, {key: value for key, value in item.items() if key != "metadata"})
        return
    match kind.kind:
        case "PersistentVolumeClaim":
            yield from claims.claim_faults(item)
        case "PersistentVolume":
            yield from claims.volume_faults(item)
        case "Pod":
            yield from _pod_faults("spec", item.get("spec") or {})
        case "Job":
            yield from _job_faults(item["spec"])
        case "Deployment":
            yield from _deployment_faults(item["spec"])
        case "StorageClass":
            if not item.get("provisioner"):
                yield required("provisioner")
        case "CustomResourceDefinition":
            yield from _definition_faults(item.get("spec") or {}, item["metadata"].get("name", ""))
        case "ConfigMap" | "Secret":
            size = sum(len(key) + len(value) for key, value in (item.get("data") or {}).items())
            if size > _CONFIG_BYTES:
                yield Cause(
                    reason="FieldValueTooLong", field="data", message=f"may not be more than {_CONFIG_BYTES} bytes"
                )
        case "Event":
            if (at(item, "involvedObject", "namespace") or "default") != item["metadata"]["namespace"]:
                yield wrong("involvedObject.namespace", "does not match event.namespace")
        case "Lease":
            if at(item, "spec", "leaseDurationSeconds") is not None and item["spec"]["leaseDurationSeconds"] <= 0:
                yield wrong("spec.leaseDurationSeconds", "must be greater than 0")
        case _:
            return


def change_faults(kind: Kind, old: Json, new: Json) -> Iterator[Cause]:
    """Yield what the change from `old` to `new` may not do."""
    added = set(new["metadata"].get("finalizers") or ()) - set(old["metadata"].get("finalizers") or ())
    if added and "deletionTimestamp" in old["metadata"]:
        yield denied(
            "metadata.finalizers",
            f"no new finalizers can be added if the object is being deleted, found new finalizers {sorted(added)}",
        )
    if kind.custom:
        return
    match kind.kind:
        case "PersistentVolumeClaim":
            yield from claims.claim_change_faults(old, new)
        case "PersistentVolume":
            yield from claims.volume_change_faults(old, new)
        case "Pod":
            yield from _pod_change_faults(old["spec"], new["spec"])
        case "Job":
            yield from _immutable("spec", old["spec"], new["spec"], ("template", "selector", "completions"))
        case "Deployment":
            yield from _immutable("spec", old["spec"], new["spec"], ("selector",))
        case "StorageClass":
            yield from _immutable("", old, new, ("provisioner", "parameters", "reclaimPolicy", "volumeBindingMode"))
        case "Secret":
            yield from _immutable("", old, new, ("type",))
        case _:
            return


def check_form(kind: Kind, item: Json) -> None:
    """Refuse with 400 what a built-in kind's decoder cannot read; custom kinds answer with 422 later."""
    if kind.custom:
        return
    for cause in schema.faults(kind.schema, item):
        if cause.reason == "FieldValueTypeInvalid":
            raise bad_request(
                f"{kind.kind} in version {kind.version!r} cannot be handled: {cause.field}: {cause.message}"
            )
    if kind.kind == "Lease":
        for key in ("acquireTime", "renewTime"):
            time = at(item, "spec", key)
            if time is not None and not _MICRO_TIME.match(time):
                raise bad_request(f'Lease in version "v1" cannot be handled: spec.{key}: parsing time "{time}"')
    if kind.kind == "Secret":
        for key, value in (item.get("data") or {}).items():
            _check_base64(key, value)


def _pod_spec(spec: Json) -> Json:
    containers = [{**_CONTAINER, **container} for container in spec.get("containers") or ()]
    return {**_POD, **spec, "containers": containers}


def _with_text_data(secret: Json) -> Json:
    text = secret.get("stringData")
    if not text:
        return secret
    encoded = {key: base64.b64encode(value.encode()).decode() for key, value in text.items()}
    rest = {key: value for key, value in secret.items() if key != "stringData"}
    return {**rest, "data": {**(secret.get("data") or {}), **encoded}}


def _check_base64(key: str, value: str) -> None:
    try:
        base64.b64decode(value, validate=True)
    except binascii.Error as error:
        raise bad_request(f'Secret in version "v1" cannot be handled: data.{key}: illegal base64 data') from error


def _with_finalizer(item: Json, finalizer: str) -> Json:
    finalizers = list(item["metadata"].get("finalizers") or ())
    if finalizer in finalizers:
        return item
    return {**item, "metadata": {**item["metadata"], "finalizers": [*finalizers, finalizer]}}


def _labelled(item: Json, labels: dict[str, str]) -> Json:
    return {**item, "metadata": {**item["metadata"], "labels": {**(item["metadata"].get("labels") or {}), **labels}}}


def _job_with_selector(job: Json) -> Json:
    name, uid = job["metadata"]["name"], job["metadata"]["uid"]
    labels = {
        "batch.kubernetes.io/controller-uid": uid,
        "batch.kubernetes.io/job-name": name,
        "controller-uid": uid,
        "job-name": name,
    }
    template = job["spec"]["template"]
    marked = _labelled({**template, "metadata": template.get("metadata") or {}}, labels)
    pod = {**_pod_spec(marked["spec"]), "restartPolicy": marked["spec"].get("restartPolicy")}
    if pod["restartPolicy"] is None:
        del pod["restartPolicy"]
    spec = {
        **job["spec"],
        "selector": {"matchLabels": {"batch.kubernetes.io/controller-uid": uid}},
        "template": {**marked, "spec": pod},
    }
    return _labelled({**job, "spec": spec}, labels) if name else job


def _pod_faults(path: str, spec: Json) -> Iterator[Cause]:
    containers = spec.get("containers") or ()
    if not containers:
        yield required(f"{path}.containers")
    volumes = {volume.get("name") for volume in spec.get("volumes") or ()}
    for index, container in enumerate(containers):
        here = f"{path}.containers[{index}]"
        for key in ("name", "image"):
            if not container.get(key):
                yield required(f"{here}.{key}")
        for position, mount in enumerate(container.get("volumeMounts") or ()):
            if mount.get("name") not in volumes:
                yield Cause(
                    reason="FieldValueNotFound",
                    field=f"{here}.volumeMounts[{position}].name",
                    message=f'Not found: "{mount.get("name")}"',
                )


def _job_faults(spec: Json) -> Iterator[Cause]:
    pod = at(spec, "template", "spec") or {}
    if pod.get("restartPolicy") not in ("Never", "OnFailure"):
        yield Cause(
            reason="FieldValueNotSupported" if pod.get("restartPolicy") else "FieldValueRequired",
            field="spec.template.spec.restartPolicy",
            message='supported values: "OnFailure", "Never"',
        )
    yield from _pod_faults("spec.template.spec", pod)


def _deployment_faults(spec: Json) -> Iterator[Cause]:
    wanted = at(spec, "selector", "matchLabels") or {}
    labels = at(spec, "template", "metadata", "labels") or {}
    if not wanted:
        yield required("spec.selector")
    elif any(labels.get(key) != value for key, value in wanted.items()):
        yield wrong("spec.template.metadata.labels", "`selector` does not match template `labels`")
    yield from _pod_faults("spec.template.spec", at(spec, "template", "spec") or {})


def _definition_faults(spec: Json, name: str) -> Iterator[Cause]:
    for path in (("group",), ("scope",), ("names", "kind"), ("names", "plural")):
        if not at(spec, *path):
            yield required(f"spec.{'.'.join(path)}")
    if name != f"{at(spec, 'names', 'plural')}.{spec.get('group')}":
        yield wrong("metadata.name", 'must be spec.names.plural+"."+spec.group')
    stored = [version for version in spec.get("versions") or () if version.get("storage")]
    if len(stored) != 1:
        yield wrong("spec.versions", "must have exactly one version marked as storage version")


def _pod_change_faults(old: Json, new: Json) -> Iterator[Cause]:
    before = {key: value for key, value in old.items() if key not in _POD_MAY_CHANGE and key != "containers"}
    after = {key: value for key, value in new.items() if key not in _POD_MAY_CHANGE and key != "containers"}
    images = [[{**each, "image": ""} for each in spec.get("containers") or ()] for spec in (old, new)]
    if before != after or images[0] != images[1]:
        yield denied("spec", "pod updates may not change fields other than the images, deadline and tolerations")


def _immutable(path: str, old: Any, new: Any, keys: tuple[str, ...]) -> Iterator[Cause]:
    for key in keys:
        if old.get(key) != new.get(key):
            yield wrong(f"{path}.{key}" if path else key, "field is immutable")
