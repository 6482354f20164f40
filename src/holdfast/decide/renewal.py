"""Whether to start a reader anew: a pod sees a directory of its node as that was when the pod began."""

from datetime import datetime, timedelta
from typing import Final

from holdfast.model.failure import Failure, FailureKind
from holdfast.model.repository import DirectoryStorage, Repository

AFTER: Final = timedelta(minutes=1)


def is_due(repository: Repository, seen: Failure, began: datetime | None, now: datetime) -> bool:
    """Return whether the directory may be there by now; `began` is when the reader's pod was made, None without one.

    What is mounted later, or put in the place of the directory, never shows in a pod that runs.
    """
    if not isinstance(repository.storage, DirectoryStorage) or began is None:
        return False
    return seen.kind in (FailureKind.NO_MARKER, FailureKind.STORAGE_MISSING) and now - began >= AFTER
