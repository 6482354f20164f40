"""Both witnesses about many identities, from one reading of the repository."""

import asyncio
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Final

from holdfast.engines import storage
from holdfast.engines.choose import Opened
from holdfast.engines.protocol import EngineFailure, Reader
from holdfast.model.claim import Identity
from holdfast.model.evidence import Answer, Inventory
from holdfast.model.failure import Failure, FailureKind
from holdfast.model.repository import Marker
from holdfast.model.snapshot import Record

_AT_ONCE: Final = 16


async def take(repository: Opened[Reader], identities: Collection[Identity]) -> Inventory:
    """Return what record and engine say of each identity; raise EngineFailure when the whole cannot be told.

    Records are read before the engine lists: a backup that ends meanwhile shows as a snapshot without a record,
    which makes its claim wait, never as nothing at all.
    """
    began = datetime.now(UTC)
    marker = await repository.marker()
    recorded = await storage.list_records(repository.storage)
    records = await _records(repository, marker, [each for each in identities if each in recorded])
    listings = await repository.engine.listings(frozenset(identities))
    answers = {each: Answer(listing=listings[each], record=records.get(each)) for each in identities}
    return Inventory(began=began, marker=marker, recorded=len(recorded), answers=answers)


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
