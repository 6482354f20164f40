"""The kinds that are served: the built-in ones, and those that a CustomResourceDefinition describes."""

import functools
import importlib.resources
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from holdfast.sandbox.store.values import Json, at

_TEXT_MAPS: Final = frozenset(
    {"labels", "annotations", "matchLabels", "nodeSelector", "data", "stringData", "binaryData", "parameters"}
)
_TEXT_MAP: Final[Json] = {"type": "object", "additionalProperties": {"type": "string"}}
_SET: Final[Json] = {"x-kubernetes-list-type": "set"}


def _map_by(*keys: str) -> Json:
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(keys)}


# How server-side apply merges the lists of built-in kinds; every other list is replaced as a whole.
_LISTS: Final[Mapping[str, Json]] = {
    "finalizers": _SET,
    "ownerReferences": _map_by("uid"),
    "conditions": _map_by("type"),
    "containers": _map_by("name"),
    "initContainers": _map_by("name"),
    "env": _map_by("name"),
    "volumes": _map_by("name"),
    "volumeMounts": _map_by("mountPath"),
    "ports": _map_by("containerPort", "protocol"),
    "imagePullSecrets": _map_by("name"),
}
_ATOMIC: Final = frozenset(
    {
        "ConfigMapKeySelector", "LabelSelector", "LocalObjectReference", "NodeSelector", "ObjectFieldSelector",
        "ResourceFieldSelector", "SecretKeySelector", "TypedLocalObjectReference",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Kind:
    """One served kind. `counts_generation`: a change of what is neither metadata nor status adds one."""

    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool
    has_status: bool
    counts_generation: bool
    custom: bool
    schema: Json
    short_names: tuple[str, ...] = ()

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def key(self) -> tuple[str, str]:
        return self.group, self.plural


def built_in() -> Iterator[Kind]:
    """Yield the kinds that need no definition."""
    for group, version, kind, plural, namespaced, has_status, short_names in _BUILT_IN:
        yield Kind(
            group=group,
            version=version,
            kind=kind,
            plural=plural,
            namespaced=namespaced,
            has_status=has_status,
            counts_generation=kind in ("Job", "Deployment"),
            custom=False,
            schema=_definitions()[kind],
            short_names=short_names,
        )
    yield Kind(
        group="apiextensions.k8s.io",
        version="v1",
        kind="CustomResourceDefinition",
        plural="customresourcedefinitions",
        namespaced=False,
        has_status=True,
        counts_generation=True,
        custom=False,
        schema={
            "type": "object",
            "properties": {**_object_fields(), "spec": {"type": "object"}, "status": {"type": "object"}},
        },
        short_names=("crd", "crds"),
    )


def custom(definition: Json) -> Kind:
    """Return the kind that a CustomResourceDefinition describes, at its storage version."""
    spec = definition["spec"]
    version = next(each for each in spec["versions"] if each.get("storage"))
    schema: Json = at(version, "schema", "openAPIV3Schema") or {"x-kubernetes-preserve-unknown-fields": True}
    return Kind(
        group=spec["group"],
        version=version["name"],
        kind=spec["names"]["kind"],
        plural=spec["names"]["plural"],
        namespaced=spec["scope"] == "Namespaced",
        has_status="status" in (version.get("subresources") or {}),
        counts_generation=True,
        custom=True,
        schema={**schema, "type": "object", "properties": {**(schema.get("properties") or {}), **_object_fields()}},
        short_names=tuple(spec["names"].get("shortNames") or ()),
    )


_BUILT_IN: Final[tuple[tuple[str, str, str, str, bool, bool, tuple[str, ...]], ...]] = (
    ("", "v1", "Namespace", "namespaces", False, True, ("ns",)),
    ("", "v1", "Node", "nodes", False, True, ("no",)),
    ("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims", True, True, ("pvc",)),
    ("", "v1", "PersistentVolume", "persistentvolumes", False, True, ("pv",)),
    ("", "v1", "Secret", "secrets", True, False, ()),
    ("", "v1", "ConfigMap", "configmaps", True, False, ("cm",)),
    ("", "v1", "Pod", "pods", True, True, ("po",)),
    ("", "v1", "Event", "events", True, False, ("ev",)),
    ("", "v1", "ServiceAccount", "serviceaccounts", True, False, ("sa",)),
    ("apps", "v1", "Deployment", "deployments", True, True, ("deploy",)),
    ("batch", "v1", "Job", "jobs", True, True, ()),
    ("storage.k8s.io", "v1", "StorageClass", "storageclasses", False, False, ("sc",)),
    ("coordination.k8s.io", "v1", "Lease", "leases", True, False, ()),
)


@functools.cache
def _definitions() -> Mapping[str, Json]:
    """Return the schema of every built-in definition; they refer to each other directly."""
    file = importlib.resources.files("holdfast.sandbox.store").joinpath("fields.json")
    fields: Mapping[str, Mapping[str, str]] = json.loads(file.read_text(encoding="utf-8"))
    schemas: dict[str, Json] = {name: {"type": "object", "properties": {}} for name in fields}
    for name, members in fields.items():
        for field, type_name in members.items():
            text_map = field in _TEXT_MAPS and type_name == "any"
            schemas[name]["properties"][field] = _TEXT_MAP if text_map else _schema(field, type_name, schemas)
    for name in _ATOMIC & schemas.keys():
        schemas[name]["x-kubernetes-map-type"] = "atomic"
    return schemas


def _schema(field: str, type_name: str, schemas: Mapping[str, Json]) -> Json:
    if type_name.startswith("[]"):
        return {"type": "array", "items": _schema(field, type_name[2:], schemas), **_LISTS.get(field, {})}
    if type_name == "any":
        return {}
    return schemas.get(type_name, {"type": type_name})


def _object_fields() -> Mapping[str, Json]:
    text: Json = {"type": "string"}
    return {"apiVersion": text, "kind": text, "metadata": _definitions()["ObjectMeta"]}
