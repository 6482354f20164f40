"""Who is killed in a real cluster, and at which stage of a run: told by what is there, never by a clock."""

import asyncio
import contextlib
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import Final, Protocol, TypeVar

from holdfast.engines.storage import CLAIMS as RECORDS
from holdfast.kube import errors, objects
from holdfast.kube.client import Kube
from holdfast.model.claim import ClaimRef
from holdfast.render import claims, names
from tests.cluster import processes
from tests.cluster.kubectl import ask, kubectl
from tests.e2e.remains import picture
from tests.e2e.town import HOME
from tests.support.killing import age_leases, engines_below, is_alive

T = TypeVar("T")
Stage = Callable[[], Awaitable[bool]]

LOOK: Final = 0.02
PATIENCE: Final = 240.0  # a lease, and the pauses of kubelet between crashes, on a busy machine
OURS: Final = {"app.kubernetes.io/managed-by": names.MANAGER}


async def until(what: str, look: Callable[[], Awaitable[T | None]]) -> T:
    """Return what `look` finds as soon as it is true, however often the API server is away meanwhile."""
    deadline = time.monotonic() + PATIENCE
    while True:
        with contextlib.suppress(errors.KubeError):
            if found := await look():
                return found
        assert time.monotonic() < deadline, f"waited {PATIENCE:g} s in vain: {what}\n{picture()}"
        await asyncio.sleep(LOOK)


async def pids(kube: Kube, component: str, job: str | None = None) -> Sequence[int]:
    """Return the processes of Holdfast in the pods of a component, or of one mover's Job."""
    found = await kube.list(objects.PODS, HOME, labels={names.COMPONENT: component})
    return in_pods(
        pod.metadata.uid for pod in found if job is None or pod.labels.get("batch.kubernetes.io/job-name") == job
    )


def in_pods(uids: Iterable[str]) -> Sequence[int]:
    """Return the processes of Holdfast in pods."""
    marks = [f"pod{uid}" for uid in uids]
    return [pid for pid in _holdfasts() if any(mark in _read(pid, "cgroup").decode() for mark in marks)]


def _holdfasts() -> Iterable[int]:
    numbers = (int(each.name) for each in Path("/proc").iterdir() if each.name.isdecimal())
    return [pid for pid in numbers if b"\0-m\0holdfast\0" in _read(pid, "cmdline")]


def _read(pid: int, name: str) -> bytes:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/{name}").read_bytes()
    return b""


class Run(ABC):
    """A backup or a restore of one claim, and its stages as they can be seen from this machine."""

    verb: bytes  # what the engine is told when it reads or writes the volume

    def __init__(self, kube: Kube, claim: ClaimRef, storage: Path, ask: Callable[[], None]) -> None:
        """`storage`: where the repository's objects lie as files; `ask` asks for the run, again if need be."""
        self.kube, self.claim, self.storage, self._ask = kube, claim, storage, ask
        self.pid = 0
        self.job = ""

    @abstractmethod
    def stages(self, victim: str) -> Sequence[Stage]:
        """Return three moments, in order, each of which the victim can be killed in."""

    @abstractmethod
    async def is_over(self) -> bool:
        """Return whether all is done."""

    def begin(self) -> None:
        self._ask()

    async def meet(self, stage: Stage) -> None:
        """Return at a stage of the run; one that is over before we have seen it is begun again."""

        async def look() -> str:
            return "met" if await stage() else "over" if await self.is_over() else ""

        found = "over"
        while found == "over":
            self.begin()
            found = await until(f"{self.claim}: {stage.__name__}", look)

    async def has_mover(self) -> bool:
        if not is_alive(self.pid):
            for job in await self.kube.list(objects.JOBS, HOME, labels=OURS):
                if job.annotations.get(claims.CLAIM) == str(self.claim) and not job.is_deleting:
                    self.job = job.metadata.name
                    self.pid = next(iter(await pids(self.kube, "mover", self.job)), 0)
        return is_alive(self.pid)

    async def engine_works(self) -> bool:
        return await self.has_mover() and self._is_at_work()

    def _is_at_work(self) -> bool:
        return any(self.verb in _read(each, "cmdline").split(b"\0") for each in engines_below(self.pid))


