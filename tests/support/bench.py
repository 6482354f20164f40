"""One engine on one storage, for the contract suite."""

import os
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Final

from holdfast.engines import choose
from holdfast.engines.program import Limits
from holdfast.engines.protocol import LOST_BY_KOPIA, LOST_BY_RESTIC, Engine
from holdfast.engines.storage import OpenStorage, open_storage
from holdfast.model import repository
from holdfast.model.claim import Identity
from holdfast.model.failure import Failure
from holdfast.model.repository import EngineKind
from holdfast.model.run import Progress
from holdfast.model.snapshot import Listing, Loss, Snapshot
from holdfast.model.workorder import RepositoryAccess

PASSWORD: Final = "correct horse battery staple"
LIMITS: Final = Limits(total=timedelta(seconds=100), inactivity=timedelta(seconds=60))

LOST_BY: Final[Mapping[EngineKind, frozenset[Loss]]] = {
    EngineKind.MEMORY: frozenset({Loss.SOCKETS}),
    EngineKind.RESTIC: LOST_BY_RESTIC,
    EngineKind.KOPIA: LOST_BY_KOPIA,
}

_NUMBERS: Final = count(1)


def unheard(_: Progress) -> None:
    """Take progress, and do nothing with it."""


def fresh_identity() -> Identity:
    """Return an identity that no test has used."""
    return Identity(namespace="web", claim=f"claim{next(_NUMBERS)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """`engine` is bound to an initialised repository in the open storage `beside`, which `where` describes."""

    kind: EngineKind
    where: repository.Storage
    beside: OpenStorage
    environment: Mapping[str, str]
    work: Path
    engine: Engine

    def open(self, password: str = PASSWORD) -> Engine:
        """Return the engine as another process would have it."""
        return open_engine(self.kind, self.where, self.beside, self.environment, self.work, password)

    def at(self, where: repository.DirectoryStorage) -> "Bench":
        """Return the same repository at another place, to which it was copied."""
        beside = open_storage(where, self.environment)
        engine = open_engine(self.kind, where, beside, self.environment, self.work)
        return replace(self, where=where, beside=beside, engine=engine)

    @asynccontextmanager
    async def with_keys(self, keys: Mapping[str, str]) -> AsyncIterator[Engine]:
        """Hold the engine open as a process with other storage keys would have it."""
        environment = {**self.environment, **keys}
        beside = open_storage(self.where, environment)
        try:
            yield open_engine(self.kind, self.where, beside, environment, self.work)
        finally:
            await beside.aclose()

    async def backup(self, identity: Identity, source: Path, *, exclude: Sequence[str] = ()) -> str:
        """Back up `source`, whole, and return the snapshot's id."""
        taken = await self.engine.backup(identity, source, {"run": "r1"}, exclude, unheard, history=None)
        assert taken.unreadable_count == 0, taken.unreadable
        return taken.snapshot.id

    async def answer(self, identity: Identity) -> Listing | Failure:
        """Return a fresh engine's answer about the identity."""
        answers = await self.open().listings([identity])
        assert set(answers) == {identity}
        return answers[identity]

    async def listed(self, identity: Identity) -> tuple[Snapshot, ...]:
        """Return the snapshots that a fresh engine lists."""
        answer = await self.answer(identity)
        assert isinstance(answer, Listing), answer
        return answer.snapshots

    async def ids(self, identity: Identity) -> tuple[str, ...]:
        """Return the ids that a fresh engine lists, oldest first."""
        return tuple(each.id for each in await self.listed(identity))


def open_engine(
    kind: EngineKind,
    where: repository.Storage,
    beside: OpenStorage,
    environment: Mapping[str, str],
    work: Path,
    password: str = PASSWORD,
) -> Engine:
    """Return an engine with a working directory of its own below `work`."""
    access = RepositoryAccess(engine=kind, storage=where)
    own = Path(tempfile.mkdtemp(dir=work))
    return choose.open_engine(access, beside, {**environment, choose.PASSWORD: password}, own, LIMITS)


def environment_with(program: str | None, keys: Mapping[str, str]) -> Mapping[str, str]:
    """Return what a mover's environment has: a PATH on which the program is, and the storage's keys."""
    folder = str(Path(program).parent) if program is not None else ""
    return {"PATH": os.pathsep.join(part for part in (folder, os.environ.get("PATH", "")) if part), **keys}
