"""Model values as JSON and back, strictly: unknown or missing fields are errors that name the path.

msgspec cannot tag unions of plain dataclasses, and the model is standard library only. A member of a union of
dataclasses carries `"type": <class name>`; names are camelCase; a datetime is RFC 3339 in UTC.
"""

import dataclasses
import json
import types
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import Enum
from functools import cache
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

T = TypeVar("T")


class WireError(ValueError):
    """JSON that is not a value of the expected type: what is wrong, and where."""


def encode(value: object) -> bytes:
    """Return `value` as deterministic JSON: same value, same bytes."""
    return json.dumps(to_plain(value), separators=(",", ":"), ensure_ascii=True).encode()


def decode(expected: type[T], data: bytes | str) -> T:
    """Return the value of type `expected` that `data` encodes; raise WireError otherwise."""
    try:
        plain = json.loads(data)
    except ValueError as error:
        raise WireError(f"not JSON: {error}") from error
    return from_plain(expected, plain)


def from_plain(expected: type[T], plain: object) -> T:
    """Return the value of type `expected` that decoded JSON stands for; raise WireError otherwise."""
    return cast("T", _read(expected, plain, "$"))


def to_plain(value: object) -> Any:
    """Return `value` as JSON-ready dictionaries, lists, strings and numbers."""
    match value:
        case None | bool() | int() | float():
            return value
        case Enum():
            return value.value
        case str():
            return value
        case datetime():
            return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
        case timedelta():
            return value.total_seconds()
        case Mapping():
            return {_key(key): to_plain(value[key]) for key in sorted(value, key=_key)}
        case frozenset():
            return sorted(to_plain(item) for item in value)
        case tuple() | list():
            return [to_plain(item) for item in value]
        case _ if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return _object(value)
        case _:
            raise TypeError(f"{type(value).__name__} has no wire form")


def _key(key: object) -> str:
    return str(key.value) if isinstance(key, Enum) else str(key)


def _object(value: Any) -> dict[str, Any]:
    plain: dict[str, Any] = {"type": type(value).__name__}
    for field in dataclasses.fields(value):
        plain[_camel(field.name)] = to_plain(getattr(value, field.name))
    return plain


@cache
def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


@cache
def _hints(cls: type) -> dict[str, Any]:
    return get_type_hints(cls)


def _read(expected: Any, plain: Any, path: str) -> object:
    origin = get_origin(expected)
    if origin in (Union, types.UnionType):
        return _read_union(get_args(expected), plain, path)
    if origin is tuple:
        return tuple(_read_items(expected, plain, path))
    if origin is frozenset:
        return frozenset(_read_items(expected, plain, path))
    if origin is Mapping:
        return _read_mapping(get_args(expected), plain, path)
    if dataclasses.is_dataclass(expected) and isinstance(expected, type):
        return _read_object(expected, plain, path)
    return _read_scalar(expected, plain, path)


def _read_items(expected: Any, plain: Any, path: str) -> list[object]:
    if not isinstance(plain, list):
        raise WireError(f"{path}: expected a list")
    item = get_args(expected)[0]
    return [_read(item, each, f"{path}[{index}]") for index, each in enumerate(plain)]


def _read_mapping(parameters: tuple[Any, ...], plain: Any, path: str) -> dict[object, object]:
    key_type, value_type = parameters
    if not isinstance(plain, dict):
        raise WireError(f"{path}: expected an object")
    read = key_type.parse if hasattr(key_type, "parse") else key_type
    try:
        return {read(key): _read(value_type, each, f"{path}.{key}") for key, each in plain.items()}
    except ValueError as error:
        raise error if isinstance(error, WireError) else WireError(f"{path}: {error}") from error


def _read_union(members: tuple[Any, ...], plain: Any, path: str) -> object:
    if plain is None and type(None) in members:
        return None
    rest = [member for member in members if member is not type(None)]
    if len(rest) == 1:
        return _read(rest[0], plain, path)
    if isinstance(plain, dict):
        kind = plain.get("type")
        for member in rest:
            if getattr(member, "__name__", None) == kind:
                return _read(member, plain, path)
        known = ", ".join(sorted(member.__name__ for member in rest if hasattr(member, "__name__")))
        raise WireError(f"{path}.type: {kind!r} is none of {known}")
    for member in rest:
        try:
            return _read(member, plain, path)
        except WireError:
            continue
    raise WireError(f"{path}: {plain!r} fits none of the expected types")


def _read_object(expected: type, plain: Any, path: str) -> object:
    if not isinstance(plain, dict):
        raise WireError(f"{path}: expected an object")
    if plain.get("type", expected.__name__) != expected.__name__:
        raise WireError(f"{path}.type: expected {expected.__name__}, found {plain['type']!r}")
    given = {name: value for name, value in plain.items() if name != "type"}
    values: dict[str, object] = {}
    for field in dataclasses.fields(expected):
        name = _camel(field.name)
        if name in given:
            values[field.name] = _read(_hints(expected)[field.name], given.pop(name), f"{path}.{name}")
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise WireError(f"{path}.{name}: missing")
    if given:
        raise WireError(f"{path}: unknown field {sorted(given)[0]!r}")
    return expected(**values)


def _read_scalar(expected: Any, plain: Any, path: str) -> object:
    if isinstance(expected, type) and issubclass(expected, Enum):
        try:
            return expected(plain)
        except ValueError as error:
            raise WireError(f"{path}: {plain!r} is no {expected.__name__}") from error
    if expected is datetime:
        return _read_time(plain, path)
    if expected is timedelta and isinstance(plain, int | float) and not isinstance(plain, bool):
        return timedelta(seconds=plain)
    if expected is float and isinstance(plain, int) and not isinstance(plain, bool):
        return float(plain)
    if isinstance(expected, type) and type(plain) is expected:
        return plain
    raise WireError(f"{path}: expected {getattr(expected, '__name__', expected)}, found {plain!r}")


def _read_time(plain: Any, path: str) -> datetime:
    try:
        time = datetime.fromisoformat(plain)
    except (TypeError, ValueError) as error:
        raise WireError(f"{path}: {plain!r} is no RFC 3339 time") from error
    if time.tzinfo is None:
        raise WireError(f"{path}: {plain!r} names no time zone")
    return time.astimezone(UTC)
