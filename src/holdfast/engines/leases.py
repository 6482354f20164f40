"""Leases in the storage: who may initialise, maintain, or write one identity's history.

Plain S3 has no conditional write, so a lease is won by looking: put an object of one's own, list, and hold it only
when no other live one is there. Two at once see each other and both step back, for each lists after it has put.
An object that its holder no longer renews is dead once it is older than its time to live by the storage's clock, and
a holder gives up earlier than that, by its own.
"""

import asyncio
import contextlib
import random
import re
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from holdfast.engines.protocol import EngineFailure, Storage, StoredObject
from holdfast.model.failure import FailureKind

LEASES: Final = ".holdfast/leases/"
TIME_TO_LIVE: Final = timedelta(minutes=2)

# S3 shows whole seconds: an age may be one too great, and the clock that takes it another one off.
GRACE: Final = timedelta(seconds=2)

_NAME: Final = re.compile(r"(?P<holder>.+)\.(?P<ttl>[0-9]+)s\.[0-9a-f]{8}")


class Lease:
    """A lease that is held until its context ends, or until `lost` is set: then stop what it covers."""

    def __init__(self, storage: Storage, key: str, what: str, ttl: timedelta, held_since: float) -> None:
        self.lost = asyncio.Event()
        self._storage = storage
        self._key = key
        self._what = what
        self._ttl = ttl.total_seconds()
        self._until = held_since + self._ttl

    def check(self) -> None:
        """Raise LOCKED when the lease is no longer surely ours: others may hold it by now."""
        if self.lost.is_set() or _now() >= self._until:
            self.lost.set()
            raise EngineFailure(
                FailureKind.LOCKED,
                f"lease {self._what} was lost: the storage took no renewal for {self._ttl:.0f} s",
            )

    async def renew(self) -> None:
        """Keep the lease until it is lost; runs as a task beside what it covers."""
        pause = self._ttl / 3
        try:
            while _now() < self._until:
                await asyncio.sleep(min(pause, self._until - _now()))
                pause = self._ttl / 3 if await self._renew_once() else self._ttl / 20
        finally:
            self.lost.set()

    async def _renew_once(self) -> bool:
        began = _now()
        # Never after its time: somebody else may hold the lease, and our object must not come back beside theirs.
        if began >= self._until:
            return False
        with contextlib.suppress(EngineFailure, TimeoutError):
            async with asyncio.timeout(self._until - began):
                await self._storage.put(self._key, b"")
            if _now() < self._until:
                self._until = began + self._ttl
                return True
        return False


@contextlib.asynccontextmanager
async def lease(
    storage: Storage,
    what: str,
    *,
    holder: str,
    ttl: timedelta = TIME_TO_LIVE,
    patience: timedelta = timedelta(0),
) -> AsyncIterator[Lease]:
    """Hold the lease `what`; raise LOCKED, naming who holds it, when it is not free within `patience`.

    `holder` is a name for people (a run's, a pod's); every call holds for itself. `ttl`: how long after a crash the
    lease stays taken, in whole seconds. Costs a PUT, a LIST and a DELETE, and a PUT every third of `ttl`.
    """
    folder = f"{LEASES}{what}/"
    key = (
        f"{folder}{re.sub(r'[^A-Za-z0-9._-]', '-', holder)[:150]}.{round(ttl.total_seconds())}s.{secrets.token_hex(4)}"
    )
    held_since = await _acquire(storage, folder, key, what, ttl, patience)
    held = Lease(storage, key, what, ttl, held_since)
    renewal = asyncio.create_task(held.renew())
    try:
        yield held
    finally:
        renewal.cancel()
        try:
            await asyncio.wait([renewal])  # or a renewal under way would put the object back
        finally:
            await _withdraw(storage, key)


async def _acquire(storage: Storage, folder: str, key: str, what: str, ttl: timedelta, patience: timedelta) -> float:
    """Return since when the lease is held."""
    give_up = _now() + patience.total_seconds()
    pause = ttl.total_seconds() / 60
    while True:
        began = _now()
        held = False
        try:
            others = await _compete(storage, folder, key, ttl)
            held = not others and _now() < began + ttl.total_seconds()
            if held:
                return began
            obstacle = EngineFailure(FailureKind.LOCKED, _held_by(what, others))
        except EngineFailure as error:
            if error.failure.kind is not FailureKind.LOCKED:
                raise
            obstacle = error  # two writers met in the storage itself
        finally:
            if not held:  # also when we are cancelled: an object left behind would keep everybody out
                await _withdraw(storage, key)
        remaining = give_up - _now()
        if remaining <= 0:
            raise obstacle
        # Uneven, so that two who met do not meet again; S311: nothing secret hangs on it.
        await asyncio.sleep(min(remaining, pause * random.uniform(0.5, 1.5)))  # noqa: S311
        pause = min(pause * 1.5, ttl.total_seconds() / 10)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Other:
    key: str
    holder: str
    age_seconds: float
    ttl_seconds: float

    @property
    def is_dead(self) -> bool:
        return self.age_seconds > self.ttl_seconds + GRACE.total_seconds()


async def _compete(storage: Storage, folder: str, own: str, ttl: timedelta) -> list[_Other]:
    """Put our object; return who else holds or tries, having removed the dead."""
    await storage.put(own, b"")
    found = [each for each in await storage.list(folder) if "/" not in each.key.removeprefix(folder)]
    if all(each.key != own for each in found):
        raise EngineFailure(
            FailureKind.UNKNOWN, f"{own} was written and is not listed: this storage cannot keep two writers apart"
        )
    others = [_read(each, folder, ttl) for each in found if each.key != own]
    for each in others:
        if each.is_dead:
            await storage.delete(each.key)
    return [each for each in others if not each.is_dead]


def _read(found: StoredObject, folder: str, ttl: timedelta) -> _Other:
    """Return the holder; one whose name we do not know counts too, for as long as we would ourselves."""
    name = found.key.removeprefix(folder)
    known = _NAME.fullmatch(name)
    return _Other(
        key=found.key,
        holder=known["holder"] if known else name,
        age_seconds=found.age_seconds,
        ttl_seconds=float(known["ttl"]) if known else ttl.total_seconds(),
    )


async def _withdraw(storage: Storage, key: str) -> None:
    """Remove our object; where that fails it dies by itself."""
    with contextlib.suppress(EngineFailure, TimeoutError):
        async with asyncio.timeout(10):
            await storage.delete(key)


def _held_by(what: str, others: list[_Other]) -> str:
    if not others:
        return f"lease {what} could not be taken in time: the storage answers too slowly"
    youngest = min(others, key=lambda each: each.age_seconds)
    return (
        f"lease {what} is held by {youngest.holder}, renewed {youngest.age_seconds:.0f} s ago; "
        f"it is free {youngest.ttl_seconds:.0f} s after its last renewal"
    )


def _now() -> float:
    return asyncio.get_running_loop().time()
