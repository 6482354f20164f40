"""Movers and readers as a kubelet starts them: a real process with a root directory of its own."""

import asyncio
import json
import shutil
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from holdfast.engines import storage
from holdfast.engines.directory import Directory
from holdfast.model import wire
from holdfast.model.claim import Identity
from holdfast.model.repository import DirectoryStorage, EngineKind, Marker, Storage
from holdfast.model.run import BackedUp, Failed, Outcome, RunResult
from holdfast.model.snapshot import Record, RecordedSnapshot
from holdfast.model.workorder import Backup, Initialize, RepositoryAccess, Restore, Work, WorkOrder
from tests.support.programs import path_with_tools

PASSWORD: Final = "correct horse battery staple"
TOKEN: Final = "the reader's token"
CLAIM: Final = Identity(namespace="web", claim="data")
MOUNTED: Final = DirectoryStorage(path="/repository")
PATIENCE: Final = 100.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a mover's process ended, and what it left: `outcome` is None when it was killed before it could say."""

    code: int
    outcome: Outcome | None
    stdout: str
    stderr: str

    def failure(self) -> str:
        """Return the kind of the failure that it told of."""
        assert isinstance(self.outcome, Failed), self
        return self.outcome.failure.kind

    def snapshot(self) -> RecordedSnapshot:
        """Return the snapshot that was made."""
        assert isinstance(self.outcome, BackedUp), self
        return self.outcome.snapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """A machine's directories: the volume at /data, the target's parent at /restore, the storage at /repository."""

    root: Path
    engine: EngineKind
    expected_id: str | None = None
    extra: Mapping[str, str] = field(default_factory=dict)
    user: int | None = None
    python: str = sys.executable
    place: Storage = MOUNTED

    @classmethod
    def create(cls, root: Path, engine: EngineKind) -> "Pod":
        """Return a pod below the empty directory `root`."""
        for name in ("dev", "data", "restore", "repository", "tmp"):
            (root / name).mkdir()
        return cls(root=root, engine=engine)

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def target(self) -> Path:
        return self.root / "restore/data"

    @property
    def repository(self) -> Path:
        return self.root / "repository"

    def access(self) -> RepositoryAccess:
        """Return the repository as an order names it."""
        return RepositoryAccess(engine=self.engine, storage=self.place, expected_id=self.expected_id)

    def environment(self, more: Mapping[str, str]) -> dict[str, str]:
        """Return what a process of this pod is given."""
        return {
            "PATH": path_with_tools(),
            "HOLDFAST_ROOT": str(self.root),
            "HOLDFAST_PASSWORD": PASSWORD,
            "TMPDIR": str(self.root / "tmp"),
            **self.extra,
            **more,
        }

    def order(self, work: Work, run: str, **deadlines: int) -> str:
        """Return the order as JSON."""
        return wire.encode(WorkOrder(run=run, repository=self.access(), work=work, **deadlines)).decode()

    @asynccontextmanager
    async def started(self, work: Work, run: str = "run-1", **deadlines: int) -> AsyncIterator[Process]:
        """Hold a mover's process; it is killed when the block ends."""
        (self.root / "dev/termination-log").unlink(missing_ok=True)
        process = await self.start("mover", {"HOLDFAST_WORK_ORDER": self.order(work, run, **deadlines)})
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
                await process.communicate()

    async def run(self, work: Work, run: str = "run-1", **deadlines: int) -> Ended:
        """Return how a mover that carried out the order ended."""
        async with self.started(work, run, **deadlines) as process:
            return await self.ended(process)

    async def ended(self, process: Process) -> Ended:
        """Return how the process ended, once it has."""
        async with asyncio.timeout(PATIENCE):
            stdout, stderr = await process.communicate()
        try:
            outcome = wire.decode(RunResult, (self.root / "dev/termination-log").read_bytes()).outcome
        except FileNotFoundError:
            outcome = None
        assert process.returncode is not None
        return Ended(code=process.returncode, outcome=outcome, stdout=stdout.decode(), stderr=stderr.decode())

    async def initialized(self) -> "Pod":
        """Return this pod, once its repository is there."""
        ended = await self.run(Initialize(), "initialize")
        assert ended.code == 0, ended
        return self

    async def backed_up(self, run: str = "run-1") -> RecordedSnapshot:
        """Return the snapshot of a backup of the volume that went well."""
        ended = await self.run(backup(), run)
        assert ended.code == 0, ended
        return ended.snapshot()

    async def record(self) -> Record | None:
        """Return our record of the claim, as it is in the storage."""
        place = Directory(self.repository)
        return await storage.read_record(place, await self.marker(), PASSWORD, CLAIM)

    async def marker(self) -> Marker:
        """Return the marker in the storage."""
        return await storage.read_marker(Directory(self.repository), PASSWORD)

    def free_leases(self) -> None:
        """Do what time does after a crash: leases that nobody renews are gone."""
        shutil.rmtree(self.repository / ".holdfast/leases", ignore_errors=True)

    @asynccontextmanager
    async def reader(self) -> AsyncIterator[tuple[str, Process]]:
        """Hold a reader's process, and yield its address once it listens."""
        access = wire.encode(self.access()).decode()
        given = {"HOLDFAST_REPOSITORY": access, "HOLDFAST_LISTEN": "127.0.0.1:0", "HOLDFAST_TOKEN": TOKEN}
        process = await self.start("reader", given)
        assert process.stderr is not None
        assert process.stdout is not None
        try:
            async with asyncio.timeout(PATIENCE):
                first = json.loads(await process.stderr.readline())
            assert first["event"] == "reader.listening", first
            yield f"http://127.0.0.1:{first['port']}", process
        finally:
            if process.returncode is None:
                process.kill()
            await process.communicate()

    async def start(self, command: str, given: Mapping[str, str]) -> Process:
        """Return the started process of a mover or a reader."""
        argv = (self.python, "-W", "error", "-m", "holdfast", command)
        environment = self.environment(given)
        identity: dict[str, Any] = (
            {} if self.user is None else {"user": self.user, "group": self.user, "extra_groups": []}
        )
        return await asyncio.create_subprocess_exec(*argv, env=environment, stdout=PIPE, stderr=PIPE, **identity)


def backup(**changes: object) -> Backup:
    """Return the order to back up the volume."""
    return Backup(identity=CLAIM, source="/data", claim_uid="claim-1", cluster_uid="cluster-1", **changes)  # type: ignore[arg-type]  # passed on


def restore(snapshot: RecordedSnapshot) -> Restore:
    """Return the order to restore the snapshot."""
    return Restore(
        identity=CLAIM, snapshot=snapshot.id, files=snapshot.files, bytes=snapshot.bytes, target="/restore/data"
    )


def stored(root: Path) -> dict[str, bytes]:
    """Return every file below `root`, leases and what programs log left out."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and ".holdfast/leases" not in str(path) and not path.name.startswith("_log")
    }
