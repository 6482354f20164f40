"""The processes that this one has started."""

import contextlib
from pathlib import Path


def children() -> frozenset[str]:
    """Return the ids of our child processes, whichever thread started them."""
    found: set[str] = set()
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread that has just ended
            found |= set((task / "children").read_text().split())
    return frozenset(found)
