"""What a write does to an object as a whole: which parts it reaches, how a deletion begins and when it is over."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from holdfast.sandbox.store.history import Place
from holdfast.sandbox.store.kinds import Kind
from holdfast.sandbox.store.refusal import invalid, wrong
from holdfast.sandbox.store.values import Json, at

_STAMPED: Final = (
    "uid", "creationTimestamp", "generateName", "generation", "resourceVersion", "deletionTimestamp",
    "deletionGracePeriodSeconds", "managedFields",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Deletion:
    """How an object is to be deleted. `propagation`: Background, Foreground, Orphan, or "" for the kind's own."""

    propagation: str = ""
    grace_seconds: int | None = None
    uid: str | None = None
    version: str | None = None
    dry_run: bool = False


def dying(kind: Kind, old: Json, deletion: Deletion, now: datetime) -> Json:
    """Return the object as its deletion begins: marked, with the finalizer that the propagation asks for."""
    meta = dict(old["metadata"])
    finalizers = [each for each in meta.get("finalizers") or () if each not in ("orphan", "foregroundDeletion")]
    propagation = deletion.propagation or ("Orphan" if kind.kind == "Job" and not kind.custom else "Background")
    match propagation:
        case "Orphan":
            finalizers.append("orphan")
        case "Foreground":
            finalizers.append("foregroundDeletion")
        case "Background":
            pass
        case _:
            raise invalid("DeleteOptions", "", [wrong("propagationPolicy", f"{propagation!r} is not supported")])
    meta["finalizers"] = finalizers
    if not finalizers:
        del meta["finalizers"]
    grace = _grace(kind, old, deletion)
    if "deletionTimestamp" not in meta or grace < meta.get("deletionGracePeriodSeconds", 0):
        meta["deletionTimestamp"] = stamp(now + timedelta(seconds=grace))
        meta["deletionGracePeriodSeconds"] = grace
        if kind.counts_generation and "deletionTimestamp" not in old["metadata"]:
            meta["generation"] += 1
    new = {**old, "metadata": meta}
    if kind.kind == "Namespace" and not kind.custom:
        new["status"] = {**(old.get("status") or {}), "phase": "Terminating"}
    return new


def _grace(kind: Kind, old: Json, deletion: Deletion) -> int:
    if kind.kind != "Pod" or kind.custom:
        return 0
    finished = at(old, "status", "phase") in ("Succeeded", "Failed")
    if finished or not at(old, "spec", "nodeName"):
        return 0
    own: int = at(old, "spec", "terminationGracePeriodSeconds")
    return own if deletion.grace_seconds is None else deletion.grace_seconds


def stamp(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


def place(item: Json) -> Place:
    return item["metadata"].get("namespace", ""), item["metadata"]["name"]


def content(item: Json) -> list[tuple[str, Any]]:
    return [(key, value) for key, value in item.items() if key not in ("metadata", "status")]


def is_done(kind: Kind, item: Json) -> bool:
    """Return whether nothing holds the object any more, once its deletion was asked for."""
    meta = item["metadata"]
    if meta.get("finalizers") or (
        kind.kind == "Pod" and not kind.custom and meta.get("deletionGracePeriodSeconds", 0) > 0
    ):
        return False
    return not (kind.kind == "Namespace" and not kind.custom and at(item, "spec", "finalizers"))


def overlaid(kind: Kind, old: Json, item: Json, subresource: str) -> Json:
    """Return `old` with what this write may change taken from `item`."""
    meta = {key: value for key, value in item["metadata"].items() if key not in _STAMPED}
    meta |= {key: old["metadata"][key] for key in _STAMPED if key in old["metadata"]}
    if subresource == "status":
        status = {"status": item["status"]} if "status" in item else {}
        rest = {key: value for key, value in old.items() if key != "status"}
        return {**rest, **status, "metadata": old["metadata"] if kind.custom else meta}
    result = {**item, "metadata": meta}
    if kind.has_status:
        result.pop("status", None)
        if "status" in old:
            result["status"] = old["status"]
    if kind.kind == "Namespace" and not kind.custom:
        result["spec"] = old["spec"]
    return result
