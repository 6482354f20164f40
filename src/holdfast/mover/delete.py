"""Delete snapshots because a person or retention said so. A crash at any point leaves a state that waits or is whole.

Named snapshots leave the record first: cut short, they are in the repository and in no record, so nobody restores
them by itself and the next attempt deletes them. The other way round the record could name a snapshot that is gone,
and its claim would wait for ever. A whole history leaves the repository first and its record last: until the end
the record says that there was something, so nothing starts empty half-way.
"""

from dataclasses import replace

from holdfast.engines import storage
from holdfast.engines.choose import Opened
from holdfast.engines.protocol import Engine, EngineFailure
from holdfast.model.claim import Identity
from holdfast.model.failure import FailureKind
from holdfast.model.repository import Marker
from holdfast.model.run import Deleted
from holdfast.model.snapshot import Listing, Record
from holdfast.model.workorder import Delete
from holdfast.mover.bench import Bench, hold_history


async def run(bench: Bench[Engine], work: Delete) -> Deleted:
    """Return the snapshots that this run deleted; those that are gone already are no error."""
    if work.everything == bool(work.snapshots):
        raise EngineFailure(FailureKind.BAD_ORDER, "an order to delete names either snapshots or everything")
    repository = bench.repository
    marker = await repository.marker()
    async with hold_history(bench, work.identity) as held:
        record = await repository.record(marker, work.identity)
        listing = await repository.listing(work.identity)
        _expect_same_engine(record, listing)
        held.check()
        if work.everything:
            return await _delete_history(repository, work.identity, record, listing)
        return await _delete_snapshots(repository, marker, work, record, listing)


async def _delete_history(
    repository: Opened[Engine], identity: Identity, record: Record | None, listing: Listing
) -> Deleted:
    if listing.engine_id is not None:
        await repository.engine.delete(identity)
        left = await repository.listing(identity)
        if left.snapshots:
            raise EngineFailure(
                FailureKind.MISMATCH, f"{len(left.snapshots)} snapshots of {identity} are still in the repository"
            )
    await storage.delete_record(repository.storage, identity)
    recorded = set() if record is None else {each.id for each in record.snapshots}
    return Deleted(snapshots=tuple(sorted({each.id for each in listing.snapshots} | recorded)))


async def _delete_snapshots(
    repository: Opened[Engine], marker: Marker, work: Delete, record: Record | None, listing: Listing
) -> Deleted:
    doomed = frozenset(work.snapshots)
    listed = sorted(doomed & {each.id for each in listing.snapshots})
    recorded: frozenset[str] = frozenset()
    if record is not None:
        recorded = doomed & {each.id for each in record.snapshots}
        kept = tuple(each for each in record.snapshots if each.id not in doomed)
        if recorded:
            await storage.write_record(repository.storage, marker, repository.password, replace(record, snapshots=kept))
    if listed:
        await repository.engine.forget(work.identity, listed)
        left = doomed & {each.id for each in (await repository.listing(work.identity)).snapshots}
        if left:
            raise EngineFailure(FailureKind.MISMATCH, f"{min(left)} of {work.identity} is still in the repository")
    return Deleted(snapshots=tuple(sorted({*listed, *recorded})))


def _expect_same_engine(record: Record | None, listing: Listing) -> None:
    if record is not None and listing.engine_id not in (None, record.engine_id):
        raise EngineFailure(
            FailureKind.REPLACED,
            f"the record of {record.identity} is of repository {record.engine_id}, the engine opened "
            f"{listing.engine_id}: nothing is deleted",
        )
