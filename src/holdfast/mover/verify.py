"""Read snapshots' content to prove that it can be restored. Nothing is written."""

import time
from collections.abc import Sequence

from holdfast.engines.protocol import EngineFailure, Reader
from holdfast.model.failure import FailureKind
from holdfast.model.run import Verified
from holdfast.model.snapshot import Flag, Listing, Record
from holdfast.model.workorder import Verify
from holdfast.mover.bench import Bench


async def run(bench: Bench[Reader], work: Verify) -> Verified:
    """Return what was read; raise DAMAGED, or SNAPSHOT_MISSING for a snapshot that is asked for or on record."""
    began = time.monotonic()
    marker = await bench.repository.marker()
    record = await bench.repository.record(marker, work.identity)
    snapshots = _wanted(work, await bench.repository.listing(work.identity), record)
    if not snapshots:
        return Verified(snapshots=(), read_bytes=0, seconds=time.monotonic() - began)
    proof = await bench.repository.engine.verify(work.identity, snapshots, work.percent, bench.report)
    return Verified(snapshots=proof.snapshots, read_bytes=proof.read_bytes, seconds=time.monotonic() - began)


def _wanted(work: Verify, listing: Listing, record: Record | None) -> Sequence[str]:
    """Return the ids to read: those asked for, or all complete ones, of which none on record may be missing."""
    listed = {each.id for each in listing.snapshots}
    recorded = () if record is None else record.snapshots
    wanted = work.snapshots or tuple(each.id for each in recorded)
    missing = [snapshot for snapshot in wanted if snapshot not in listed]
    if missing:
        raise EngineFailure(
            FailureKind.SNAPSHOT_MISSING,
            f"{len(missing)} snapshots of {work.identity} are not in the repository: {', '.join(missing[:5])}",
        )
    return work.snapshots or tuple(each.id for each in listing.snapshots if Flag.INCOMPLETE not in each.flags)
