"""Deadlines and progress, without a program: what hangs is left behind, and progress is never a hindrance."""

import asyncio
import json
import os
from datetime import timedelta

import pytest

from holdfast.engines.protocol import EngineFailure
from holdfast.model.failure import FailureKind
from holdfast.model.run import Progress
from holdfast.mover.watch import Reporter, Watch

pytestmark = pytest.mark.anyio

LONG = timedelta(seconds=100)
SHORT = timedelta(seconds=0.02)


def _progress(files: int) -> Progress:
    return Progress(phase="copying", files_done=files, bytes_done=0)


async def test_progress_is_printed_at_most_once_a_second() -> None:
    reading, writing = os.pipe()
    report = Reporter(writing)
    for files in range(1000):
        report(_progress(files))
    os.close(writing)
    with os.fdopen(reading) as printed:
        lines = printed.read().splitlines()
    assert [json.loads(line)["filesDone"] for line in lines] == [0]


async def test_progress_that_nobody_reads_stops_nothing() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    report = Reporter(writing)
    report(_progress(1))
    report(_progress(2))
    os.close(writing)


async def test_the_same_progress_again_is_no_news() -> None:
    report = Reporter(os.open(os.devnull, os.O_WRONLY))
    report(_progress(1))
    before = report.news
    report(_progress(1))
    assert report.news == before
    report(_progress(2))
    assert report.news > before


async def test_work_that_shows_progress_may_take_longer_than_the_inactivity() -> None:
    report = Reporter(os.open(os.devnull, os.O_WRONLY))
    watch = Watch(report, total=LONG, inactivity=timedelta(seconds=0.5))

    async def work() -> str:
        for files in range(12):
            report(_progress(files))
            await asyncio.sleep(0.1)
        return "done"

    assert await watch.run(work()) == "done"


@pytest.mark.parametrize(("total", "inactivity"), [(SHORT, LONG), (LONG, SHORT)])
async def test_work_without_end_is_stopped(total: timedelta, inactivity: timedelta) -> None:
    watch = Watch(Reporter(os.open(os.devnull, os.O_WRONLY)), total=total, inactivity=inactivity)
    with pytest.raises(EngineFailure) as raised:
        await watch.run(asyncio.Event().wait())
    assert raised.value.failure.kind is FailureKind.TIMEOUT


async def test_what_was_done_when_the_signal_came_stays_done() -> None:
    watch = Watch(Reporter(os.open(os.devnull, os.O_WRONLY)), total=LONG, inactivity=LONG)

    async def work() -> str:
        watch.stop()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "done"
        return "never"

    assert await watch.run(work()) == "done"
