"""At no moment may two processes write, whatever hangs, stops or lies about its clock."""

import asyncio
import re
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta

import pytest

from holdfast.kube import errors
from holdfast.kube.client import Kube
from holdfast.kube.lease import LOST_EXIT_CODE, Leadership, Terms, Watchdog
from tests.support.chaos_api import ChaosApi, Reply, Request, Silence, Store, eventually, refusal, serving, throughout

pytestmark = pytest.mark.anyio

PATH = "/apis/coordination.k8s.io/v1/namespaces/holdfast/leases/operator"
# A lease counts in whole seconds on the wire, so its duration is the one that cannot be made short.
TERMS = Terms(duration=timedelta(seconds=1), renew=timedelta(milliseconds=600), retry=timedelta(milliseconds=40))


class Cluster:
    def __init__(self, store: Store, api: ChaosApi, kube: Kube) -> None:
        self.store = store
        self.api = api
        self.kube = kube
        self.exits: list[int] = []

    def contender(self, identity: str, monotonic: Callable[[], float] = time.monotonic) -> Leadership:
        return Leadership(
            self.kube,
            name="operator",
            identity=identity,
            terms=TERMS,
            monotonic=monotonic,
            end_process=self.exits.append,
        )

    @property
    def spec(self) -> dict[str, object]:
        spec: dict[str, object] = self.store.objects[PATH]["spec"]
        return spec


@asynccontextmanager
async def cluster() -> AsyncIterator[Cluster]:
    store = Store()
    async with serving(store) as (api, kube):
        yield Cluster(store, api, kube)


@asynccontextmanager
async def task(work: asyncio.Task[None]) -> AsyncIterator[asyncio.Task[None]]:
    try:
        yield work
    finally:
        work.cancel()
        with suppress(asyncio.CancelledError, errors.NotLeading):
            await work


async def test_the_first_to_come_leads_and_writes_times_with_six_decimals() -> None:
    async with cluster() as world:
        first = world.contender("one")
        assert not first.leads()
        await first.acquire()
        assert first.leads()
        assert world.spec["holderIdentity"] == "one"
        assert world.spec["leaseDurationSeconds"] == 1
        assert world.spec["leaseTransitions"] == 1
        for field in ("renewTime", "acquireTime"):
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", str(world.spec[field]))
        await first.release()


async def test_leadership_is_renewed_beyond_its_first_term() -> None:
    async with cluster() as world:
        first = world.contender("one")
        await first.acquire()
        async with task(asyncio.create_task(first.hold())):
            await throughout(1, first.leads, "leading")
            assert len([request for request in world.api.requests if request.method == "PATCH"]) > 5
            assert all(
                request.body["metadata"].keys() == {"resourceVersion", "uid"}
                for request in world.api.requests
                if request.method == "PATCH"
            )
        await first.release()
        assert world.exits == []


async def test_the_second_waits_while_the_first_renews_and_takes_over_after_a_clean_stop() -> None:
    async with cluster() as world:
        first, second = world.contender("one"), world.contender("two")
        await first.acquire()
        async with task(asyncio.create_task(first.hold())) as holding:
            waiting = asyncio.create_task(second.acquire())
            await eventually(lambda: second.holder == "one", "the holder is seen")
            await throughout(1.3, lambda: first.leads() and not second.leads(), "the first leads alone")
            holding.cancel()
        await first.release()
        assert not first.leads()
        await waiting
        assert world.spec["holderIdentity"] == "two"
        await second.release()
        assert world.exits == []


async def test_a_stop_in_the_middle_of_a_renewal_gives_the_lease_back() -> None:
    """Nobody waits for it to expire, although the renewal that was written was never answered."""
    async with cluster() as world:
        first = world.contender("one")
        await first.acquire()
        renewed = asyncio.Event()

        def write_and_say_nothing(request: Request) -> Reply | None:
            if request.method != "PATCH":
                return None
            world.store.faults.clear()
            world.store.serve(request)
            renewed.set()
            return Silence()

        world.store.faults.append(write_and_say_nothing)
        async with task(asyncio.create_task(first.hold())):
            await renewed.wait()
        await first.release()
        assert world.spec["holderIdentity"] == ""


async def test_a_dead_holder_is_outwaited_by_our_own_clock_whatever_its_times_say() -> None:
    async with cluster() as world:
        spec = {"holderIdentity": "dead", "leaseDurationSeconds": 1, "renewTime": "1999-01-01T00:00:00.000000Z"}
        world.store.objects[PATH] = {
            "metadata": {
                "name": "operator",
                "namespace": "holdfast",
                "uid": "u",
                "resourceVersion": "5",
                "creationTimestamp": "2026-01-01T00:00:00Z",
            },
            "spec": spec,
        }
        began = time.monotonic()
        second = world.contender("two")
        await second.acquire()
        assert time.monotonic() - began >= 1, "a time in the past says nothing: its clock may be wrong"
        await second.release()


