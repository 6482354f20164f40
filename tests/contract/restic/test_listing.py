"""What proves that an identity has no restic repository, and what is only doubt."""

import functools
import json
import os
import random
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from holdfast.engines import program
from holdfast.engines.protocol import EngineFailure
from holdfast.engines.restic import argv, objects
from holdfast.engines.storage import DictStorage
from holdfast.model.claim import Identity
from holdfast.model.failure import Failure, FailureKind
from holdfast.model.repository import DirectoryStorage, EngineKind
from holdfast.model.snapshot import Listing
from tests.contract.conftest import a_bench
from tests.support.bench import PASSWORD, Bench, fresh_identity, unheard
from tests.support.programs import find_program

pytestmark = [pytest.mark.anyio, pytest.mark.programs]

ID = "0123456789abcdef" * 4


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    storage, work = tmp_path / "own storage", tmp_path / "own work"
    storage.mkdir()
    work.mkdir()
    restic = find_program("restic")
    async with a_bench(EngineKind.RESTIC, restic, DirectoryStorage(path=str(storage)), {}, work) as held:
        yield held


def folder_of(bench: Bench, identity: Identity) -> Path:
    assert isinstance(bench.where, DirectoryStorage)
    return Path(bench.where.path) / "restic" / identity.namespace / identity.claim


def restic(bench: Bench, identity: Identity, *arguments: str, directory: Path | None = None) -> subprocess.Popen[bytes]:
    environment = {
        **os.environ,
        **bench.environment,
        "RESTIC_REPOSITORY": str(folder_of(bench, identity)),
        "RESTIC_PASSWORD": PASSWORD,
        "HOME": str(bench.work),
    }
    return subprocess.Popen(
        ["restic", "--no-cache", *arguments],
        cwd=directory,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.0005)


async def two_backups(bench: Bench, tmp_path: Path) -> tuple[Identity, list[Path]]:
    identity, source = fresh_identity(), tmp_path / "source"
    source.mkdir()
    (source / "a").write_text("content")
    taken = [await bench.backup(identity, source) for _ in range(2)]
    return identity, [folder_of(bench, identity) / "snapshots" / each for each in taken]


async def doubt(bench: Bench, identity: Identity) -> Failure:
    answer = await bench.answer(identity)
    assert isinstance(answer, Failure), answer
    return answer


async def test_an_absent_repository_is_proven_without_a_process(bench: Bench) -> None:
    asked = [fresh_identity() for _ in range(20)]
    engine = bench.open()
    before = program.number_started()
    answers = await engine.listings(asked)
    assert program.number_started() == before
    assert set(answers.values()) == {Listing(engine_id=None, snapshots=())}


async def test_the_id_is_the_one_in_the_repositorys_config(bench: Bench, tmp_path: Path) -> None:
    identity, _ = await two_backups(bench, tmp_path)
    answer = await bench.answer(identity)
    config, _ = restic(bench, identity, "cat", "config").communicate()
    assert isinstance(answer, Listing)
    assert answer.engine_id == json.loads(config)["id"]


async def test_a_repository_without_snapshots_is_whole_once_the_password_opens_it(bench: Bench) -> None:
    identity = fresh_identity()
    running = restic(bench, identity, "init")
    running.communicate()
    assert running.returncode == 0
    answer = await bench.answer(identity)
    assert isinstance(answer, Listing)
    assert answer.snapshots == ()
    assert answer.engine_id is not None
    wrong = (await bench.open("wrong").listings([identity]))[identity]
    assert isinstance(wrong, Failure)
    assert wrong.kind is FailureKind.WRONG_PASSWORD


async def test_a_snapshot_that_cannot_be_read_makes_the_listing_partial(bench: Bench, tmp_path: Path) -> None:
    identity, (first, second) = await two_backups(bench, tmp_path)
    for path, damage in ((first, b""), (second, b"garbage" * 50)):
        whole = path.read_bytes()
        path.chmod(0o600)
        path.write_bytes(damage)
        failure = await doubt(bench, identity)
        assert failure.kind is FailureKind.PARTIAL_LISTING
        assert path.name[:8] in failure.detail
        with pytest.raises(EngineFailure) as caught:
            await bench.open().restore(identity, path.name, tmp_path / "target", unheard)
        assert caught.value.failure.kind is FailureKind.DAMAGED
        path.write_bytes(whole)
    assert len(await bench.listed(identity)) == 2


