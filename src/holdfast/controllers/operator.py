"""The operator: every controller on its own queue, fed by the informers, under one lease."""

import asyncio
import logging
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Final

from holdfast.controllers import inventory
from holdfast.controllers.backup import Backups
from holdfast.controllers.inventory import Inventories
from holdfast.controllers.loop import Clock, Loop
from holdfast.controllers.orphans import Orphans
from holdfast.controllers.populate import Populate
from holdfast.controllers.protect import Protector
from holdfast.controllers.repository import Repositories
from holdfast.controllers.unheld import Unheld
from holdfast.controllers.world import Informers, Met, World, used_claims
from holdfast.decide import admission
from holdfast.kube import errors, objects
from holdfast.kube.client import Kube
from holdfast.kube.events import Recorder
from holdfast.kube.informer import Change, Informer
from holdfast.kube.lease import Leadership
from holdfast.kube.objects import Key
from holdfast.kube.snapshots import SnapshotClasses
from holdfast.model.claim import ClaimRef, Identity
from holdfast.model.settings import Settings
from holdfast.render import chooser, claims, names

log = logging.getLogger(__name__)

LEASE: Final = "holdfast-operator"
PATIENCE: Final = timedelta(seconds=30)


async def run(kube: Kube, settings: Settings, clock: Clock, identity: str) -> None:
    """Lead, then control, until cancelled; raise NotLeading when the lease is lost."""
    leadership = Leadership(kube, name=LEASE, identity=identity, namespace=settings.namespace)
    await leadership.acquire()
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(leadership.hold(), name="lease")
            await control(kube.guarded(leadership.leads), settings, clock, tasks)
    finally:
        await leadership.release()


async def control(kube: Kube, settings: Settings, clock: Clock, tasks: asyncio.TaskGroup) -> "Operator":
    """Start informers and controllers in `tasks`; return once every kind has been listed whole."""
    informers = Informers.of(kube, settings)
    events = Recorder(kube, now=clock.now)
    world = World(
        kube=kube,
        settings=settings,
        informers=informers,
        events=events,
        now=clock.now,
        met=Met(clock.now),
        cluster_uid=await _cluster_uid(kube, clock.now),
        snapshot_classes=SnapshotClasses(kube, clock.now),
    )
    operator = Operator(world, clock, tasks)
    for informer in informers.all():
        tasks.create_task(informer.run(), name=f"informer-{informer.kind}")
    tasks.create_task(events.run(), name="events")
    await _wait_complete(informers.all())
    await operator.recover()
    for loop in operator.loops:
        tasks.create_task(loop.run(), name=f"loop-{loop.name}")
    log.info("operator.started", extra={"claims": len(informers.claims.objects)})
    return operator


async def _cluster_uid(kube: Kube, now: Callable[[], datetime]) -> str:
    """Return what tells this cluster from any other: the uid of its kube-system namespace."""
    while True:
        try:
            return (await kube.get(objects.NAMESPACES, "kube-system")).metadata.uid
        except errors.KubeError as error:
            log.warning("operator.waiting", extra={"error": str(error), "at": str(now())})
            await asyncio.sleep(2)


async def _wait_complete(informers: Iterable[Informer[objects.Object]]) -> None:
    """Nothing is decided before every kind was listed whole; a kind that is not served is waited for."""
    for informer in informers:
        while not informer.complete:
            try:
                await informer.wait_complete(PATIENCE)
            except errors.Unreachable as error:
                log.warning("operator.waiting", extra={"kind": str(informer.kind), "error": str(error)})


