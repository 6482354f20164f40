"""Who leads: one holder of a Lease, judged by monotonic time only, and a watchdog for a loop that stands still.

Others' expiry counts from when *we* saw their record change, never from their clock. Our own leadership ends at the
renew deadline, well before others may take over.
"""

import asyncio
import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from holdfast.kube import errors, objects
from holdfast.kube.client import Kube
from holdfast.kube.objects import LEASES
from holdfast.kube.pace import Pace

log = logging.getLogger(__name__)

LOST_EXIT_CODE: Final = 75


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """client-go's defaults. `renew` must stay below `duration`: the difference covers a write that is under way."""

    duration: timedelta = timedelta(seconds=15)
    renew: timedelta = timedelta(seconds=10)
    retry: timedelta = timedelta(seconds=2)


class Watchdog:
    """A thread that ends the process when the deadline passes, even if the event loop stands still."""

    def __init__(self, end_process: Callable[[int], None], monotonic: Callable[[], float]) -> None:
        self._end_process = end_process
        self._monotonic = monotonic
        self._stopped = threading.Event()
        self._until = monotonic()
        self._thread = threading.Thread(target=self._watch, name="lease-watchdog", daemon=True)

    def start(self, until: float) -> None:
        self._until = until
        self._thread.start()

    def extend(self, until: float) -> None:
        self._until = until

    def stop(self) -> None:
        self._stopped.set()

    def _watch(self) -> None:
        while not self._stopped.wait(max(0.0, self._until - self._monotonic())):
            if self._monotonic() >= self._until:
                self._end_process(LOST_EXIT_CODE)
                return


class Leadership:
    """The right to write, while it lasts. Losing it ends the process: `hold` raises, and the watchdog makes sure."""

    def __init__(
        self,
        kube: Kube,
        *,
        name: str,
        identity: str,
        namespace: str | None = None,
        terms: Terms = Terms(),  # frozen
        monotonic: Callable[[], float] = time.monotonic,
        end_process: Callable[[int], None] = os._exit,
    ) -> None:
        """`kube` must not ask this leadership for its writes; `identity` is unique to this process."""
        self._kube = kube
        self._namespace = namespace or kube.namespace
        self._name = name
        self._identity = identity
        self._terms = terms
        self._retry = Pace(first=terms.retry, longest=terms.retry)
        self._monotonic = monotonic
        self._leader_until: float | None = None
        self._seen: objects.Lease | None = None
        self._seen_at = 0.0
        self._watchdog = Watchdog(end_process, monotonic)

    @property
    def holder(self) -> str | None:
        """Return who was seen holding the lease last; None when nobody was."""
        spec = self._seen.spec if self._seen else None
        return (spec.holder_identity or None) if spec else None

    def leads(self) -> bool:
        """Return whether this process may write at this very moment."""
        return self._leader_until is not None and self._monotonic() < self._leader_until

    async def acquire(self) -> None:
        """Return once this process leads; wait for as long as another one does."""
        while True:
            try:
                if await self._try_to_take() and self.leads():
                    break
            except errors.KubeError as error:
                log.warning("lease.unavailable", extra={"lease": self._name, "error": str(error)})
            await asyncio.sleep(self._retry.pause(1).total_seconds())
        self._watchdog.start(self._leader_until or self._monotonic())
        log.info("lease.acquired", extra={"lease": self._name, "identity": self._identity})

    async def hold(self) -> None:
        """Renew until the lease is lost, then raise NotLeading."""
        while True:
            await asyncio.sleep(min(self._terms.retry.total_seconds(), self._left()))
            try:
                async with asyncio.timeout(self._left()):
                    renewed = await self._try_to_take()
            except (errors.KubeError, TimeoutError) as error:
                log.warning("lease.not_renewed", extra={"lease": self._name, "error": str(error) or "no answer"})
                renewed = True  # nobody else was seen to hold it: it lasts up to its deadline
            if not renewed or not self.leads():
                self._leader_until = None
                raise errors.NotLeading("LeaseLost", f"lease {self._name}: held by {self.holder or 'nobody'} now")

    async def release(self) -> None:
        """Let the next one take over at once, and stop the watchdog; for a clean stop, after the last write."""
        left = self._left()
        self._leader_until = None
        self._watchdog.stop()
        if not left:
            return
        spec = {"holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": _micro_time()}
        with contextlib.suppress(errors.KubeError, TimeoutError):
            async with asyncio.timeout(left):
                # Not as it was seen last: a renewal that the stop cut short may have been written.
                lease = await self._look()
                if self.holder == self._identity:
                    await self._patch(lease, spec)

    def _left(self) -> float:
        return max(0.0, (self._leader_until or 0.0) - self._monotonic())

    async def _try_to_take(self) -> bool:
        """Take or renew the lease if that is ours to do; return False while another one holds it."""
        sent = self._monotonic()
        seen = self._seen
        if seen is None or self.holder != self._identity:
            seen = await self._look()
            if self.holder not in (None, self._identity) and not self._has_expired():
                return False
        await self._write(seen, sent)
        return True

    async def _look(self) -> objects.Lease:
        """Return the lease as it is, made by us if there was none."""
        try:
            lease = await self._kube.get(LEASES, self._name, self._namespace)
        except errors.NotFound:
            metadata = {"name": self._name, "namespace": self._namespace}
            await self._kube.create(
                {"apiVersion": LEASES.api_version, "kind": LEASES.kind, "metadata": metadata, "spec": {}}
            )
            lease = await self._kube.get(LEASES, self._name, self._namespace)
        self._note(lease)
        return lease

    async def _write(self, seen: objects.Lease, sent: float) -> None:
        spec: dict[str, Any] = {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": round(self._terms.duration.total_seconds()),
            "renewTime": _micro_time(),
        }
        if self.holder != self._identity:
            transitions = (seen.spec.lease_transitions if seen.spec else None) or 0
            spec |= {"acquireTime": spec["renewTime"], "leaseTransitions": transitions + 1}
        try:
            self._note(await self._patch(seen, spec))
        except (errors.Conflict, errors.NotFound, errors.Invalid):
            self._seen = None  # another wrote, or deleted it, or our own write's answer was lost: look again
            raise
        self._leader_until = sent + self._terms.renew.total_seconds()
        self._watchdog.extend(self._leader_until)

    async def _patch(self, lease: objects.Lease, spec: Mapping[str, Any]) -> objects.Lease:
        precondition = {"resourceVersion": lease.metadata.resource_version, "uid": lease.metadata.uid}
        body = {"metadata": precondition, "spec": spec}
        return await self._kube.patch(LEASES, self._name, self._namespace, body)

    def _note(self, lease: objects.Lease) -> None:
        if self._seen is None or self._seen.spec != lease.spec or self._seen.metadata.uid != lease.metadata.uid:
            self._seen_at = self._monotonic()
        self._seen = lease

    def _has_expired(self) -> bool:
        spec = self._seen.spec if self._seen else None
        duration = (spec.lease_duration_seconds if spec else None) or self._terms.duration.total_seconds()
        return self._monotonic() >= self._seen_at + duration


def _micro_time() -> str:
    """Return the time as a Lease wants it: exactly six decimals."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
