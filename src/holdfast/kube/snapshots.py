"""The cluster's VolumeSnapshotClasses. Their kind may not be served at all, so it is asked for, never watched."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Final

from holdfast.kube import errors, objects
from holdfast.kube.client import Kube
from holdfast.model.copying import SnapshotClass

DEFAULT: Final = "snapshot.storage.kubernetes.io/is-default-class"
FRESH: Final = timedelta(seconds=10)


class SnapshotClasses:
    """Asks at most every ten seconds."""

    def __init__(self, kube: Kube, now: Callable[[], datetime]) -> None:
        self._kube, self._now = kube, now
        self._asked: datetime | None = None
        self._known: Sequence[SnapshotClass] = ()

    async def current(self) -> Sequence[SnapshotClass]:
        """Return the classes; none where the cluster knows no volume snapshots."""
        now = self._now()
        if self._asked is None or now - self._asked >= FRESH:
            self._known, self._asked = await read(self._kube), now
        return self._known


async def read(kube: Kube) -> Sequence[SnapshotClass]:
    """Return the cluster's classes now; none where their kind is not served."""
    try:
        found = await kube.list(objects.SNAPSHOT_CLASSES)
    except errors.NotServed:
        return ()
    return tuple(
        SnapshotClass(name=item.metadata.name, driver=item.driver, is_default=item.annotations.get(DEFAULT) == "true")
        for item in found
    )
