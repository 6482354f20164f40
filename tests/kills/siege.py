"""A siege: backups and restores go on while operator, movers, readers and engines are killed at random moments.

    python -m tests.kills.siege --engine kopia --kills 100 --seed 7 [--s3] [--seconds 500] [--patient]

What must hold after every round: each claim has the bytes that it must have and never started empty; at the end the
helpers are cleared, the repository is healthy by the engine's own program, and the records agree with it.
"""

import argparse
import asyncio
import contextlib
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, TypeVar

from holdfast.assemble import armed, laptop
from holdfast.kube import errors, objects
from holdfast.kube.client import Kube
from holdfast.model.repository import DirectoryStorage, Storage
from holdfast.render import crds
from holdfast.sandbox.cluster import Cluster, Pace
from tests.kills import aftermath
from tests.kills.killers import Killers
from tests.support.programs import path_with_tools
from tests.support.s3 import S3Server, running_server
from tests.support.town import APPS, SETTINGS, MovableClock, Town

T = TypeVar("T")

PATIENCE: Final = 400.0
PACE: Final = Pace(job_retry=timedelta(seconds=0.2), restart=timedelta(seconds=0.05))
PASSWORD: Final = "correct horse"
SHARES: Final[Mapping[str, float]] = {"operator": 0.2, "reader": 0.2, "mover": 0.4}

# What each app writes before each backup; all of it is incompressible, or engines would have little to do.
WRITES: Final[Mapping[str, str]] = {
    "big": "head -c {size}M /dev/urandom > big",
    "many": "mkdir -p d; for i in $(seq 300); do head -c 3000 /dev/urandom > d/$i; done",
    "shapes": "mkdir -p a/b; head -c 9000000 /dev/urandom > a/b/c; ln -sf b/c a/link; chmod 4750 a/b/c; date > a/now",
    "tiny": "date +%s%N > f; chmod 600 f",
}
LOOK_AROUND: Final = """
if [ -z "$(ls -A)" ]; then echo empty; exit; fi
{ find . -type f -exec sha256sum {} +; find . -printf '%P %m %U:%G %y %l\\n'; find . -type f -printf '%P %s %T@\\n'; } |
    LC_ALL=C sort | sha256sum
"""


class WrongEnd(AssertionError):
    """Something that must hold whatever is killed did not hold."""


@dataclass(kw_only=True)
class Besieged(Town):
    """A town whose operator is a process, in a storage of its own."""

    place: Mapping[str, Any]
    keys: Mapping[str, str]
    size: int = 40
    allowed: dict[str, set[str]] = field(default_factory=dict)  # by claim: the digests that it may come back with

    async def start(self) -> None:
        await laptop.deploy_operator(self.kube, self.settings)

    async def stop(self) -> None:
        """The operator's process ends with its cluster."""

    async def write_secret(self, password: str) -> None:
        await super().write_secret(password)
        await self.kube.patch(
            objects.SECRETS, "default-repository", self.settings.namespace, {"stringData": dict(self.keys)}
        )

    async def write_repository(self, name: str = "default", path: Path | None = None, **spec: Any) -> None:
        await super().write_repository(name, path, **{"storage": dict(self.place), **spec})

    async def until(self, what: str, look: Callable[[], Awaitable[T | None]], seconds: float = PATIENCE) -> T:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            found = await look()
            if found:
                return found
            await asyncio.sleep(0.1)
        raise WrongEnd(f"waited {seconds} s in vain: {what}")

    async def write(self, claim: str) -> None:
        """Let the app change its data, and remember what it has now."""
        script = WRITES[claim].format(size=self.size) + LOOK_AROUND
        self.allowed[claim] = {await self.run(claim, script, name=f"{claim}-writes")}

    async def create(self, claim: str) -> None:
        await self.claim(claim, labels={"backup": "manual"})

    async def look(self, claim: str) -> None:
        """Let the app say what it found when it started; raise WrongEnd when it is not what it must be."""
        found = await self.run(claim, LOOK_AROUND, name=f"{claim}-looks")
        if found not in self.allowed[claim]:
            raise WrongEnd(f"{claim} came back with {found}, expected {self.allowed[claim]}")
        self.allowed[claim] = {found}

    async def lose(self, claim: str) -> None:
        with contextlib.suppress(errors.NotFound):
            await self.remove(objects.CLAIMS, claim)

    async def lose_during_backup(self, claim: str, after: float) -> None:
        """Ask for a backup and lose the claim before anybody knows whether it counts: both contents are right."""
        before = set(self.allowed[claim])
        await self.write(claim)
        self.allowed[claim] |= before
        await self.annotate(claim, {"holdfast.dev/backup-now": str(time.time_ns())})
        await asyncio.sleep(after)
        await self.lose(claim)

    async def picture(self) -> str:
        lines = [await self._picture()]
        for job in await self.kube.list(objects.JOBS):
            lines.append(f"job {job.key}: {job.annotations} {job.status}")
        for pod in await self.kube.list(objects.PODS):
            lines.append(f"pod {pod.key}: {pod.status}")
            log = self.sandbox.directory / "pods" / pod.metadata.uid / "log"
            if log.exists():
                lines += ["    " + line for line in log.read_text(errors="replace").splitlines()[-150:]]
        return "\n".join(lines)


