"""Who kills: one hunter for each sort of victim, each with moments of its own that one seed replays."""

import asyncio
import contextlib
import json
import os
import random
import signal
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from holdfast.kube import errors, objects
from holdfast.kube.client import Kube
from holdfast.render import names
from holdfast.sandbox.cluster import Cluster
from holdfast.sandbox.store.values import at
from tests.support.killing import age_leases, engines_below, is_alive

Json = dict[str, Any]

LOOK: Final = 0.05
LONGEST: Final = 3.0  # seconds that a victim may live once it was chosen
SHORT: Final = 0.8  # what many movers need for all of their work
IN_A_ROW: Final = 2  # kills of one claim's runs before one may end: the pauses between attempts grow


@dataclass(kw_only=True)
class Killers:
    """Kills processes of one cluster while there are kills left for the round, and counts those that hit."""

    cluster: Cluster
    kube: Kube
    namespace: str
    leases: Path  # of the storage, as files
    seed: int
    patient: bool = False  # wait for the leases of the dead as everybody must; else they age at once
    left: Counter[str] = field(default_factory=Counter)
    kills: Counter[str] = field(default_factory=Counter)  # by victim
    phases: Counter[str] = field(default_factory=Counter)  # by victim and what it was doing
    _in_a_row: Counter[str] = field(default_factory=Counter)

    @property
    def total(self) -> int:
        return sum(self.kills.values())

    def new_round(self, **left: int) -> None:
        """Give every hunter so many kills; a claim's runs may be killed anew."""
        self.left = Counter(left)
        self._in_a_row.clear()

    async def operators(self) -> None:
        """Kill operators: most once they lead, some while they still wait for the lease."""
        moments = random.Random(f"{self.seed}-operator")
        last: int | None = None
        while True:
            pid = await self._next("operator", last)
            last = pid
            leads = True
            if moments.random() < 0.8:
                leads = await self._leads(pid)
            await asyncio.sleep(moments.uniform(0, LONGEST))
            await self._turn("operator")
            holder = await self._holder()
            phase = "leading" if f"-{pid}-" in holder else "waiting for the lease"
            if leads and _kill(pid):
                self._count("operator", phase)
                if f"-{pid}-" in holder and moments.random() < 0.8 and not self.patient:
                    await self._expire_leadership()

    async def readers(self) -> None:
        """Kill readers: most once they answer, some whatever they do."""
        moments = random.Random(f"{self.seed}-reader")
        last: int | None = None
        while True:
            pid = await self._next("reader", last)
            last = pid
            await asyncio.sleep(moments.uniform(0, LONGEST))
            await self._turn("reader")
            if moments.random() < 0.7:
                await self._works(pid)
                await asyncio.sleep(moments.uniform(0, SHORT))
            phase = "asking the engine" if engines_below(pid) else "at rest"
            if _kill(pid):
                self._count("reader", phase)

    async def movers(self) -> None:
        """Kill most movers, or the engine below them."""
        moments = random.Random(f"{self.seed}-mover")
        seen: set[str] = set()
        async with asyncio.TaskGroup() as tasks:
            while True:
                for pod in self._pods("mover"):
                    uid, pid = pod["metadata"]["uid"], self._pid(pod)
                    if uid in seen or pid is None:
                        continue
                    seen.add(uid)
                    delay = moments.uniform(0, moments.choice((SHORT, LONGEST)))
                    spares = moments.random() < 0.15
                    victim = "engine" if moments.random() < 0.25 else "mover"
                    if not spares:
                        tasks.create_task(self._hunt_mover(pod, pid, victim, delay))
                await asyncio.sleep(LOOK)

    async def _hunt_mover(self, pod: Json, pid: int, victim: str, delay: float) -> None:
        run = pod["metadata"]["labels"]["batch.kubernetes.io/job-name"]
        series = run.rpartition("-")[0]
        await asyncio.sleep(delay)
        if self.left[victim] <= 0 or self._in_a_row[series] >= IN_A_ROW:
            return
        engines = engines_below(pid)
        phase = f"{run.partition('-')[0]}: {self._progress(pod)}{', engine at work' if engines else ''}"
        targets = engines if victim == "engine" else [pid]
        if not targets or not _kill(targets[0]):
            return
        self.left[victim] -= 1
        self._in_a_row[series] += 1
        self._count(victim, phase)
        if victim == "mover" and not self.patient:
            await self._age_leases(pid, run)

    async def _age_leases(self, pid: int, run: str) -> None:
        while is_alive(pid):  # noqa: ASYNC110  # nothing tells when another's child ends
            await asyncio.sleep(LOOK)
        age_leases(self.leases, run)

    async def _expire_leadership(self) -> None:
        """Do what fifteen seconds would do."""
        with contextlib.suppress(errors.KubeError):
            await self.kube.delete(objects.LEASES, "holdfast-operator", self.namespace)

    # What is there

    async def _next(self, component: str, last: int | None) -> int:
        """Return the process of the component's pod, once it is another one than the last."""
        while True:
            for pod in self._pods(component):
                pid = self._pid(pod)
                if pid is not None and pid != last:
                    return pid
            await asyncio.sleep(LOOK)

    async def _turn(self, victim: str) -> None:
        """Return when the round has a kill left for this victim, and take it."""
        while self.left[victim] <= 0:  # noqa: ASYNC110  # rounds are told by nothing else
            await asyncio.sleep(LOOK)
        self.left[victim] -= 1

    async def _leads(self, pid: int) -> bool:
        """Return whether this operator leads, once it does or has ended."""
        while f"-{pid}-" not in await self._holder():
            if not is_alive(pid):
                return False
            await asyncio.sleep(LOOK)
        return True

    async def _works(self, pid: int) -> None:
        """Return when the reader has an engine at work, has ended, or rests for long."""
        end = time.monotonic() + LONGEST * 2
        while is_alive(pid) and not engines_below(pid) and time.monotonic() < end:  # noqa: ASYNC110  # nobody tells
            await asyncio.sleep(LOOK / 5)

    async def _holder(self) -> str:
        try:
            found = await self.kube.get(objects.LEASES, "holdfast-operator", self.namespace)
        except errors.KubeError:
            return ""
        return (found.spec.holder_identity if found.spec is not None else None) or ""

    def _pods(self, component: str) -> list[Json]:
        found = self.cluster.store.all("Pod", self.namespace)
        return [pod for pod in found if at(pod, "metadata", "labels", names.COMPONENT) == component]

    def _pid(self, pod: Json) -> int | None:
        return self.cluster.pod_pid(self.namespace, pod["metadata"]["name"])

    def _progress(self, pod: Json) -> str:
        """Return the phase that the mover told last."""
        try:
            lines = (self.cluster.directory / "pods" / pod["metadata"]["uid"] / "log").read_text().splitlines()
        except OSError:
            return "?"
        for line in reversed(lines):
            with contextlib.suppress(ValueError, TypeError):
                told = json.loads(line)
                if "phase" in told:
                    return str(told["phase"])
        return "before any progress"

    def _count(self, victim: str, phase: str) -> None:
        self.kills[victim] += 1
        self.phases[f"{victim}, {phase}"] += 1


def _kill(pid: int) -> bool:
    """Kill a process; return whether it was there."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True
