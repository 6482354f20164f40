"""The demo: one label, backups, everything lost, everything back. Any broken promise stops it.

It speaks to a cluster as a person would: the same manifests before and after, labels and annotations, and programs
that are not ours (`find`, `sha256sum`, in the apps' own pods) to compare the bytes.
"""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final, TypeVar

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from holdfast.cli import stage
from holdfast.cli.stage import Place
from holdfast.kube import errors, objects
from holdfast.kube.client import Kube
from holdfast.render import sentences

T = TypeVar("T")

NAMESPACE: Final = "demo"
PATIENCE: Final = timedelta(minutes=3)
LOOK: Final = 0.1
HOPELESS: Final = frozenset({"NoProgram", "Forbidden", "WrongPassword", "Misdirected", "NotEmpty", "BadOrder"})
APPS: Final[Mapping[str, str]] = {
    # What each app writes when it finds its volume empty.
    "notes": 'for i in $(seq 200); do echo "note $i of $(date +%s%N)" > "note-$i.md"; done; chmod 600 note-1.md',
    "photos": 'mkdir -p 2026/03; for i in 1 2 3; do head -c 8000000 /dev/urandom > "2026/03/$i.raw"; done',
    "newcomer": "true",
}
LOOK_AROUND: Final = """\
cd data
if [ -z "$(ls -A)" ]; then echo found nothing; {write}; else echo found data; fi
echo files "$(find . -type f | wc -l)"
echo hash "$(find . -type f -exec sha256sum {{}} + | LC_ALL=C sort | sha256sum | cut -c 1-16)"
echo modes "$(find . -printf '%P %m %U:%G %y %l\\n' | LC_ALL=C sort | sha256sum | cut -c 1-16)"
"""


