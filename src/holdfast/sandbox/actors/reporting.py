"""What the cluster's parts say about objects: Events and conditions."""

import hashlib
from datetime import datetime
from typing import Final, Protocol

from holdfast.sandbox.store.ownership import Writer
from holdfast.sandbox.store.refusal import Refusal
from holdfast.sandbox.store.store import Store
from holdfast.sandbox.store.values import Json, at

NODE: Final = "laptop"


class Actor(Protocol):
    """One of the cluster's parts: a step looks at the store once and does what is due now."""

    def step(self) -> float | None:
        """Return after how many seconds another step is due even if nothing changes, or None."""


def stamp(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


def parsed(text: str) -> datetime:
    """Return the time that an object carries."""
    return datetime.fromisoformat(text)


def event(
    store: Store, about: Json, kind: str, *, reason: str, message: str, source: str, warning: bool = False
) -> None:
    """Say something about an object: one Event for each object and reason, written only when the words change."""
    meta = about["metadata"]
    namespace = meta.get("namespace", "default")
    digest = hashlib.sha256(f"{meta['uid']}{source}{reason}".encode()).hexdigest()[:16]
    events = store.kind_named("Event")
    known = store.find(events, namespace, f"{meta['name'][:200]}.{digest}")
    if known is not None and known["message"] == message:
        return
    now = stamp(store.now())
    if known is not None:
        change = {"message": message, "count": known["count"] + 1, "lastTimestamp": now}
        store.amend(events, namespace, known["metadata"]["name"], change)
        return
    body: Json = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{meta['name'][:200]}.{digest}", "namespace": namespace},
        "involvedObject": {
            "apiVersion": about.get("apiVersion", "v1"),
            "kind": kind,
            "name": meta["name"],
            "uid": meta["uid"],
            **({"namespace": namespace} if "namespace" in meta else {}),
        },
        "reason": reason,
        "message": message,
        "type": "Warning" if warning else "Normal",
        "source": {"component": source},
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    }
    try:
        store.create(events, namespace, body, Writer(manager=source))
    except Refusal as refusal:
        if refusal.code not in (403, 404):  # the namespace is going or gone: nobody is left to read it
            raise


def with_condition(
    item: Json, now: datetime, *, name: str, status: str, reason: str = "", message: str = ""
) -> list[Json]:
    """Return the object's conditions with this one as it is now; its time moves only with its status."""
    conditions: list[Json] = list(at(item, "status", "conditions") or ())
    old = next((each for each in conditions if each["type"] == name), None)
    changed = old is None or old["status"] != status
    new: Json = {
        "type": name,
        "status": status,
        "lastTransitionTime": stamp(now) if changed or old is None else old["lastTransitionTime"],
        **({"reason": reason} if reason else {}),
        **({"message": message} if message else {}),
    }
    if old is None:
        return [*conditions, new]
    return [new if each is old else each for each in conditions]


def owned_by(item: Json, owner: Json) -> bool:
    """Return whether `owner` controls the object."""
    references = item["metadata"].get("ownerReferences") or ()
    return any(each.get("controller") and each["uid"] == owner["metadata"]["uid"] for each in references)
