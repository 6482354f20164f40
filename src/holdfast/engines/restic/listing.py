"""What identities have, decided from two sides: the storage's own listing, and what restic can read of it."""

import asyncio
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final, assert_never

from holdfast.engines import place
from holdfast.engines.protocol import EngineFailure, Storage
from holdfast.engines.restic import argv, failures, objects, parse
from holdfast.engines.restic.objects import Broken, Nothing, Ready, Unfinished
from holdfast.engines.restic.process import Restic
from holdfast.engines.together import together
from holdfast.model.claim import Identity
from holdfast.model.failure import Failure, FailureKind
from holdfast.model.snapshot import Listing

_PROCESSES: Final = 2  # at once; each derives a key: 0.4 s of a core and 64 MiB
_REQUESTS: Final = 8
_NONE: Final = Listing(engine_id=None, snapshots=())


async def listings(
    restic: Restic, storage: Storage, identities: Collection[Identity]
) -> Mapping[Identity, Listing | Failure]:
    """Return one answer for each identity; raise EngineFailure when the storage gives none."""
    asked = sorted(set(identities))
    there = await _folders(storage, {_host(identity) for identity in asked if place.is_usable(identity)})
    processes, requests = asyncio.Semaphore(_PROCESSES), asyncio.Semaphore(_REQUESTS)

    async def one(identity: Identity) -> Listing | Failure:
        try:
            folder = argv.folder_of(identity)
        except EngineFailure as error:  # a name that cannot be is that claim's trouble alone
            return error.failure
        if folder not in there:
            return _NONE
        async with requests:
            state = await objects.inspect(storage, folder)
        match state:
            case Nothing() | Unfinished():
                return _NONE
            case Broken(why=why):
                return Failure(kind=FailureKind.DAMAGED, detail=why)
            case Ready():
                async with processes:
                    return await _opened(restic, storage, identity, state)
            case _:
                assert_never(state)

    return dict(zip(asked, await together([one(identity) for identity in asked]), strict=True))


def _host(identity: Identity) -> str:
    return f"restic/{place.host_of(identity)}"


async def _folders(storage: Storage, hosts: Collection[str]) -> frozenset[str]:
    """Return which repositories may be there: one request for each namespace, not for each claim."""
    requests = asyncio.Semaphore(_REQUESTS)

    async def below(host: str) -> list[str]:
        async with requests:
            return [f"{host}/{name.rstrip('/')}" for name in await storage.folders(f"{host}/")]

    return frozenset(name for names in await together([below(host) for host in hosts]) for name in names)


async def _opened(restic: Restic, storage: Storage, identity: Identity, state: Ready) -> Listing | Failure:
    """Return what restic lists if it is exactly what the storage holds."""
    try:
        return await _compared(restic, storage, identity, state)
    except EngineFailure as error:
        if error.failure.kind is FailureKind.NO_PROGRAM:
            raise
        return error.failure


async def _compared(restic: Restic, storage: Storage, identity: Identity, state: Ready) -> Listing:
    with restic.folder() as cache:
        finished = await restic.run(identity, argv.snapshots(), cache=cache)
        if finished.exit_code != 0:
            raise failures.failure(finished.exit_code, finished.stderr, full=FailureKind.UNKNOWN)
        engine_id = engine_id_in(cache)
    if finished.stderr:  # restic leaves out a snapshot that it cannot read, says so here, and exits with 0
        raise EngineFailure(FailureKind.PARTIAL_LISTING, "; ".join(parse.messages(finished.stderr)))
    found = parse.snapshots(identity, finished.stdout)
    ids = frozenset(each.id for each in found)
    if ids != state.snapshots:  # a backup or a forget may have been between the two listings
        there = await objects.snapshot_ids(storage, argv.folder_of(identity))
        if ids != there:
            raise EngineFailure(
                FailureKind.PARTIAL_LISTING,
                f"the storage holds {len(there)} snapshots of {identity}, restic lists {len(ids)}; "
                f"{min(ids ^ there)} is on one side only",
            )
    return Listing(engine_id=engine_id, snapshots=found)


def engine_id_in(cache: Path) -> str:
    """Return the repository's id: restic names its cache by it, which saves the 0.4 s of a `cat config`."""
    names = [each.name for each in cache.iterdir() if objects.is_id(each.name)]
    if len(names) != 1:
        raise EngineFailure(FailureKind.UNKNOWN, f"restic left {len(names)} caches where it should have made one")
    return names[0]