async def test_one_identitys_damage_leaves_the_others_answers(bench: Bench, tmp_path: Path) -> None:
    broken, (first, _) = await two_backups(bench, tmp_path)
    good, unknown = fresh_identity(), fresh_identity()
    await bench.backup(good, tmp_path / "source")
    first.chmod(0o600)
    first.write_bytes(b"")
    answers = await bench.open().listings([broken, good, unknown])
    assert isinstance(answers[broken], Failure)
    assert isinstance(answers[good], Listing)
    assert answers[unknown] == Listing(engine_id=None, snapshots=())


@pytest.mark.parametrize("lost", ["config", "keys", "config and snapshots"])
async def test_some_of_a_repository_is_damage_and_never_absence(bench: Bench, tmp_path: Path, lost: str) -> None:
    identity, _ = await two_backups(bench, tmp_path)
    for name in lost.split(" and "):
        subprocess.run(["rm", "-r", "--", folder_of(bench, identity) / name], check=True)  # noqa: ASYNC221
    assert (await doubt(bench, identity)).kind is FailureKind.DAMAGED
    with pytest.raises(EngineFailure) as caught:
        await bench.open().backup(identity, tmp_path / "source", {}, (), unheard, history=None)
    assert caught.value.failure.kind is FailureKind.DAMAGED
    assert not (folder_of(bench, identity) / lost.split(" ")[0]).exists()


async def test_an_initialisation_killed_at_any_moment_is_finished_by_the_next_backup(
    bench: Bench, tmp_path: Path
) -> None:
    chance = random.Random(7)
    (tmp_path / "a").write_text("content")
    source = tmp_path / "source"
    source.mkdir()
    (source / "a").write_text("content")
    for _ in range(4):
        identity = fresh_identity()
        keys = folder_of(bench, identity) / "keys"
        running = restic(bench, identity, "init")
        wait_until(functools.partial(_has_begun, running, keys))
        time.sleep(chance.choice((0.0, 0.001, 0.004, 0.012)))  # noqa: ASYNC251  where in its work it is killed
        running.send_signal(signal.SIGKILL)
        running.communicate()
        assert (await bench.listed(identity)) == ()
        snapshot = await bench.backup(identity, source)
        assert await bench.ids(identity) == (snapshot,)


def _has_begun(running: subprocess.Popen[bytes], keys: Path) -> bool:
    return running.poll() is not None or any(keys.glob("*"))


async def test_unfinished_keys_are_put_aside_and_never_destroyed() -> None:
    storage = DictStorage()
    await storage.put(f"restic/web/data/keys/{ID}", b"a key")
    await storage.put("restic/web/data/config-tmp-123", b"half a config")
    state = await objects.inspect(storage, "restic/web/data")
    assert isinstance(state, objects.Unfinished)
    await objects.set_aside(storage, "restic/web/data", state)
    assert await objects.inspect(storage, "restic/web/data") == objects.Nothing()
    assert await storage.get(f"restic-unfinished/web/data/keys/{ID}") == b"a key"


async def test_a_neighbours_objects_are_not_touched_by_a_deletion() -> None:
    storage = DictStorage()
    for key in ("restic/web/data/config", "restic/web/data2/config", "restic/web.east/data/config"):
        await storage.put(key, b"x")
    await objects.delete(storage, "restic/web/data")
    assert [each.key for each in await storage.list("")] == ["restic/web.east/data/config", "restic/web/data2/config"]


async def test_a_fresh_lock_stops_a_deletion_and_an_old_one_does_not() -> None:
    now = 0.0
    storage = DictStorage(now=lambda: now)
    await storage.put("restic/web/data/config", b"x")
    await storage.put(f"restic/web/data/locks/{ID}", b"x")
    now = 300.0
    with pytest.raises(EngineFailure) as caught:
        await objects.delete(storage, "restic/web/data")
    assert caught.value.failure.kind is FailureKind.LOCKED
    await objects.release_stale_locks(storage, "restic/web/data")
    assert len(await storage.list("restic/web/data/")) == 2
    now = 4000.0
    await objects.release_stale_locks(storage, "restic/web/data")
    assert [each.key for each in await storage.list("restic/web/data/")] == ["restic/web/data/config"]
    await objects.delete(storage, "restic/web/data")
    assert await storage.list("restic/") == []


