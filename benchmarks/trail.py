"""When each thing of one run happened: seen by watches, by containerd's events and in the mover's log, by one clock."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final, TextIO

import msgspec

from holdfast.kube import objects
from holdfast.kube.client import Kube
from holdfast.kube.informer import Change, Informer
from holdfast.model.claim import ClaimRef
from holdfast.render import claims, names
from tests.cluster import places
from tests.e2e.town import HOME

BARE: Final = "bare"  # the pod that runs the engine by itself
APP: Final = "app"
_PREFIX: Final = {BARE: "", APP: "app-"}
_ENGINES: Final = ("kopia snapshot create", "kopia snapshot restore", "restic backup", "restic restore")
_PATIENCE: Final = timedelta(seconds=30)


class Container(objects.ContainerStatus, frozen=True, kw_only=True):
    container_id: str | None = msgspec.field(name="containerID", default=None)


class PodStatus(objects.PodStatus, frozen=True, kw_only=True):
    container_statuses: list[Container] | None = None  # type: ignore[assignment]  # only read


class Pod(objects.Pod, frozen=True, kw_only=True):
    status: PodStatus | None = None


PODS: Final = replace(objects.PODS, struct=Pod)


@dataclass(kw_only=True)
class Run:
    """The moments of one claim's run, by the machine's clock; `value` is that of backup-now, which tells its end."""

    claim: ClaimRef
    value: str = ""
    moments: dict[str, float] = field(default_factory=dict)
    containers: dict[str, str] = field(default_factory=dict)  # id → what its moments begin with
    tasks: dict[tuple[str, str], float] = field(default_factory=dict)  # containerd's topic and id → when
    pod: str | None = None  # the directory of the mover's logs
    log: TextIO | None = None
    failure: str | None = None

    def note(self, moment: str, at: float | None = None) -> None:
        """Note a moment the first time that it is seen."""
        self.moments.setdefault(moment, time.time() if at is None else at)

    def note_tasks(self) -> None:
        for (topic, container), at in self.tasks.items():
            if container in self.containers:
                self.note(self.containers[container] + ("started" if topic == "/tasks/start" else "exited"), at)

    def open_log(self) -> None:
        """Open the mover's log as soon as it is there: it is deleted with the pod."""
        path = places.STATE / "pod-logs" / (self.pod or "-") / "mover" / "0.log"
        if self.log is None and path.exists():
            self.log = path.open(encoding="utf-8", errors="replace")

    def read_log(self) -> None:
        """Note what the mover says: when its Python ran, and what of its time was the engine's."""
        for line in self.log.read().splitlines() if self.log is not None else ():
            with contextlib.suppress(ValueError, KeyError, TypeError):  # progress, or half a line
                told = json.loads(line.split(" ", 3)[3])
                at = datetime.fromisoformat(told["time"]).timestamp()
                match told["event"]:
                    case "mover.started":
                        self.note("begun", at)
                    case "mover.finished":
                        self.note("done", at)
                    case "program.ended" if told["program"].startswith(_ENGINES):
                        self.note("engine-begun", at - told["seconds"])
                        self.note("engine-done", at)