class PromiseBroken(Exception):
    """Something that Holdfast promises did not hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Where the story plays: a cluster, a storage, and how the cluster is lost and made anew."""

    kube: Kube
    namespace: str  # Holdfast's
    engine: str
    place: Place
    prepare: Callable[[], Awaitable[None]]  # what a new cluster needs before ours: namespace, operator
    lose_everything: Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What an app saw when it started."""

    found: str
    files: int
    hash: str
    modes: str


@dataclass(slots=True)
class Story:
    """Tells the story; `play` raises PromiseBroken as soon as a promise does not hold."""

    stage: Stage
    console: Console
    secret: Mapping[str, Any]
    window: str  # until when the repository may be created
    began: float = field(default_factory=time.monotonic)
    sights: dict[str, Sight] = field(default_factory=dict)
    times: list[tuple[str, float]] = field(default_factory=list)

    async def play(self) -> None:
        """Play every scene."""
        await self.open()
        await self.label()
        await self.back_up()
        await self.lose()
        await self.return_(("notes", "photos"))
        await self.newcomer()
        await self.outage()
        await self.wrong_place()
        self.close()

    # Scenes

    async def open(self) -> None:
        self._say(
            f"[bold]Holdfast[/bold] on this machine: a small cluster made of plain processes, [cyan]{self.stage.engine}"
            f"[/cyan], and a repository at [cyan]{escape(self.stage.place.where)}[/cyan]."
        )
        await self._time("a cluster, its operator and a new repository", self._set_up())

    async def label(self) -> None:
        self._scene("One label")
        self._say("Two apps ask for a volume each. This one line is all that they say about backups:")
        self._say("    labels: {[bold green]backup: hourly[/bold green]}")
        for app in ("notes", "photos"):
            await self._deploy(app)
        both = await self._time("both start, empty", self._sights(("notes", "photos")))
        for app, seen in both.items():
            self._expect(seen.found == "nothing", "P1", f"{app} should have started empty")
            self.sights[app] = seen
            self._say(f"      {app} wrote {seen.files} files, sha256 {seen.hash}…")

    async def back_up(self) -> None:
        self._scene("Backups")
        for app in ("notes", "photos"):
            await self._annotate(app, "holdfast.dev/backup-now", str(time.time_ns()))
        both = await self._time("both are backed up", self._all_backed_up(("notes", "photos")))
        for app, memory in both.items():
            size, files = sentences.size(int(memory["bytes"])), memory["files"]
            self._say(f"      {app}: snapshot {str(memory['lastID'])[:16]}, {files} files, {size}")
        self._say("      each counts because it was found again, whole, in a fresh listing of the repository")

    async def lose(self) -> None:
        self._scene("Everything is lost")
        await self.stage.lose_everything()
        left = await self.stage.kube.list(objects.CLAIMS)
        self._expect(not left, "demo", "claims survived the disaster")
        self._say("The control plane's state and every volume are gone. Only the repository is left.")
        await self._time("a new, empty cluster with the same manifests", self._set_up())

    async def return_(self, apps: tuple[str, ...]) -> None:
        self._scene("The apps are created again")
        for app in apps:
            await self._deploy(app)
        for app, seen in (await self._time("both start, with their data", self._sights(apps))).items():
            self._same(app, seen)

    async def newcomer(self) -> None:
        self._scene("A newcomer, with the same label and no history")
        await self._deploy("newcomer")
        seen = await self._time("newcomer starts", self._sight("newcomer"))
        self._expect(seen.found == "nothing" and seen.files == 0, "P11", "a new claim must start empty")
        self._say("      it starts empty: two witnesses agree that it never had a backup")

    async def outage(self) -> None:
        self._scene("The storage is gone when a claim comes back")
        await self._remove("notes")
        await self.stage.place.vanish(self.stage.kube)
        await self._deploy("notes")
        await self._held("notes")
        await self.stage.place.reappear(self.stage.kube)
        self._say("The storage is back.")
        seen = await self._time("notes starts", self._sight("notes"))
        self._same("notes", seen)

    async def wrong_place(self) -> None:
        self._scene("The wrong prefix: a place that answers, and holds nothing")
        await self._remove("photos")
        await stage.point(self.stage.kube, self.stage.place.elsewhere())
        await self._deploy("photos")
        await self._held("photos")
        await stage.point(self.stage.kube, self.stage.place.spec())
        self._say("The Repository points to the right place again.")
        seen = await self._time("photos starts", self._sight("photos"))
        self._same("photos", seen)

    def close(self) -> None:
        self._scene("Every promise held")
        table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
        table.add_column(justify="right", style="cyan")
        table.add_column()
        for what, seconds in self.times:
            table.add_row(f"{seconds:.1f} s", what)
        table.add_row(f"{time.monotonic() - self.began:.1f} s", "[bold]all of it[/bold]")
        self.console.print(table)

    # What a person does

    async def _set_up(self) -> None:
        await self.stage.prepare()
        await self._create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
        await self._create(self.secret)
        await self._create(stage.repository(self.stage.engine, self.stage.place, self.window))
        await self._until("the repository to be ready", self._repository_ready)

    async def _create(self, manifest: Mapping[str, Any]) -> None:
        try:
            await self.stage.kube.create(manifest)
        except errors.AlreadyExists:
            await self.stage.kube.apply(manifest)

    async def _deploy(self, app: str) -> None:
        await self._create(claim(app))
        await self._create(pod(app))

    async def _remove(self, app: str) -> None:
        kube = self.stage.kube
        await kube.delete(objects.PODS, app, NAMESPACE)
        await kube.delete(objects.CLAIMS, app, NAMESPACE)

        async def gone() -> bool:
            try:
                await kube.get(objects.CLAIMS, app, NAMESPACE)
            except errors.NotFound:
                return True
            return False

        await self._until(f"{app}'s claim and volume to be deleted", gone)
        self._say(f"{app} and its volume are deleted.")

    async def _annotate(self, app: str, key: str, value: str) -> None:
        body = {"metadata": {"annotations": {key: value}}}
        await self.stage.kube.patch(objects.CLAIMS, app, NAMESPACE, body)

    # What a person sees

    async def _repository_ready(self) -> bool:
        item = await self.stage.kube.get(objects.REPOSITORIES, "default")
        found = condition(item)
        if found.get("reason") in HOPELESS:
            raise PromiseBroken(f"the repository cannot be used: {found['message']}")
        return found.get("status") == "True"

    async def _backed_up(self, app: str) -> Mapping[str, Any]:
        async def done() -> Mapping[str, Any] | None:
            memory = (await self._status(app)).get("backup") or {}
            if memory.get("failure"):
                raise PromiseBroken(f"the backup of {app} failed: {memory['failure']}")
            return memory if memory.get("lastID") else None

        return await self._until(f"{app} to be backed up", done)

    async def _all_backed_up(self, apps: tuple[str, ...]) -> Mapping[str, Mapping[str, Any]]:
        return {app: await self._backed_up(app) for app in apps}

    async def _sights(self, apps: tuple[str, ...]) -> Mapping[str, Sight]:
        return {app: await self._sight(app) for app in apps}

    async def _sight(self, app: str) -> Sight:
        async def ended() -> bool:
            found = await self.stage.kube.get(objects.PODS, app, NAMESPACE)
            phase = found.status.phase if found.status is not None else None
            if phase == "Failed":
                raise PromiseBroken(f"{app}'s pod failed")
            return phase == "Succeeded"

        await self._until(f"{app} to start", ended)
        said: dict[str, str] = {}
        async for line in self.stage.kube.logs(NAMESPACE, app, follow=False):
            word, _, rest = line.partition(" ")
            said[word] = rest
        return Sight(found=said["found"], files=int(said["files"]), hash=said["hash"], modes=said["modes"])

    async def _held(self, app: str) -> None:
        """Wait until the claim is said to wait, and see that its app is not started meanwhile."""

        async def waits() -> Mapping[str, Any] | None:
            found = (await self._status(app)).get("restore") or {}
            item = await self.stage.kube.get(objects.CLAIMS, app, NAMESPACE)
            fresh = found.get("claimUID") == item.metadata.uid
            settled = found.get("reason") not in ("ReaderDown", "RepositoryNotReady", "NotAskedYet")
            return found if fresh and settled and found.get("phase") == "Waiting" else None

        found = await self._time(f"{app} waits", self._until(f"{app} to say why it waits", waits))
        self._say(f"      [yellow]{escape(str(found['reason']))}[/yellow]: {escape(str(found['message']))}")
        claim_ = await self.stage.kube.get(objects.CLAIMS, app, NAMESPACE)
        pod_ = await self.stage.kube.get(objects.PODS, app, NAMESPACE)
        bound = claim_.status is not None and claim_.status.phase == "Bound"
        started = pod_.status is not None and pod_.status.phase != "Pending"
        self._expect(not bound and not started, "P1", f"{app} was started although nobody can tell")
        self._say("      its app has not been started: never empty on doubt")

    async def _status(self, app: str) -> Mapping[str, Any]:
        try:
            item = await self.stage.kube.get(objects.PROTECTIONS, app, NAMESPACE)
        except errors.NotFound:
            return {}
        return item.status or {}

    def _same(self, app: str, seen: Sight) -> None:
        before = self.sights[app]
        self._expect(seen.found == "data", "P1", f"{app} started without its data")
        self._expect(
            seen == Sight(found="data", files=before.files, hash=before.hash, modes=before.modes),
            "P6",
            f"{app} got other data than it had: {before} before, {seen} now",
        )
        kept = "modes and owners as before" if os.geteuid() == 0 else "modes as before; owners only root may set"
        self._say(f"      {app}: {seen.files} files, sha256 {seen.hash}…, {kept}")

    # Telling

    async def _until(self, what: str, look: Callable[[], Awaitable[T | None]]) -> T:
        deadline = time.monotonic() + PATIENCE.total_seconds()
        while time.monotonic() < deadline:
            found = await look()
            if found:
                return found
            await asyncio.sleep(LOOK)
        raise PromiseBroken(f"waited {PATIENCE.total_seconds():.0f} s in vain for {what}")

    async def _time(self, what: str, work: Awaitable[T]) -> T:
        start = time.monotonic()
        with self.console.status(f"{what} …"):
            result = await work
        seconds = time.monotonic() - start
        self.times.append((what, seconds))
        self._say(f"  [green]✓[/green] {what} [dim]({seconds:.1f} s)[/dim]")
        return result

    def _expect(self, holds: bool, promise: str, otherwise: str) -> None:
        if not holds:
            raise PromiseBroken(f"{promise}: {otherwise}")

    def _scene(self, title: str) -> None:
        self.console.print()
        self.console.rule(f"[bold]{title}[/bold]", align="left", style="dim")

    def _say(self, text: str) -> None:
        self.console.print(text, highlight=False, soft_wrap=True)


def condition(item: objects.Custom) -> Mapping[str, Any]:
    """Return a Repository's Ready condition; empty before it has one."""
    conditions = (item.status or {}).get("conditions") or ()
    return next((each for each in conditions if each.get("type") == "Ready"), {})


def claim(app: str) -> dict[str, Any]:
    """Return an app's claim, as its Git repository holds it."""
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": app, "namespace": NAMESPACE, "labels": {"backup": "hourly"}},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }


def pod(app: str) -> dict[str, Any]:
    """Return an app that says what it finds, and writes something when it finds nothing."""
    container = {
        "name": app,
        "image": "debian",
        "workingDir": "/",
        "command": ["sh", "-ec", LOOK_AROUND.format(write=APPS[app])],
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": app, "namespace": NAMESPACE},
        "spec": {
            "restartPolicy": "Never",
            "containers": [container],
            "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": app}}],
        },
    }
