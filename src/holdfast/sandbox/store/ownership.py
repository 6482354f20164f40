"""Who owns which field: `managedFields`, and server-side apply built on it.

A field is a path in the notation of FieldsV1: `f:` a member, `k:` an item of a keyed list, `v:` a member of a set.
"""

import json
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from typing import Any, Final

from holdfast.sandbox.store.kinds import Kind
from holdfast.sandbox.store.refusal import Cause, conflict
from holdfast.sandbox.store.values import Json, copied

Path = tuple[str, ...]

_SELF: Final = "."  # the item of a keyed list itself
_NOBODYS: Final = frozenset(
    {
        "creationTimestamp", "deletionGracePeriodSeconds", "deletionTimestamp", "generation", "managedFields", "name",
        "namespace", "resourceVersion", "selfLink", "uid",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Writer:
    """Who writes: the manager's name, what kind of write, and through which subresource."""

    manager: str
    operation: str = "Update"
    subresource: str = ""


def tracked(kind: Kind, old: Json | None, new: Json, writer: Writer, time: str) -> list[Json]:
    """Return managedFields after a plain write: what the writer changed is now the writer's."""
    before = dict(leaves(kind, old)) if old is not None else {}
    after = dict(leaves(kind, new))
    changed = {path for path, value in after.items() if path not in before or before[path] != value}
    sets: dict[Writer, frozenset[Path]] = {}
    for owner, paths in _read(old).items():
        kept = paths & after.keys()
        sets[owner] = frozenset(kept - changed if owner != writer else kept)
    if changed:
        sets[writer] = sets.get(writer, frozenset()) | frozenset(changed)
    return _written(kind, sets, _read(old), old, time)


def applied(kind: Kind, live: Json | None, wanted: Json, writer: Writer, *, force: bool, time: str) -> Json:
    """Return the object after a server-side apply of `wanted`, managedFields included.

    Raises Refusal 409, naming the fields, when others own them with another value and `force` is not set.
    """
    sets = _read(live)
    mine = dict(leaves(kind, wanted))
    current = dict(leaves(kind, live)) if live is not None else {}
    causes: list[Cause] = []
    for owner, paths in list(sets.items()):
        if owner == writer:
            continue
        lost = frozenset(p for p in paths & mine.keys() if p in current and current[p] != mine[p])
        causes += [_clash(owner, path) for path in sorted(lost)]
        sets[owner] = paths - lost
    if causes and not force:
        raise conflict(f"Apply failed with {len(causes)} conflict(s)", causes)
    result: Json = _merge(kind.schema, live or {}, wanted)
    others = frozenset[Path]().union(*(paths for owner, paths in sets.items() if owner != writer))
    owned = others | mine.keys()
    for path in sorted(sets.get(writer, frozenset()) - owned, key=_items_first):
        if not any(other[: len(path) - 1] == path[:-1] for other in others if path[-1] == _SELF):
            _remove(result, _left(path[:-1] if path[-1] == _SELF else path, owned))
    sets[writer] = frozenset(mine)
    result["metadata"] = {
        **result.get("metadata", {}),
        "managedFields": _written(kind, sets, _read(live), live, time),
    }
    return result


def _left(path: Path, owned: Set[Path]) -> Path:
    """Return the outermost field around `path` in which nobody owns anything: it goes as a whole.

    What admission put into it goes too, since that is nobody's: the last finalizer of an applier takes the protection
    of a claim with it, until a controller puts it back.
    """
    for end in range(2, len(path)):
        if not any(each[:end] == path[:end] for each in owned):
            return path[:end]
    return path


def leaves(kind: Kind, item: Json) -> Iterator[tuple[Path, Any]]:
    """Yield every field of the object that can be owned, with its value."""
    for key, value in item.items():
        if key == "metadata":
            owned = {name: each for name, each in value.items() if name not in _NOBODYS}
            if owned:
                yield from _leaves(kind.schema["properties"]["metadata"], owned, ("f:metadata",))
        elif key not in ("apiVersion", "kind"):
            yield from _leaves(_member(kind.schema, key), value, (f"f:{key}",))


def _leaves(schema: Json, value: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    if isinstance(value, dict) and value and schema.get("x-kubernetes-map-type") != "atomic":
        for key, item in value.items():
            yield from _leaves(_member(schema, key), item, (*path, f"f:{key}"))
    elif isinstance(value, list) and schema.get("x-kubernetes-list-type") == "map":
        for item in value:
            here = (*path, _key(schema, item))
            yield (*here, _SELF), True
            yield from _leaves(schema["items"], item, here)
    elif isinstance(value, list) and schema.get("x-kubernetes-list-type") == "set":
        for item in value:
            yield (*path, f"v:{json.dumps(item)}"), item
    else:
        yield path, value


def _member(schema: Json, key: str) -> Json:
    found = (schema.get("properties") or {}).get(key)
    if found is None and isinstance(schema.get("additionalProperties"), dict):
        found = schema["additionalProperties"]
    return found or {}


def _key(schema: Json, item: Any) -> str:
    keys = {key: item[key] for key in schema["x-kubernetes-list-map-keys"] if key in item}
    return f"k:{json.dumps(keys, separators=(',', ':'), sort_keys=True)}"


def _items_first(path: Path) -> tuple[bool, int, Path]:
    """Order removals: items before their fields (an item without its key is not found), then inner before outer."""
    return path[-1] != _SELF, -len(path), path


def _merge(schema: Json, live: Any, wanted: Any) -> Any:
    if isinstance(wanted, dict) and isinstance(live, dict) and schema.get("x-kubernetes-map-type") != "atomic":
        result = copied(live)
        for key, value in wanted.items():
            result[key] = _merge(_member(schema, key), live.get(key), value)
        return result
    if isinstance(wanted, list) and isinstance(live, list):
        match schema.get("x-kubernetes-list-type"):
            case "set":
                return copied(live) + [copied(item) for item in wanted if item not in live]
            case "map":
                items = {_key(schema, item): copied(item) for item in live}
                for item in wanted:
                    items[_key(schema, item)] = _merge(schema["items"], items.get(_key(schema, item)), item)
                return list(items.values())
            case _:
                return copied(wanted)
    return copied(wanted)


def _remove(value: Any, path: Path) -> None:
    """Take the field out of `value`, and every object that is empty then."""
    head, *rest = path
    if isinstance(value, list):
        found = [index for index, item in enumerate(value) if _is(item, head)]
        for index in reversed(found):
            if rest:
                _remove(value[index], tuple(rest))
            else:
                del value[index]
    elif isinstance(value, dict) and head[2:] in value:
        name = head[2:]
        if rest:
            _remove(value[name], tuple(rest))
        if not rest or value[name] in ({}, []):
            del value[name]


def _is(item: Any, element: str) -> bool:
    wanted = json.loads(element[2:])
    if element.startswith("v:"):
        return bool(item == wanted)
    return isinstance(item, dict) and all(item.get(key) == value for key, value in wanted.items())


def _clash(owner: Writer, path: Path) -> Cause:
    field = "".join(f".{part[2:]}" if part.startswith("f:") else f"[{part[2:]}]" for part in path if part != _SELF)
    return Cause(reason="FieldManagerConflict", message=f'conflict with "{owner.manager}"', field=field)


def _read(item: Json | None) -> dict[Writer, frozenset[Path]]:
    entries = (item or {}).get("metadata", {}).get("managedFields") or ()
    return {_writer(entry): frozenset(_paths(entry["fieldsV1"], ())) for entry in entries}


def _writer(entry: Json) -> Writer:
    return Writer(manager=entry["manager"], operation=entry["operation"], subresource=entry.get("subresource", ""))


def _paths(fields: Mapping[str, Any], path: Path) -> Iterator[Path]:
    for key, more in fields.items():
        if more:
            yield from _paths(more, (*path, key))
        else:
            yield (*path, key)


def _written(
    kind: Kind,
    sets: Mapping[Writer, frozenset[Path]],
    before: Mapping[Writer, frozenset[Path]],
    old: Json | None,
    time: str,
) -> list[Json]:
    known = {_writer(entry): entry for entry in (old or {}).get("metadata", {}).get("managedFields") or ()}
    entries: list[Json] = []
    for writer, paths in sets.items():
        if not paths:
            continue
        if before.get(writer) == paths:
            entries.append(known[writer])
            continue
        entry: Json = {
            "manager": writer.manager,
            "operation": writer.operation,
            "apiVersion": kind.api_version,
            "time": time,
            "fieldsType": "FieldsV1",
            "fieldsV1": _nested(paths),
        }
        entries.append({**entry, "subresource": writer.subresource} if writer.subresource else entry)
    return entries


def _nested(paths: frozenset[Path]) -> Json:
    root: Json = {}
    for path in sorted(paths):
        here = root
        for element in path:
            here = here.setdefault(element, {})
    return root
