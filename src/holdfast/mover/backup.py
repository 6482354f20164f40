"""Back up one volume. Done means: found again by id in a fresh listing, and recorded."""

import os
import stat
import time
from functools import partial
from pathlib import Path
from typing import Final, assert_never

from holdfast.decide import quality
from holdfast.engines import aside, storage, survey
from holdfast.engines.choose import Opened, inside
from holdfast.engines.protocol import LOST_BY_KOPIA, LOST_BY_RESTIC, Engine, EngineFailure, Taken, expect_engine, saved
from holdfast.model.failure import FailureKind
from holdfast.model.repository import EngineKind
from holdfast.model.run import BackedUp, Progress, Survey
from holdfast.model.snapshot import Loss, Record, RecordedSnapshot
from holdfast.model.workorder import Backup
from holdfast.mover.bench import Bench, hold_history

CLAIM_UID: Final = "claim-uid"
CLUSTER_UID: Final = "cluster-uid"
RUN: Final = "run"


async def run(bench: Bench[Engine], work: Backup) -> BackedUp:
    """Return the recorded snapshot.

    A run that is repeated after it was recorded answers the same again; one that was cut short before that leaves
    at most a snapshot that is in no record, which nobody restores by itself.
    """
    began = time.monotonic()
    source = inside(bench.root, work.source)
    await aside.start(partial(_expect_directory, source))
    marker = await bench.repository.marker()
    async with hold_history(bench, work.identity) as held:
        record = await bench.repository.record(marker, work.identity)
        done = None if record is None else _already_recorded(record, bench.run)
        if record is not None and done is not None:
            await _expect_history(bench.repository, record, done)
            return BackedUp(snapshot=done, new_bytes=None, seconds=time.monotonic() - began)
        known = () if record is None else record.snapshots
        taken, surveyed = await _take(bench, work, source, record)
        bench.report(Progress(phase="recording", files_done=surveyed.files, bytes_done=surveyed.bytes))
        if record is not None:
            expect_engine(record, taken.engine_id)
        recorded = _line(bench, work, taken, surveyed, known)
        held.check()
        await storage.write_record(
            bench.repository.storage,
            marker,
            bench.repository.password,
            Record(
                identity=work.identity,
                repository_id=marker.repository_id,
                engine_id=taken.engine_id,
                snapshots=tuple(sorted((*known, recorded), key=lambda each: each.time)),
            ),
        )
    return BackedUp(snapshot=recorded, new_bytes=taken.new_bytes, seconds=time.monotonic() - began)


def _expect_directory(source: Path) -> None:
    try:
        is_directory = stat.S_ISDIR(source.stat().st_mode)
    except OSError as error:
        raise EngineFailure(FailureKind.SOURCE_UNREADABLE, f"the volume cannot be read: {error}") from error
    if not is_directory:
        raise EngineFailure(FailureKind.SOURCE_UNREADABLE, f"{source} is not a directory")


def _already_recorded(record: Record, run: str) -> RecordedSnapshot | None:
    return next((each for each in record.snapshots if each.run == run), None)


async def _expect_history(repository: Opened[Engine], record: Record, snapshot: RecordedSnapshot) -> None:
    """Raise unless the engine still holds the history that the record is of, and the snapshot."""
    listing = await repository.listing(record.identity)
    if listing.engine_id is None:
        raise EngineFailure(
            FailureKind.NO_REPOSITORY,
            f"the record of {record.identity} knows {len(record.snapshots)} snapshots, but their repository "
            f"{record.engine_id} is gone",
        )
    expect_engine(record, listing.engine_id)
    saved(listing.snapshots, snapshot.id)


async def _take(bench: Bench[Engine], work: Backup, source: Path, record: Record | None) -> tuple[Taken, Survey]:
    """Return what the engine says of the backup, and what a walk beside it counted."""
    tags = {CLAIM_UID: work.claim_uid, CLUSTER_UID: work.cluster_uid, RUN: bench.run}
    walk = aside.start(partial(survey.survey, source))
    root = os.open(source, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        taken = await bench.repository.engine.backup(
            work.identity, source, tags, work.exclude, bench.report, history=record
        )
        surveyed = await walk
        await aside.start(partial(_expect_still_there, source, root))
        return taken, surveyed
    finally:
        walk.cancel()
        os.close(root)


def _expect_still_there(source: Path, root: int) -> None:
    """Raise unless `source` is still the directory that `root` was opened on.

    Nothing in Kubernetes keeps a volume that only we read from being deleted: what is left of it then would be
    remembered as the newest backup, and be restored.
    """
    detail = "the volume was deleted or replaced while it was read"
    try:
        now, then = source.stat(), os.fstat(root)
    except OSError as error:
        raise EngineFailure(FailureKind.SOURCE_UNREADABLE, f"{detail}: {error}") from error
    if then.st_nlink == 0 or (now.st_dev, now.st_ino) != (then.st_dev, then.st_ino):
        raise EngineFailure(FailureKind.SOURCE_UNREADABLE, detail)


def _line(
    bench: Bench[Engine], work: Backup, taken: Taken, surveyed: Survey, known: tuple[RecordedSnapshot, ...]
) -> RecordedSnapshot:
    """Return what the record will say of the snapshot, flagged against the last good one."""
    found = taken.snapshot
    flags = quality.flags(found.files, taken.unreadable_count, quality.last_good(known))
    return RecordedSnapshot(
        id=found.id,
        time=found.time,
        run=bench.run,
        claim_uid=work.claim_uid,
        cluster_uid=work.cluster_uid,
        files=found.files,
        bytes=found.bytes,
        capacity_bytes=work.capacity_bytes,
        flags=tuple(sorted({*flags, *found.flags})),
        unreadable=taken.unreadable[:10],
        losses=_losses(bench.repository.access.engine, surveyed),
    )


def _losses(engine: EngineKind, surveyed: Survey) -> dict[Loss, int]:
    """Return what of the survey this engine cannot keep."""
    match engine:
        case EngineKind.KOPIA:
            lost = LOST_BY_KOPIA
        case EngineKind.RESTIC | EngineKind.MEMORY:
            lost = LOST_BY_RESTIC
        case _:
            assert_never(engine)
    return {loss: count for loss, count in surveyed.losses.items() if loss in lost and count}
