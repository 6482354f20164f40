"""Keeps a run within its deadlines, tells how far it is, and stops it when it is told to."""

import asyncio
import os
import select
import time
from collections.abc import Coroutine
from datetime import timedelta
from typing import Final, TypeVar

from holdfast.engines.protocol import EngineFailure
from holdfast.model import wire
from holdfast.model.failure import FailureKind
from holdfast.model.run import Progress

T = TypeVar("T")

INTERVAL: Final = timedelta(seconds=1)
GRACE: Final = timedelta(seconds=40)  # longer than a program gets to end, shorter than the pod gets


class Reporter:
    """Prints progress as JSON lines, at most one a second, and notes when the last news came."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._last: Progress | None = None
        self._printed = float("-inf")
        self.news = time.monotonic()

    def __call__(self, progress: Progress) -> None:
        """Take note of `progress`, and print it when a second has passed since the last line."""
        if self._last is None or _place(progress) != _place(self._last):
            self.news = time.monotonic()
        self._last = progress
        if time.monotonic() - self._printed < INTERVAL.total_seconds():
            return
        self._printed = time.monotonic()
        try:
            # A reader that hangs or has gone is no reason to stop a backup.
            if select.select([], [self._descriptor], [], 0)[1]:
                os.write(self._descriptor, wire.encode(progress) + b"\n")
        except OSError:
            self._printed = float("inf")


def _place(progress: Progress) -> tuple[str, int, int, int | None, int | None]:
    """Return what changes when there is news; the time left is a guess that changes by itself."""
    return progress.phase, progress.files_done, progress.bytes_done, progress.files_total, progress.bytes_total


class Watch:
    """Runs one piece of work; `stop` ends it as canceled."""

    def __init__(self, reporter: Reporter, *, total: timedelta, inactivity: timedelta) -> None:
        self._reporter = reporter
        self._total = total
        self._inactivity = inactivity
        self._stop = asyncio.Event()

    def stop(self) -> None:
        """End the work soon, as CANCELED."""
        self._stop.set()

    async def run(self, work: Coroutine[None, None, T]) -> T:
        """Return what `work` returns; raise EngineFailure TIMEOUT or CANCELED once it has been stopped.

        Work that does not end within GRACE after it was cancelled is left behind: a hung mount must not hold a run.
        """
        task = asyncio.ensure_future(work)
        stopped = asyncio.ensure_future(self._stop.wait())
        ends = time.monotonic() + self._total.total_seconds()
        self._reporter.news = time.monotonic()
        try:
            while not task.done():
                if (why := self._overdue(ends)) is not None:
                    return await _end(task, why)
                silent = self._reporter.news + self._inactivity.total_seconds()
                wait = max(0.0, min(ends, silent) - time.monotonic())
                await asyncio.wait({task, stopped}, timeout=wait, return_when=asyncio.FIRST_COMPLETED)
            return task.result()
        finally:
            stopped.cancel()

    def _overdue(self, ends: float) -> EngineFailure | None:
        if self._stop.is_set():
            return EngineFailure(FailureKind.CANCELED, "The run was told to stop by a signal; it is started again.")
        now = time.monotonic()
        if now >= ends:
            seconds = self._total.total_seconds()
            return EngineFailure(FailureKind.TIMEOUT, f"The run did not end within {seconds:g} s.")
        if now >= self._reporter.news + self._inactivity.total_seconds():
            seconds = self._inactivity.total_seconds()
            return EngineFailure(FailureKind.TIMEOUT, f"The run showed no progress for {seconds:g} s.")
        return None


async def _end(task: asyncio.Future[T], why: EngineFailure) -> T:
    """Cancel the task and raise `why`; return its result when it had come to its end all the same."""
    task.cancel()
    await asyncio.wait({task}, timeout=GRACE.total_seconds())
    if task.done() and not task.cancelled() and task.exception() is None:
        return task.result()
    raise why