@dataclass(kw_only=True)
class Siege:
    """Rounds of backups and restores under fire."""

    town: Besieged
    killers: Killers
    moments: random.Random
    quotas: Mapping[str, int]
    claims: Sequence[str] = tuple(WRITES)
    rough: bool = True  # also lose claims during backups, and everything
    rounds: int = 0

    async def play(self, kills: int, seconds: float) -> None:
        """Play whole rounds until there were so many kills, of each victim its share, or the time is up."""
        end = time.monotonic() + seconds
        await asyncio.gather(*(self.town.create(claim) for claim in self.claims))
        await self._peace()
        await asyncio.gather(*(self.town.write(claim) for claim in self.claims))
        await self._under_fire(asyncio.gather(*(self.town.back_up(claim) for claim in self.claims)))
        while not self._is_enough(kills) and time.monotonic() < end:
            self.rounds += 1
            await self._round()
            told = dict(sorted(self.killers.kills.items()))
            left = end - time.monotonic()
            print(f"  round {self.rounds}: {self.killers.total} kills {told}, {left:.0f} s left", flush=True)
        await self._peace()
        await self.town.settled()

    def _is_enough(self, kills: int) -> bool:
        shares = all(self.killers.kills[victim] >= share * kills for victim, share in SHARES.items())
        return shares and self.killers.total >= kills

    async def _round(self) -> None:
        town = self.town
        doomed = self.moments.choice(self.claims) if self.rough and self.moments.random() < 0.4 else None
        rest = [claim for claim in self.claims if claim != doomed]
        await self._peace()
        await asyncio.gather(*(town.write(claim) for claim in rest))
        works: list[Awaitable[Any]] = [town.back_up(claim) for claim in rest]
        if doomed is not None:
            works.append(town.lose_during_backup(doomed, self.moments.uniform(0, 6)))
        await self._under_fire(asyncio.gather(*works))
        if self.rough and self.moments.random() < 0.3:
            await town.lose_everything()
        else:
            await asyncio.gather(*(town.lose(claim) for claim in self.claims))
        await self._under_fire(asyncio.gather(*(self._restore(claim) for claim in self.claims)))

    async def _restore(self, claim: str) -> None:
        await self.town.create(claim)
        await self.town.look(claim)

    async def _under_fire(self, work: Awaitable[Any]) -> None:
        self.killers.new_round(**self.quotas)
        await work

    async def _peace(self) -> None:
        self.killers.new_round()


