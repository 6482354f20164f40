"""Manifests as people write them → the model's values: fields may be missing, and may be nonsense."""

from collections.abc import Mapping
from typing import Any

from holdfast.model.admission import Creation
from holdfast.model.claim import DataSource, Owner


def creation(item: Mapping[str, Any], namespace_labels: Mapping[str, str]) -> Creation:
    """Return the parts of a claim's manifest that the admission rule reads; raise ValueError naming a bad field."""
    meta, spec = _object(item, "metadata"), _object(item, "spec")
    return Creation(
        namespace=_text(meta, "namespace", "metadata"),
        name=_text(meta, "name", "metadata"),
        namespace_labels=namespace_labels,
        labels=texts(meta, "labels"),
        annotations=texts(meta, "annotations"),
        owners=owners(meta),
        source=_source(spec, "dataSource"),
        source_ref=_source(spec, "dataSourceRef"),
        volume_name=_text(spec, "volumeName", "spec"),
        storage_class=_text(spec, "storageClassName", "spec") if spec.get("storageClassName") is not None else None,
        volume_mode=_text(spec, "volumeMode", "spec") or "Filesystem",
        has_selector=spec.get("selector") is not None,
    )


def owners(meta: Mapping[str, Any]) -> tuple[Owner, ...]:
    """Return the ownerReferences of an object's metadata."""
    found = meta.get("ownerReferences")
    if found is None:
        return ()
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise ValueError("metadata.ownerReferences is no list of objects")
    return tuple(
        Owner(
            api_version=_text(each, "apiVersion", "metadata.ownerReferences"),
            kind=_text(each, "kind", "metadata.ownerReferences"),
            name=_text(each, "name", "metadata.ownerReferences"),
            uid=_text(each, "uid", "metadata.ownerReferences"),
            controller=each.get("controller") is True,
        )
        for each in found
    )


def texts(meta: Mapping[str, Any], name: str) -> Mapping[str, str]:
    """Return labels or annotations; a value that is no text would be refused by the API server."""
    found = meta.get(name)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise ValueError(f"metadata.{name} is no object")
    for key, value in found.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise ValueError(f'metadata.{name}: {key}: {value!r} is no text; write it in quotes: "{_quoted(value)}"')
    return found


def _quoted(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _object(item: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = item.get(name)
    if not isinstance(found, dict):
        raise ValueError(f"{name} is missing" if found is None else f"{name} is no object")
    return found


def _text(parent: Mapping[str, Any], name: str, path: str) -> str:
    found = parent.get(name)
    if found is None:
        return ""
    if not isinstance(found, str):
        raise ValueError(f"{path}.{name}: {found!r} is no text; write it in quotes")
    return found


def _source(spec: Mapping[str, Any], name: str) -> DataSource | None:
    found = spec.get(name)
    if found is None:
        return None
    if not isinstance(found, dict):
        raise ValueError(f"spec.{name} is no object")
    path = f"spec.{name}"
    return DataSource(
        group=_text(found, "apiGroup", path),
        kind=_text(found, "kind", path),
        name=_text(found, "name", path),
        namespace=_text(found, "namespace", path),
    )
