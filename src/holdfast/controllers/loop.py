"""The one work queue: keys in, one reconcile at a time for each of them, failures tried again for ever."""

import asyncio
import heapq
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol

from holdfast.kube.errors import Conflict, NotLeading
from holdfast.kube.objects import Key
from holdfast.kube.pace import Pace

log = logging.getLogger(__name__)

Reconcile = Callable[[Key], Awaitable[timedelta | None]]
"""Brings one key to where it should be; a returned delay asks for another look after it. May run again at any time."""

BACKOFF: Final = Pace(first=timedelta(seconds=0.05), longest=timedelta(seconds=300))
WORKERS: Final = 8
DEADLINE: Final = timedelta(seconds=60)
SLACK: Final = 64  # overtaken entries that may stay in the heap


class Clock(Protocol):
    """Business time. Deadlines of requests and reconciles stay on the event loop's own clock."""

    def now(self) -> datetime:
        """Return the time, aware, UTC."""

    async def sleep_until(self, when: datetime) -> None:
        """Return when it is `when` or later."""


class SystemClock:
    """The machine's clock. It sleeps in short pieces, since that clock may be set while we wait."""

    PIECE: Final = timedelta(seconds=30)

    def now(self) -> datetime:
        return datetime.now(UTC)

    async def sleep_until(self, when: datetime) -> None:
        while (left := when - self.now()) > timedelta():  # noqa: ASYNC110 # time itself is what is waited for
            await asyncio.sleep(min(left, self.PIECE).total_seconds())


class Loop:
    """Runs `reconcile` for keys that were added.

    A key is in one place at a time: waiting, due later, or being worked; added while it is worked, it runs once more
    afterwards. A reconcile that raises or outlives `deadline` has failed, may have written, and is tried again after
    a pause that grows with each failure in a row.
    """

    def __init__(
        self,
        name: str,
        reconcile: Reconcile,
        clock: Clock,
        *,
        workers: int = WORKERS,
        deadline: timedelta = DEADLINE,
        backoff: Pace = BACKOFF,
    ) -> None:
        self.name = name
        self._reconcile = reconcile
        self._clock = clock
        self._workers = workers
        self._deadline = deadline
        self._backoff = backoff
        self._queue: asyncio.Queue[Key] = asyncio.Queue()
        self._waiting: set[Key] = set()
        self._due: dict[Key, datetime] = {}
        self._heap: list[tuple[datetime, Key]] = []
        self._working: set[Key] = set()
        self._again: set[Key] = set()  # added while worked
        self._later: dict[Key, datetime] = {}  # add_after while worked
        self._failures: dict[Key, int] = {}
        self._sooner = asyncio.Event()

    @property
    def depth(self) -> int:
        """How many keys wait for a worker."""
        return len(self._waiting)

    @property
    def working(self) -> frozenset[Key]:
        return frozenset(self._working)

    @property
    def failing(self) -> int:
        """How many keys failed at their last try."""
        return len(self._failures)

    def due(self, key: Key) -> datetime | None:
        """Return when a key that waits for its time will run."""
        return self._due.get(key)

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits or is worked; keys that are due later do not count."""
        return not self._waiting and not self._working

    def add(self, key: Key) -> None:
        """Run the key as soon as a worker is free, also when it was due later or is backing off."""
        if key in self._working:
            self._again.add(key)
        elif key not in self._waiting:
            self._due.pop(key, None)
            self._waiting.add(key)
            self._queue.put_nowait(key)

    def add_after(self, key: Key, delay: timedelta) -> None:
        """Run the key after `delay`, or earlier when it is due or waiting already."""
        self.add_at(key, self._clock.now() + delay)

    def add_at(self, key: Key, when: datetime) -> None:
        """Run the key at `when`, or earlier when it is due or waiting already."""
        if key in self._working:
            self._later[key] = min(when, self._later.get(key, when))
        elif key not in self._waiting and when < self._due.get(key, datetime.max.replace(tzinfo=UTC)):
            self._due[key] = when
            heapq.heappush(self._heap, (when, key))
            if len(self._heap) > 2 * len(self._due) + SLACK:
                self._heap = sorted((when, key) for key, when in self._due.items())
            self._sooner.set()

    async def run(self) -> None:
        """Work until cancelled; what is being worked then is cancelled with it."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._wake_due(), name=f"{self.name}-clock")
            for number in range(self._workers):
                group.create_task(self._work(), name=f"{self.name}-{number}")

    async def _wake_due(self) -> None:
        while True:
            self._sooner.clear()
            now = self._clock.now()
            while self._heap and (self._heap[0][0] <= now or self._is_stale(self._heap[0])):
                entry = heapq.heappop(self._heap)
                if not self._is_stale(entry):
                    self.add(entry[1])
            await self._wait_for_next()

    def _is_stale(self, entry: tuple[datetime, Key]) -> bool:
        when, key = entry
        return self._due.get(key) != when

    async def _wait_for_next(self) -> None:
        waits: list[asyncio.Task[Any]] = [asyncio.create_task(self._sooner.wait())]
        if self._heap:
            waits.append(asyncio.create_task(self._clock.sleep_until(self._heap[0][0])))
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    async def _work(self) -> None:
        while True:
            key = await self._queue.get()
            self._waiting.discard(key)
            self._working.add(key)
            try:
                next_look = await self._attempt(key)
            finally:
                self._working.discard(key)
            self._put_back(key, next_look)
            # Reconciles that found nothing to do never waited: others get their turn all the same.
            await asyncio.sleep(0)

    def _put_back(self, key: Key, next_look: timedelta | None) -> None:
        later = self._later.pop(key, None)
        if key in self._again:
            self._again.discard(key)
            self.add(key)
            return
        if next_look is not None:
            self.add_after(key, next_look)
        if later is not None:
            self.add_at(key, later)

    async def _attempt(self, key: Key) -> timedelta | None:
        """Reconcile once; return after what time to look again, after a failure the pause."""
        try:
            async with asyncio.timeout(self._deadline.total_seconds()):
                next_look = await self._reconcile(key)
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise  # we are being stopped
            return self._failed(key, error)  # something that it waited for was cancelled
        except Exception as error:  # noqa: BLE001 # the one place: whatever it was, the key is tried again
            return self._failed(key, error)
        self._failures.pop(key, None)
        return next_look

    def _failed(self, key: Key, error: BaseException) -> timedelta:
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        pause = self._backoff.pause(failures)
        usual = isinstance(error, Conflict | NotLeading)
        log.log(
            logging.INFO if usual else logging.WARNING,
            "reconcile.failed",
            extra={
                "loop": self.name,
                "key": str(key),
                "error": str(error) or type(error).__name__,
                "failures": failures,
                "pause_seconds": round(pause.total_seconds(), 3),
            },
            exc_info=None if usual else error,
        )
        return pause