@contextlib.asynccontextmanager
async def laid(directory: Path, engine: str, seed: int, server: S3Server | None, size: int) -> AsyncIterator[Siege]:
    """Yield a siege of a new town, its hunters at work."""
    base = server.data / "siege" if server is not None else directory / "repository"
    if server is None:
        base.mkdir()
    storage, keys = _place(base, server)
    cluster = Cluster(
        directory / "cluster",
        crds.definitions(),
        admit=lambda *request: armed.admit(SETTINGS.rule, *request),
        environment={"PATH": path_with_tools()},
        pace=PACE,
    )
    async with cluster:
        kube = Kube.connect(cluster.kubeconfig)
        town = Besieged(
            directory=directory,
            engine=engine,
            cluster=cluster,
            kube=kube,
            clock=MovableClock(),
            place=_spec(storage),
            keys=keys,
            size=size,
        )
        killers = Killers(
            cluster=cluster,
            kube=kube,
            namespace=SETTINGS.namespace,
            leases=base / ".holdfast/leases",
            seed=seed,
        )
        quotas = {"operator": 3, "reader": 3, "mover": 8, "engine": 3}
        siege = Siege(town=town, killers=killers, moments=random.Random(seed), quotas=quotas)
        try:
            async with _hunting(killers):
                killers.new_round(operator=1, reader=1, mover=1)
                await town.furnish()
                await town.start()
                await town.ready()
                yield siege
            await aftermath.check(engine, storage, base, PASSWORD, keys, APPS, siege.claims, directory)
        except BaseException:
            directory.joinpath("picture").write_text(await town.picture())
            raise
        finally:
            await kube.aclose()


@contextlib.asynccontextmanager
async def _hunting(killers: Killers) -> AsyncIterator[None]:
    hunters = [asyncio.create_task(each()) for each in (killers.operators, killers.readers, killers.movers)]
    try:
        yield
    finally:
        for each in hunters:
            each.cancel()
        ends = await asyncio.gather(*hunters, return_exceptions=True)
    broken = [end for end in ends if not isinstance(end, asyncio.CancelledError)]
    if broken:
        raise RuntimeError("a hunter ended") from broken[0]


def _place(base: Path, server: S3Server | None) -> tuple[Storage, Mapping[str, str]]:
    if server is None:
        return DirectoryStorage(path=str(base)), {}
    return server.storage("siege/"), server.environment


def _spec(storage: Storage) -> Mapping[str, Any]:
    if isinstance(storage, DirectoryStorage):
        return {"filesystem": {"hostPath": storage.path}}
    s3 = {"endpoint": storage.endpoint, "bucket": storage.bucket, "prefix": storage.prefix, "region": storage.region}
    return {"s3": {**s3, "insecure": True}}


async def _command(options: argparse.Namespace, directory: Path, server: S3Server | None) -> Counter[str]:
    async with laid(directory, options.engine, options.seed, server, options.size) as siege:
        siege.killers.patient = options.patient
        try:
            await siege.play(options.kills, options.seconds)
        finally:
            for phase, number in sorted(siege.killers.phases.items()):
                print(f"    {number:4}  {phase}")
            print(f"rounds {siege.rounds}, kills {siege.killers.total}: {dict(siege.killers.kills)}", flush=True)
    return siege.killers.kills


def main() -> int:
    """Lay one siege and say what came of it; 1 when something did not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", choices=("kopia", "restic"), required=True)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--seconds", type=float, default=480, help="no round begins after so many")
    parser.add_argument("--size", type=int, default=40, help="MiB of the big claim")
    parser.add_argument("--s3", action="store_true")
    parser.add_argument("--patient", action="store_true", help="wait for the leases of the dead: 2 min for each mover")
    options = parser.parse_args()
    where = "S3" if options.s3 else "a directory"
    print(f"siege of {options.engine} on {where}, seed {options.seed}", flush=True)
    began = time.monotonic()
    directory = Path(tempfile.mkdtemp(prefix="holdfast-siege-"))
    with contextlib.ExitStack() as stack:
        server = None
        if options.s3:
            (directory / "s3").mkdir()
            server = stack.enter_context(running_server(directory / "s3"))
        try:
            asyncio.run(_command(options, directory, server))
        except Exception as error:  # noqa: BLE001  # told, with what is needed to look for its cause
            print(f"FAILED, seed {options.seed}: {error!r}; see {directory}/picture", flush=True)
            return 1
    print(f"all held, seed {options.seed}, {time.monotonic() - began:.0f} s", flush=True)
    aftermath.remove(directory)
    return 0


if __name__ == "__main__":
    sys.exit(main())