class Backup(Run):
    verb = b"create"

    _before = 0

    def stages(self, victim: str) -> Sequence[Stage]:
        if victim == "mover":
            return (self.has_mover, self.engine_works, self.is_unsaid)
        return (self.is_begun, self.engine_works, self.is_uncounted)

    def begin(self) -> None:
        self._before = self._written()
        super().begin()

    async def is_over(self) -> bool:
        asked = await self.kube.get(objects.CLAIMS, self.claim.name, self.claim.namespace)
        item = await self.kube.get(objects.PROTECTIONS, self.claim.name, self.claim.namespace)
        served = ((item.status or {}).get("backup") or {}).get("servedNow")
        return served == asked.annotations["holdfast.dev/backup-now"]

    def _written(self) -> int:
        record = self.storage / RECORDS / str(self.claim)
        return record.stat().st_mtime_ns if record.exists() else 0

    async def is_begun(self) -> bool:
        """Return whether the volume's snapshot is asked for."""
        found = await self.kube.list(objects.SNAPSHOTS, labels=OURS)
        return any(each.annotations.get(claims.CLAIM) == str(self.claim) for each in found)

    async def is_uncounted(self) -> bool:
        """Return whether the engine is done, and nobody has counted the backup."""
        return self._written() != self._before and not await self.is_over()

    async def is_unsaid(self) -> bool:
        """Return whether the engine is done, and the mover has not said so."""
        return await self.has_mover() and self._written() != self._before


class Restore(Run):
    verb = b"restore"

    _worked = False

    def stages(self, victim: str) -> Sequence[Stage]:
        first = {"mover": self.has_mover, "reader": self.is_asked}.get(victim, self.has_prime)
        return (first, self.engine_works, self.is_written if victim == "mover" else self.is_handed_over)

    async def is_over(self) -> bool:
        claim = await self.kube.get(objects.CLAIMS, self.claim.name, self.claim.namespace)
        return claim.status is not None and claim.status.phase == "Bound" and not await self._primes()

    async def is_asked(self) -> bool:
        """Return whether the reader asks the engine."""
        return any(engines_below(pid) for pid in await pids(self.kube, "reader"))

    async def has_prime(self) -> bool:
        return bool(await self._primes())

    async def is_written(self) -> bool:
        """Return whether the engine is done, and its mover has not ended."""
        if not await self.has_mover():
            return False
        at_work, worked = self._is_at_work(), self._worked
        self._worked = worked or at_work
        return worked and not at_work

    async def is_handed_over(self) -> bool:
        """Return whether the volume is filled, and the prime that leads to it is there."""
        return any(claims.FILLED in each.annotations for each in await self._primes())

    async def _primes(self) -> Sequence[objects.PersistentVolumeClaim]:
        found = await self.kube.list(objects.CLAIMS, HOME, labels=OURS)
        return [each for each in found if each.annotations.get(claims.CLAIM) == str(self.claim)]


class Victim(Protocol):
    """Somebody who is found, killed at once, and helped up again."""

    async def find(self, run: Run) -> None: ...

    def kill(self, run: Run) -> None: ...

    async def help_up(self, run: Run) -> None: ...


class Daemon:
    """A program of Kubernetes itself."""

    def __init__(self, name: str) -> None:
        self._name = name

    async def find(self, run: Run) -> None:
        """Is always there."""

    def kill(self, run: Run) -> None:
        processes.kill(self._name)

    async def help_up(self, run: Run) -> None:
        processes.start_again(self._name)

        async def is_ready() -> bool:
            return ask("get", "--raw", "/readyz").returncode == 0

        await until("the API server is ready", is_ready)


class Pod:
    """The operator, or the reader."""

    def __init__(self, component: str) -> None:
        self._component = component
        self._pids: Sequence[int] = ()

    async def find(self, run: Run) -> None:
        async def found() -> Sequence[int]:
            return await pids(run.kube, self._component)

        self._pids = await until(f"the {self._component} runs", found)

    def kill(self, run: Run) -> None:
        kill(self._pids)

    async def help_up(self, run: Run) -> None:
        """Do what a minute would do: kubelet waits longer from crash to crash, and a lease has to run out."""
        selector = f"--selector={names.COMPONENT}={self._component}"
        kubectl("delete", "pods", f"--namespace={HOME}", selector, "--force", "--grace-period=0")
        if self._component == "operator":
            kubectl("delete", f"--namespace={HOME}", "lease/holdfast-operator", "--ignore-not-found")


class Mover:
    """The mover of a run, whose stages find it."""

    async def find(self, run: Run) -> None:
        """Is not there yet."""

    def kill(self, run: Run) -> None:
        kill([run.pid])

    async def help_up(self, run: Run) -> None:
        age_leases(run.storage / ".holdfast/leases", run.job)


def kill(victims: Sequence[int]) -> None:
    """Kill processes of Holdfast that were alive; fail when one has escaped."""
    assert victims
    assert all(is_alive(pid) for pid in victims), "it has ended by itself: the stage was missed"
    processes.kill_pids(victims, ours=lambda pid: b"\0-m\0holdfast\0" in _read(pid, "cmdline"))