async def test_a_renewal_that_hangs_ends_leadership_before_another_may_lead() -> None:
    async with cluster() as world:
        first, second = world.contender("one"), world.contender("two")
        await first.acquire()
        led: list[tuple[bool, bool]] = []

        def hang_the_first(request: Request) -> Reply | None:
            is_first = request.method == "PATCH" and request.body["spec"]["holderIdentity"] == "one"
            return Silence() if is_first else None

        world.store.faults.append(hang_the_first)
        waiting = asyncio.create_task(second.acquire())
        with pytest.raises(errors.NotLeading):
            await first.hold()
        assert not first.leads()
        while not waiting.done():
            led.append((first.leads(), second.leads()))
            await asyncio.sleep(0.01)
        assert (True, True) not in led
        await eventually(lambda: world.exits == [LOST_EXIT_CODE], "the watchdog ends the first process")
        await second.release()


async def test_a_server_that_is_away_for_longer_than_the_term_ends_leadership() -> None:
    async with cluster() as world:
        first = world.contender("one")
        await first.acquire()
        await world.api.stop()
        with pytest.raises(errors.NotLeading):
            await first.hold()
        assert not first.leads()
        await world.api.start()


async def test_a_server_that_fails_for_less_than_the_term_does_not_end_leadership() -> None:
    async with cluster() as world:
        first = world.contender("one")
        await first.acquire()
        failing = 3

        def fail(request: Request) -> Reply | None:
            nonlocal failing
            failing -= 1
            return refusal(500, "InternalError") if failing >= 0 else None

        world.store.faults.append(fail)
        async with task(asyncio.create_task(first.hold())) as holding:
            await throughout(0.9, lambda: first.leads() and not holding.done(), "leading")
        await first.release()


async def test_a_blocked_loop_is_ended_by_the_watchdog() -> None:
    async with cluster() as world:
        ended = threading.Event()
        first = Leadership(
            world.kube, name="operator", identity="one", terms=TERMS, end_process=lambda code: ended.set()
        )
        await first.acquire()
        # Nothing else runs on this loop meanwhile: only a thread can notice.
        assert ended.wait(timeout=5)  # blocking is what is tested
        assert not first.leads()


async def test_a_renewal_whose_answer_is_lost_keeps_leadership() -> None:
    async with cluster() as world:
        first = world.contender("one")
        await first.acquire()
        lost = 1

        def lose_one_answer(request: Request) -> Reply | None:
            nonlocal lost
            if request.method != "PATCH" or not lost:
                return None
            lost -= 1
            world.store.serve(request)
            return refusal(500, "InternalError")

        world.store.faults.append(lose_one_answer)
        async with task(asyncio.create_task(first.hold())) as holding:
            await throughout(0.9, lambda: first.leads() and not holding.done(), "leading")
        assert world.spec["leaseTransitions"] == 1
        await first.release()


async def test_a_lease_that_another_took_is_lost_at_once() -> None:
    async with cluster() as world:
        first = world.contender("one")
        await first.acquire()
        stolen = world.store.objects[PATH]
        world.store.objects[PATH] = {
            "metadata": stolen["metadata"] | {"resourceVersion": "999"},
            "spec": stolen["spec"] | {"holderIdentity": "thief"},
        }
        with pytest.raises(errors.NotLeading, match="held by thief"):
            await first.hold()
        assert not first.leads()
        await first.release()
        assert world.spec["holderIdentity"] == "thief"


async def test_a_deleted_lease_is_made_again() -> None:
    async with cluster() as world:
        first = world.contender("one")
        await first.acquire()
        del world.store.objects[PATH]
        async with task(asyncio.create_task(first.hold())):
            await eventually(
                lambda: PATH in world.store.objects and world.spec.get("holderIdentity") == "one", "a new lease"
            )
        await first.release()


async def test_of_two_that_race_only_one_leads() -> None:
    for _ in range(5):
        async with cluster() as world:
            both = [world.contender("one"), world.contender("two")]
            racing = [asyncio.create_task(each.acquire()) for each in both]
            await asyncio.wait(racing, return_when=asyncio.FIRST_COMPLETED)
            assert [each.leads() for each in both].count(True) == 1
            for contender, race in zip(both, racing, strict=True):
                race.cancel()
                with suppress(asyncio.CancelledError):
                    await race
                await contender.release()


async def test_writes_through_a_guarded_client_stop_with_leadership() -> None:
    async with cluster() as world:
        first = world.contender("one")
        guarded = world.kube.guarded(first.leads)
        manifest = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "holdfast"}}
        with pytest.raises(errors.NotLeading):
            await guarded.create(manifest)
        await first.acquire()
        await guarded.create(manifest)
        await first.release()
        with pytest.raises(errors.NotLeading):
            await guarded.create(manifest)


def test_the_watchdog_waits_as_long_as_it_is_extended_and_stops_when_told() -> None:
    ended = threading.Event()
    dog = Watchdog(lambda code: ended.set(), time.monotonic)
    dog.start(time.monotonic() + 0.05)
    for _ in range(5):
        dog.extend(time.monotonic() + 0.2)
        assert not ended.wait(0.05)
    dog.stop()
    assert not ended.wait(0.3)
