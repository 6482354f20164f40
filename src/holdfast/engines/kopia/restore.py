"""Restoring a snapshot into a directory: from a clean target, with its root's owner and mode."""

import asyncio
import os
import shutil
import stat
from pathlib import Path
from typing import Final

from holdfast.engines.kopia import argv, failures, parse
from holdfast.engines.kopia.session import Session
from holdfast.engines.program import Limits
from holdfast.engines.protocol import EngineFailure, Report
from holdfast.model.failure import FailureKind

_KEPT: Final = "lost+found"  # the file system's own, at the root of a volume


async def restore(session: Session, snapshot: str, target: Path, report: Report, limits: Limits) -> None:
    """Make `target` hold the snapshot's content and nothing else."""
    await asyncio.to_thread(clear, target)
    meter = parse.Meter(report)
    arguments = argv.restore(snapshot, target, as_root=os.geteuid() == 0)
    finished = await session.run(arguments, limits=limits, on_stderr=meter.restore)
    if finished.exit_code != 0:
        raise failures.failure("restoring", finished.exit_code, finished.stderr, FailureKind.TARGET_FULL)


def clear(target: Path) -> None:
    """Make `target` an empty directory; `lost+found` stays. Raises EngineFailure(NOT_EMPTY) when it cannot be.

    What a killed restore left behind cannot be built upon: its files may have the right length and the wrong bytes,
    its read-only ones cannot be written over, and kopia would write through its links.
    """
    try:
        target.mkdir(exist_ok=True)
        with os.scandir(target) as entries:
            for entry in entries:
                if entry.name != _KEPT:
                    _remove(Path(entry.path), is_directory=entry.is_dir(follow_symlinks=False))
    except OSError as error:
        raise EngineFailure(FailureKind.NOT_EMPTY, f"{target} cannot be emptied before the restore: {error}") from error


def _remove(path: Path, *, is_directory: bool) -> None:
    if not is_directory:
        path.unlink()
        return
    if os.geteuid() != 0:  # others need the rights of a directory to empty it
        for folder, _, _ in os.walk(path):
            Path(folder).chmod(stat.S_IRWXU)
    shutil.rmtree(path)