class Trail:
    """Watches a cluster in which one run goes on at a time."""

    def __init__(self, kube: Kube) -> None:
        self._run = Run(claim=ClaimRef(namespace="-", name="-"))
        self._changed = asyncio.Event()
        self._informers: list[Informer[Any]] = []
        listeners: Mapping[objects.Kind[Any], Any] = {
            objects.CLAIMS: self._claim,
            objects.VOLUMES: self._volume,
            objects.SNAPSHOTS: self._snapshot,
            objects.JOBS: self._job,
            objects.PROTECTIONS: self._protection,
            PODS: self._pod,
        }
        for kind, listen in listeners.items():
            informer: Informer[Any] = Informer(kube, kind)
            informer.add_listener(listen)
            self._informers.append(informer)

    @contextlib.asynccontextmanager
    async def watching(self) -> AsyncIterator["Trail"]:
        """Watch for the time of the block."""
        async with asyncio.TaskGroup() as tasks:
            begun = [tasks.create_task(each.run()) for each in self._informers]
            begun.append(tasks.create_task(self._listen()))
            for informer in self._informers:
                await informer.wait_complete(_PATIENCE)
            yield self
            for each in begun:
                each.cancel()

    async def _listen(self) -> None:
        """Take containerd's events: Kubernetes tells of a container's start and end late, and in whole seconds."""
        argv = ("ctr", f"--address={places.CONTAINERD}", "--namespace=k8s.io", "events")
        events = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE)
        assert events.stdout is not None
        try:
            async for line in events.stdout:
                self._task(line.decode())
        finally:
            with contextlib.suppress(ProcessLookupError):
                events.terminate()
            await events.wait()

    def begin(self, claim: ClaimRef, value: str = "") -> None:
        """Watch a run that begins now."""
        if self._run.log is not None:
            self._run.log.close()
        self._run = Run(claim=claim, value=value)
        self._note("due")

    async def reached(self, moment: str, seconds: float = 300) -> Mapping[str, float]:
        """Wait for a moment; return all of them in seconds since the run was due."""
        run = self._run
        try:
            async with asyncio.timeout(seconds):
                while moment not in run.moments:
                    if run.failure is not None:
                        raise SystemExit(f"{run.claim}: {run.failure}")
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise SystemExit(f"{run.claim}: waited {seconds:g} s for {moment}; seen: {run.moments}") from None
        run.read_log()
        due = run.moments["due"]
        return {name: at - due for name, at in run.moments.items()}

    def _note(self, *moments: str) -> None:
        for moment in moments:
            self._run.note(moment)
        self._changed.set()

    # What is seen

    def _claim(self, change: Change[objects.PersistentVolumeClaim]) -> None:
        item = change.new
        if item is None or item.is_deleting:
            return
        bound = item.status is not None and item.status.phase == "Bound"
        if item.annotations.get(claims.CLAIM) == str(self._run.claim):
            self._note("claim", *(("bound",) if bound else ()))
        elif str(item.key) == str(self._run.claim):
            chosen = claims.SELECTED_NODE in item.annotations
            self._note(*(("node",) if chosen else ()), *(("app-bound",) if bound else ()))

    def _volume(self, change: Change[objects.PersistentVolume]) -> None:
        owner = change.new.spec.claim_ref if change.new is not None else None
        if owner is not None and f"{owner.namespace}/{owner.name}" == str(self._run.claim):
            self._note("given")

    def _snapshot(self, change: Change[objects.VolumeSnapshot]) -> None:
        item = change.new
        if item is not None and item.status is not None and item.status.ready_to_use and not item.is_deleting:
            self._note("offered" if item.metadata.namespace == HOME else "snapshot")

    def _job(self, change: Change[objects.Job]) -> None:
        if change.new is not None and change.new.annotations.get(claims.CLAIM) == str(self._run.claim):
            self._note("job")

    def _protection(self, change: Change[objects.Protection]) -> None:
        if change.new is None or str(change.key) != str(self._run.claim) or not self._run.value:
            return
        backup = (change.new.status or {}).get("backup") or {}
        if backup.get("servedNow") == self._run.value:
            self._note("counted")
        elif backup.get("failedNow") == self._run.value:
            self._run.failure = backup.get("failure")
            self._changed.set()

    def _pod(self, change: Change[Pod]) -> None:
        item, run = change.new, self._run
        if item is None or item.is_deleting:
            return
        is_mover = item.metadata.namespace == HOME and item.labels.get(names.COMPONENT) == "mover"
        prefix = "" if is_mover else _PREFIX.get(item.metadata.name)
        if prefix is None:
            return
        self._note(f"{prefix}pod")
        if item.spec.node_name:
            self._note(f"{prefix}scheduled")
        if is_mover:
            run.pod = f"{HOME}_{item.metadata.name}_{item.metadata.uid}"
        for status in (item.status.container_statuses if item.status else None) or ():
            if status.container_id:
                run.containers[status.container_id.rpartition("/")[2]] = prefix
            if status.state is not None and status.state.terminated is not None:
                self._note(f"{prefix}ended")
                if status.state.terminated.exit_code != 0 and not is_mover:
                    run.failure = f"pod {item.key} ended: {status.state.terminated}"
        run.note_tasks()

    def _task(self, line: str) -> None:
        """Take a line of `ctr events`: date, time, zone, zone's name, namespace, topic, and JSON."""
        date, clock, _, _, _, topic, text = line.split(" ", 6)
        if topic not in ("/tasks/start", "/tasks/exit"):
            return
        at = datetime.fromisoformat(f"{date} {clock[:15]}+00:00").timestamp()
        self._run.tasks.setdefault((topic, json.loads(text)["container_id"]), at)
        self._run.open_log()
        self._run.note_tasks()
        self._changed.set()
