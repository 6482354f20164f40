"""The memory engine where it goes beyond the contract: any storage, its own clock, and what damage does."""

from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import pytest

from holdfast.engines.memory import MemoryEngine
from holdfast.engines.protocol import EngineFailure
from holdfast.engines.storage import DictStorage
from holdfast.engines.tree import is_excluded
from holdfast.model.claim import Identity
from holdfast.model.failure import Failure, FailureKind
from holdfast.model.snapshot import Listing
from tests.support import trees
from tests.support.bench import unheard

pytestmark = pytest.mark.anyio

IDENTITY = Identity(namespace="web", claim="data")
MOMENT = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)


def engine_on(storage: DictStorage, password: str = "secret") -> MemoryEngine:
    numbers = count(1)
    return MemoryEngine(storage, password, now=lambda: MOMENT, new_id=lambda: f"id{next(numbers)}")


async def saved_in(storage: DictStorage, source: Path) -> str:
    trees.build(source)
    engine = engine_on(storage)
    await engine.initialize()
    return (await engine.backup(IDENTITY, source, {}, (), unheard, history=None)).snapshot.id


async def kind_of(storage: DictStorage, password: str = "secret") -> FailureKind:
    try:
        answer = (await engine_on(storage, password).listings([IDENTITY]))[IDENTITY]
    except EngineFailure as error:
        return error.failure.kind
    assert isinstance(answer, Failure), answer
    return answer.kind


async def test_one_history_is_told_the_same_way_twice(tmp_path: Path) -> None:
    first, second = DictStorage(now=lambda: 0.0), DictStorage(now=lambda: 0.0)
    await saved_in(first, tmp_path / "source")
    engine = engine_on(second)
    await engine.initialize()
    await engine.backup(IDENTITY, tmp_path / "source", {}, (), unheard, history=None)
    keys = [each.key for each in await first.list("")]
    assert keys == [each.key for each in await second.list("")]
    assert [await first.get(key) for key in keys] == [await second.get(key) for key in keys]
    answer = (await engine.listings([IDENTITY]))[IDENTITY]
    assert isinstance(answer, Listing)
    assert [each.time for each in answer.snapshots] == [MOMENT]


async def test_what_is_lost_or_damaged_is_named(tmp_path: Path) -> None:
    storage = DictStorage()
    snapshot = await saved_in(storage, tmp_path / "source")
    assert await kind_of(storage, "wrong") is FailureKind.WRONG_PASSWORD
    for key, damage, kind in (
        (f"memory/snapshots/web/data/{snapshot}", b"garbage", FailureKind.DAMAGED),
        ("memory/repository", b"garbage", FailureKind.DAMAGED),
        ("memory/repository", None, FailureKind.NO_REPOSITORY),
    ):
        whole = await storage.get(key)
        assert whole is not None
        await (storage.delete(key) if damage is None else storage.put(key, damage))
        assert await kind_of(storage) is kind
        await storage.put(key, whole)


async def test_content_that_is_lost_is_found_before_the_target_is_touched(tmp_path: Path) -> None:
    storage = DictStorage()
    snapshot = await saved_in(storage, tmp_path / "source")
    await storage.delete(f"memory/content/web/data/{snapshot}")
    for action in (
        engine_on(storage).restore(IDENTITY, snapshot, tmp_path / "target", unheard),
        engine_on(storage).verify(IDENTITY, [snapshot], 100, unheard),
    ):
        with pytest.raises(EngineFailure) as caught:
            await action
        assert caught.value.failure.kind is FailureKind.DAMAGED
    assert not (tmp_path / "target").exists()


async def test_a_snapshot_moved_to_another_identity_is_damage(tmp_path: Path) -> None:
    storage = DictStorage()
    snapshot = await saved_in(storage, tmp_path / "source")
    sealed = await storage.get(f"memory/snapshots/web/data/{snapshot}")
    assert sealed is not None
    await storage.put(f"memory/snapshots/web/other/{snapshot}", sealed)
    other = Identity(namespace="web", claim="other")
    answers = await engine_on(storage).listings([IDENTITY, other])
    refused = answers[other]
    assert isinstance(answers[IDENTITY], Listing)
    assert isinstance(refused, Failure)
    assert refused.kind is FailureKind.DAMAGED


async def test_maintenance_deletes_only_old_content_that_nothing_names(tmp_path: Path) -> None:
    now = 0.0
    storage = DictStorage(now=lambda: now)
    snapshot = await saved_in(storage, tmp_path / "source")
    await storage.put("memory/content/web/data/orphan", b"x")
    now = 3600.0
    await engine_on(storage).maintain(None, full=True)
    assert await storage.get("memory/content/web/data/orphan") is not None
    now = 90_000.0
    await engine_on(storage).maintain(None, full=True)
    assert await storage.get("memory/content/web/data/orphan") is None
    await engine_on(storage).restore(IDENTITY, snapshot, tmp_path / "target", unheard)
    assert trees.manifest(tmp_path / "target") == trees.manifest(tmp_path / "source")


@pytest.mark.parametrize(
    ("path", "patterns", "expected"),
    [
        ("a/b.tmp", ("*.tmp",), True),
        ("a/b.tmp", ("/*.tmp",), False),
        ("b.tmp", ("/*.tmp",), True),
        ("a/cache", ("cache",), True),
        ("a/cache", ("a/cache",), True),
        ("x/a/cache", ("a/cache",), False),
        ("x/a/cache", ("**/a/cache",), True),
        ("x/y/z", ("x/**",), True),
        ("x/y/z", ("x/**/z",), True),
        ("file", ("file/",), False),
        ("file", (), False),
    ],
)
async def test_patterns_are_those_of_a_gitignore(path: str, patterns: tuple[str, ...], expected: bool) -> None:
    assert is_excluded(path, is_directory=False, patterns=patterns) is expected
