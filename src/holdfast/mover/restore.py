"""Fill one empty volume with a snapshot. It is handed a Reader, so it cannot write to the repository (P3)."""

import ctypes
import errno
import os
import re
import shutil
import stat
import time
from functools import partial
from pathlib import Path
from typing import Final

from holdfast.engines import aside, survey
from holdfast.engines.choose import inside
from holdfast.engines.protocol import EngineFailure, Reader
from holdfast.model.failure import FailureKind
from holdfast.model.run import Progress, Restored, Survey
from holdfast.model.snapshot import Loss, RecordedSnapshot
from holdfast.model.workorder import Restore
from holdfast.mover.bench import Bench

LOST_AND_FOUND: Final = "lost+found"
# When they were killed: kopia's temporary files, and what stands for nothing in a snapshot of restic's.
_LEFT_BY_ENGINES: Final = re.compile(r"f[0-9]{6,}|holdfast-empty-volume")


async def run(bench: Bench[Reader], work: Restore) -> Restored:
    """Return what was counted in the target once it is on the disk.

    What an earlier attempt left is removed first: completing it could mix two snapshots. Anything else in the target
    is NOT_EMPTY. Files merged because their names are not UTF-8 may be missing, as far as the record explains it.
    """
    began = time.monotonic()
    reader = bench.repository.engine
    target = inside(bench.root, work.target)
    marker = await bench.repository.marker()
    left = await aside.start(partial(_names, target))
    if left:
        await _expect_leftovers(reader, work, left)
        await aside.start(partial(_remove, target, left))
    await reader.restore(work.identity, work.snapshot, target, bench.report)
    bench.report(Progress(phase="checking", files_done=work.files, bytes_done=work.bytes))
    counted = await aside.start(partial(_settle, target))
    if (counted.files, counted.bytes) != (work.files, work.bytes):
        record = await bench.repository.record(marker, work.identity)
        _expect_explained(work, counted, () if record is None else record.snapshots)
    return Restored(
        snapshot=work.snapshot,
        files=counted.files,
        bytes=counted.bytes,
        owners_kept=os.geteuid() == 0,
        seconds=time.monotonic() - began,
    )


def _names(target: Path) -> tuple[str, ...]:
    """Return what is in the target; a target that is not there yet is empty."""
    try:
        return tuple(sorted(each.name for each in target.iterdir() if each.name != LOST_AND_FOUND))
    except FileNotFoundError:
        if target.parent.is_dir():
            return ()
        raise EngineFailure(FailureKind.BAD_ORDER, f"{target.parent} is not there: is the volume mounted?") from None
    except OSError as error:
        raise EngineFailure(FailureKind.BAD_ORDER, f"the target cannot be read: {error}") from error


async def _expect_leftovers(reader: Reader, work: Restore, left: tuple[str, ...]) -> None:
    """Raise NOT_EMPTY unless an earlier attempt can have left all that is in the target."""
    ours = {entry.name for entry in await reader.ls(work.identity, work.snapshot, "")}
    foreign = [name for name in left if name not in ours and not _LEFT_BY_ENGINES.fullmatch(name)]
    if foreign:
        raise EngineFailure(
            FailureKind.NOT_EMPTY,
            f"{work.target} holds {len(left)} entries that are no part of snapshot {work.snapshot}, "
            f"such as {foreign[0]!r}: nothing is written over them",
        )


def _remove(target: Path, names: tuple[str, ...]) -> None:
    try:
        for name in names:
            path = target / name
            if path.is_symlink() or not path.is_dir():
                path.unlink()
                continue
            if os.geteuid() != 0:  # others need the rights of a directory to empty it
                for folder, _, _ in os.walk(path):
                    Path(folder).chmod(stat.S_IRWXU)
            shutil.rmtree(path)
    except OSError as error:
        raise EngineFailure(
            FailureKind.NOT_EMPTY, f"what an earlier attempt left in {target} cannot be removed: {error}"
        ) from error


def _settle(target: Path) -> Survey:
    """Return what the target holds, once all of it is on the disk."""
    handle = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _flush(handle)
    except OSError as error:
        kind = FailureKind.TARGET_FULL if error.errno in (errno.ENOSPC, errno.EDQUOT) else FailureKind.UNKNOWN
        raise EngineFailure(kind, f"the volume does not keep the data: {error}") from error
    finally:
        os.close(handle)
    return survey.survey(target)


def _flush(handle: int) -> None:
    """Write the file system of `handle` to the disk; where only all can be written, all of them."""
    library = ctypes.CDLL(None, use_errno=True)
    if not hasattr(library, "syncfs"):
        os.sync()
    elif library.syncfs(handle) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _expect_explained(work: Restore, counted: Survey, recorded: tuple[RecordedSnapshot, ...]) -> None:
    merged = sum(each.losses.get(Loss.NOT_UTF8, 0) for each in recorded if each.id == work.snapshot)
    if merged and 0 <= work.files - counted.files <= merged and counted.bytes <= work.bytes:
        return
    raise EngineFailure(
        FailureKind.MISMATCH,
        f"snapshot {work.snapshot} holds {work.files} files of {work.bytes} bytes, "
        f"restored were {counted.files} files of {counted.bytes} bytes",
    )
