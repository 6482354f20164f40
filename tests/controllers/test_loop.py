"""The queue never loses a key, never works one twice at a time, and never gives one up."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.controllers.loop import Loop, Reconcile, SystemClock
from holdfast.kube.errors import Conflict
from holdfast.kube.objects import Key
from holdfast.kube.pace import Pace
from tests.support.chaos_api import eventually

pytestmark = pytest.mark.anyio

START = datetime(2026, 11, 25, tzinfo=UTC)
A, B = Key("app", "a"), Key("app", "b")
STEADY = Pace(first=timedelta(seconds=0.05), longest=timedelta(seconds=300), chance=lambda: 0.5)


class JumpingClock:
    """Business time that moves only when a test says so."""

    def __init__(self) -> None:
        self._now = START
        self._moved = asyncio.Event()

    def now(self) -> datetime:
        return self._now

    async def sleep_until(self, when: datetime) -> None:
        while self._now < when:
            await self._moved.wait()

    def jump(self, by: timedelta) -> None:
        self._now += by
        self._moved.set()
        self._moved = asyncio.Event()


class Work:
    """A reconcile that notes what it did and does what it is told."""

    def __init__(self) -> None:
        self.done: list[Key] = []
        self.started: list[Key] = []
        self.errors: list[BaseException] = []
        self.next_look: timedelta | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, key: Key) -> timedelta | None:
        self.started.append(key)
        await self.gate.wait()
        if self.errors:
            raise self.errors.pop(0)
        self.done.append(key)
        return self.next_look


@asynccontextmanager
async def running(loop: Loop) -> AsyncIterator[Loop]:
    task = asyncio.create_task(loop.run())
    try:
        yield loop
        assert not task.done(), task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def loop_of(reconcile: Reconcile, clock: JumpingClock, deadline: timedelta = timedelta(seconds=60)) -> Loop:
    return Loop("test", reconcile, clock, deadline=deadline, backoff=STEADY)


async def idle(loop: Loop) -> None:
    await eventually(lambda: loop.is_idle, "an idle loop")


async def test_a_key_added_twice_runs_once() -> None:
    work = Work()
    loop = loop_of(work, JumpingClock())
    loop.add(A)
    loop.add(A)
    loop.add(B)
    async with running(loop):
        await idle(loop)
    assert work.done == [A, B]


async def test_a_key_added_while_worked_runs_once_more_and_never_beside_itself() -> None:
    work = Work()
    work.gate.clear()
    loop = loop_of(work, JumpingClock())
    async with running(loop):
        loop.add(A)
        await eventually(lambda: work.started == [A], "the first run")
        loop.add(A)
        loop.add(A)
        assert loop.working == {A}
        assert loop.depth == 0
        work.gate.set()
        await idle(loop)
    assert work.done == [A, A]


async def test_eight_keys_are_worked_at_once() -> None:
    work = Work()
    work.gate.clear()
    loop = loop_of(work, JumpingClock())
    async with running(loop):
        for number in range(10):
            loop.add(Key("app", str(number)))
        await eventually(lambda: len(work.started) == 8, "eight at work")
        assert loop.depth == 2
        work.gate.set()
        await idle(loop)
    assert len(work.done) == 10


async def test_a_returned_delay_is_another_look_after_it() -> None:
    work, clock = Work(), JumpingClock()
    work.next_look = timedelta(hours=1)
    loop = loop_of(work, clock)
    async with running(loop):
        loop.add(A)
        await eventually(lambda: loop.due(A) == START + timedelta(hours=1), "a due time")
        clock.jump(timedelta(minutes=59))
        await idle(loop)
        assert work.done == [A]
        clock.jump(timedelta(minutes=1))
        await eventually(lambda: work.done == [A, A], "the second look")


async def test_add_after_keeps_the_earlier_time() -> None:
    work, clock = Work(), JumpingClock()
    loop = loop_of(work, clock)
    async with running(loop):
        loop.add_after(A, timedelta(hours=2))
        loop.add_after(A, timedelta(hours=1))
        loop.add_after(A, timedelta(hours=3))
        assert loop.due(A) == START + timedelta(hours=1)
        clock.jump(timedelta(hours=1))
        await eventually(lambda: work.done == [A], "the run")
        clock.jump(timedelta(hours=5))
        await idle(loop)
        assert loop.due(A) is None
    assert work.done == [A]


async def test_add_after_while_worked_is_kept_beside_the_returned_delay() -> None:
    work, clock = Work(), JumpingClock()
    work.gate.clear()
    work.next_look = timedelta(hours=2)
    loop = loop_of(work, clock)
    async with running(loop):
        loop.add(A)
        await eventually(lambda: work.started == [A], "the run")
        loop.add_after(A, timedelta(hours=1))
        work.gate.set()
        await eventually(lambda: loop.due(A) == START + timedelta(hours=1), "the earlier time")


async def test_add_does_not_wait_for_a_later_due_time() -> None:
    work, clock = Work(), JumpingClock()
    loop = loop_of(work, clock)
    async with running(loop):
        loop.add_after(A, timedelta(days=1))
        loop.add(A)
        await eventually(lambda: work.done == [A], "a run at once")
        assert loop.due(A) is None


async def test_failures_are_tried_again_ever_more_slowly_and_success_clears_them() -> None:
    work, clock = Work(), JumpingClock()
    work.errors = [RuntimeError("no")] * 3
    loop = loop_of(work, clock)
    async with running(loop):
        loop.add(A)
        for pause in (0.05, 0.1, 0.2):
            due = clock.now() + timedelta(seconds=pause)
            await eventually(lambda due=due: loop.due(A) == due, f"a pause of {pause} s")  # type: ignore[misc] # bound early
            assert loop.failing == 1
            clock.jump(timedelta(seconds=pause))
        await eventually(lambda: work.done == [A], "success")
        assert loop.failing == 0
        work.errors = [RuntimeError("no")]
        loop.add(A)
        await eventually(lambda: loop.due(A) == clock.now() + timedelta(seconds=0.05), "the first pause again")


def test_pauses_double_up_to_their_cap_and_are_spread() -> None:
    assert [STEADY.pause(n).total_seconds() for n in (1, 2, 3, 13, 14, 5000)] == [0.05, 0.1, 0.2, 204.8, 300, 300]
    low, high = (Pace(first=STEADY.first, longest=STEADY.longest, chance=lambda end=end: end) for end in (0.0, 1.0))  # type: ignore[misc] # bound early
    assert low.pause(100) == timedelta(seconds=240)
    assert high.pause(100) == timedelta(seconds=360)


async def test_a_reconcile_that_outlives_its_deadline_has_failed() -> None:
    work, clock = Work(), JumpingClock()
    work.gate.clear()
    loop = loop_of(work, clock, deadline=timedelta(milliseconds=20))
    async with running(loop):
        loop.add(A)
        await eventually(lambda: loop.due(A) is not None, "a pause after the deadline")
        work.gate.set()
        clock.jump(timedelta(seconds=1))
        await eventually(lambda: work.done == [A], "another try")


async def test_a_cancelled_wait_inside_a_reconcile_is_a_failure_and_takes_no_worker_away() -> None:
    work, clock = Work(), JumpingClock()
    work.errors = [asyncio.CancelledError()]
    loop = Loop("test", work, clock, workers=1, backoff=STEADY)
    async with running(loop):
        loop.add(A)
        await eventually(lambda: loop.due(A) is not None, "a pause")
        clock.jump(timedelta(seconds=1))
        await eventually(lambda: work.done == [A], "another try")


async def test_one_failing_key_does_not_hold_up_another() -> None:
    work, clock = Work(), JumpingClock()
    work.errors = [RuntimeError("no")]
    loop = Loop("test", work, clock, workers=1, backoff=STEADY)
    async with running(loop):
        loop.add(A)
        loop.add(B)
        await eventually(lambda: work.done == [B], "the other key")
    assert loop.due(A) is not None


async def test_failures_are_logged_with_their_key_and_conflicts_quietly(caplog: pytest.LogCaptureFixture) -> None:
    work, clock = Work(), JumpingClock()
    work.errors = [RuntimeError("the disk is on fire"), Conflict("Conflict", "written in between", 409)]
    loop = loop_of(work, clock)
    with caplog.at_level(logging.INFO, "holdfast.controllers.loop"):
        async with running(loop):
            loop.add(A)
            await eventually(lambda: len(caplog.records) == 1, "a log line")
            clock.jump(timedelta(seconds=1))
            await eventually(lambda: len(caplog.records) == 2, "another")
    first, second = caplog.records
    assert first.getMessage() == "reconcile.failed"
    assert (first.levelname, vars(first)["key"], vars(first)["error"]) == ("WARNING", "app/a", "the disk is on fire")
    assert first.exc_info is not None
    assert (second.levelname, second.exc_info) == ("INFO", None)


async def test_stopping_cancels_what_is_being_worked() -> None:
    work = Work()
    work.gate.clear()
    loop = loop_of(work, JumpingClock())
    async with running(loop):
        loop.add(A)
        await eventually(lambda: work.started == [A], "a run")
    assert loop.working == frozenset()
    assert work.done == []


async def test_ten_thousand_keys_are_all_worked_once() -> None:
    work = Work()
    loop = loop_of(work, JumpingClock())
    keys = [Key("app", f"{number:05}") for number in range(10_000)]
    for key in keys:
        loop.add(key)
    async with running(loop):
        await idle(loop)
    assert sorted(work.done) == keys


async def test_the_system_clock_wakes_in_time() -> None:
    clock = SystemClock()
    when = clock.now() + timedelta(milliseconds=10)
    await clock.sleep_until(when)
    assert clock.now() >= when


STEPS = st.lists(st.tuples(st.sampled_from(["add", "later", "jump", "fail"]), st.integers(0, 3)), max_size=40)


@settings(max_examples=40, deadline=None)
@given(steps=STEPS)
def test_every_added_key_is_worked_after_it_was_added_and_never_twice_at_a_time(steps: list[tuple[str, int]]) -> None:
    asyncio.run(_play(steps))


async def _play(steps: list[tuple[str, int]]) -> None:
    clock = JumpingClock()
    at_work: set[Key] = set()
    wanted: set[Key] = set()
    failing = 0

    async def reconcile(key: Key) -> timedelta | None:
        nonlocal failing
        assert key not in at_work
        at_work.add(key)
        wanted.discard(key)
        await asyncio.sleep(0)
        at_work.discard(key)
        if failing:
            failing -= 1
            wanted.add(key)
            raise RuntimeError("told to fail")
        return None

    loop = Loop("play", reconcile, clock, workers=2, backoff=STEADY)
    async with running(loop):
        for what, number in steps:
            key = Key("app", str(number))
            match what:
                case "add":
                    wanted.add(key)
                    loop.add(key)
                case "later":
                    wanted.add(key)
                    loop.add_after(key, timedelta(seconds=number))
                case "jump":
                    clock.jump(timedelta(seconds=number))
                    await asyncio.sleep(0)
                case _:
                    failing += 1
        await eventually(lambda: _settle(clock, loop, wanted), lambda: f"left over: {wanted}")


def _settle(clock: JumpingClock, loop: Loop, wanted: set[Key]) -> bool:
    clock.jump(timedelta(minutes=10))
    return not wanted and loop.is_idle
