"""Both witnesses about many identities, from one reading of the repository."""

import asyncio
from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final, NoReturn

from holdfast.engines import storage
from holdfast.engines.choose import Opened
from holdfast.engines.protocol import EngineFailure, Reader
from holdfast.model.claim import Identity
from holdfast.model.evidence import Answer, Inventory
from holdfast.model.failure import Failure, FailureKind
from holdfast.model.repository import Marker
from holdfast.model.snapshot import Listing, Record

WATCH: Final = timedelta(seconds=5)  # how often the storage is asked while the engine lists
_AT_ONCE: Final = 16


async def take(repository: Opened[Reader], identities: Collection[Identity], *, watch: timedelta = WATCH) -> Inventory:
    """Return what record and engine say of each identity; raise EngineFailure when the whole cannot be told.

    Records are read before the engine lists: a backup that ends meanwhile shows as a snapshot without a record,
    which makes its claim wait, never as nothing at all. The marker is read first and last: all between is of one
    storage, and not of an empty directory from which the disk went away.
    """
    began = datetime.now(UTC)
    marker = await repository.marker()
    recorded = await storage.list_records(repository.storage)
    records = await _records(repository, marker, [each for each in identities if each in recorded])
    listings = await _listings(repository, marker, identities, watch)
    if recorded and any(isinstance(each, Listing) and each.engine_id is None for each in listings.values()):
        await _expect_engine(repository, len(recorded))
    answers = {each: Answer(listing=listings[each], record=records.get(each)) for each in identities}
    return Inventory(began=began, marker=marker, recorded=len(recorded), answers=answers)


async def _listings(
    repository: Opened[Reader], marker: Marker, identities: Collection[Identity], watch: timedelta
) -> Mapping[Identity, Listing | Failure]:
    """Return what the engine lists; raise what the storage itself says when it fails, and only then the engine's word.

    An engine tries again for minutes what a storage has refused, and its words are less exact than the storage's.
    """
    listing = asyncio.ensure_future(repository.engine.listings(frozenset(identities)))
    watching = asyncio.create_task(_watch(repository, marker, watch))
    try:
        await asyncio.wait((listing, watching), return_when=asyncio.FIRST_COMPLETED)
        if not listing.done():
            await watching
    finally:
        listing.cancel()
        watching.cancel()
        await asyncio.gather(listing, watching, return_exceptions=True)
    await _expect_marker(repository, marker)
    return listing.result()


async def _watch(repository: Opened[Reader], marker: Marker, interval: timedelta) -> NoReturn:
    """Ask for the marker again and again; raise once it is not there. One failure alone may pass by itself."""
    failed = False
    while True:
        await asyncio.sleep(interval.total_seconds())
        try:
            await _expect_marker(repository, marker)
            failed = False
        except EngineFailure as error:
            if failed or error.failure.kind is FailureKind.TIMEOUT:
                raise
            failed = True


async def _expect_marker(repository: Opened[Reader], marker: Marker) -> None:
    if await repository.marker() != marker:
        detail = "another repository was put in place of this one while it was read"
        raise EngineFailure(FailureKind.REPLACED, detail)


async def _expect_engine(repository: Opened[Reader], recorded: int) -> None:
    """Raise when the engine has nothing of anybody, although there are records: then it is no witness."""
    engine = repository.access.engine
    if not await repository.storage.folders(f"{engine}/"):
        raise EngineFailure(
            FailureKind.NO_REPOSITORY, f"there are {recorded} records of backups, and nothing of {engine} beside them"
        )


async def _records(
    repository: Opened[Reader], marker: Marker, identities: Collection[Identity]
) -> Mapping[Identity, Record | Failure]:
    """Return the record of each identity that was listed to have one, or why it cannot be told."""
    slots = asyncio.Semaphore(_AT_ONCE)

    async def read(identity: Identity) -> Record | Failure:
        async with slots:
            try:
                record = await repository.record(marker, identity)
            except EngineFailure as error:
                return error.failure
        if record is None:
            detail = f"the record of {identity} vanished while it was read"
            return Failure(kind=FailureKind.BAD_RECORD, detail=detail)
        return record

    async with asyncio.TaskGroup() as group:
        tasks = {identity: group.create_task(read(identity)) for identity in identities}
    return {identity: task.result() for identity, task in tasks.items()}
