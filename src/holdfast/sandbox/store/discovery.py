"""What is served, in the plain form that kubectl and other clients ask for first."""

from typing import Final

from holdfast.sandbox.store.kinds import Kind
from holdfast.sandbox.store.store import Store
from holdfast.sandbox.store.values import Json

_VERBS: Final = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
VERSION: Final[Json] = {"major": "1", "minor": "36", "gitVersion": "v1.36.0+holdfast-sandbox", "platform": "sandbox"}


def answer(store: Store, path: str) -> Json | None:
    """Return the document at a path of the discovery, or None where there is none."""
    match [part for part in path.split("/") if part]:
        case ["version"]:
            return VERSION
        case ["api"]:
            return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}
        case ["api", "v1"]:
            return _resources(store, "", "v1")
        case ["apis"]:
            groups = sorted({kind.group for kind in store.kinds.values() if kind.group})
            return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group(store, group) for group in groups]}
        case ["apis", group] if _versions(store, group):
            return {"kind": "APIGroup", "apiVersion": "v1", **_group(store, group)}
        case ["apis", group, version] if version in _versions(store, group):
            return _resources(store, group, version)
        case _:
            return None


def _versions(store: Store, group: str) -> list[str]:
    return sorted({kind.version for kind in store.kinds.values() if kind.group == group})


def _group(store: Store, group: str) -> Json:
    versions = [{"groupVersion": f"{group}/{each}", "version": each} for each in _versions(store, group)]
    return {"name": group, "versions": versions, "preferredVersion": versions[0]}


def _resources(store: Store, group: str, version: str) -> Json:
    served = [kind for kind in store.kinds.values() if (kind.group, kind.version) == (group, version)]
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": f"{group}/{version}" if group else version,
        "resources": [entry for kind in served for entry in _entries(kind)],
    }


def _entries(kind: Kind) -> list[Json]:
    entry: Json = {
        "name": kind.plural,
        "singularName": kind.kind.lower(),
        "namespaced": kind.namespaced,
        "kind": kind.kind,
        "verbs": _VERBS,
    }
    if kind.short_names:
        entry["shortNames"] = list(kind.short_names)
    subresource = {"singularName": "", "namespaced": kind.namespaced, "kind": kind.kind}
    status = {**subresource, "name": f"{kind.plural}/status", "verbs": ["get", "patch", "update"]}
    log = {**subresource, "name": f"{kind.plural}/log", "verbs": ["get"]}
    return [entry, *([status] if kind.has_status else []), *([log] if kind.key == ("", "pods") else [])]
