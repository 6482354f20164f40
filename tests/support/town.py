"""A cluster with the operator in it, as behaviour tests use it: what people write, and what they see."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol, TypeVar

from holdfast.assemble import laptop
from holdfast.controllers import operator
from holdfast.controllers.operator import Operator
from holdfast.kube import errors, objects
from holdfast.kube.client import Kube
from holdfast.kube.objects import Kind
from holdfast.model.settings import Settings
from holdfast.render import install
from holdfast.sandbox.cluster import Cluster
from holdfast.sandbox.faults import Faults
from tests.support.programs import path_with_tools

T = TypeVar("T")

APPS = "apps"
IMAGE = "debian"  # pods of the sandbox run on this machine whatever their image is
PASSWORD_KEYS = {"kopia": "KOPIA_PASSWORD", "restic": "RESTIC_PASSWORD", "memory": "HOLDFAST_PASSWORD"}
SETTINGS = Settings(first_backup_after=timedelta(0))
AT_ONCE = {"terminationGracePeriodSeconds": 0}


class MovableClock:
    """The machine's clock, set ahead when a test says so; the operator and the cluster go by it, movers do not."""

    PIECE = 0.05

    def __init__(self) -> None:
        self._ahead = timedelta(0)

    def now(self) -> datetime:
        return datetime.now(UTC) + self._ahead

    async def sleep_until(self, when: datetime) -> None:
        while (left := when - self.now()) > timedelta():  # noqa: ASYNC110 # time itself is what is waited for
            await asyncio.sleep(min(left.total_seconds(), self.PIECE))

    def jump(self, by: timedelta) -> None:
        self._ahead += by


