"""Orders, places and signals: what ends a run before it has done its work, and how it says so."""

import asyncio
import os
import re
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from holdfast.engines import leases
from holdfast.engines.directory import Directory
from holdfast.model import wire
from holdfast.model.failure import FailureKind
from holdfast.model.repository import EngineKind
from holdfast.model.run import Failed, RunResult
from holdfast.model.workorder import Delete, Initialize, Verify
from tests.support import pods
from tests.support.pods import CLAIM, Ended, Pod

pytestmark = pytest.mark.anyio


async def _given(pod: Pod, order: str | None) -> Ended:
    more = {} if order is None else {"HOLDFAST_WORK_ORDER": order}
    return await pod.ended(await pod.start("mover", more))


@pytest.mark.parametrize(
    ("order", "why"),
    [
        (None, "not JSON"),
        ("{", "not JSON"),
        ("[]", "version None"),
        ('{"version":2,"run":"r","new":1}', "version 2, this mover knows 1"),
        ('{"version":1,"run":"r"}', "repository: missing"),
    ],
)
async def test_an_order_that_cannot_be_read_is_refused(memory_pod: Pod, order: str | None, why: str) -> None:
    ended = await _given(memory_pod, order)
    assert (ended.code, ended.failure()) == (2, FailureKind.BAD_ORDER)
    assert isinstance(ended.outcome, Failed)
    assert re.search(why.replace("not JSON", "Expecting|not JSON"), ended.outcome.failure.detail)


async def test_an_order_of_another_version_still_names_its_run(memory_pod: Pod) -> None:
    await _given(memory_pod, '{"version":2,"run":"run-9"}')
    assert wire.decode(RunResult, (memory_pod.root / "dev/termination-log").read_bytes()).run == "run-9"


@pytest.mark.parametrize("path", ["data", "/data/../etc", ""])
async def test_a_path_that_leads_out_of_the_pod_is_refused(memory_pod: Pod, path: str) -> None:
    await memory_pod.initialized()
    ended = await memory_pod.run(replace(pods.backup(), source=path))
    assert (ended.code, ended.failure()) == (1, FailureKind.BAD_ORDER)


async def test_deleting_needs_either_names_or_everything(memory_pod: Pod) -> None:
    await memory_pod.initialized()
    assert (await memory_pod.run(Delete(identity=CLAIM))).failure() == FailureKind.BAD_ORDER
    both = Delete(identity=CLAIM, snapshots=("a",), everything=True)
    assert (await memory_pod.run(both)).failure() == FailureKind.BAD_ORDER


async def test_without_a_password_nothing_is_asked(memory_pod: Pod) -> None:
    ended = await replace(memory_pod, extra={"HOLDFAST_PASSWORD": ""}).run(pods.backup())
    assert ended.failure() == FailureKind.BAD_ORDER


async def test_without_a_place_to_work_in_a_run_fails_and_says_so(memory_pod: Pod) -> None:
    ended = await replace(memory_pod, extra={"TMPDIR": "/nowhere"}).run(pods.backup())
    assert (ended.code, ended.failure()) == (1, FailureKind.UNKNOWN)
    assert "/nowhere" in ended.stderr


async def test_a_storage_without_marker_or_of_another_repository_is_refused(memory_pod: Pod) -> None:
    assert (await memory_pod.run(pods.backup())).failure() == FailureKind.NO_MARKER
    await memory_pod.initialized()
    elsewhere = replace(memory_pod, expected_id="another")
    assert (await elsewhere.run(pods.backup())).failure() == FailureKind.REPLACED
    assert (await elsewhere.run(Initialize())).failure() == FailureKind.REPLACED
    restic = replace(memory_pod, engine=EngineKind.RESTIC)
    assert (await restic.run(pods.backup())).failure() == FailureKind.REPLACED
    shutil.rmtree(memory_pod.repository)
    for work in (pods.backup(), Initialize(), Verify(identity=CLAIM)):
        assert (await memory_pod.run(work)).failure() == FailureKind.STORAGE_MISSING
    assert not memory_pod.repository.exists()


async def test_nothing_is_created_where_a_repository_is_expected(memory_pod: Pod) -> None:
    ended = await replace(memory_pod, expected_id="one that was here").run(Initialize())
    assert ended.failure() == FailureKind.REPLACED
    assert pods.stored(memory_pod.repository) == {}


async def test_nothing_is_created_beside_records_or_another_engines_data(memory_pod: Pod) -> None:
    for name in (".holdfast/claims/web/data", "kopia/kopia.repository.f", "restic/web/data/config"):
        stray = memory_pod.repository / name
        stray.parent.mkdir(parents=True)
        stray.write_text("somebody's")
        assert (await memory_pod.run(Initialize())).failure() == FailureKind.NOT_EMPTY
        stray.unlink()
    assert pods.stored(memory_pod.repository) == {}


