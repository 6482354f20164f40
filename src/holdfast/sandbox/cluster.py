"""A cluster on a laptop: the store, its server and its parts, in one process and one directory."""

import asyncio
import fcntl
import json
import logging
import os
import platform
import secrets
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from holdfast.sandbox.actors import jobs, runner
from holdfast.sandbox.actors.binder import RESYNC, Binder
from holdfast.sandbox.actors.collector import Collector
from holdfast.sandbox.actors.deployments import Deployments
from holdfast.sandbox.actors.jobs import Jobs
from holdfast.sandbox.actors.processes import ProcessLauncher
from holdfast.sandbox.actors.provisioner import DIRECTORY, IGNORES_SOURCES, Provisioner, remove_tree
from holdfast.sandbox.actors.reporting import NODE, Actor
from holdfast.sandbox.actors.runner import Runner
from holdfast.sandbox.actors.scheduler import Scheduler
from holdfast.sandbox.exchange import Exchange
from holdfast.sandbox.faults import Faults
from holdfast.sandbox.journal import Journal
from holdfast.sandbox.server import Server
from holdfast.sandbox.store.history import Change
from holdfast.sandbox.store.messages import Logs
from holdfast.sandbox.store.ownership import Writer
from holdfast.sandbox.store.refusal import bad_request
from holdfast.sandbox.store.store import DEFAULT_CLASS, Admit, Store
from holdfast.sandbox.store.values import Json
from holdfast.sandbox.transport import StoreTransport

log = logging.getLogger(__name__)

NAMESPACES: Final = ("default", "kube-system")
_LETTERS: Final = "bcdfghjklmnpqrstvwxz2456789"
_LOOK_AGAIN_SECONDS: Final = 0.2
_AFTER_FAILURE_SECONDS: Final = 1.0
_PASSED_ON: Final = ("PATH", "LANG", "HOLDFAST_TOOLS", "SSL_CERT_FILE")


class DirectoryInUse(Exception):
    """Another sandbox runs in this directory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How long the cluster's parts wait before they try something again; the defaults are Kubernetes' own."""

    job_retry: timedelta = jobs.RETRY
    restart: timedelta = runner.RESTART
    resync: timedelta = RESYNC


def utc_now() -> datetime:
    return datetime.now(UTC)


