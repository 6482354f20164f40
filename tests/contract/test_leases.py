"""Leases: never two holders, on any storage; free again after a crash; and a holder knows when it is none any more."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.engines.directory import Directory
from holdfast.engines.leases import GRACE, LEASES, lease
from holdfast.engines.protocol import EngineFailure, Storage, StoredObject
from holdfast.engines.storage import DictStorage, OpenStorage, open_storage
from holdfast.model.failure import FailureKind
from tests.support.s3 import S3Server

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["directory", "dictionary", pytest.param("bucket", marks=pytest.mark.storage)])
async def storage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[OpenStorage]:
    async with aclosing(_open(request, tmp_path)) as opened:
        yield opened


def _open(request: pytest.FixtureRequest, tmp_path: Path) -> OpenStorage:
    match request.param:
        case "directory":
            return Directory(tmp_path)
        case "dictionary":
            return DictStorage()
        case _:
            server: S3Server = request.getfixturevalue("s3_server")
            return open_storage(server.storage(request.getfixturevalue("s3_prefix")), server.environment)


async def test_a_lease_is_there_while_it_is_held_and_gone_afterwards(storage: OpenStorage) -> None:
    async with lease(storage, "maintain", holder="run-1") as held:
        held.check()
        (found,) = await storage.list(LEASES)
        assert found.key.startswith(f"{LEASES}maintain/run-1.")

    assert await storage.list("") == []


async def test_somebody_elses_lease_is_named(storage: OpenStorage) -> None:
    async with lease(storage, "claims/media/config", holder="backup-1"):
        with pytest.raises(EngineFailure) as caught:
            async with lease(storage, "claims/media/config", holder="backup-2"):
                pytest.fail("two hold it")
        async with lease(storage, "claims/media/other", holder="backup-2"):
            pass
        async with lease(storage, "claims/media", holder="backup-2"):
            pass

    assert caught.value.failure.kind is FailureKind.LOCKED
    assert "backup-1" in caught.value.failure.detail
    assert "claims/media/config" in caught.value.failure.detail


async def test_many_at_once_hold_it_one_after_the_other(storage: OpenStorage) -> None:
    inside: list[str] = []
    held_by: list[str] = []

    async def work(name: str) -> None:
        async with lease(storage, "x", holder=name, ttl=timedelta(seconds=6), patience=timedelta(seconds=60)):
            inside.append(name)
            assert inside == [name]
            await asyncio.sleep(0)
            inside.remove(name)
            held_by.append(name)

    async with asyncio.TaskGroup() as group:
        for number in range(5):
            group.create_task(work(f"run-{number}"))

    assert sorted(held_by) == [f"run-{number}" for number in range(5)]
    assert await storage.list("") == []


class _Interleaved:
    """A storage whose every call waits before and after it, as often as the drawn numbers say."""

    def __init__(self, waits: Sequence[int], clock: "_Clock") -> None:
        self._inner = DictStorage(now=lambda: clock.seconds)
        self._waits = random.Random(repr(waits))
        self._longest = max(waits, default=0)

    async def _turn(self) -> None:
        for _ in range(self._waits.randint(0, self._longest)):
            await asyncio.sleep(0)

    async def list(self, prefix: str) -> Sequence[StoredObject]:
        await self._turn()
        found = await self._inner.list(prefix)
        await self._turn()
        return found

    async def folders(self, prefix: str) -> Sequence[str]:
        return await self._inner.folders(prefix)

    async def get(self, key: str) -> bytes | None:
        return await self._inner.get(key)

    async def put(self, key: str, data: bytes) -> None:
        await self._turn()
        await self._inner.put(key, data)
        await self._turn()

    async def delete(self, key: str) -> None:
        await self._turn()
        await self._inner.delete(key)
        await self._turn()


class _Clock:
    seconds = 0.0


@settings(max_examples=200, deadline=None)
@given(waits=st.lists(st.integers(0, 12), min_size=1, max_size=6), tasks=st.integers(2, 6))
def test_no_interleaving_lets_two_in(waits: list[int], tasks: int) -> None:
    storage: Storage = _Interleaved(waits, _Clock())
    inside = 0

    async def work(name: str) -> None:
        nonlocal inside
        for _ in range(3):
            try:
                async with lease(storage, "x", holder=name):
                    inside += 1
                    assert inside == 1
                    await asyncio.sleep(0)
                    inside -= 1
            except EngineFailure as error:
                assert error.failure.kind is FailureKind.LOCKED  # noqa: PT017  # both outcomes are right

    async def all_of_them() -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(tasks):
                group.create_task(work(f"run-{number}"))

    asyncio.run(all_of_them())


async def test_a_crashed_holders_lease_is_free_after_its_time_and_not_before() -> None:
    clock = _Clock()
    storage = DictStorage(now=lambda: clock.seconds)
    ttl = timedelta(seconds=60)
    await storage.put(f"{LEASES}x/crashed.60s.01234567", b"")

    clock.seconds = (ttl + GRACE).total_seconds()
    with pytest.raises(EngineFailure) as caught:
        async with lease(storage, "x", holder="next", ttl=timedelta(seconds=1)):
            pytest.fail("the crashed holder's own time to live counts")
    assert "crashed" in caught.value.failure.detail

    clock.seconds += 0.1
    async with lease(storage, "x", holder="next", ttl=ttl):
        assert len(await storage.list(LEASES)) == 1


class _Failing(DictStorage):
    """Takes no more writes once it is broken; `writes` counts what it took."""

    broken = False
    writes = 0

    async def put(self, key: str, data: bytes) -> None:
        if self.broken:
            raise EngineFailure(FailureKind.UNREACHABLE, "broken")
        self.writes += 1
        await super().put(key, data)


async def test_a_lease_is_renewed_while_it_is_held() -> None:
    storage = _Failing()
    async with asyncio.timeout(30), lease(storage, "x", holder="run", ttl=timedelta(seconds=1)) as held:
        lost = asyncio.create_task(held.lost.wait())
        done, _ = await asyncio.wait([lost], timeout=1.5)
        held.check()
        lost.cancel()

    assert not done
    assert storage.writes >= 4


async def test_a_holder_that_cannot_renew_is_told_so_in_time() -> None:
    storage = _Failing()
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(30), lease(storage, "x", holder="run", ttl=timedelta(seconds=1)) as held:
        storage.broken = True
        began = loop.time()
        held.check()
        await held.lost.wait()
        took = loop.time() - began
        with pytest.raises(EngineFailure) as caught:
            held.check()

    assert took <= 1.2
    assert caught.value.failure.kind is FailureKind.LOCKED


async def test_a_holder_that_was_suspended_past_its_time_does_not_come_back() -> None:
    storage = _Failing()
    async with asyncio.timeout(30), lease(storage, "x", holder="run", ttl=timedelta(seconds=1)) as held:
        time.sleep(1.1)  # noqa: ASYNC251  # the process is stopped, its event loop with it
        await held.lost.wait()

    assert storage.writes == 1


async def test_a_failed_or_cancelled_attempt_leaves_nothing_behind() -> None:
    class Unlistable(DictStorage):
        hangs = asyncio.Event()

        async def list(self, prefix: str) -> Sequence[StoredObject]:
            self.hangs.set()
            await asyncio.Event().wait()
            return []

    storage = Unlistable()

    async def attempt() -> None:
        async with lease(storage, "x", holder="run"):
            pytest.fail("it holds")

    task = asyncio.create_task(attempt())
    await storage.hangs.wait()
    task.cancel()
    await asyncio.wait([task])

    assert task.cancelled()
    assert await DictStorage.list(storage, "") == []


async def test_a_conflict_in_the_storage_is_tried_again_and_told_in_the_end() -> None:
    class Conflicting(DictStorage):
        conflicts = 2

        async def put(self, key: str, data: bytes) -> None:
            self.conflicts -= 1
            if self.conflicts >= 0:
                raise EngineFailure(FailureKind.LOCKED, "a conflicting operation")
            await super().put(key, data)

    with pytest.raises(EngineFailure) as caught:
        async with lease(Conflicting(), "x", holder="run"):
            pytest.fail("it holds")
    assert caught.value.failure.detail == "a conflicting operation"

    patient = {"ttl": timedelta(seconds=3), "patience": timedelta(seconds=30)}
    async with lease(Conflicting(), "x", holder="run", **patient) as held:
        held.check()


async def test_a_storage_that_does_not_show_what_was_written_grants_nothing() -> None:
    class Stale(DictStorage):
        async def list(self, prefix: str) -> Sequence[StoredObject]:
            return []

    with pytest.raises(EngineFailure) as caught:
        async with lease(Stale(), "x", holder="run"):
            pytest.fail("it holds")

    assert "not listed" in caught.value.failure.detail


async def test_a_holders_name_may_be_anything() -> None:
    storage = DictStorage()
    async with lease(storage, "x", holder="../pod name/ü" + "n" * 300):
        (found,) = await storage.list(LEASES)

    assert len(found.key) < 250
    assert found.key.count("/") == 3
