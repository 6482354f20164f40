"""Events on objects: what people see with `kubectl describe`. Counted up, limited in rate, and never in the way."""

import asyncio
import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from holdfast.kube import errors
from holdfast.kube.client import Kube
from holdfast.kube.objects import EVENTS, Kind, Object

log = logging.getLogger(__name__)

QUIET: Final = timedelta(minutes=5)  # the same sentence is written again no sooner
FORGET: Final = timedelta(hours=1)  # what the API server keeps events for
SPACING: Final = timedelta(milliseconds=100)  # between two writes
MESSAGE_LIMIT: Final = 1024  # of the API server


class EventType(StrEnum):
    NORMAL = "Normal"
    WARNING = "Warning"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Subject:
    """One Event object: an object, a type and a reason."""

    api_version: str
    kind: str
    namespace: str
    name: str
    uid: str
    type: EventType
    reason: str

    @property
    def event_name(self) -> str:
        text = "\n".join((self.kind, self.uid, self.type.value, self.reason))
        return f"{self.name[:200].rstrip('-.')}.{hashlib.sha256(text.encode()).hexdigest()[:16]}"

    @property
    def event_namespace(self) -> str:
        return self.namespace or "default"


@dataclass(slots=True, kw_only=True)
class _Tally:
    message: str
    count: int
    first: datetime
    last: datetime
    written: datetime | None = None
    written_message: str = ""


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Recorder:
    """Writes one Event object per object, type and reason. `record` only notes; `run` writes.

    A write that fails is logged and forgotten: the next occurrence carries the count.
    """

    def __init__(
        self,
        kube: Kube,
        *,
        component: str = "holdfast",
        quiet: timedelta = QUIET,
        spacing: timedelta = SPACING,
        now: Callable[[], datetime] = _utc_now,
    ) -> None:
        self._kube = kube
        self._component = component
        self._quiet = quiet
        self._spacing = spacing
        self._now = now
        self._tallies: dict[_Subject, _Tally] = {}
        self._pending: dict[_Subject, None] = {}
        self._wake = asyncio.Event()

    def record(self, kind: Kind[Any], item: Object, type_: EventType, reason: str, message: str) -> None:
        """Note that something happened to an object; `reason` is CamelCase, `message` a sentence."""
        meta = item.metadata
        subject = _Subject(
            api_version=kind.api_version,
            kind=kind.kind,
            namespace=meta.namespace or "",
            name=meta.name,
            uid=meta.uid,
            type=type_,
            reason=reason,
        )
        now = self._now()
        tally = self._tallies.get(subject)
        if tally is None:
            tally = self._tallies[subject] = _Tally(message=message, count=0, first=now, last=now)
        tally.count += 1
        tally.last = now
        tally.message = message if len(message) <= MESSAGE_LIMIT else message[: MESSAGE_LIMIT - 1] + "…"
        if tally.written is None or tally.message != tally.written_message or now - tally.written >= self._quiet:
            self._pending[subject] = None
            self._wake.set()

    async def run(self) -> None:
        """Write what was noted, one at a time, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._pending:
                subject = next(iter(self._pending))
                del self._pending[subject]
                await self._write(subject)
                await asyncio.sleep(self._spacing.total_seconds())
            self._forget()

    def _forget(self) -> None:
        now = self._now()
        for subject in [subject for subject, tally in self._tallies.items() if now - tally.last > FORGET]:
            del self._tallies[subject]

    async def _write(self, subject: _Subject) -> None:
        tally = self._tallies[subject]
        first_time = tally.written is None
        tally.written, tally.written_message = self._now(), tally.message
        try:
            if first_time:
                await self._create_or_adopt(subject, tally)
            else:
                await self._update_or_create(subject, tally)
        except errors.Terminating:
            pass  # its namespace is going: nobody will read it
        except errors.KubeError as error:
            tally.written_message = ""  # the next occurrence is written at once
            log.warning(
                "event.not_written",
                extra={"object": subject.name, "reason": subject.reason, "error": str(error)},
            )

    async def _create_or_adopt(self, subject: _Subject, tally: _Tally) -> None:
        """Create the Event, or go on counting the one that an earlier process made."""
        try:
            await self._kube.create(self._manifest(subject, tally))
        except errors.AlreadyExists:
            known = await self._kube.get(EVENTS, subject.event_name, subject.event_namespace)
            tally.count += known.count or 1
            await self._update_or_create(subject, tally)

    async def _update_or_create(self, subject: _Subject, tally: _Tally) -> None:
        body = {"count": tally.count, "message": tally.message, "lastTimestamp": _seconds(tally.last)}
        try:
            await self._kube.patch(EVENTS, subject.event_name, subject.event_namespace, body)
        except errors.NotFound:
            await self._kube.create(self._manifest(subject, tally))

    def _manifest(self, subject: _Subject, tally: _Tally) -> dict[str, Any]:
        involved = {
            "apiVersion": subject.api_version,
            "kind": subject.kind,
            "name": subject.name,
            "uid": subject.uid,
        }
        if subject.namespace:
            involved["namespace"] = subject.namespace
        return {
            "apiVersion": EVENTS.api_version,
            "kind": EVENTS.kind,
            "metadata": {
                "name": subject.event_name,
                "namespace": subject.event_namespace,
                "labels": {"app.kubernetes.io/managed-by": "holdfast"},
            },
            "involvedObject": involved,
            "type": subject.type.value,
            "reason": subject.reason,
            "message": tally.message,
            "count": tally.count,
            "firstTimestamp": _seconds(tally.first),
            "lastTimestamp": _seconds(tally.last),
            "source": {"component": self._component},
        }


def _seconds(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
