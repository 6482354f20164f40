"""What the storage itself shows of a restic repository: the only thing that can prove that there is none."""

import asyncio
import hashlib
import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from holdfast.engines.protocol import EngineFailure, Storage, StoredObject
from holdfast.engines.together import together
from holdfast.model.failure import FailureKind

_ID: Final = re.compile(r"[0-9a-f]{64}")
# What is left when `init` is killed: keys are written first, the config last; a file being written has a suffix.
_OF_INIT: Final = re.compile(r"keys/[0-9a-f]{64}(-tmp-\d+)?|config-tmp-\d+")
_ASIDE: Final = "restic-unfinished"
_AT_ONCE: Final = 8
# restic renews a lock every 5 minutes, calls it stale after 30, and stops a run whose lock it could not renew by then.
_STALE: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Nothing:
    """A complete listing shows not one object."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfinished:
    """Only what a killed `init` leaves: keys without a config, so nothing was ever encrypted with them."""

    left: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """Config and keys are there, and these snapshots."""

    snapshots: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """Some of a repository is there, without what it takes to open it."""

    why: str


State = Nothing | Unfinished | Ready | Broken


def is_id(text: str) -> bool:
    """Tell whether `text` is a full id, as restic names all that it stores."""
    return _ID.fullmatch(text) is not None


async def inspect(storage: Storage, folder: str) -> State:
    """Return what is at `folder`, from complete listings."""
    names = await storage.folders(f"{folder}/")
    if not names:
        return Nothing()
    if "config" in names:
        keys, ids = await together([_ids(storage, folder, kind) for kind in ("keys", "snapshots")])
        return Ready(snapshots=ids) if keys else Broken(why=f"{folder} has a config and no key")
    left = tuple(each.key.removeprefix(f"{folder}/") for each in await storage.list(f"{folder}/"))
    if not left:
        return Nothing()
    if all(_OF_INIT.fullmatch(each) for each in left):
        return Unfinished(left=left)
    return Broken(why=f"{folder} holds {len(left)} objects, such as {left[0]}, and no config")


async def snapshot_ids(storage: Storage, folder: str) -> frozenset[str]:
    """Return the ids of the snapshots that the storage holds."""
    return await _ids(storage, folder, "snapshots")


async def _ids(storage: Storage, folder: str, kind: str) -> frozenset[str]:
    prefix = f"{folder}/{kind}/"
    names = (each.key.removeprefix(prefix) for each in await storage.list(prefix))
    return frozenset(name for name in names if _ID.fullmatch(name))


async def expect_saved(storage: Storage, folder: str, snapshot: str) -> None:
    """Return when a fresh listing shows the snapshot and its bytes, read back, are those that its id is the digest of.

    Raises MISMATCH. It takes two requests, where restic derives a key for 0.4 s to see no more of it.
    """
    data = (
        await storage.get(f"{folder}/snapshots/{snapshot}") if snapshot in await snapshot_ids(storage, folder) else None
    )
    if data is None:
        raise EngineFailure(
            FailureKind.MISMATCH, f"restic reported snapshot {snapshot}, but a fresh listing of {folder} lacks it"
        )
    if hashlib.sha256(data).hexdigest() != snapshot:
        raise EngineFailure(FailureKind.MISMATCH, f"restic saved snapshot {snapshot}, but other bytes are read back")


async def set_aside(storage: Storage, folder: str, unfinished: Unfinished) -> None:
    """Move what a killed `init` left out of the way: nothing is destroyed, even if the listing was wrong."""
    for name in unfinished.left:
        data = await storage.get(f"{folder}/{name}")
        if data is not None:
            await storage.put(f"{folder.replace('restic', _ASIDE, 1)}/{name}", data)
        await storage.delete(f"{folder}/{name}")


async def content_bytes(storage: Storage, folder: str) -> int:
    """Return the size of all packs."""
    return sum(each.size for each in await storage.list(f"{folder}/data/"))


async def release_stale_locks(storage: Storage, folder: str) -> None:
    """Delete locks that nobody has renewed for an hour, by the storage's clock.

    Not `restic unlock`: that also believes process ids, and so removed a live lock of another container.
    """
    for lock in await storage.list(f"{folder}/locks/"):
        if lock.age_seconds > _STALE.total_seconds():
            await storage.delete(lock.key)


async def delete(storage: Storage, folder: str) -> None:
    """Delete everything at `folder`, snapshots first and keys last: cut short at any point, it can be repeated.

    Raises EngineFailure(LOCKED) when someone is writing.
    """
    found = await storage.list(f"{folder}/")
    fresh = [each for each in found if _kind(each, folder) == "locks" and each.age_seconds <= _STALE.total_seconds()]
    if fresh:
        raise EngineFailure(
            FailureKind.LOCKED, f"{folder} is in use: {fresh[0].key} was renewed {fresh[0].age_seconds:.0f} s ago"
        )
    first = ("snapshots", "index", "data", "locks")
    last = ("config", "keys")
    for kind in (*first, *sorted({_kind(each, folder) for each in found} - {*first, *last}), *last):
        await _delete_all(storage, [each for each in found if _kind(each, folder) == kind])


def _kind(stored: StoredObject, folder: str) -> str:
    return stored.key.removeprefix(f"{folder}/").partition("/")[0]


async def _delete_all(storage: Storage, found: Collection[StoredObject]) -> None:
    slots = asyncio.Semaphore(_AT_ONCE)

    async def delete_one(key: str) -> None:
        async with slots:
            await storage.delete(key)

    await together([delete_one(each.key) for each in found])