async def test_a_volume_that_is_not_there_is_named(memory_pod: Pod) -> None:
    await memory_pod.initialized()
    assert (await memory_pod.run(replace(pods.backup(), source="/nowhere"))).failure() == FailureKind.SOURCE_UNREADABLE


async def test_a_record_that_was_altered_stops_a_backup(memory_pod: Pod) -> None:
    await memory_pod.initialized()
    await memory_pod.backed_up()
    record = memory_pod.repository / ".holdfast/claims/web/data"
    record.write_bytes(record.read_bytes().replace(b"run-1", b"run-2"))
    assert (await memory_pod.run(pods.backup(), "run-3")).failure() == FailureKind.BAD_RECORD


async def test_a_deletion_that_was_cut_short_is_finished(memory_pod: Pod) -> None:
    """Between record and engine: the record no longer names the snapshot, the repository still holds it."""
    await memory_pod.initialized()
    first = await memory_pod.backed_up("run-1")
    record = memory_pod.repository / ".holdfast/claims/web/data"
    after_first = record.read_bytes()
    second = await memory_pod.backed_up("run-2")
    record.write_bytes(after_first)
    ended = await memory_pod.run(Delete(identity=CLAIM, snapshots=(second.id,)), "delete")
    assert ended.code == 0, ended
    found = await memory_pod.record()
    assert found is not None
    assert [each.id for each in found.snapshots] == [first.id]
    assert not [name for name in pods.stored(memory_pod.repository) if second.id in name]


async def test_a_run_that_is_told_to_stop_says_so(memory_pod: Pod) -> None:
    await memory_pod.initialized()
    async with _waiting_for_a_lease(memory_pod) as process:
        process.send_signal(signal.SIGTERM)
        ended = await memory_pod.ended(process)
    assert (ended.code, ended.failure()) == (1, FailureKind.CANCELED)
    assert list((memory_pod.root / "tmp").iterdir()) == []


@pytest.mark.parametrize(("total", "inactivity"), [(5, 900), (900, 5)])  # time to start on a busy machine
async def test_a_run_ends_at_its_deadline(memory_pod: Pod, total: int, inactivity: int) -> None:
    await memory_pod.initialized()
    async with leases.lease(Directory(memory_pod.repository), f"claims/{CLAIM}", holder="another run"):
        ended = await memory_pod.run(pods.backup(), total_seconds=total, inactivity_seconds=inactivity)
    assert (ended.code, ended.failure()) == (1, FailureKind.TIMEOUT)


@asynccontextmanager
async def _waiting_for_a_lease(pod: Pod) -> AsyncIterator[asyncio.subprocess.Process]:
    """Hold a backup that waits because another run writes the same history."""
    place = Directory(pod.repository)
    folder = pod.repository / ".holdfast/leases/claims/web/data"
    taken = leases.lease(place, f"claims/{CLAIM}", holder="another run")
    async with taken, asyncio.timeout(pods.PATIENCE):
        before = folder.stat().st_mtime_ns
        async with pod.started(pods.backup(), "run-1") as process:
            # Its try for the lease comes and goes within a millisecond; that it was there stays to be seen.
            while folder.stat().st_mtime_ns == before:  # noqa: ASYNC110  # another process
                await asyncio.sleep(0.005)
            yield process


@pytest.fixture
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return a file system of one mebibyte."""
    with _small_disk(tmp_path_factory.mktemp("full")) as disk:
        yield disk


@contextmanager
def _small_disk(place: Path) -> Iterator[Path]:
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", place], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.decode().strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


@pytest.mark.programs
async def test_a_full_target_is_named(pod: Pod, full: Path) -> None:
    await pod.initialized()
    (pod.data / "big").write_bytes(os.urandom(2 << 20))
    snapshot = await pod.backed_up()
    (full / "data").mkdir()
    (pod.root / "restore").rmdir()
    (pod.root / "restore").symlink_to(full)
    ended = await pod.run(pods.restore(snapshot))
    assert (ended.code, ended.failure()) == (1, FailureKind.TARGET_FULL)


@pytest.mark.programs
async def test_a_full_repository_is_named_and_stays_readable(pod: Pod, full: Path) -> None:
    pod.repository.rmdir()
    pod.repository.symlink_to(full)
    await pod.initialized()
    (pod.data / "small").write_text("precious")
    snapshot = await pod.backed_up("run-1")
    (pod.data / "big").write_bytes(os.urandom(4 << 20))
    ended = await pod.run(pods.backup(), "run-2")
    assert ended.code == 1
    assert ended.failure() == FailureKind.REPOSITORY_FULL
    assert (await pod.run(pods.restore(snapshot), "run-3")).code == 0
