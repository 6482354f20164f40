"""Structural schemas: prune what they do not know, fill in defaults, find what is wrong."""

import re
from collections.abc import Iterator
from typing import Any, Final

from holdfast.sandbox.store.refusal import Cause, required, wrong
from holdfast.sandbox.store.values import Json, copied

_TYPES: Final[dict[str, tuple[type, ...]]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
}
_DATE_TIME: Final = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$")


def unknown_fields(schema: Json, value: Any, path: str = "") -> Iterator[str]:
    """Yield the path of every field that the schema does not know."""
    if isinstance(value, dict) and not _is_open(schema):
        for key, item in value.items():
            here = f"{path}.{key}" if path else key
            known = _member(schema, key)
            if known is None:
                yield here
            else:
                yield from unknown_fields(known, item, here)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from unknown_fields(schema.get("items") or {}, item, f"{path}[{index}]")


def pruned(schema: Json, value: Any) -> Any:
    """Return `value` without the fields that the schema does not know."""
    if isinstance(value, dict) and not _is_open(schema):
        known = ((key, item, _member(schema, key)) for key, item in value.items())
        return {key: pruned(member, item) for key, item, member in known if member is not None}
    if isinstance(value, list):
        return [pruned(schema.get("items") or {}, item) for item in value]
    return value


def defaulted(schema: Json, value: Any) -> Any:
    """Return `value` with the schema's defaults where nothing is given."""
    if isinstance(value, dict):
        result = dict(value)
        for key, member in (schema.get("properties") or {}).items():
            if key not in result and "default" in member:
                result[key] = copied(member["default"])
        return {key: defaulted(_member(schema, key) or {}, item) for key, item in result.items()}
    if isinstance(value, list):
        return [defaulted(schema.get("items") or {}, item) for item in value]
    return value


def faults(schema: Json, value: Any, path: str = "") -> Iterator[Cause]:
    """Yield everything about `value` that the schema forbids. CEL rules are not evaluated."""
    if value is None and schema.get("nullable"):
        return
    fault = _wrong_type(schema, value)
    if fault:
        yield Cause(reason="FieldValueTypeInvalid", field=path or "<nil>", message=fault)
        return
    allowed = schema.get("enum")
    if allowed is not None and value not in allowed:
        listed = ", ".join(f'"{each}"' for each in allowed)
        yield Cause(
            reason="FieldValueNotSupported",
            field=path,
            message=f'Unsupported value: "{value}": supported values: {listed}',
        )
    match value:
        case str():
            yield from _text_faults(schema, value, path)
        case bool():
            return
        case int() | float():
            yield from _number_faults(schema, value, path)
        case list():
            yield from _list_faults(schema, value, path)
        case dict():
            yield from _object_faults(schema, value, path)
        case _:
            return


def _is_open(schema: Json) -> bool:
    return bool(schema.get("x-kubernetes-preserve-unknown-fields")) or not (
        "properties" in schema or "additionalProperties" in schema
    )


def _member(schema: Json, key: str) -> Json | None:
    properties = schema.get("properties") or {}
    if key in properties:
        found: Json = properties[key]
        return found
    more = schema.get("additionalProperties")
    if isinstance(more, dict):
        return more
    return {} if more or schema.get("x-kubernetes-preserve-unknown-fields") else None


def _wrong_type(schema: Json, value: Any) -> str:
    if schema.get("x-kubernetes-int-or-string"):
        fits = isinstance(value, int | str) and not isinstance(value, bool)
        return "" if fits else "must be an integer or a string"
    name = schema.get("type")
    if name is None:
        return ""
    fits = isinstance(value, _TYPES[name]) and (name == "boolean" or not isinstance(value, bool))
    return "" if fits else f'Invalid value: "{type(value).__name__}": must be of type {name}'


def _text_faults(schema: Json, value: str, path: str) -> Iterator[Cause]:
    if schema.get("format") == "date-time" and not _DATE_TIME.match(value):
        yield wrong(path, f'Invalid value: "{value}": must be of type date-time')
    pattern = schema.get("pattern")
    if pattern is not None and re.search(pattern, value) is None:
        yield wrong(path, f"Invalid value: \"{value}\": should match '{pattern}'")
    if len(value) < schema.get("minLength", 0):
        yield wrong(path, f"should be at least {schema['minLength']} chars long")
    if "maxLength" in schema and len(value) > schema["maxLength"]:
        yield Cause(reason="FieldValueTooLong", field=path, message=f"may not be longer than {schema['maxLength']}")


def _number_faults(schema: Json, value: float, path: str) -> Iterator[Cause]:
    if "minimum" in schema and value < schema["minimum"]:
        yield wrong(path, f"should be greater than or equal to {schema['minimum']}")
    if "maximum" in schema and value > schema["maximum"]:
        yield wrong(path, f"should be less than or equal to {schema['maximum']}")


def _list_faults(schema: Json, value: list[Any], path: str) -> Iterator[Cause]:
    if len(value) < schema.get("minItems", 0):
        yield wrong(path, f"should have at least {schema['minItems']} items")
    if "maxItems" in schema and len(value) > schema["maxItems"]:
        yield Cause(reason="FieldValueTooMany", field=path, message=f"must have at most {schema['maxItems']} items")
    keys = schema.get("x-kubernetes-list-map-keys") or ()
    seen: list[Any] = []
    for index, item in enumerate(value):
        here = f"{path}[{index}]"
        yield from faults(schema.get("items") or {}, item, here)
        is_map = bool(keys) and isinstance(item, dict)
        identity = [item.get(key) for key in keys] if is_map else item
        if is_map or schema.get("x-kubernetes-list-type") == "set":
            if identity in seen:
                yield Cause(reason="FieldValueDuplicate", field=here, message=f"Duplicate value: {identity!r}")
            seen.append(identity)


def _object_faults(schema: Json, value: Json, path: str) -> Iterator[Cause]:
    for key in schema.get("required") or ():
        if key not in value:
            yield required(f"{path}.{key}" if path else key)
    for key, item in value.items():
        member = _member(schema, key)
        if member is not None:
            yield from faults(member, item, f"{path}.{key}" if path else key)
