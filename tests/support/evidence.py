"""A repository with a history, asked the way a reader asks it, and judged the way the operator judges it."""

import asyncio
import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from holdfast.decide import evidence, restore
from holdfast.engines import choose, storage
from holdfast.engines.directory import Directory
from holdfast.engines.program import Limits
from holdfast.engines.protocol import Engine, EngineFailure
from holdfast.engines.s3 import Bucket, credentials_of
from holdfast.model.claim import Identity
from holdfast.model.evidence import Evidence, Inventory, Remembered
from holdfast.model.failure import Failure, FailureKind
from holdfast.model.intent import Auto
from holdfast.model.repository import DirectoryStorage, EngineKind, Repository, S3Storage, Storage
from holdfast.model.run import Progress
from holdfast.model.verdict import Restore, StartEmpty, Verdict, Wait
from holdfast.model.workorder import Backup, RepositoryAccess
from holdfast.mover import backup, initialize
from holdfast.mover.bench import Bench
from holdfast.reader import inventory

PASSWORD: Final = "correct horse battery staple"
KEPT: Final = Identity(namespace="web", claim="kept")  # backed up twice
NEW: Final = Identity(namespace="web", claim="new")  # never backed up
ASKED: Final = (KEPT, NEW)

PATIENT: Final = timedelta(seconds=60)
HASTY: Final = timedelta(seconds=3)  # where silence or retries without end are what is tried


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A repository within reach. `files` is where its objects lie as plain files, to be damaged."""

    engine: EngineKind
    where: Storage
    files: Path
    environment: Mapping[str, str] = field(repr=False)
    password: str = PASSWORD
    expected_id: str | None = None
    of_program: Storage | None = None  # the storage of which only the engine's program is told
    around: Callable[[storage.OpenStorage], storage.OpenStorage] | None = None  # what stands before our own storage
    patience: timedelta = PATIENT

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[choose.Opened[Engine]]:
        """Hold the repository open, with a work directory of its own, as a reader does for each question."""
        access = RepositoryAccess(engine=self.engine, storage=self.where, expected_id=self.expected_id)
        environment = {**self.environment, choose.PASSWORD: self.password}
        limits = Limits(total=self.patience, inactivity=self.patience)
        beside = self._storage() if self.around is None else self.around(self._storage())
        work = Path(tempfile.mkdtemp(prefix="holdfast-evidence-"))
        try:
            told = access if self.of_program is None else replace(access, storage=self.of_program)
            engine = choose.open_engine(told, beside, environment, work, limits)
            yield choose.Opened(access=access, storage=beside, engine=engine, password=self.password)
        finally:
            await beside.aclose()
            shutil.rmtree(work)

    def _storage(self) -> storage.OpenStorage:
        match self.where:
            case DirectoryStorage(path=path):
                return Directory(Path(path), deadline=self.patience)
            case S3Storage():
                keys = credentials_of(self.environment)
                return Bucket(self.where, keys, deadline=self.patience, silence=self.patience)

    async def make(self, source: Path) -> None:
        """Initialise the repository and back KEPT up twice, by the mover's own code."""
        async with self.opened() as repository:
            await initialize.run(self._bench(repository, source, "initialize"))
        for run in ("first", "second"):
            (source / "data" / run).write_text(run)
            await self.back_up(KEPT, source, run)

    async def back_up(self, identity: Identity, source: Path, run: str) -> str:
        """Back up `source`/data and return the snapshot's id."""
        work = Backup(identity=identity, source="/data", claim_uid="claim", cluster_uid="cluster")
        async with self.opened() as repository:
            return (await backup.run(self._bench(repository, source, run), work)).snapshot.id

    @staticmethod
    def _bench(repository: choose.Opened[Engine], root: Path, run: str) -> Bench[Engine]:
        return Bench(run=run, repository=repository, root=root, report=_unheard)


def _unheard(_: Progress) -> None:
    """Take progress, and do nothing with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What came of asking about KEPT and NEW once."""

    told: Inventory | Failure
    evidence: Mapping[Identity, Evidence]
    verdicts: Mapping[Identity, Verdict]
    seconds: float

    @property
    def words(self) -> tuple[str, str]:
        """Return the verdicts about KEPT and NEW as the table says them: the restored one is named by its age."""
        return word(self.verdicts[KEPT]), word(self.verdicts[NEW])

    def __str__(self) -> str:
        return "; ".join(f"{identity}: {self.evidence[identity]}" for identity in ASKED)


def word(verdict: Verdict) -> str:
    """Return the verdict in a word, with the reason of a wait."""
    match verdict:
        case Restore():
            return "Restore"
        case StartEmpty():
            return "StartEmpty"
        case Wait(why=why):
            return str(why)


async def take(place: Place) -> Inventory | Failure:
    """Return what the reader's own code answers."""
    try:
        async with place.opened() as repository:
            async with asyncio.timeout(2 * place.patience.total_seconds() + 10):
                watch = min(inventory.WATCH, place.patience / 6)
                return await inventory.take(repository, ASKED, watch=watch)
    except TimeoutError:
        return Failure(kind=FailureKind.TIMEOUT, detail="no inventory within the reader's deadline")
    except EngineFailure as error:
        return error.failure


async def judge(place: Place, *, remembered: Remembered | None = None, pin: str | None = None) -> Judged:
    """Ask and decide, as for two claims that were created just before: their control plane remembers nothing else."""
    asked, began = datetime.now(UTC), time.monotonic()
    told = await take(place)
    seconds = time.monotonic() - began
    repository = Repository(name="r", uid="u", engine=place.engine, storage=place.where, secret="s", pin=pin)
    found = {
        identity: evidence.judge(
            identity,
            told,
            repository=repository,
            asked=asked,
            remembered=remembered if identity == KEPT else None,
            now=datetime.now(UTC),
        )
        for identity in ASKED
    }
    verdicts = {identity: restore.decide(each, Auto(), accept_partial=None) for identity, each in found.items()}
    return Judged(told=told, evidence=found, verdicts=verdicts, seconds=seconds)


def copied(template: Place, files: Path, where: Storage) -> Place:
    """Return a copy of a repository at another place: extended attributes too, in which the S3 server keeps etags."""
    shutil.copytree(template.files, files, symlinks=True)
    return replace(template, files=files, where=where)


def blobs(place: Place, start: str) -> list[Path]:
    """Return the files of kopia's blobs whose id starts so, oldest first, sharded (on a directory) or not."""
    root = place.files / "kopia"
    paths = [path for path in root.rglob("*") if path.is_file()]
    named = [path for path in paths if "".join(path.relative_to(root).parts).startswith(start)]
    return sorted(named, key=lambda path: path.stat().st_mtime_ns)


def tree(files: Path) -> dict[str, tuple[int, int, int]]:
    """Return what is below a directory: size, mode and time of every name."""
    found = {}
    for path in files.rglob("*"):
        status = os.lstat(path)
        found[str(path.relative_to(files))] = (status.st_size, status.st_mode, status.st_mtime_ns)
    return found
