"""What every engine does when something is wrong: it says what, and harms nothing."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from holdfast.engines.protocol import EngineFailure
from holdfast.model.claim import Identity
from holdfast.model.failure import Failure, FailureKind
from holdfast.model.repository import DirectoryStorage
from holdfast.model.run import Progress
from holdfast.model.snapshot import Listing
from tests.support import trees
from tests.support.bench import PASSWORD, Bench, fresh_identity, unheard
from tests.support.processes import children

pytestmark = pytest.mark.anyio

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small file system: needs root")


def folder_of(bench: Bench) -> Path:
    assert isinstance(bench.where, DirectoryStorage)
    return Path(bench.where.path)


def random_tree(root: Path, *, files: int = 1, size: int = 300_000) -> Path:
    root.mkdir(exist_ok=True)
    for number in range(files):
        (root / f"file{number}").write_bytes(os.urandom(size))
    return root


async def failure_of(bench: Bench, identity: Identity, password: str = PASSWORD) -> Failure:
    """Return the failure in place of a listing, whether it is the identity's own or the whole repository's."""
    try:
        answer = (await bench.open(password).listings([identity]))[identity]
    except EngineFailure as error:
        return error.failure
    assert isinstance(answer, Failure), answer
    return answer


@contextmanager
def small_file_system(folder: Path, megabytes: int) -> Iterator[Path]:
    folder.mkdir(exist_ok=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "holdfast-test", folder], check=False, capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip(f"this machine does not let root mount: {mounted.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


async def test_a_wrong_password_is_named(own_bench: Bench, tmp_path: Path) -> None:
    identity = fresh_identity()
    snapshot = await own_bench.backup(identity, random_tree(tmp_path / "source"))
    assert (await failure_of(own_bench, identity, "wrong")).kind is FailureKind.WRONG_PASSWORD
    with pytest.raises(EngineFailure) as caught:
        await own_bench.open("wrong").restore(identity, snapshot, tmp_path / "target", unheard)
    assert caught.value.failure.kind is FailureKind.WRONG_PASSWORD
    assert "wrong" not in caught.value.failure.detail.lower().replace("wrong password", "")
    with pytest.raises(EngineFailure) as caught:
        await own_bench.open("wrong").backup(identity, tmp_path / "source", {}, (), unheard, history=None)
    assert caught.value.failure.kind is FailureKind.WRONG_PASSWORD
    assert await own_bench.ids(identity) == (snapshot,)


async def test_a_storage_that_is_gone_is_not_created_again(own_bench: Bench, tmp_path: Path) -> None:
    identity = fresh_identity()
    await own_bench.backup(identity, random_tree(tmp_path / "source"))
    storage = folder_of(own_bench)
    storage.rename(tmp_path / "elsewhere")
    assert (await failure_of(own_bench, identity)).kind is FailureKind.STORAGE_MISSING
    for action in (
        own_bench.open().backup(identity, tmp_path / "source", {}, (), unheard, history=None),
        own_bench.open().restore(identity, "0" * 32, tmp_path / "target", unheard),
        own_bench.open().delete(identity),
    ):
        with pytest.raises(EngineFailure) as caught:
            await action
        assert caught.value.failure.kind is FailureKind.STORAGE_MISSING
    assert not storage.exists()


async def test_a_good_repository_is_verified(bench: Bench, tmp_path: Path) -> None:
    identity = fresh_identity()
    source = random_tree(tmp_path / "source", files=3)
    snapshots = [await bench.backup(identity, source) for _ in range(2)]
    heard: list[Progress] = []
    proof = await bench.open().verify(identity, snapshots, 100, heard.append)
    assert proof.snapshots == tuple(snapshots)
    assert proof.read_bytes >= 900_000
    assert (await bench.open().verify(identity, snapshots[:1], 10, unheard)).snapshots == tuple(snapshots[:1])
    with pytest.raises(EngineFailure) as caught:
        await bench.open().verify(identity, [snapshots[0], "0" * len(snapshots[0])], 100, unheard)
    assert caught.value.failure.kind is FailureKind.SNAPSHOT_MISSING


async def test_a_flipped_bit_is_found_by_verification_and_never_restored(own_bench: Bench, tmp_path: Path) -> None:
    identity = fresh_identity()
    source = random_tree(tmp_path / "source")
    snapshot = await own_bench.backup(identity, source)
    flip_a_bit(max(folder_of(own_bench).rglob("*"), key=lambda path: path.is_file() and path.stat().st_size))
    with pytest.raises(EngineFailure) as caught:
        await own_bench.open().verify(identity, [snapshot], 100, unheard)
    assert caught.value.failure.kind is FailureKind.DAMAGED, caught.value
    with pytest.raises(EngineFailure) as caught:
        await own_bench.open().restore(identity, snapshot, tmp_path / "target", unheard)
    assert caught.value.failure.kind is FailureKind.DAMAGED, caught.value
    with pytest.raises(EngineFailure) as caught:
        async for _ in own_bench.open().cat(identity, snapshot, "file0"):
            pass
    assert caught.value.failure.kind is FailureKind.DAMAGED, caught.value


def flip_a_bit(path: Path) -> None:
    path.chmod(0o600)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


async def test_cancelling_leaves_no_process_and_no_half_snapshot(bench: Bench, tmp_path: Path) -> None:
    identity = fresh_identity()
    await bench.backup(identity, random_tree(tmp_path / "first"))
    source = random_tree(tmp_path / "source", files=40, size=1 << 20)
    before, others = await bench.ids(identity), children()
    for patience in (0.0, 0.2, 0.7):
        task = asyncio.create_task(bench.engine.backup(identity, source, {}, (), unheard, history=None))
        await asyncio.wait([task], timeout=patience)
        task.cancel()
        await asyncio.wait([task])
        assert children() == others
        if not task.cancelled() and task.exception() is None:
            before = (*before, task.result().snapshot.id)
    listed = [each for each in await bench.listed(identity) if not each.flags]
    assert [each.id for each in listed if each.id in before] == list(before)
    # One that was saved just before it was cancelled is whole.
    assert all(each.files == 40 for each in listed if each.id not in before)


@needs_root
async def test_a_full_repository_says_so_and_still_lists(own_bench: Bench, tmp_path: Path) -> None:
    storage = folder_of(own_bench)
    too_much = random_tree(tmp_path / "too much", files=20, size=1 << 20)
    with small_file_system(tmp_path / "small", 12) as small:
        trees.copy(storage, small / "storage")
        own = own_bench.at(DirectoryStorage(path=str(small / "storage")))
        identity = fresh_identity()
        kept = await own.backup(identity, random_tree(tmp_path / "fits"))
        with pytest.raises(EngineFailure) as caught:
            await own.open().backup(identity, too_much, {}, (), unheard, history=None)
        assert caught.value.failure.kind is FailureKind.REPOSITORY_FULL, caught.value
        assert await own.ids(identity) == (kept,)
        await own.open().restore(identity, kept, tmp_path / "target", unheard)
        assert trees.manifest(tmp_path / "target").keys() == trees.manifest(tmp_path / "fits").keys()


@needs_root
async def test_a_full_target_says_so(bench: Bench, tmp_path: Path) -> None:
    identity = fresh_identity()
    snapshot = await bench.backup(identity, random_tree(tmp_path / "source", files=4, size=1 << 20))
    with small_file_system(tmp_path / "restore", 2) as small:
        with pytest.raises(EngineFailure) as caught:
            await bench.open().restore(identity, snapshot, small / "data", unheard)
        assert caught.value.failure.kind is FailureKind.TARGET_FULL, caught.value


async def test_progress_grows_and_ends_where_the_work_ends(bench: Bench, tmp_path: Path) -> None:
    identity, heard = fresh_identity(), list[Progress]()
    source = random_tree(tmp_path / "source", files=30, size=1 << 20)
    taken = await bench.engine.backup(identity, source, {}, (), heard.append, history=None)
    await bench.open().restore(identity, taken.snapshot.id, tmp_path / "target", heard.append)
    assert all(each.files_done <= 31 and each.bytes_done <= 31 << 20 for each in heard)


async def test_an_identity_that_cannot_be_a_name_is_that_ones_trouble(bench: Bench, tmp_path: Path) -> None:
    good, bad = fresh_identity(), Identity(namespace="..", claim="..")
    snapshot = await bench.backup(good, random_tree(tmp_path / "source"))
    answers = await bench.open().listings([good, bad])
    answer, refused = answers[good], answers[bad]
    assert isinstance(answer, Listing)
    assert [each.id for each in answer.snapshots] == [snapshot]
    assert refused == Listing(engine_id=answer.engine_id, snapshots=()) or isinstance(refused, Failure)
    with pytest.raises(EngineFailure) as caught:
        await bench.open().backup(bad, tmp_path / "source", {}, (), unheard, history=None)
    assert caught.value.failure.kind is FailureKind.BAD_ORDER


async def test_an_unreadable_file_is_named(own_bench: Bench, tmp_path: Path) -> None:
    source = random_tree(tmp_path / "source", files=2)
    (source / "closed").mkdir()
    (source / "closed" / "inside").write_text("x")
    for each in (source / "file0", source / "closed"):
        each.chmod(0)
    done = back_up_where_rights_bind(own_bench, source)
    assert done.stdout.splitlines() == ["2", "closed", "file0"], done.stderr


def back_up_where_rights_bind(bench: Bench, source: Path) -> subprocess.CompletedProcess[str]:
    """Back up `source` once in a process of its own; root's is without the rights to read what it may not."""
    unprivileged = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all"]
    script = Path(__file__).parent.parent / "support" / "backup_once.py"
    return subprocess.run(
        [
            *(unprivileged if os.geteuid() == 0 else []),
            *(sys.executable, script, bench.kind, folder_of(bench), bench.work, source),
        ],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **bench.environment},
    )
