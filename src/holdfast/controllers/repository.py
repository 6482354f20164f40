"""A Repository gets its reader and, in the window that a person opened, its one initialisation."""

import contextlib
import secrets as tokens
from datetime import datetime, timedelta
from typing import Any, Final

from holdfast.controllers import runs, status
from holdfast.controllers.inventory import Inventories
from holdfast.controllers.world import World
from holdfast.decide import initialize, renewal, retry
from holdfast.decide.protection import Broken
from holdfast.kube import errors, objects
from holdfast.kube.events import EventType
from holdfast.kube.objects import Key
from holdfast.model.evidence import Doubt, Inventory
from holdfast.model.failure import Failure
from holdfast.model.population import JobFacts, JobState
from holdfast.model.repository import Repository
from holdfast.model.run import Initialized
from holdfast.model.workorder import Initialize, WorkOrder
from holdfast.render import names, pods

FRESH: Final = timedelta(minutes=5)  # how often a repository that is well is looked at
RETRY: Final = timedelta(seconds=10)
SOON: Final = timedelta(seconds=1)


class Repositories:
    """Keeps readers running and says whether each repository can be used."""

    def __init__(self, world: World, inventories: Inventories) -> None:
        self._world = world
        self._inventories = inventories
        self._deployed: dict[str, dict[str, Any]] = {}
        self._renewed: dict[str, datetime] = {}  # when a reader was last started anew by us
        # Attempts to initialise that failed in a row, and when the next may begin; forgotten with the process.
        self._attempts: dict[str, int] = {}
        self._not_before: dict[str, datetime] = {}

    async def reconcile(self, key: Key) -> timedelta | None:
        """Bring the repository's reader and status up to date."""
        item = self._world.informers.repositories.get("", key.name)
        if item is None or item.is_deleting:
            await self._remove(key.name)
            return None
        repository = self._world.repository(item)
        if isinstance(repository, Broken):
            await self._say(item, "False", Doubt.NOT_READY.value, repository)
            return RETRY
        try:
            await self._ensure_reader(repository)
        except errors.REFUSALS as error:  # one that runs all the same goes on
            failure = runs.refused(error)
            self._event(item, EventType.WARNING, failure.kind.value, f"Reader: {failure.detail}")
        return await self._look(item, repository)

    async def _ensure_reader(self, repository: Repository) -> None:
        namespace = self._world.settings.namespace
        name = names.reader(repository.name)
        token = self._world.informers.secrets.get(namespace, name) or await self._make_token(repository.name)
        secret = self._world.informers.secrets.get(namespace, repository.secret)
        manifest = pods.reader_deployment(namespace, self._world.settings.image, repository)
        # A changed Secret restarts the reader: credentials come by environment.
        version = secret.metadata.resource_version if secret is not None else ""
        annotations = {names.PREFIX + "secret-version": version, names.PREFIX + "token": token.metadata.uid}
        if (renewed := self._renewed.get(repository.name)) is not None:
            annotations[names.PREFIX + "renewed"] = renewed.isoformat()
        manifest["spec"]["template"]["metadata"]["annotations"] |= annotations
        if self._deployed.get(name) != manifest:
            await self._world.kube.apply(manifest)
            self._deployed[name] = manifest
            self._inventories.forget(repository.name)

    async def _make_token(self, repository: str) -> objects.Secret:
        """Return the Secret that the reader and the operator share; who deletes it gets another one."""
        namespace = self._world.settings.namespace
        with contextlib.suppress(errors.AlreadyExists):
            await self._world.kube.create(pods.reader_token(namespace, repository, tokens.token_hex(32)))
        return await self._world.kube.get(objects.SECRETS, names.reader(repository), namespace)

    def _reader_began(self, repository: str) -> datetime | None:
        """Return when the reader was started, or ordered to start anew; None while it has no pod."""
        pod = self._inventories.reader_began(repository)
        return max(pod, self._renewed.get(repository, pod)) if pod is not None else None

    async def _look(self, item: objects.Repository, repository: Repository) -> timedelta:
        reading, now = self._inventories.latest(repository.name), self._world.now()
        if reading is None:
            self._inventories.start(repository.name)
            return RETRY
        match reading.found:
            case Inventory() as inventory:
                return await self._well(item, repository, inventory, now - reading.began)
            case Failure() as failure:
                return await self._ill(item, repository, failure, now)

    async def _well(
        self, item: objects.Repository, repository: Repository, inventory: Inventory, age: timedelta
    ) -> timedelta:
        found = inventory.marker.repository_id
        expected = repository.pin or repository.known_id or found
        if found != expected:
            detail = f"the storage holds repository {found}, but {expected} is expected: check bucket, prefix and mount"
            await self._say(item, "False", Doubt.PINNED_ELSEWHERE.value, detail)
        elif inventory.marker.engine is not repository.engine:
            detail = f"the storage was initialised for {inventory.marker.engine}, not for {repository.engine}"
            await self._say(item, "False", Doubt.PINNED_ELSEWHERE.value, detail)
        else:
            more = {"repositoryID": found, "claims": inventory.recorded}
            await self._say(item, "True", "Ready", f"{inventory.recorded} claims have backups", more)
            await self._clear_initialisation(repository.name)
        if age >= FRESH:
            self._inventories.start(repository.name)
        return FRESH

    async def _ill(
        self, item: objects.Repository, repository: Repository, failure: Failure, now: datetime
    ) -> timedelta:
        job = runs.observe(self._world, names.initialize_job(repository.name))
        if job is not None:
            return await self._initialising(item, repository, job)
        if initialize.allowed(repository, failure, now):
            wait = self._not_before.get(repository.name, now) - now
            if wait > timedelta():
                return wait
            await self._say(item, "False", "Initialising", initialize.advice(repository, failure, now))
            try:
                await self._initialise(repository)
            except errors.REFUSALS as error:
                refused = runs.refused(error)
                await self._say(item, "False", refused.kind.value, f"not initialised: {refused.detail}")
                return RETRY
            return SOON
        await self._say(item, "False", failure.kind.value, initialize.advice(repository, failure, now))
        if renewal.is_due(repository, failure, self._reader_began(repository.name), now):
            self._renewed[repository.name] = now
            return SOON
        self._inventories.start(repository.name)
        return RETRY

    async def _initialise(self, repository: Repository) -> None:
        name = names.initialize_job(repository.name)
        order = WorkOrder(run=name, repository=pods.access(repository), work=Initialize())
        manifest = pods.mover_job(
            name,
            self._world.settings.namespace,
            self._world.settings.image,
            repository,
            order,
            labels={names.KIND: "initialize"},
        )
        with contextlib.suppress(errors.AlreadyExists):
            await self._world.kube.create(manifest)

    async def _initialising(self, item: objects.Repository, repository: Repository, job: JobFacts) -> timedelta:
        if job.state is JobState.RUNNING:
            return SOON
        if job.result is not None and isinstance(job.result.outcome, Initialized):
            identifier = job.result.outcome.repository_id
            message = f"Initialised. To pin it, set spec.repositoryID: {identifier}"
            self._event(item, EventType.NORMAL, "Initialised", message)
            await status.write(self._world, objects.REPOSITORIES, item, {"repositoryID": identifier})
        elif job.failure is not None:
            self._event(item, EventType.WARNING, job.failure.kind.value, f"Not initialised: {job.failure.detail}")
            attempt = self._attempts[repository.name] = self._attempts.get(repository.name, 0) + 1
            self._not_before[repository.name] = self._world.now() + retry.after(job.failure.kind, attempt)
            await self._say(item, "False", job.failure.kind.value, f"not initialised: {job.failure.detail}")
        await self._clear_initialisation(repository.name)
        self._inventories.forget(repository.name)
        self._inventories.start(repository.name)
        return RETRY

    async def _clear_initialisation(self, repository: str) -> None:
        name, namespace = names.initialize_job(repository), self._world.settings.namespace
        if self._world.informers.jobs.get(namespace, name) is not None:
            await self._world.kube.delete(objects.JOBS, name, namespace)

    async def _say(
        self,
        item: objects.Repository,
        ready: str,
        reason: str,
        message: str,
        more: dict[str, Any] | None = None,
    ) -> None:
        made, changed = status.conditions(item, "Ready", (ready, reason, message), self._world.now())
        await status.write(self._world, objects.REPOSITORIES, item, {"conditions": made, **(more or {})})
        if changed:
            kind = EventType.NORMAL if ready == "True" else EventType.WARNING
            self._event(item, kind, reason, message)

    def _event(self, item: objects.Repository, kind: EventType, reason: str, message: str) -> None:
        self._world.events.record(objects.REPOSITORIES, item, kind, reason, message)

    async def _remove(self, name: str) -> None:
        """The Repository is gone: so is its reader. What is in the storage stays (P4)."""
        self._attempts.pop(name, None)
        self._not_before.pop(name, None)
        self._renewed.pop(name, None)
        namespace, reader = self._world.settings.namespace, names.reader(name)
        self._deployed.pop(reader, None)
        self._inventories.forget(name)
        await self._world.kube.delete(objects.DEPLOYMENTS, reader, namespace)
        await self._world.kube.delete(objects.SECRETS, reader, namespace)
