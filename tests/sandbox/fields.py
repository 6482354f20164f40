"""The built-in kinds' fields as lightkube's generated models know them: what `store/fields.json` must equal."""

import importlib
import re
from typing import Final

KINDS: Final = {
    "core_v1": (
        "Namespace", "Node", "PersistentVolumeClaim", "PersistentVolume", "Secret", "ConfigMap", "Pod", "Event",
        "ServiceAccount",
    ),
    "apps_v1": ("Deployment",),
    "batch_v1": ("Job",),
    "storage_v1": ("StorageClass",),
    "coordination_v1": ("Lease",),
}  # fmt: skip
_SCALARS: Final = {
    "str": "string", "int": "integer", "float": "number", "bool": "boolean", "bytes": "string", "dict": "any",
    "meta_v1.Time": "string", "meta_v1.MicroTime": "string", "resource.Quantity": "any",
    "util_intstr.IntOrString": "any", "meta_v1.FieldsV1": "any", "runtime.RawExtension": "any",
}  # fmt: skip


def known_fields() -> dict[str, dict[str, str]]:
    """Return definition name → field → type, for the kinds and all that they contain."""
    found: dict[str, dict[str, str]] = {}
    waiting = [(module, name) for module, names in KINDS.items() for name in names]
    while waiting:
        module, name = waiting.pop()
        if name in found:
            continue
        cls = getattr(importlib.import_module(f"lightkube.models.{module}"), name)
        found[name] = {}
        for field, spelled in zip(cls.__struct_fields__, cls.__struct_encode_fields__, strict=True):
            text, reference = _type(cls.__annotations__[field], module)
            found[name][spelled] = text
            if reference is not None:
                waiting.append(reference)
    return {name: dict(sorted(fields.items())) for name, fields in sorted(found.items())}


def _type(text: str, module: str) -> tuple[str, tuple[str, str] | None]:
    text = text.strip("'\"")
    if inner := re.fullmatch(r"Optional\[(.*)\]", text):
        return _type(inner[1], module)
    if inner := re.fullmatch(r"List\[(.*)\]", text):
        item, reference = _type(inner[1], module)
        return f"[]{item}", reference
    if text in _SCALARS:
        return _SCALARS[text], None
    full = text if "." in text else f"{module}.{text}"
    if full in _SCALARS:
        return _SCALARS[full], None
    holder, name = full.split(".")
    if not hasattr(getattr(importlib.import_module(f"lightkube.models.{holder}"), name), "__struct_fields__"):
        return "any", None  # an object of any shape
    return name, (holder, name)
