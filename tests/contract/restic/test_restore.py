"""What only restic can bring back, snapshots that others made, and a storage that does not answer."""

import os
import shutil
import socket
from datetime import timedelta
from pathlib import Path

import pytest

from holdfast.engines.program import Limits
from holdfast.engines.protocol import EngineFailure
from holdfast.engines.restic import argv
from holdfast.engines.restic.process import Restic
from holdfast.model.failure import FailureKind
from holdfast.model.repository import S3Storage
from holdfast.model.snapshot import Listing
from tests.contract.restic.test_listing import bench, restic
from tests.support import trees
from tests.support.bench import Bench, environment_with, fresh_identity, unheard
from tests.support.programs import find_program

pytestmark = [pytest.mark.anyio, pytest.mark.programs]

__all__ = ["bench"]


async def test_the_roots_extended_attributes_come_back(bench: Bench, tmp_path: Path) -> None:
    identity, source, target = fresh_identity(), tmp_path / "source", tmp_path / "target"
    trees.build(source)
    try:
        os.setxattr(source, "user.note", b"\0kept, with=all:of it")
    except OSError:
        pytest.skip("this file system has no extended attributes")
    snapshot = await bench.backup(identity, source)
    await bench.open().restore(identity, snapshot, target, unheard)
    assert os.getxattr(target, "user.note") == b"\0kept, with=all:of it"
    assert trees.manifest(target) == trees.manifest(source)


async def test_a_snapshot_that_volsync_made_is_listed_and_restored(bench: Bench, tmp_path: Path) -> None:
    """VolSync starts restic in the volume and backs up "."; its snapshots have no tag of ours."""
    identity, source, target = fresh_identity(), tmp_path / "source", tmp_path / "target"
    trees.build(source)
    target.mkdir(mode=0o711)
    for arguments in (("init",), ("backup", "--host", "volsync", ".")):
        running = restic(bench, identity, *arguments, directory=source)
        running.communicate()
        assert running.returncode == 0
    answer = await bench.answer(identity)
    assert isinstance(answer, Listing)
    (listed,) = answer.snapshots
    assert listed.tags == {}
    await bench.open().restore(identity, listed.id, target, unheard)
    restored, expected = trees.manifest(target), trees.manifest(source)
    assert restored.pop(b"").mode == "711"
    del expected[b""]
    assert restored == expected
    ours = await bench.backup(identity, source)
    assert await bench.ids(identity) == (listed.id, ours)


async def test_ours_is_restored_by_plain_restic(bench: Bench, tmp_path: Path) -> None:
    identity, source, target = fresh_identity(), tmp_path / "source", tmp_path / "target"
    trees.build(source)
    snapshot = await bench.backup(identity, source)
    running = restic(bench, identity, "restore", snapshot, "--target", str(target))
    running.communicate()
    assert running.returncode == 0
    assert {**trees.manifest(target), b"": None} == {**trees.manifest(source), b"": None}


async def test_a_backup_that_was_copied_by_a_driver_reads_little_again(bench: Bench, tmp_path: Path) -> None:
    identity, first, second = fresh_identity(), tmp_path / "first", tmp_path / "second"
    trees.build(first, big=4 << 20)
    trees.copy(first, second)
    await bench.backup(identity, first)
    shutil.rmtree(first)
    # A parent that is found, by size and time, is all that lets restic skip a file: this one is no longer the same.
    with (second / "big").open("r+b") as file:
        status = os.fstat(file.fileno())
        file.write(b"changed behind its time")
    os.utime(second / "big", ns=(status.st_atime_ns, status.st_mtime_ns))
    taken = await bench.engine.backup(identity, second, {}, (), unheard, history=None)
    assert taken.new_bytes is not None
    assert taken.new_bytes < 100_000


async def test_a_storage_that_refuses_is_unreachable_when_patience_ends(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        where = S3Storage(endpoint=f"127.0.0.1:{unused.getsockname()[1]}", bucket="bucket", tls=False)
        environment = environment_with(
            find_program("restic"), {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
        )
        process = Restic(where, password="x", environment=environment, work=tmp_path, name="restic")
        # restic itself speaks of a retry only after about 5 s.
        patience = Limits(total=timedelta(seconds=60), inactivity=timedelta(seconds=10))
        with pytest.raises(EngineFailure) as caught:
            await process.run(fresh_identity(), argv.snapshots(), limits=patience)
    assert caught.value.failure.kind is FailureKind.UNREACHABLE
    assert "connection refused" in caught.value.failure.detail
