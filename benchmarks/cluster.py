"""Where the seconds go: backups and restores in the real cluster, from due to done, beside the bare engine there.

    make bench-cluster ARGS="--engine kopia --data big,small --method Direct,Snapshot --rounds 3 --output table"

Every moment is one that was observed: by watches, in containerd's events (when a container started and ended) and in
the mover's log. The bare engine is a pod of the same image on the same volume, in turn with Holdfast's mover, with a
repository of its own on the same disk. What is measured is the whole way, so a busy machine shows in all of it.
"""

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from benchmarks import overhead
from benchmarks.bare import CREATE, NAME, backing_up, labelled, pod, restoring, volume_claim
from benchmarks.trail import APP, BARE, Trail
from holdfast.kube import errors, objects
from holdfast.kube.client import Kube
from holdfast.model.claim import ClaimRef
from holdfast.model.intent import CopyMethod
from holdfast.model.repository import EngineKind
from holdfast.render import names
from tests.cluster import places
from tests.cluster.kubectl import kubectl
from tests.e2e import town

TARGET: Final = "target"  # the claim that the bare engine fills
DATA: Final = {"big": "1 GiB in one file", "small": "20,000 files"}

Stages = Sequence[tuple[str, str]]  # a moment, and the name of the stage that it ends

MOVER: Final[Stages] = (
    ("pod", "Job controller: pod"),
    ("bound", "claim bound"),
    ("scheduled", "scheduler: node"),
    ("started", "kubelet: container runs"),
    ("begun", "Python runs"),
    ("engine-begun", "mover: marker, lease, record"),
    ("engine-done", "engine"),
    ("done", "mover: proof and record"),
    ("exited", "container ended"),
    ("ended", "kubelet: tells it"),
)
BACKUP: Final[Stages] = (
    ("snapshot", "VolumeSnapshot ready"),
    ("offered", "ready in our namespace"),
    ("job", "operator: Job"),
    *MOVER,
    ("counted", "operator: counted"),
)
RESTORE: Final[Stages] = (
    ("node", "scheduler: node of the app"),
    ("claim", "operator: verdict, claim to fill"),
    ("bound", "its volume"),
    ("job", "operator: Job"),
    *(each for each in MOVER if each[0] != "bound"),
    ("given", "operator: handed over"),
    ("app-bound", "claim bound"),
    ("app-scheduled", "scheduler: app's pod"),
    ("app-started", "kubelet: app runs"),
)
ALONE: Final[Stages] = tuple(each for each in MOVER if each[0] in ("scheduled", "started", "exited", "ended"))


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One run: what was done, with which data, and how many seconds each of its stages took."""

    work: str
    data: str
    method: str  # a CopyMethod, "restore" or "bare"
    stages: Mapping[str, float]
    seconds: float
    engine_seconds: float
    load: float


@dataclass(kw_only=True)
class Bench:
    """An app's namespace in a cluster with Holdfast, and the runs that were measured in it."""

    engine: EngineKind
    kube: Kube
    trail: Trail
    bare_repository: Path
    app: town.App
    found: list[Measured] = field(default_factory=list)

    # Ours

    async def back_up(self, work: str, name: str, data: str, method: CopyMethod) -> None:
        value = str(time.time_ns())
        self.trail.begin(ClaimRef(namespace=NAME, name=name), value)
        body = {"metadata": {"annotations": {"holdfast.dev/backup-now": value}}}
        await self.kube.patch(objects.CLAIMS, name, NAME, body)
        self._note(work, data, method.value, BACKUP, await self.trail.reached("counted"))
        await self.settled()

    async def restore(self, name: str, data: str) -> None:
        """Lose the claim and measure until a pod that uses it runs again."""
        before = sizes(self.app.volume(name))
        await self.lose(name)
        self.trail.begin(ClaimRef(namespace=NAME, name=name))
        await self.kube.create(labelled(name, CopyMethod.DIRECT))
        await self.kube.create(pod(APP, name, ["sleep", "3600"], image=places.TOOLBOX_IMAGE))
        self._note("restore", data, "restore", RESTORE, await self.trail.reached("app-started"))
        await self.settled()
        await self._gone(objects.PODS, APP)
        assert sizes(self.app.volume(name)) == before, f"{name} is not what it was"

    # Bare

    async def bare(
        self, work: str, name: str, data: str, script: str, *, claim: Mapping[str, Any] | None = None
    ) -> None:
        """Run a script of the engine's over a claim, in a pod as plain as can be; the claim may begin with it."""
        self.trail.begin(ClaimRef(namespace=NAME, name=name))
        if claim is not None:
            await self.kube.create(claim)
        await self.kube.create(pod(BARE, name, ["sh", "-ec", script], repository=self.bare_repository))
        self._note(work, data, "bare", ALONE, await self.trail.reached("ended"))
        await self._gone(objects.PODS, BARE)

    async def bare_restore(self, name: str, data: str) -> None:
        await self.bare("restore", TARGET, data, restoring(self.engine, name), claim=volume_claim(TARGET))
        await self.lose(TARGET)

    # Between runs

    async def settled(self) -> None:
        """Wait until nothing is left of a run, so that clearing it away does not weigh on the next one."""

        async def is_clear() -> bool:
            left = [
                *await self.kube.list(objects.JOBS, town.HOME),
                *await self.kube.list(objects.PODS, town.HOME, {names.COMPONENT: "mover"}),
                *await self.kube.list(objects.CLAIMS, town.HOME),
                *await self.kube.list(objects.SNAPSHOTS),
                *await self.kube.list(objects.CONTENTS),
            ]
            return not left

        await until(is_clear, "the end of what a run made")

    async def lose(self, name: str) -> None:
        volume = self.app.show(f"pvc/{name}", ".spec.volumeName")
        await self._gone(objects.CLAIMS, name)
        await self._gone(objects.VOLUMES, volume, None)

    async def _gone(self, kind: objects.Kind[Any], name: str, namespace: str | None = NAME) -> None:
        if kind is not objects.VOLUMES:
            await self.kube.delete(kind, name, namespace)

        async def is_gone() -> bool:
            try:
                await self.kube.get(kind, name, namespace)
            except errors.NotFound:
                return True
            return False

        await until(is_gone, f"the end of {kind.kind} {name}")

    def _note(self, work: str, data: str, method: str, stages: Stages, moments: Mapping[str, float]) -> None:
        """Keep a run: each stage lasts from the one before it, which may have ended later."""
        taken, before = {}, 0.0
        for moment, stage in stages:
            if moment in moments:
                taken[stage] = max(moments[moment] - before, 0.0)
                before = max(moments[moment], before)
        ours = moments.get("engine-done", 0) - moments.get("engine-begun", 0)
        engine = ours or moments.get("exited", 0) - moments.get("started", 0)
        load = os.getloadavg()[0]
        self.found.append(
            Measured(
                work=work, data=data, method=method, stages=taken, seconds=before, engine_seconds=engine, load=load
            )
        )
        print(
            f"  {data:5} {work:9} {method:8} {before:6.2f} s, engine {engine:5.2f} s, load {load:.1f}", file=sys.stderr
        )


