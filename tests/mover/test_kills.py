"""Movers that are killed at any moment: what runs next finishes the work, and no byte is ever wrong.

HOLDFAST_KILLS kills of each kind and engine (1 when unset); HOLDFAST_SEED replays the moments.
"""

import asyncio
import contextlib
import os
import random
import signal
import time
from pathlib import Path

import pytest

from holdfast.model.failure import FailureKind
from holdfast.model.run import BackedUp
from holdfast.model.workorder import Delete, Initialize, Work
from tests.support import pods, trees
from tests.support.pods import CLAIM, Pod

pytestmark = [pytest.mark.anyio, pytest.mark.programs, pytest.mark.timeout(3600)]

KILLS = int(os.environ.get("HOLDFAST_KILLS", "1"))
SEED = int(os.environ.get("HOLDFAST_SEED", "20261125"))


@pytest.fixture
def moments() -> random.Random:
    print(f"HOLDFAST_SEED={SEED}")
    return random.Random(SEED)


async def test_a_killed_backup_is_done_by_the_next_run(pod: Pod, moments: random.Random) -> None:
    await pod.initialized()
    _fill(pod.data, moments)
    length = await _length(pod, pods.backup(), "measured")
    for number in range(KILLS):
        (pod.data / "changed").write_bytes(moments.randbytes(1 << 20))
        run = f"run-{number}"
        await _kill_within(pod, pods.backup(), run, moments.uniform(0, length * 1.1))
        snapshot = await pod.backed_up(run)
        record = await pod.record()
        assert record is not None
        assert record.snapshots[-1] == snapshot
        assert [each.run for each in record.snapshots].count(run) == 1
        restored = await pod.run(pods.restore(snapshot), f"restore-{number}")
        assert restored.code == 0, restored
        assert _contents(pod.target) == _contents(pod.data)


async def test_a_killed_restore_is_done_by_the_next_run(pod: Pod, moments: random.Random) -> None:
    await pod.initialized()
    _fill(pod.data, moments)
    snapshot = await pod.backed_up()
    length = await _length(pod, pods.restore(snapshot), "measured")
    for number in range(KILLS):
        await _kill_within(pod, pods.restore(snapshot), f"run-{number}", moments.uniform(0, length * 1.1))
        restored = await pod.run(pods.restore(snapshot), f"again-{number}")
        assert restored.code == 0, restored
        assert _contents(pod.target) == _contents(pod.data)


async def test_a_killed_initialisation_is_done_by_the_next_run(pod: Pod, moments: random.Random) -> None:
    length = 1.0 if pod.engine == "memory" else 3.0
    for number in range(KILLS):
        place = pod.root / f"try-{number}"
        place.mkdir()
        fresh = Pod.create(place, pod.engine)
        await _kill_within(fresh, Initialize(), "run", moments.uniform(0, length))
        await fresh.initialized()
        (fresh.data / "file").write_text("precious")
        assert (await fresh.run(pods.restore(await fresh.backed_up()))).code == 0


async def test_a_killed_deletion_leaves_a_history_that_is_whole_or_gone(pod: Pod, moments: random.Random) -> None:
    await pod.initialized()
    (pod.data / "file").write_text("precious")
    first = await pod.backed_up("first")
    started = time.monotonic()
    doomed = (await pod.backed_up("doomed")).id
    length = time.monotonic() - started
    for number in range(KILLS):
        order = Delete(identity=CLAIM, snapshots=(doomed,))
        await _kill_within(pod, order, f"delete-{number}", moments.uniform(0, length))
        record = await pod.record()
        assert record is not None
        newest = record.snapshots[-1]
        # What the record names as newest can be restored at any time.
        assert (await pod.run(pods.restore(newest))).code == 0
        again = await pod.run(order, f"delete-{number}")
        assert again.code == 0, again
        assert (await pod.run(pods.restore(first))).code == 0
        doomed = (await pod.backed_up(f"doomed-{number}")).id


async def test_a_killed_deletion_of_everything_is_done_by_the_next_run(pod: Pod, moments: random.Random) -> None:
    await pod.initialized()
    (pod.data / "file").write_text("precious")
    everything = Delete(identity=CLAIM, everything=True)
    started = time.monotonic()
    await pod.backed_up("first")
    length = time.monotonic() - started
    for number in range(KILLS):
        await _kill_within(pod, everything, f"delete-{number}", moments.uniform(0, length))
        ended = await pod.run(everything, f"again-{number}")
        assert ended.code == 0, ended
        assert await pod.record() is None
        snapshot = await pod.backed_up(f"new-{number}")
        assert (await pod.run(pods.restore(snapshot))).code == 0


async def test_a_backup_that_is_told_to_stop_leaves_nothing_that_counts(pod: Pod, moments: random.Random) -> None:
    await pod.initialized()
    (pod.data / "small").write_text("precious")
    await pod.backed_up("first")
    (pod.data / "big").write_bytes(moments.randbytes(96 << 20))
    async with pod.started(pods.backup(), "stopped") as process:
        assert process.stdout is not None
        async with asyncio.timeout(pods.PATIENCE):
            first = await process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        ended = await pod.ended(process)
    assert b"Progress" in first
    # It may have been done already when the signal came.
    assert isinstance(ended.outcome, BackedUp) or ended.failure() == FailureKind.CANCELED
    assert list((pod.root / "tmp").iterdir()) == []
    assert not list((pod.repository / ".holdfast/leases").rglob("*.*"))
    record = await pod.record()
    assert record is not None
    assert len(record.snapshots) == (2 if isinstance(ended.outcome, BackedUp) else 1)
    snapshot = await pod.backed_up("again")
    assert (await pod.run(pods.restore(snapshot))).code == 0


def _fill(root: Path, moments: random.Random) -> None:
    for folder in range(8):
        (root / f"folder-{folder}").mkdir()
        for number in range(25):
            size = moments.choice((10, 3000, 40_000, 300_000))
            (root / f"folder-{folder}/file-{number}").write_bytes(moments.randbytes(size))


def _contents(root: Path) -> dict[bytes, str]:
    return {path: each.digest for path, each in trees.manifest(root).items()}


async def _length(pod: Pod, work: Work, run: str) -> float:
    """Return how many seconds an undisturbed run takes."""
    started = time.monotonic()
    ended = await pod.run(work, run)
    assert ended.code == 0, ended
    return time.monotonic() - started


async def _kill_within(pod: Pod, work: Work, run: str, seconds: float) -> None:
    """Start a run and kill it after so many seconds; it may have ended before."""
    async with pod.started(work, run) as process:
        try:
            await asyncio.wait_for(process.wait(), seconds)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):  # it ended this very moment
                process.kill()
        await process.communicate()
    pod.free_leases()
