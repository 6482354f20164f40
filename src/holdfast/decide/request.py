"""A Restore object's spec → what it asks for."""

from collections.abc import Mapping

from holdfast.decide.intent import parse_restore
from holdfast.model.claim import Identity
from holdfast.model.intent import AsOf, Auto, ById, RestoreMode
from holdfast.model.request import RestoreRequest

FIELDS = ("identity", "repository", "snapshot", "time")


def read(name: str, spec: Mapping[str, object]) -> RestoreRequest:
    """Return the request; raise ValueError saying which field is wrong and what to write instead."""
    values = {field: _text(spec, field) for field in FIELDS}
    if values["snapshot"] and values["time"]:
        raise ValueError("spec.snapshot and spec.time cannot both be given: remove one")
    try:
        identity = Identity.parse(values["identity"]) if values["identity"] else None
    except ValueError as error:
        raise ValueError(f"spec.identity: {error}") from error
    return RestoreRequest(name=name, identity=identity, repository=values["repository"] or None, mode=_mode(values))


def _text(spec: Mapping[str, object], field: str) -> str:
    value = spec.get(field, "")
    if not isinstance(value, str):
        raise ValueError(f"spec.{field} is not text")
    return value.strip()


def _mode(values: Mapping[str, str]) -> RestoreMode:
    if values["snapshot"]:
        mode = parse_restore(values["snapshot"], None)
        if not isinstance(mode, ById):
            raise ValueError(f"spec.snapshot: {values['snapshot']!r} is no snapshot id")
        return mode
    if values["time"]:
        mode = parse_restore(values["time"], None)
        if not isinstance(mode, AsOf):
            raise ValueError(f"spec.time: {values['time']!r} is no time such as 2026-01-31T12:00:00Z")
        return mode
    return Auto()