# Helpers


def sizes(directory: Path) -> tuple[int, int]:
    """Return how many files there are, and their bytes."""
    found = [path.stat().st_size for path in directory.rglob("*") if path.is_file()]
    return len(found), sum(found)


async def until(true: Callable[[], Awaitable[bool]], what: str, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not await true():
        if time.monotonic() > deadline:
            raise SystemExit(f"waited {seconds:g} s in vain for {what}")
        await asyncio.sleep(0.3)


# The whole


def offsets(rounds: int) -> Sequence[float]:
    """Return seconds to wait before each round, spread over the one in which kubelet looks at its containers anew.

    A run that begins when the one before is seen to have ended always begins at the same moment of that second, and so
    ends at the same one: each would take whole seconds. A schedule's runs do not know that second.
    """
    return [turn / rounds for turn in range(rounds)]


async def measure(bench: Bench, data: str, method: CopyMethod, rounds: int) -> None:
    """Measure one volume: first backup, unchanged ones and, where the app's own volume is read, restores."""
    name = f"{data}-{method.value.lower()}"
    await bench.kube.create(labelled(name, method))
    await asyncio.to_thread(bench.app.run, f"first-{name}", "touch /data/started", on=name)
    kubectl("delete", f"--namespace={NAME}", f"job/first-{name}")  # its pod would keep the claim from being deleted
    await asyncio.to_thread(overhead.fill, bench.app.volume(name) / "content", data, seed=name)
    os.sync()
    backup = backing_up(bench.engine, name)
    await bench.bare("first", name, data, backup)
    await bench.back_up("first", name, data, method)
    for offset in offsets(rounds):
        await asyncio.sleep(offset)
        await bench.bare("unchanged", name, data, backup)
        await asyncio.sleep(offset)
        await bench.back_up("unchanged", name, data, method)
    for _ in range(rounds if method is CopyMethod.DIRECT else 0):
        await bench.bare_restore(name, data)
        await bench.restore(name, data)
    await bench.lose(name)


def told(found: Sequence[Measured]) -> str:
    """Return the table for people."""
    kinds = list(dict.fromkeys((each.data, each.work, each.method) for each in found if each.method != "bare"))
    lines = ["seconds: median (minimum)"]
    for data, work, method in kinds:
        ours = [each for each in found if (each.data, each.work, each.method) == (data, work, method)]
        bare = [each for each in found if (each.data, each.work, each.method) == (data, work, "bare")]
        lines.append(f"\n{work if work == 'restore' else f'{work} backup, {method}'}, {DATA[data]}")
        for stage in dict.fromkeys(stage for each in ours for stage in each.stages):
            lines.append(f"  {stage:<36} {spread([each.stages.get(stage, 0) for each in ours])}")
        lines.append(f"  {'total':<36} {spread([each.seconds for each in ours])}")
        lines.append(f"  {'bare engine, its pod':<36} {spread([each.seconds for each in bare])}")
        lines.append(f"  {'bare engine':<36} {spread([each.engine_seconds for each in bare])}")
    loads = [each.load for each in found]
    lines.append(f"\nload {min(loads):.1f} to {max(loads):.1f} on {os.cpu_count()} processors")
    return "\n".join(lines)


def spread(seconds: Sequence[float]) -> str:
    return f"{statistics.median(seconds):6.2f} ({min(seconds):.2f})" if seconds else ""


async def run(asked: argparse.Namespace, base: Path) -> Sequence[Measured]:
    for name in ("ours", "bare"):
        (base / name).mkdir()
    await asyncio.to_thread(town.install)
    manifests = town.holdfast("render", "repository", "--engine", asked.engine.value, "--directory", str(base / "ours"))
    await asyncio.to_thread(town.apply, manifests)
    kubectl("wait", "--for=condition=Ready", "repository/default", "--timeout=120s")
    app = town.App(NAME)
    app.create()
    kube = Kube.connect(places.KUBECONFIG, trust_env=False)
    try:
        async with Trail(kube).watching() as trail:
            bench = Bench(engine=asked.engine, kube=kube, trail=trail, bare_repository=base / "bare", app=app)
            await kube.create(volume_claim(TARGET))
            await bench.bare("create", TARGET, "none", CREATE[asked.engine])
            await bench.lose(TARGET)
            bench.found.clear()
            for data in asked.data:
                for method in asked.method:
                    await measure(bench, data, method, asked.rounds)
        return bench.found
    finally:
        await kube.aclose()


def listed(kind: Callable[[str], Any]) -> Callable[[str], list[Any]]:
    return lambda text: [kind(each) for each in text.split(",")]


def main() -> None:
    """Read the command line and measure."""
    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reader.add_argument("--engine", type=EngineKind, default=EngineKind.KOPIA)
    reader.add_argument("--data", type=listed(str), default=list(DATA))
    reader.add_argument("--method", type=listed(CopyMethod), default=[CopyMethod.DIRECT, CopyMethod.SNAPSHOT])
    reader.add_argument("--rounds", type=int, default=3)
    reader.add_argument("--output", choices=["table", "json"], default="table")
    asked = reader.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-", dir=places.STATE) as base:
        found = asyncio.run(run(asked, Path(base)))
    print(json.dumps([asdict(each) for each in found], indent=2) if asked.output == "json" else told(found))


if __name__ == "__main__":
    main()