async def test_a_deletion_cut_short_at_any_point_can_be_repeated_and_never_looks_damaged() -> None:
    keys = ("config", f"keys/{ID}", f"snapshots/{ID}", f"index/{ID}", f"data/01/{ID}", f"data/02/{ID}", "strange")
    for survivors in range(1, len(keys) + 1):
        storage = _Failing(survivors)
        for key in keys:
            await storage.put(f"restic/web/data/{key}", b"x")
        with pytest.raises(EngineFailure):
            await objects.delete(storage, "restic/web/data")
        assert not isinstance(await objects.inspect(storage, "restic/web/data"), objects.Broken)
        storage.left = 100
        await objects.delete(storage, "restic/web/data")
        assert await objects.inspect(storage, "restic/web/data") == objects.Nothing()


class _Failing(DictStorage):
    """Deletes so many objects, then is unreachable."""

    def __init__(self, survivors: int) -> None:
        super().__init__()
        self.left = survivors - 1

    async def delete(self, key: str) -> None:
        if self.left == 0:
            raise EngineFailure(FailureKind.UNREACHABLE, "cut")
        self.left -= 1
        await super().delete(key)


async def test_a_lock_of_a_running_restic_is_a_locked_repository(bench: Bench, tmp_path: Path) -> None:
    identity, (first, _) = await two_backups(bench, tmp_path)
    holder = restic(bench, identity, "backup", "--stdin-from-command", "--", "sleep", "600")
    locks = folder_of(bench, identity) / "locks"
    try:
        wait_until(lambda: any(locks.iterdir()))
        assert len(await bench.listed(identity)) == 2
        with pytest.raises(EngineFailure) as caught:
            await bench.open().delete(identity)
        assert caught.value.failure.kind is FailureKind.LOCKED
        await bench.open().restore(identity, first.name, tmp_path / "target", unheard)
    finally:
        holder.terminate()
        holder.communicate()
    assert len(await bench.listed(identity)) == 2


async def test_another_version_is_refused(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    fake = tmp_path / "bin" / "restic"
    fake.write_text('#!/bin/sh\necho \'{"message_type":"version","version":"0.18.0"}\'\n')
    fake.chmod(0o755)
    identity, _ = await two_backups(bench, tmp_path)
    async with bench.with_keys({"PATH": f"{fake.parent}:/usr/bin:/bin"}) as engine:
        with pytest.raises(EngineFailure) as caught:
            await engine.listings([identity])
    assert caught.value.failure.kind is FailureKind.NO_PROGRAM
    assert "0.18.0" in caught.value.failure.detail


async def test_a_restic_that_is_killed_before_it_says_its_version_is_no_missing_program(
    bench: Bench, tmp_path: Path
) -> None:
    (tmp_path / "bin").mkdir()
    fake = tmp_path / "bin" / "restic"
    fake.write_text("#!/bin/sh\nkill -9 $$\n")
    fake.chmod(0o755)
    async with bench.with_keys({"PATH": f"{fake.parent}:/usr/bin:/bin"}) as engine:
        with pytest.raises(EngineFailure, match="ended with exit code -9") as caught:
            await engine.version()
    assert caught.value.failure.kind is FailureKind.UNKNOWN


async def test_a_snapshot_is_saved_when_its_bytes_are_read_back(bench: Bench, tmp_path: Path) -> None:
    identity = fresh_identity()
    source = tmp_path / "source"
    source.mkdir()
    (source / "file").write_text("precious")
    snapshot = await bench.backup(identity, source)
    folder = argv.folder_of(identity)
    await objects.expect_saved(bench.beside, folder, snapshot)
    stored = folder_of(bench, identity) / "snapshots" / snapshot
    stored.chmod(0o600)
    stored.write_bytes(stored.read_bytes()[:-1])
    with pytest.raises(EngineFailure, match="other bytes") as caught:
        await objects.expect_saved(bench.beside, folder, snapshot)
    assert caught.value.failure.kind is FailureKind.MISMATCH
    stored.unlink()
    with pytest.raises(EngineFailure, match="lacks it") as caught:
        await objects.expect_saved(bench.beside, folder, snapshot)
    assert caught.value.failure.kind is FailureKind.MISMATCH
