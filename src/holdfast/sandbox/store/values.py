"""JSON values: copies, paths, merge patch (RFC 7386). A stored object is never changed in place."""

from collections.abc import Sequence
from typing import Any

Json = dict[str, Any]


def copied(value: Any) -> Any:
    """Return a copy that shares no container with `value`."""
    if isinstance(value, dict):
        return {key: copied(item) for key, item in value.items()}
    if isinstance(value, list):
        return [copied(item) for item in value]
    return value


def at(value: Any, *path: str) -> Any:
    """Return what stands at the path of keys, or None where any part of it is missing."""
    for key in path:
        if not isinstance(value, dict):
            return None
        value = value.get(key)
    return value


def metadata(item: Json) -> Json:
    """Return the metadata of an object; it always has some once it is stored."""
    found: Json = item["metadata"]
    return found


def merged(target: Any, patch: Any) -> Any:
    """Return `target` after a merge patch: null deletes, objects merge, everything else replaces."""
    if not isinstance(patch, dict):
        return copied(patch)
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


def without_nulls(value: Any) -> Any:
    """Return a copy without members that are null: in a Kubernetes object null means absent."""
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [without_nulls(item) for item in value]
    return value


def owners(item: Json) -> Sequence[Json]:
    """Return the owner references of an object."""
    found: Sequence[Json] = metadata(item).get("ownerReferences") or ()
    return found