class AnyCluster(Protocol):
    """A sandbox, or a real cluster."""

    @property
    def kubeconfig(self) -> Path: ...

    @property
    def faults(self) -> Faults:
        """What happens to the operator's requests."""

    def pod_pid(self, namespace: str, name: str) -> int | None: ...

    def lose_everything(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What a town stands on: a cluster, and how one works in it."""

    cluster: AnyCluster
    settings: Settings
    as_operator: Callable[[], Kube]  # connects with the operator's own rights, where there are rights
    image: str  # of apps, which need a shell
    unarmed: Callable[[], contextlib.AbstractContextManager[None]]  # the cluster before its policies were there
    bytes_of: Callable[[objects.PersistentVolume], Path]  # where a volume's bytes are on this machine
    admit: Callable[[Mapping[str, Any]], None] | None = None  # applies rights, where there are any


Opener = Callable[[Path, Settings, MovableClock], contextlib.AbstractAsyncContextManager[Ground]]


@contextlib.asynccontextmanager
async def on_sandbox(directory: Path, settings: Settings, clock: MovableClock) -> AsyncIterator[Ground]:
    """Yield a sandbox, which has no rights and lets the operator do what people may."""
    cluster = laptop.sandbox(
        directory / "cluster", replace(settings), environment={"PATH": path_with_tools()}, now=clock.now
    )
    async with cluster:
        connect = lambda: Kube.connect(cluster.kubeconfig)  # noqa: E731
        unarmed = lambda: without_admission(cluster)  # noqa: E731
        yield Ground(
            cluster=cluster,
            settings=settings,
            as_operator=connect,
            image=IMAGE,
            unarmed=unarmed,
            bytes_of=directory_of,
        )


def directory_of(volume: objects.PersistentVolume) -> Path:
    """Return the directory that a volume of kind hostPath or local is."""
    return Path((volume.spec.host_path or volume.spec.local or {})["path"])


@contextlib.contextmanager
def without_admission(cluster: Cluster) -> Iterator[None]:
    admit, cluster.store.admit = cluster.store.admit, None
    try:
        yield
    finally:
        cluster.store.admit = admit


@dataclass(kw_only=True)
class Town:
    """One cluster, one repository directory, one operator in this process (its movers and readers are not)."""

    directory: Path
    engine: str
    cluster: AnyCluster
    kube: Kube
    clock: MovableClock
    settings: Settings = SETTINGS
    storage: Mapping[str, Any] | None = None  # None: the directory of this town
    keys: Mapping[str, str] = field(default_factory=dict)  # the storage's
    as_operator: Callable[[], Kube] | None = None
    before_policies: Callable[[], contextlib.AbstractContextManager[None]] | None = None
    bytes_of: Callable[[objects.PersistentVolume], Path] = directory_of
    image: str = IMAGE
    admit: Callable[[Mapping[str, Any]], None] | None = None
    operator: Operator | None = None
    _life: asyncio.Task[None] | None = field(default=None)

    @property
    def repository(self) -> Path:
        return self.directory / "repository"

    @property
    def sandbox(self) -> Cluster:
        """Return the cluster, of a test that needs what only the sandbox has."""
        assert isinstance(self.cluster, Cluster)
        return self.cluster

    # The operator

    async def start(self) -> None:
        """Start the operator, as a new process would."""
        begun: asyncio.Future[Operator] = asyncio.get_running_loop().create_future()
        self._life = asyncio.create_task(self._live(begun))

        def ended(life: "asyncio.Task[None]") -> None:
            if not begun.done():
                begun.set_exception(_cause(life))

        self._life.add_done_callback(ended)
        self.operator = await begun

    async def _live(self, begun: "asyncio.Future[Operator]") -> None:
        assert self.as_operator is not None
        kube = self.as_operator()
        try:
            async with asyncio.TaskGroup() as tasks:
                begun.set_result(await operator.control(kube, self.settings, self.clock, tasks))
        finally:
            await kube.aclose()

    async def stop(self) -> None:
        """Stop the operator wherever it is."""
        if self._life is not None:
            self._life.cancel()
            await asyncio.gather(self._life, return_exceptions=True)
            self._life = self.operator = None

    def unarmed(self) -> contextlib.AbstractContextManager[None]:
        """Let claims be created as in a cluster that is not armed yet."""
        assert self.before_policies is not None
        return self.before_policies()

    async def lose_everything(self) -> None:
        """Lose the cluster; a new one stands in its place, with the same Repository and a new operator."""
        await self.stop()
        self.cluster.lose_everything()
        await self.furnish()
        await self.start()

    # What people write

    async def furnish(self, **spec: Any) -> None:
        """Put in place the namespaces, the Secret and the Repository."""
        for name in (self.settings.namespace, APPS):
            await self.kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        await self.write_secret("correct horse")
        await self.write_repository(**spec)

    async def write_secret(self, password: str) -> None:
        await self.kube.apply(
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": "default-repository", "namespace": self.settings.namespace},
                "stringData": {PASSWORD_KEYS[self.engine]: password, **self.keys},
            }
        )

    async def write_repository(self, name: str = "default", path: Path | None = None, **spec: Any) -> None:
        directory = {"filesystem": {"hostPath": str(path or self.repository)}}
        plain = {
            "engine": self.engine,
            "storage": self.storage if self.storage is not None and path is None else directory,
            "credentials": {"secretRef": {"name": "default-repository"}},
            "initializeUntil": (self.clock.now() + timedelta(hours=1)).isoformat(timespec="seconds"),
        }
        await self.kube.apply(
            {
                "apiVersion": "holdfast.dev/v1alpha1",
                "kind": "Repository",
                "metadata": {"name": name},
                "spec": plain | spec,
            }
        )

    async def claim(
        self,
        name: str,
        *,
        labels: Mapping[str, str] | None = None,
        annotations: Mapping[str, str] | None = None,
        restore: str | None = None,
        namespace: str = APPS,
        storage_class: str = "standard",
    ) -> None:
        """Create a claim; by default with the one label."""
        spec: dict[str, Any] = {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "64Mi"}},
            "storageClassName": storage_class,
        }
        if restore is not None:
            spec["dataSourceRef"] = {"apiGroup": "holdfast.dev", "kind": "Restore", "name": restore}
        await self.kube.create(
            {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "metadata": {
                    "name": name,
                    "namespace": namespace,
                    "labels": dict({"backup": "hourly"} if labels is None else labels),
                    "annotations": dict(annotations or {}),
                },
                "spec": spec,
            }
        )

    async def app(self, claim: str, script: str, *, name: str | None = None, namespace: str = APPS) -> None:
        """Create a pod that runs a shell script in the claim's volume, once it may start."""
        container = {
            "name": "app",
            "image": self.image,
            "command": ["sh", "-ec", f"cd data\n{script}"],
            "volumeMounts": [{"name": "data", "mountPath": "/data"}],
        }
        await self.create_pod(
            name or claim,
            {
                "restartPolicy": "Never",
                "containers": [container],
                "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": claim}}],
            },
            namespace,
        )

    async def create_pod(self, name: str, spec: Mapping[str, Any], namespace: str = APPS) -> None:
        """Create a pod, as soon as its namespace lets pods in."""
        meta = {"name": name, "namespace": namespace}
        made = {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": {**AT_ONCE, **spec}}

        async def is_let_in() -> bool:
            try:
                await self.kube.create(made)
            except errors.Forbidden as error:
                if "serviceaccount" not in error.message:
                    raise
                return False
            return True

        await self.until(f"namespace {namespace} has its service account", is_let_in)

    async def run(self, claim: str, script: str, *, name: str | None = None, namespace: str = APPS) -> str:
        """Run a script in the claim's volume, wait for its end and return what it printed."""
        pod = name or claim
        await self.app(claim, script, name=pod, namespace=namespace)
        await self.app_ended(pod, namespace=namespace)
        lines = [line async for line in self.kube.logs(namespace, pod, follow=False)]
        await self.remove(objects.PODS, pod, namespace)
        return "\n".join(lines)

    async def back_up(self, claim: str, namespace: str = APPS) -> str:
        """Ask for a backup now, wait until it counts, and return the snapshot's id."""
        before = (await self.backup(claim, namespace)).get("lastID")
        value = str(time.time_ns())
        await self.annotate(claim, {"holdfast.dev/backup-now": value}, namespace)

        async def served() -> str | None:
            memory = await self.backup(claim, namespace)
            done = memory.get("servedNow") == value and memory.get("lastID") != before
            return memory["lastID"] if done else None

        return await self.until(f"{claim} is backed up", served)

    async def let_guests(self, namespace: str = APPS) -> None:
        """Let movers work in the namespace, as an administrator does."""
        label, *rights = install.guest(self.settings, namespace)
        await self.kube.apply(label)
        if self.admit is not None:
            for manifest in rights:
                await asyncio.to_thread(self.admit, manifest)

    async def annotate(self, claim: str, annotations: Mapping[str, str | None], namespace: str = APPS) -> None:
        await self.kube.patch(objects.CLAIMS, claim, namespace, {"metadata": {"annotations": dict(annotations)}})

    async def remove(self, kind: Kind[Any], name: str, namespace: str = APPS) -> None:
        """Delete an object and wait until it is gone."""
        await self.kube.delete(kind, name, namespace)

        async def gone() -> bool:
            return await self.find(kind, name, namespace) is None

        await self.until(f"{kind.kind} {name} is gone", gone)

    # What people see

    async def find(self, kind: Kind[Any], name: str, namespace: str | None = APPS) -> Any:
        try:
            return await self.kube.get(kind, name, namespace)
        except errors.NotFound:
            return None

    async def protection(self, claim: str, namespace: str = APPS) -> Mapping[str, Any]:
        found = await self.find(objects.PROTECTIONS, claim, namespace)
        return (found.status or {}) if found is not None else {}

    async def backup(self, claim: str, namespace: str = APPS) -> Mapping[str, Any]:
        return (await self.protection(claim, namespace)).get("backup") or {}

    async def restore(self, claim: str, namespace: str = APPS) -> Mapping[str, Any]:
        return (await self.protection(claim, namespace)).get("restore") or {}

    async def is_bound(self, claim: str, namespace: str = APPS) -> bool:
        found = await self.find(objects.CLAIMS, claim, namespace)
        return found is not None and found.status is not None and found.status.phase == "Bound"

    async def events(self, name: str) -> list[str]:
        """Return `reason: message` of every Event on an object of this name."""
        found = await self.kube.list(objects.EVENTS)
        return [f"{each.reason}: {each.message}" for each in found if each.involved_object.name == name]

    async def told(self, name: str, beginning: str) -> str:
        """Wait until an Event on an object of this name begins like this; return it."""

        async def found() -> str | None:
            return next((line for line in await self.events(name) if line.startswith(beginning)), None)

        return await self.until(f"{name} is told {beginning}", found)

    async def condition(self, name: str = "default") -> Mapping[str, Any]:
        item = await self.find(objects.REPOSITORIES, name, None)
        conditions: list[Mapping[str, Any]] = ((item.status or {}) if item is not None else {}).get("conditions") or []
        return conditions[0] if conditions else {}

    async def ready(self, name: str = "default") -> Mapping[str, Any]:
        async def is_ready() -> Mapping[str, Any] | None:
            found = await self.condition(name)
            return found if found.get("status") == "True" else None

        return await self.until(f"repository {name} is ready", is_ready)

    async def waits(self, claim: str, reason: str, namespace: str = APPS) -> str:
        """Wait until the claim is said to wait for this reason; return the sentence."""

        async def waiting() -> str | None:
            found = await self.restore(claim, namespace)
            item = await self.find(objects.CLAIMS, claim, namespace)
            fresh = item is not None and found.get("claimUID") == item.metadata.uid
            right = found.get("phase") == "Waiting" and found.get("reason") == reason
            return str(found["message"]) if fresh and right else None

        return await self.until(f"{claim} waits for {reason}", waiting)

    async def app_ended(self, pod: str, *, namespace: str = APPS) -> None:
        async def ended() -> bool:
            found = await self.find(objects.PODS, pod, namespace)
            phase = found.status.phase if found is not None and found.status is not None else None
            assert phase != "Failed", f"pod {pod} failed"
            return phase == "Succeeded"

        await self.until(f"app {pod} ended", ended)

    async def settled(self) -> None:
        """Wait until no helper object of ours is left in Holdfast's namespace."""
        namespace = self.settings.namespace

        async def clean() -> bool:
            left = [*await self.kube.list(objects.CLAIMS, namespace), *await self.kube.list(objects.JOBS, namespace)]
            return not left

        await self.until("helpers are cleared", clean)

    async def caught(self, kind: str, namespace: str | None = None) -> int:
        """Stop the next mover whose name begins like this where it is; return its process id."""
        place = namespace or self.settings.namespace

        async def found() -> int | None:
            for pod in await self.kube.list(objects.PODS, place):
                if pod.metadata.name.startswith(kind):
                    return self.cluster.pod_pid(place, pod.metadata.name)
            return None

        pid = await self.until(f"a mover runs for {kind}", found)
        os.kill(pid, signal.SIGSTOP)
        return pid

    async def until(self, what: str, look: Callable[[], Awaitable[T | None]], seconds: float = 60) -> T:
        """Return what `look` finds as soon as it is true; fail, saying what was waited for."""
        deadline = time.monotonic() + seconds
        while True:
            found = await look()
            if found:
                return found
            assert time.monotonic() < deadline, f"waited {seconds} s in vain: {what}\n{await self._picture()}"
            await asyncio.sleep(0.05)

    async def _picture(self) -> str:
        lines: list[str] = []
        lines += [f"{each.key}: {each.status}" for each in await self.kube.list(objects.PROTECTIONS)]
        lines += [f"{each.key}: {each.status}" for each in await self.kube.list(objects.REPOSITORIES)]
        for each in await self.kube.list(objects.CLAIMS):
            lines.append(f"claim {each.key}: {each.status.phase if each.status else None}")
        for event in await self.kube.list(objects.EVENTS):
            lines.append(f"{event.involved_object.name}: {event.reason}: {event.message}")
        return "\n".join(lines)


def _cause(life: "asyncio.Task[None]") -> BaseException:
    if life.cancelled():
        return asyncio.CancelledError()
    return life.exception() or RuntimeError("the operator ended")


@contextlib.asynccontextmanager
async def founded(
    directory: Path,
    engine: str = "memory",
    settings: Settings = SETTINGS,
    storage: Mapping[str, Any] | None = None,
    keys: Mapping[str, str] | None = None,
    opener: Opener = on_sandbox,
) -> AsyncIterator[Town]:
    """Yield a town whose repository is ready."""
    (directory / "repository").mkdir()
    clock = MovableClock()
    async with opener(directory, settings, clock) as ground:
        kube = Kube.connect(ground.cluster.kubeconfig, trust_env=False)
        town = Town(
            directory=directory,
            engine=engine,
            cluster=ground.cluster,
            kube=kube,
            clock=clock,
            settings=ground.settings,
            storage=storage,
            keys=keys or {},
            as_operator=ground.as_operator,
            before_policies=ground.unarmed,
            bytes_of=ground.bytes_of,
            image=ground.image,
            admit=ground.admit,
        )
        try:
            await town.furnish()
            await town.start()
            await town.ready()
            yield town
        finally:
            await town.stop()
            await kube.aclose()
