"""Create the repository, once, where provably nothing is; or finish what a run of ours began and did not end."""

import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, assert_never

from holdfast.engines import leases, storage
from holdfast.engines.choose import Opened
from holdfast.engines.leases import Lease
from holdfast.engines.protocol import Engine, EngineFailure
from holdfast.model.claim import Identity
from holdfast.model.failure import FailureKind
from holdfast.model.repository import EngineKind, Marker
from holdfast.model.run import Initialized
from holdfast.mover.bench import PATIENCE, Bench

_NOBODY: Final = Identity(namespace="holdfast", claim="initialize")  # asked about only to learn the repository's id
_SALT_BYTES: Final = 16


async def run(bench: Bench[Engine]) -> Initialized:
    """Return the repository's id; the marker, written last, says that all of it is there.

    A repository that is there already is an answer, not an error, when marker and engine name the same one.
    """
    repository = bench.repository
    async with leases.lease(repository.storage, "initialize", holder=bench.run, patience=PATIENCE) as held:
        try:
            marker = await repository.marker()
        except EngineFailure as error:
            if error.failure.kind is not FailureKind.NO_MARKER:
                raise
            marker = await _create(bench, held)
        await _expect_engine(repository, marker.repository_id)
        await storage.delete_note(repository.storage)
    return Initialized(repository_id=marker.repository_id)


async def _create(bench: Bench[Engine], held: Lease) -> Marker:
    """Return the marker that was written after the repository was created and opened again."""
    repository = bench.repository
    await _prove_empty(repository)
    now = datetime.now(UTC)
    note = storage.Note(engine=repository.access.engine, run=bench.run, began=now)
    await storage.write_note(repository.storage, repository.password, note, salt=secrets.token_hex(_SALT_BYTES))
    held.check()
    repository_id = await repository.engine.initialize()
    await _expect_engine(repository, repository_id)
    held.check()
    marker = Marker(
        version=storage.VERSION,
        engine=repository.access.engine,
        repository_id=repository_id,
        salt=secrets.token_hex(_SALT_BYTES),
        created=now,
    )
    await storage.write_marker(repository.storage, repository.password, marker)
    return marker


async def _prove_empty(repository: Opened[Engine]) -> None:
    """Return when nothing is left where the repository and our records will be.

    What a run of ours began is removed, so that creation starts again from nothing. Raises NOT_EMPTY for anything
    else, and REPLACED when a repository is expected here.
    """
    engine = repository.access.engine
    if repository.access.expected_id is not None:
        raise EngineFailure(
            FailureKind.REPLACED,
            f"repository {repository.access.expected_id} is expected here and is not: nothing is created in its place",
        )
    for prefix in (storage.CLAIMS, *(f"{other.value}/" for other in EngineKind if other is not engine)):
        _expect_nothing([each.key for each in await repository.storage.list(prefix)])
    keys = [each.key for each in await repository.storage.list(f"{engine.value}/")]
    if not keys:
        return
    # A note that authenticates says that all was empty when that run began; no backup is made before the marker.
    note = await storage.read_note(repository.storage, repository.password)
    if note is None or note.engine is not engine:
        _expect_nothing(keys)
    _expect_nothing([key for key in keys if _may_hold_data(engine, key)])
    for key in keys:
        await repository.storage.delete(key)


def _may_hold_data(engine: EngineKind, key: str) -> bool:
    """Return whether creating a repository cannot have left this key."""
    match engine:
        case EngineKind.KOPIA:
            return key.startswith("kopia/p")  # packs of files' content
        case EngineKind.MEMORY:
            return key != "memory/repository"
        case EngineKind.RESTIC:
            return True  # nothing is created before the first backup
        case _:
            assert_never(engine)


def _expect_nothing(keys: Sequence[str]) -> None:
    if keys:
        raise EngineFailure(
            FailureKind.NOT_EMPTY,
            f"the storage has no marker of ours, but {len(keys)} objects where the repository would be, such as "
            f"{keys[0]}: another repository is there, or its marker was lost. Nothing is created over it",
        )


async def _expect_engine(repository: Opened[Engine], repository_id: str) -> None:
    """Raise REPLACED unless the engine, opened again from an empty cache, names this repository.

    restic has a repository per identity, so there the id is ours and nothing can be compared.
    """
    if repository.access.engine is EngineKind.RESTIC:
        return
    found = (await repository.listing(_NOBODY)).engine_id
    if found != repository_id:
        raise EngineFailure(
            FailureKind.REPLACED, f"the engine opened repository {found}, where {repository_id} is expected"
        )
