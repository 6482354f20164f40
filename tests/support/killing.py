"""What whoever kills a mover, reader or operator has to know: what runs below it, and whose leases it leaves."""

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

AGED: Final = 600  # seconds


def engines_below(pid: int) -> list[int]:
    """Return the processes of kopia and restic below a process."""
    return list(_below(pid))


def is_alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def age_leases(leases: Path, run: str) -> None:
    """Do what minutes would do: the leases of a run that is dead grow old. They are for the next run to judge."""
    for each in leases.rglob(f"{run}.*"):
        with contextlib.suppress(FileNotFoundError):
            os.utime(each, (time.time() - AGED, time.time() - AGED))


def _below(pid: int) -> Iterator[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for child in children:
            if Path(f"/proc/{child}/comm").read_text().strip() in ("kopia", "restic"):
                yield int(child)
            yield from _below(int(child))
    except OSError:
        return
