"""Label selectors, and the few field selectors that an API server accepts."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from holdfast.sandbox.store.refusal import bad_request
from holdfast.sandbox.store.values import Json, at

_NAMES: Final = frozenset({"metadata.name", "metadata.namespace"})
_MORE_FIELDS: Final[Mapping[str, frozenset[str]]] = {
    "Pod": frozenset({"spec.nodeName", "spec.restartPolicy", "status.phase", "status.podIP"}),
    "Event": frozenset(
        {
            "involvedObject.kind",
            "involvedObject.name",
            "involvedObject.namespace",
            "involvedObject.uid",
            "reason",
            "type",
        }
    ),
    "Secret": frozenset({"type"}),
    "Namespace": frozenset({"status.phase"}),
    "Node": frozenset({"spec.unschedulable"}),
    "Job": frozenset({"status.successful"}),
}
_SET: Final = re.compile(r"^\s*(?P<key>[\w./-]+)\s+(?P<negated>not)?in\s*\((?P<values>[^)]*)\)\s*$")
_EQUAL: Final = re.compile(r"^\s*(?P<key>[\w./-]+)\s*(?P<operator>==|=|!=)\s*(?P<value>[\w./:-]*)\s*$")
_EXISTS: Final = re.compile(r"^\s*(?P<negated>!)?\s*(?P<key>[\w./-]+)\s*$")

Test = Callable[[Mapping[str, str]], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Selector:
    """Which objects of a kind a list or watch is about."""

    namespace: str = ""
    labels: tuple[Test, ...] = ()
    fields: tuple[tuple[str, bool, str], ...] = ()

    def admits(self, item: Json | None) -> bool:
        """Return whether the object exists and is selected."""
        if item is None or (self.namespace and at(item, "metadata", "namespace") != self.namespace):
            return False
        labels = at(item, "metadata", "labels") or {}
        if not all(test(labels) for test in self.labels):
            return False
        return all((_text(at(item, *path.split("."))) == value) is equal for path, equal, value in self.fields)


def parse(kind: str, *, namespace: str, labels: str, fields: str) -> Selector:
    """Return the selector that the query parameters ask for; refuse with 400 what cannot be read."""
    return Selector(
        namespace=namespace,
        labels=tuple(_label_test(part) for part in _parts(labels)),
        fields=tuple(_field_test(kind, part) for part in _parts(fields)),
    )


def _parts(text: str) -> list[str]:
    return [part for part in re.split(r",(?![^(]*\))", text) if part.strip()]


def _label_test(part: str) -> Test:
    if found := _SET.match(part):
        key, negated = found["key"], found["negated"] is not None
        values = {value.strip() for value in found["values"].split(",")}
        return lambda labels: (labels.get(key) in values) is not negated
    if found := _EQUAL.match(part):
        key, value, equal = found["key"], found["value"], found["operator"] != "!="
        return lambda labels: (labels.get(key) == value) is equal
    if found := _EXISTS.match(part):
        key, wanted = found["key"], found["negated"] is None
        return lambda labels: (key in labels) is wanted
    raise bad_request(f"unable to parse requirement: {part!r}")


def _field_test(kind: str, part: str) -> tuple[str, bool, str]:
    found = _EQUAL.match(part)
    if found is None:
        raise bad_request(f"invalid field selector: {part!r}")
    if found["key"] not in _NAMES | _MORE_FIELDS.get(kind, frozenset()):
        raise bad_request(f"field label not supported: {found['key']}")
    return found["key"], found["operator"] != "!=", found["value"]


def _text(value: object) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)
