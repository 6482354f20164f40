"""What a backup and a restore by Holdfast's mover cost beside the bare engine: same data, same run, alternating.

    python -m benchmarks.overhead --engine kopia --data small --rounds 3 [--s3]

Prints every round, then the medians and their ratio. `--directory` names a fast file system (default /dev/shm), so that
the disk is not what is measured; on a disk both sides end when their data is on it: ours does that by itself, the bare
engine is followed by `sync --file-system`. With `--s3` the repository is in a versitygw of its own.
"""

import argparse
import asyncio
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from holdfast.model import wire
from holdfast.model.claim import Identity
from holdfast.model.repository import DirectoryStorage, EngineKind, S3Storage, Storage
from holdfast.model.run import BackedUp, Failed, Outcome, RunResult
from holdfast.model.workorder import Backup, Initialize, RepositoryAccess, Restore, Work, WorkOrder
from tests.support.programs import path_with_tools
from tests.support.s3 import running_server

T = TypeVar("T")
PASSWORD = "a password for measuring"
IDENTITY = Identity(namespace="bench", claim="data")
WORDS = [f"word{number:04}" for number in range(4000)]
BIG = 1 << 30
SMALL = (20_000, 12 << 10)


@dataclass(kw_only=True)
class Bench:
    """One engine over one source; every round works in directories of its own."""

    engine: EngineKind
    base: Path
    source: Path
    s3: S3Storage | None
    keys: Mapping[str, str]
    timings: dict[str, list[float]] = field(default_factory=dict)

    def time(self, what: str, work: Callable[[], T]) -> T:
        """Run `work`, note how long it took, and return what it returned."""
        start = time.perf_counter()
        result = work()
        seconds = time.perf_counter() - start
        self.timings.setdefault(what, []).append(seconds)
        print(f"  {what:<22} {seconds:7.2f} s", flush=True)
        return result

    def pair(self, number: int, what: str, bare: Callable[[], object], ours: Callable[[], T]) -> T:
        """Time both, and return what ours returned.

        Each goes first in every other round: memory that a file system is given anew costs twice what it costs when
        the one before it has just given it back.
        """
        if number % 2:
            self.time(f"{what}, bare", bare)
        returned = self.time(f"{what}, ours", ours)
        if not number % 2:
            self.time(f"{what}, bare", bare)
        return returned

    # Ours

    def storage(self, place: Path) -> Storage:
        if self.s3 is None:
            place.mkdir(exist_ok=True)
            return DirectoryStorage(path=str(place))
        return S3Storage(endpoint=self.s3.endpoint, bucket=self.s3.bucket, prefix=f"{place.name}/", tls=False)

    def mover(self, place: Path, work: Work, mounts: Mapping[str, Path]) -> Outcome:
        """Run a mover as a pod's process would run, and return what came of it."""
        with tempfile.TemporaryDirectory(dir=self.base) as text:
            root = Path(text)
            (root / "dev").mkdir()
            (root / "tmp").mkdir()
            for inside, outside in mounts.items():
                link = root / inside.lstrip("/")
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(outside)
            storage = self.storage(place)
            access = RepositoryAccess(
                engine=self.engine,
                storage=DirectoryStorage(path="/repository") if isinstance(storage, DirectoryStorage) else storage,
            )
            (root / "repository").symlink_to(place)
            order = WorkOrder(run=f"run-{time.time_ns()}", repository=access, work=work)
            environment = {
                "PATH": path_with_tools(),
                "HOLDFAST_ROOT": str(root),
                "HOLDFAST_PASSWORD": PASSWORD,
                "HOLDFAST_WORK_ORDER": wire.encode(order).decode(),
                "TMPDIR": str(root / "tmp"),
                **self.keys,
            }
            subprocess.run(
                [sys.executable, "-m", "holdfast", "mover"],
                env=environment,
                check=False,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            outcome = wire.decode(RunResult, (root / "dev/termination-log").read_bytes()).outcome
        if isinstance(outcome, Failed):
            raise SystemExit(f"the mover failed: {outcome.failure}")
        return outcome

    def back_up(self, place: Path) -> BackedUp:
        work = Backup(identity=IDENTITY, source="/data", claim_uid="c", cluster_uid="k")
        outcome = self.mover(place, work, {"/data": self.source})
        assert isinstance(outcome, BackedUp)
        return outcome

    def restore(self, place: Path, snapshot: BackedUp, target: Path) -> None:
        (target / "data").mkdir(parents=True)
        known = snapshot.snapshot
        work = Restore(
            identity=IDENTITY, snapshot=known.id, files=known.files, bytes=known.bytes, target="/restore/data"
        )
        self.mover(place, work, {"/restore": target})

    # Bare

    def bare(self, home: Path, *arguments: str, cwd: Path | None = None) -> str:
        """Run the engine itself with a cache and configuration of its own."""
        environment = {
            "PATH": path_with_tools(),
            "HOME": str(home),
            "KOPIA_PASSWORD": PASSWORD,
            "RESTIC_PASSWORD": PASSWORD,
            "RESTIC_REPOSITORY": self._restic_place(home),
            "RESTIC_CACHE_DIR": str(home / "cache"),
            "KOPIA_CONFIG_PATH": str(home / "repository.config"),
            "KOPIA_CACHE_DIRECTORY": str(home / "cache"),
            "KOPIA_LOG_DIR": str(home / "log"),
            "KOPIA_CHECK_FOR_UPDATES": "false",
            **self.keys,
        }
        done = subprocess.run(
            [self.engine.value, *arguments], env=environment, cwd=cwd, check=True, capture_output=True, text=True
        )
        return done.stdout

    def _restic_place(self, home: Path) -> str:
        if self.s3 is None:
            return str(home / "repository")
        return f"s3:http://{self.s3.endpoint}/{self.s3.bucket}/{home.name}"

    def bare_create(self, home: Path) -> None:
        home.mkdir()
        if self.engine is EngineKind.RESTIC:
            return
        place = ["filesystem", "--path", str(home / "repository")]
        if self.s3 is not None:
            keys = ["--access-key", self.keys["AWS_ACCESS_KEY_ID"], "--secret-access-key"]
            place = ["s3", "--bucket", self.s3.bucket, "--endpoint", self.s3.endpoint, "--disable-tls"]
            place += ["--region", "us-east-1", "--prefix", f"{home.name}/", *keys, self.keys["AWS_SECRET_ACCESS_KEY"]]
        self.bare(home, "repository", "create", *place)
        self.bare(home, "policy", "set", "--global", "--compression=zstd-fastest")

    def bare_back_up(self, home: Path) -> None:
        self._bare_back_up(home)
        flush(home)

    def _bare_back_up(self, home: Path) -> None:
        if self.engine is EngineKind.KOPIA:
            self.bare(home, "snapshot", "create", "--no-auto-maintenance", "--no-progress", str(self.source))
            return
        if not (home / "begun").exists():
            self.bare(home, "init")
            (home / "begun").touch()
        self.bare(home, "backup", "--quiet", ".", cwd=self.source)

    def bare_restore(self, home: Path, target: Path) -> None:
        target.mkdir()
        shutil.rmtree(home / "cache", ignore_errors=True)  # a new cluster has none
        if self.engine is EngineKind.RESTIC:
            self.bare(home, "restore", "latest", "--target", str(target), "--sparse", "--quiet")
        else:
            listed = self.bare(home, "snapshot", "list", "--json")
            newest = json.loads(listed)[-1]["id"]
            self.bare(home, "snapshot", "restore", newest, str(target), "--write-sparse-files", "--no-progress")
        flush(target)

    # A round

    def round(self, number: int) -> None:
        print(f"round {number}", flush=True)
        home, place = self.base / f"bare-{number}", self.base / f"ours-{number}"
        self.bare_create(home)
        self.storage(place)
        self.mover(place, Initialize(), {})
        taken = self.pair(number, "first backup", lambda: self.bare_back_up(home), lambda: self.back_up(place))
        self.pair(number, "unchanged", lambda: self.bare_back_up(home), lambda: self.back_up(place))
        self.time("a fresh listing, bare", lambda: self.bare(home, *self._list()))
        self.pair(
            number,
            "restore",
            lambda: self.bare_restore(home, self.base / "bare-target"),
            lambda: self.restore(place, taken, self.base / "our-target"),
        )
        compared = subprocess.run(
            ["diff", "-r", "--no-dereference", str(self.source), str(self.base / "our-target/data")],
            check=False,
            capture_output=True,
        )
        print(f"  bytes after our restore: {'identical' if compared.returncode == 0 else 'DIFFERENT'}", flush=True)
        for name in (home, place, self.base / "bare-target", self.base / "our-target"):
            shutil.rmtree(name, ignore_errors=True)
        flush(self.base)

    def _list(self) -> Sequence[str]:
        return (
            ("snapshot", "list", "--json") if self.engine is EngineKind.KOPIA else ("snapshots", "--json", "--no-cache")
        )

    def summary(self) -> None:
        print("medians (minima), seconds")
        for what in ("first backup", "unchanged", "restore"):
            bare, ours = self.timings.get(f"{what}, bare"), self.timings.get(f"{what}, ours")
            if bare and ours:
                middle, best = statistics.median(ours) / statistics.median(bare), min(ours) / min(bare)
                print(
                    f"  {what:<14} bare {statistics.median(bare):6.2f} ({min(bare):6.2f})   "
                    f"ours {statistics.median(ours):6.2f} ({min(ours):6.2f})   ratio {middle:.2f} ({best:.2f})"
                )


def flush(path: Path) -> None:
    """Return once all that was written to the file system of `path` is on its disk."""
    subprocess.run(["sync", "--file-system", str(path)], check=True)


def fill(source: Path, data: str, seed: str | int = 1) -> None:
    """Make the source: one file of random bytes, or many small ones of text; the same every time for each seed."""
    source.mkdir()
    made = random.Random(seed)
    if data == "big":
        with (source / "big").open("wb") as file:
            for _ in range(BIG >> 24):
                file.write(made.randbytes(1 << 24))
        return
    count, size = SMALL
    for number in range(count):
        folder = source / f"{number // 200:03}"
        folder.mkdir(exist_ok=True)
        text = " ".join(made.choices(WORDS, k=size // 9))
        (folder / f"{number:05}.txt").write_text(text, encoding="ascii")


async def main() -> None:
    """Read the command line and measure."""
    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reader.add_argument("--engine", type=EngineKind, default=EngineKind.KOPIA)
    reader.add_argument("--data", choices=["big", "small"], default="small")
    reader.add_argument("--rounds", type=int, default=3)
    reader.add_argument("--s3", action="store_true")
    reader.add_argument("--directory", type=Path, default=Path("/dev/shm"))
    asked = reader.parse_args()
    os.environ["PATH"] = path_with_tools()
    async with AsyncExitStack() as stack:
        base = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="holdfast-bench-", dir=asked.directory)))
        (base / "s3").mkdir()
        server = stack.enter_context(running_server(base / "s3")) if asked.s3 else None
        fill(base / "source", asked.data)
        bench = Bench(
            engine=asked.engine,
            base=base,
            source=base / "source",
            s3=S3Storage(endpoint=server.endpoint, bucket=server.bucket, tls=False) if server else None,
            keys=dict(server.environment) if server else {},
        )
        print(f"{asked.engine.value}, {asked.data}, {'S3' if asked.s3 else 'directory'}, load {os.getloadavg()[0]:.1f}")
        for number in range(1, asked.rounds + 1):
            bench.round(number)
        bench.summary()


if __name__ == "__main__":
    asyncio.run(main())
