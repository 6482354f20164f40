"""From what a pod is given to an open storage and the engine on it; only the engine that is needed is imported."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Generic, TypeVar, assert_never

from holdfast.engines import storage
from holdfast.engines.program import Limits
from holdfast.engines.protocol import Engine, EngineFailure, Reader
from holdfast.engines.together import both
from holdfast.model.claim import Identity
from holdfast.model.failure import Failure, FailureKind
from holdfast.model.repository import DirectoryStorage, EngineKind, Marker, S3Storage
from holdfast.model.snapshot import Listing, Record
from holdfast.model.workorder import RepositoryAccess

PASSWORD: Final = "HOLDFAST_PASSWORD"

R_co = TypeVar("R_co", bound=Reader, covariant=True)


@dataclass(frozen=True, kw_only=True)
class Opened(Generic[R_co]):
    """A repository within reach: its storage, its engine or reader, and what authenticates ours beside it."""

    access: RepositoryAccess
    storage: storage.OpenStorage
    engine: R_co
    password: str

    async def marker(self) -> Marker:
        """Return the marker; raise what `read_marker` raises, and REPLACED when it names another repository.

        Raises NO_PROGRAM, too: which engine is installed is asked at the same time, for time is dear to a mover.
        """
        marker, _ = await both(storage.read_marker(self.storage, self.password), self.engine.version())
        if marker.engine is not self.access.engine:
            raise EngineFailure(
                FailureKind.REPLACED,
                f"the storage was initialised for {marker.engine}, the Repository says {self.access.engine}",
            )
        if self.access.expected_id not in (None, marker.repository_id):
            raise EngineFailure(
                FailureKind.REPLACED,
                f"the storage holds repository {marker.repository_id}, but {self.access.expected_id} is expected: "
                "is this the right bucket, prefix or disk?",
            )
        return marker

    async def record(self, marker: Marker, identity: Identity) -> Record | None:
        """Return our record of the identity, None when there is none; raise BAD_RECORD."""
        return await storage.read_record(self.storage, marker, self.password, identity)

    async def listing(self, identity: Identity) -> Listing:
        """Return the identity as the engine lists it now; raise EngineFailure unless that answer was whole."""
        answer = (await self.engine.listings({identity}))[identity]
        if isinstance(answer, Failure):
            raise EngineFailure(answer.kind, answer.detail)
        return answer


def inside(root: Path, path: str) -> Path:
    """Return where a pod's path is found below `root`, links resolved; raise BAD_ORDER for a path with `..`."""
    if not path.startswith("/") or ".." in path.split("/"):
        raise EngineFailure(FailureKind.BAD_ORDER, f"{path!r} is no absolute path inside the pod")
    return (root / path.lstrip("/")).resolve()


@asynccontextmanager
async def opened(
    access: RepositoryAccess, root: Path, environment: Mapping[str, str], work: Path, limits: Limits
) -> AsyncGenerator[Opened[Engine], None]:
    """Hold a repository open for the time of the block; `work` is an empty directory for the engine."""
    password = environment.get(PASSWORD, "")
    if not password:
        raise EngineFailure(FailureKind.BAD_ORDER, f"${PASSWORD} is not set: the Secret has no password")
    found = replace(access, storage=_resolved(access.storage, root))
    holding = storage.open_storage(found.storage, environment)
    try:
        engine = open_engine(found, holding, environment, work, limits)
        yield Opened(access=found, storage=holding, engine=engine, password=password)
    finally:
        await holding.aclose()


def open_engine(
    access: RepositoryAccess, beside: storage.OpenStorage, environment: Mapping[str, str], work: Path, limits: Limits
) -> Engine:
    """Return the engine; nothing is asked of the repository yet."""
    match access.engine:
        case EngineKind.MEMORY:
            from holdfast.engines import memory

            return memory.MemoryEngine(beside, environment[PASSWORD])
        case EngineKind.KOPIA:
            from holdfast.engines.kopia.engine import KopiaEngine

            return KopiaEngine(
                access.storage, password=environment[PASSWORD], environment=environment, work=work, limits=limits
            )
        case EngineKind.RESTIC:
            from holdfast.engines.restic.engine import ResticEngine

            return ResticEngine(
                access.storage,
                beside=beside,
                password=environment[PASSWORD],
                environment=environment,
                work=work,
                limits=limits,
            )
        case _:
            assert_never(access.engine)


def _resolved(place: DirectoryStorage | S3Storage, root: Path) -> DirectoryStorage | S3Storage:
    match place:
        case DirectoryStorage():
            return replace(place, path=str(inside(root, place.path)))
        case S3Storage():
            return place if place.ca_file is None else replace(place, ca_file=str(inside(root, place.ca_file)))
        case _:
            assert_never(place)