class Operator:
    """The controllers, and which change of which object wakes which of them."""

    def __init__(self, world: World, clock: Clock, tasks: asyncio.TaskGroup) -> None:
        self.world = world
        self.inventories = Inventories(world, tasks)
        self._populate = Populate(world, self.inventories)
        self.populate = Loop("populate", self._populate.reconcile, clock)
        self._unheld = Unheld(world, self.inventories)
        self.unheld = Loop("unheld", self._unheld.reconcile, clock)
        self.protect = Loop("protect", Protector(world).reconcile, clock)
        self._backups = Backups(world)
        self.backup = Loop("backup", self._backups.reconcile, clock)
        self.repository = Loop("repository", Repositories(world, self.inventories).reconcile, clock, workers=2)
        self.orphans = Loop("orphans", Orphans(world).reconcile, clock)
        self.loops = (self.repository, self.protect, self.populate, self.unheld, self.backup, self.orphans)
        self._listen()

    async def recover(self) -> None:
        """Find what an earlier process left where nothing is watched, before anything is started anew."""
        while True:
            try:
                for ref in await self._backups.recover():
                    self.backup.add(Key(ref.namespace, ref.name))
            except errors.KubeError as error:
                log.warning("operator.waiting", extra={"error": str(error), "at": str(self.world.now())})
                await asyncio.sleep(2)
            else:
                return

    def _listen(self) -> None:
        informers = self.world.informers
        informers.claims.add_listener(self._claim_changed)
        informers.volumes.add_listener(self._volume_changed)
        informers.namespaces.add_listener(self._namespace_changed)
        informers.classes.add_listener(self._class_changed)
        informers.repositories.add_listener(self._repository_changed)
        informers.secrets.add_handler(self._secret_changed)
        informers.protections.add_listener(self._protection_changed)
        informers.restores.add_handler(self._restore_changed)
        informers.jobs.add_listener(self._job_changed)
        informers.pods.add_listener(self._pod_changed)
        informers.consumers.add_listener(self._consumer_changed)
        informers.warnings.add_listener(self._warned)
        self.inventories.on_reading(self._read)

    def _claim_changed(self, change: Change[objects.PersistentVolumeClaim]) -> None:
        item = change.new or change.old
        if item is not None and item.metadata.namespace == self.world.settings.namespace:
            self._wake_claim(item.annotations.get(claims.CLAIM), self.populate)
            if change.new is None:
                for volume in self.world.informers.volumes.by("copy-of", item.metadata.name):
                    self.orphans.add(volume.key)
            return
        for loop in (self.protect, self.populate, self.unheld, self.backup):
            loop.add(change.key)
        self._wake_sharers(change)

    def _wake_sharers(self, change: Change[objects.PersistentVolumeClaim]) -> None:
        """Who writes a history may be another claim now."""
        for item in (change.old, change.new):
            for key in self.world.sharers(item) if item is not None else ():
                if key != change.key:
                    self.protect.add(key)
                    self.backup.add(key)

    def _volume_changed(self, change: Change[objects.PersistentVolume]) -> None:
        item = change.new or change.old
        if item is not None and item.labels.get(names.COMPONENT) == "backup":
            self._wake_claim(item.annotations.get(claims.CLAIM), self.backup)
            return
        owner = item.spec.claim_ref if item is not None else None
        if owner is None or not owner.namespace or not owner.name:
            return
        if owner.namespace == self.world.settings.namespace:
            prime = self.world.informers.claims.get(owner.namespace, owner.name)
            self._wake_claim(prime.annotations.get(claims.CLAIM) if prime is not None else None, self.populate)
            if prime is None or prime.metadata.uid != owner.uid:
                self.orphans.add(change.key)
        else:
            self.populate.add(Key(owner.namespace, owner.name))

    def _namespace_changed(self, change: Change[objects.Namespace]) -> None:
        old, new = change.old, change.new
        if old is not None and new is not None and old.labels == new.labels and old.is_deleting == new.is_deleting:
            return
        self._wake_all(lambda key: key.namespace == change.key.name)

    def _class_changed(self, change: Change[objects.StorageClass]) -> None:
        """How claims of the class are read may have changed."""
        old, new = change.old, change.new
        if old is not None and new is not None and old.annotations == new.annotations:
            return
        for key, claim in self.world.informers.claims.objects.items():
            if claim.spec.storage_class_name == change.key.name and key.namespace != self.world.settings.namespace:
                self.protect.add(key)
                self.backup.add(key)

    def _repository_changed(self, change: Change[objects.Repository]) -> None:
        self.repository.add(change.key)
        old, new = change.old, change.new
        if old is None or new is None or old.spec != new.spec or _standing(old) != _standing(new):
            self._wake_all(lambda _: True)

    def _secret_changed(self, _: Key) -> None:
        self._wake_repositories()
        self._wake_pending()

    def _protection_changed(self, change: Change[objects.Protection]) -> None:
        self.protect.add(change.key)
        self.unheld.add(change.key)
        self.backup.add(change.key)
        if change.old is None:  # why the claim waits had nowhere to be written before
            self.populate.add(change.key)

    def _restore_changed(self, key: Key) -> None:
        for each in self.world.informers.claims.objects.values():
            reference = each.spec.data_source_ref
            if reference is not None and (each.metadata.namespace, reference.name) == (key.namespace, key.name):
                self.populate.add(each.key)

    def _job_changed(self, change: Change[objects.Job]) -> None:
        self._wake_run(change.new or change.old)

    def _pod_changed(self, change: Change[objects.Pod]) -> None:
        item = change.new or change.old
        if item is None:
            return
        if item.labels.get(names.COMPONENT) == "reader":
            self._reader_changed(change)
            return
        self._wake_run(self._job(item.labels.get("batch.kubernetes.io/job-name")))

    def _consumer_changed(self, change: Change[objects.Pod]) -> None:
        for text in used_claims(change.new) if change.new is not None else ():
            claim = self.world.claim(ClaimRef.parse(text))
            if claim is not None and admission.is_held_by_name(claim):
                self._wake_claim(text, self.populate)

    def _warned(self, change: Change[objects.Event]) -> None:
        """Who waits for a helper claim or for a mover says at once what the cluster has against it."""
        about = change.new.involved_object if change.new is not None else objects.ObjectReference()
        home, name = self.world.settings.namespace, about.name or ""
        match about.kind:
            case "PersistentVolumeClaim":
                prime = self.world.informers.claims.get(home, name)
                self._wake_claim(prime.annotations.get(claims.CLAIM) if prime is not None else None, self.populate)
            case "Pod":
                pod = self.world.informers.pods.get(home, name)
                self._wake_run(self._job(pod.labels.get("batch.kubernetes.io/job-name") if pod is not None else None))
            case "Job":
                self._wake_run(self._job(name))
            case _:
                pass

    def _job(self, name: str | None) -> objects.Job | None:
        return self.world.informers.jobs.get(self.world.settings.namespace, name) if name else None

    def _wake_run(self, job: objects.Job | None) -> None:
        if job is None:
            return
        match job.labels.get(names.KIND):
            case "backup":
                self._wake_claim(job.annotations.get(claims.CLAIM), self.backup)
            case "restore" | chooser.KIND:
                self._wake_claim(job.annotations.get(claims.CLAIM), self.populate)
            case "initialize":
                self._wake_repositories()
            case _:
                pass

    def _reader_changed(self, change: Change[objects.Pod]) -> None:
        was, now = (item is not None and inventory.is_ready(item) for item in (change.old, change.new))
        if was == now:
            return
        item = change.new or change.old
        for key in self.world.informers.repositories.objects:
            if item is not None and names.digest(key.name) == item.labels.get(names.HASH):
                self.inventories.start(key.name)
        if now:
            self._wake_pending()

    def _wake_pending(self) -> None:
        """Claims that wait for their data ask again."""
        for key, item in self.world.informers.claims.objects.items():
            if item.status is not None and item.status.phase == "Pending":
                self.populate.add(key)

    def _wake_repositories(self) -> None:
        for key in self.world.informers.repositories.objects:
            self.repository.add(key)

    def _wake_claim(self, text: str | None, loop: Loop) -> None:
        if text is not None:
            ref = ClaimRef.parse(text)
            loop.add(Key(ref.namespace, ref.name))

    def _wake_all(self, wanted: Callable[[Key], bool]) -> None:
        for key in self.world.informers.claims.objects:
            if key.namespace != self.world.settings.namespace and wanted(key):
                for loop in (self.protect, self.populate, self.unheld, self.backup):
                    loop.add(key)

    def _read(self, repository: str, identities: frozenset[Identity]) -> None:
        self.repository.add(Key("", repository))
        for questions, loop in ((self._populate.questions, self.populate), (self._unheld.questions, self.unheld)):
            for key in questions.waiting_for(repository, identities):
                loop.add(key)


def _standing(item: objects.Repository) -> tuple[object, bool]:
    """Return what claims depend on: which repository it is, and whether it can be used."""
    status = item.status or {}
    return status.get("repositoryID"), any(each.get("status") == "True" for each in status.get("conditions") or ())
