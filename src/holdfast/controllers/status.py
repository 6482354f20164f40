"""Writes of status and Events: only what changed, one writer per field."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from holdfast.controllers.world import World
from holdfast.decide import ownership
from holdfast.kube import errors, objects
from holdfast.kube.events import EventType
from holdfast.kube.objects import Kind
from holdfast.model.backup import Foreign
from holdfast.model.claim import ClaimRef
from holdfast.model.evidence import Remembered
from holdfast.model.protection import BackupMemory

# The phases of a restore that ended without us: somebody else's volume, or none of our holds.
FOREIGN: Final = frozenset({"BoundByOther", "BornUnarmed"})


def text(time: datetime | None) -> str | None:
    """Return a time as Kubernetes writes it; None stays None, which a merge patch reads as removal."""
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z") if time is not None else None


def time(value: object) -> datetime | None:
    """Return the time that a status field holds; None when it holds none."""
    if not isinstance(value, str):
        return None
    try:
        parsed = datetime.fromisoformat(value)
    except ValueError:
        return None
    return parsed if parsed.tzinfo is not None else None


def section(item: objects.Custom | None, name: str) -> Mapping[str, Any]:
    """Return one part of an object's status."""
    found = ((item.status if item is not None else None) or {}).get(name)
    return found if isinstance(found, dict) else {}


async def write(world: World, kind: Kind[Any], item: objects.Custom | None, changes: Mapping[str, Any]) -> bool:
    """Merge `changes` into the object's status, if anything differs; return False when the object is gone."""
    if item is None:
        return False
    if not differs(item.status or {}, changes):
        return True
    meta = item.metadata
    body = {"metadata": {"uid": meta.uid}, "status": changes}
    try:
        await world.kube.patch(kind, meta.name, meta.namespace, body, subresource="status")
    except (errors.NotFound, errors.Conflict, errors.Invalid) as error:
        if isinstance(error, errors.NotFound):
            return False
        raise
    return True


def differs(current: Mapping[str, Any], changes: Mapping[str, Any]) -> bool:
    """Return whether a merge patch would change anything."""
    for key, value in changes.items():
        if value is None:
            if current.get(key) is not None:
                return True
        elif isinstance(value, Mapping):
            inner = current.get(key)
            if not isinstance(inner, dict) or differs(inner, value):
                return True
        elif current.get(key) != value:
            return True
    return False


def conditions(
    item: objects.Custom, name: str, told: tuple[str, str, str], now: datetime
) -> tuple[list[dict[str, Any]], bool]:
    """Return the object's conditions, which are this one, and whether it changed: status, reason, message."""
    state, reason, message = told
    known = (item.status or {}).get("conditions") or []
    before: dict[str, Any] = next((each for each in known if each.get("type") == name), {})
    same = before.get("status") == state and before.get("reason") == reason
    since = before.get("lastTransitionTime") if same else text(now)
    made = {"type": name, "status": state, "reason": reason, "message": message, "lastTransitionTime": since}
    return [made], not same


def memory(item: objects.Protection | None) -> BackupMemory:
    """Return what the Protection remembers of backups."""
    found = section(item, "backup")
    return BackupMemory(
        last_id=found.get("lastID"),
        last_time=time(found.get("lastTime")),
        flags=tuple(found.get("flags") or ()),
        files=found.get("files"),
        bytes=found.get("bytes"),
        slot=time(found.get("slot")),
        served_now=found.get("servedNow"),
        attempt=int(found.get("attempt") or 0),
        retry_at=time(found.get("retryAt")),
        failure=found.get("failure"),
        failed_now=found.get("failedNow"),
    )


def foreign(item: objects.Protection | None, uid: str) -> Foreign | None:
    """Return why the claim's volume may not hold its data, if a restore ended without us."""
    told = section(item, "restore")
    since = time(told.get("finished"))
    if told.get("claimUID") != uid or told.get("phase") not in FOREIGN or since is None:
        return None
    return Foreign(reason=str(told["phase"]), detail=str(told.get("message")), since=since)


def remembered(item: objects.Protection | None, repository: str, identity: str) -> Remembered | None:
    """Return the last snapshot that counted, if the Protection was about this repository and identity."""
    plan, known = section(item, "plan"), memory(item)
    if (plan.get("repository"), plan.get("identity")) != (repository, identity):
        return None
    if known.last_id is None or known.last_time is None:
        return None
    return Remembered(id=known.last_id, time=known.last_time)


def normal(world: World, ref: ClaimRef, reason: str, message: str) -> None:
    """Note an Event on a claim, if it is still there."""
    _event(world, ref, EventType.NORMAL, reason, message)


def warning(world: World, ref: ClaimRef, reason: str, message: str) -> None:
    """Note a warning on a claim, if it is still there."""
    _event(world, ref, EventType.WARNING, reason, message)


def _event(world: World, ref: ClaimRef, type_: EventType, reason: str, message: str) -> None:
    item = world.informers.claims.get(ref.namespace, ref.name)
    if item is not None:
        world.events.record(objects.CLAIMS, item, type_, reason, message)


def protection(world: World, ref: ClaimRef) -> objects.Protection | None:
    """Return the claim's Protection as far as it is known; one that somebody else made is none (P8)."""
    found = world.informers.protections.get(ref.namespace, ref.name)
    return found if found is not None and ownership.is_ours(found.labels) else None