class Cluster:
    """An async context: started inside, stopped (its processes killed, its state kept) at the end."""

    def __init__(
        self,
        directory: Path,
        crds: Iterable[Json] = (),
        admit: Admit | None = None,
        *,
        now: Callable[[], datetime] = utc_now,
        environment: Mapping[str, str] | None = None,
        pace: Pace = Pace(),
    ) -> None:
        self.directory: Final = directory.resolve()
        self.volumes: Final = self.directory / "volumes"
        self.faults: Final = Faults()
        self.token: Final = secrets.token_urlsafe(32)
        self.url = ""
        self.store: Final = Store(now=now, new_uid=_new_uid, new_suffix=_new_suffix, admit=admit)
        self.exchange: Final = Exchange(store=self.store, faults=self.faults, logs=self._logs)
        self._crds: Final = tuple(crds)
        self._server: Final = Server(self.exchange, self.token)
        self._launcher: Final = ProcessLauncher()
        self._woken: Final = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._driver: asyncio.Task[None] | None = None
        self._lock: int | None = None
        self._environment: Final = dict(environment) if environment is not None else _inherited()
        self._runner: Final = Runner(
            store=self.store,
            launcher=self._launcher,
            directory=self.directory / "pods",
            wake=self._wake_from_thread,
            environment=self._environment,
            restart=pace.restart,
        )
        self._journal: Final = Journal(self.directory, self.store)
        self._pace: Final = pace
        self._actors: tuple[Actor, ...] = ()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def kubeconfig(self) -> Path:
        return self.directory / "kubeconfig"

    def transport(self) -> StoreTransport:
        """Return a transport for an httpx2 client in this process."""
        return StoreTransport(self.exchange)

    async def start(self) -> Path:
        """Take over what an earlier run left, begin to serve, and return the path of the kubeconfig.

        Raises DirectoryInUse when another sandbox runs there.
        """
        self.volumes.mkdir(mode=0o755, parents=True, exist_ok=True)
        self._lock = _locked(self.directory)
        self._loop = asyncio.get_running_loop()
        self._journal.open()
        self._furnish()
        self._actors = (
            Collector(self.store),
            Binder(self.store, resync=self._pace.resync),
            Provisioner(self.store, self.volumes),
            Scheduler(self.store),
            Jobs(self.store, retry=self._pace.job_retry),
            Deployments(self.store),
            self._runner,
        )
        port = await self._server.start()
        self.url = f"http://127.0.0.1:{port}"
        self._environment["KUBECONFIG"] = str(self.kubeconfig)
        _write_private(self.kubeconfig, _kubeconfig(self.url, self.token))
        self.store.listeners.add(self._wake)
        self._driver = asyncio.create_task(self._drive())
        return self.kubeconfig

    async def stop(self) -> None:
        """Stop serving and kill every pod's processes; the state stays on disk."""
        if self._driver is not None:
            self._driver.cancel()
            await asyncio.gather(self._driver, return_exceptions=True)
            self._driver = None
        self.store.listeners.discard(self._wake)
        await self._server.stop()
        self._runner.stop()
        self._launcher.close()
        self._journal.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    async def outage(self, seconds: float) -> None:
        """Refuse every connection for that long, then serve again at the same address."""
        port = int(self.url.rpartition(":")[2])
        await self._server.stop()
        await asyncio.sleep(seconds)
        await self._server.start(port)

    def lose_everything(self) -> None:
        """Lose the cluster: every object, every pod and every volume. A new, empty cluster stands in its place."""
        self._runner.stop()
        self.store.wiped()
        for name in ("volumes", "pods"):
            remove_tree(self.directory / name)
        self.volumes.mkdir(mode=0o755)
        self._furnish()
        self._journal.rewrite()
        self._woken.set()

    def pod_pid(self, namespace: str, name: str) -> int | None:
        """Return the process id of a pod's command, or None while it has none."""
        return self._runner.pid(namespace, name)

    def _furnish(self) -> None:
        """Put in place what every cluster has, and the kinds that were asked for."""
        for kind_name, body in _furniture():
            kind = self.store.kind_named(kind_name)
            if self.store.find(kind, "", body["metadata"]["name"]) is None:
                self.store.create(kind, "", body, Writer(manager="sandbox"))
        self.store.load(self._crds)

    def _wake(self, _: Change) -> None:
        self._woken.set()

    def _wake_from_thread(self) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._woken.set)

    async def _drive(self) -> None:
        """Let each part take its step whenever something changed or is due."""
        loop = asyncio.get_running_loop()
        while True:
            self._woken.clear()
            began = loop.time()
            due = [self._stepped(actor) for actor in self._actors]
            soonest = min((each for each in due if each is not None), default=None)
            await asyncio.sleep(loop.time() - began)  # requests get as much time as the parts do
            try:
                async with asyncio.timeout(soonest):
                    await self._woken.wait()
            except TimeoutError:
                continue

    def _stepped(self, actor: Actor) -> float | None:
        try:
            return actor.step()
        except Exception:  # an object that one part trips over must not stop the others
            log.exception("sandbox.actor.failed", extra={"actor": type(actor).__name__})
            return _AFTER_FAILURE_SECONDS

    def _logs(self, logs: Logs) -> AsyncIterator[bytes]:
        path = self._runner.log(logs.uid)
        if not path.exists():
            raise bad_request(f"container of pod {logs.name} is waiting to start")
        return self._log_lines(logs, path)

    async def _log_lines(self, logs: Logs, path: Path) -> AsyncIterator[bytes]:
        """Yield the log as it is, and when following as it grows until the pod has ended."""
        with path.open("rb") as file:
            content = file.read()
            if logs.tail_lines is not None:
                lines = content.splitlines(keepends=True)
                content = b"".join(lines[max(0, len(lines) - logs.tail_lines) :])
            yield content
            while logs.follow and not self.exchange.stopping.is_set():
                is_over = self._is_over(logs)
                more = file.read()
                if more:
                    yield more
                elif is_over:
                    return
                else:
                    await asyncio.sleep(_LOOK_AGAIN_SECONDS)

    def _is_over(self, logs: Logs) -> bool:
        pod = self.store.find(self.store.kind_named("Pod"), logs.namespace, logs.name)
        if pod is None or pod["metadata"]["uid"] != logs.uid:
            return True
        return pod["status"]["phase"] in ("Succeeded", "Failed")


def _furniture() -> Iterable[tuple[str, Json]]:
    for name in NAMESPACES:
        yield "Namespace", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    labels = {
        "kubernetes.io/hostname": NODE,
        "kubernetes.io/os": platform.system().lower(),
        "kubernetes.io/arch": platform.machine(),
    }
    yield "Node", {"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE, "labels": labels}, "spec": {}}
    for name, provisioner, mode in (
        ("standard", DIRECTORY, "WaitForFirstConsumer"),
        ("immediate", DIRECTORY, "Immediate"),
        ("ignores-sources", IGNORES_SOURCES, "WaitForFirstConsumer"),
    ):
        annotations = {DEFAULT_CLASS: "true"} if name == "standard" else {}
        body: Json = {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {"name": name, "annotations": annotations},
            "provisioner": provisioner,
            "reclaimPolicy": "Delete",
            "volumeBindingMode": mode,
        }
        yield "StorageClass", body


def _kubeconfig(url: str, token: str) -> str:
    """Return a kubeconfig; JSON is YAML too."""
    name = "holdfast-sandbox"
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": name, "cluster": {"server": f"{url}/{token}"}}],
            "users": [{"name": name, "user": {"token": token}}],
            "contexts": [{"name": name, "context": {"cluster": name, "user": name, "namespace": "default"}}],
            "current-context": name,
        },
        indent=2,
    )


def _write_private(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(file, "w", encoding="utf-8") as out:
        out.write(text)


def _locked(directory: Path) -> int:
    """Return the descriptor of the directory's lock, which ends with this process."""
    file = os.open(directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(file)
        raise DirectoryInUse(f"another sandbox runs in {directory}: stop it, or name another directory") from error
    return file


def _inherited() -> dict[str, str]:
    return {name: os.environ[name] for name in _PASSED_ON if name in os.environ}


def _new_uid() -> str:
    return str(uuid.uuid4())


def _new_suffix() -> str:
    return "".join(secrets.choice(_LETTERS) for _ in range(5))
