"""Movers in apps' own namespaces. Nothing is watched there, so each is asked for while it is known to run."""

import contextlib
import logging
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

from holdfast.controllers import runs
from holdfast.controllers.runs import Run
from holdfast.controllers.world import World
from holdfast.decide import guest
from holdfast.kube import errors, objects
from holdfast.model.claim import ClaimRef
from holdfast.model.intent import GUESTS, MANAGED_BY
from holdfast.model.population import JobState
from holdfast.model.repository import Repository
from holdfast.render import backups, claims, names, pods

log = logging.getLogger(__name__)

POLL: Final = timedelta(seconds=2)


class Guests:
    """Knows every run that was started in an app's namespace."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._known: dict[ClaimRef, str] = {}

    def has_place(self, namespace: str) -> bool:
        """Return whether a mover may start in the namespace: one after the other works there."""
        return all(ref.namespace != namespace for ref in self._known)

    async def recover(self) -> Sequence[ClaimRef]:
        """Find the runs that an earlier process started; return their claims."""
        ours = {MANAGED_BY: names.MANAGER, names.KIND: "backup"}
        for namespace in self._world.informers.namespaces.objects.values():
            if namespace.labels.get(GUESTS) != "true":
                continue
            try:
                found = await self._world.kube.list(objects.JOBS, namespace.metadata.name, labels=ours)
            except errors.Forbidden as error:
                log.warning("guests.forbidden", extra={"namespace": namespace.metadata.name, "error": str(error)})
                continue
            for job in found:
                self._note(job)
        return tuple(self._known)

    def _note(self, job: objects.Job) -> None:
        """Labels can be forged: a Job speaks for the namespace that it is in, and says nothing if it cannot be read."""
        with contextlib.suppress(ValueError):
            ref = ClaimRef.parse(job.annotations.get(claims.CLAIM, ""))
            if ref.namespace == job.metadata.namespace and not job.is_deleting:
                self._known[ref] = job.metadata.name

    async def start(self, ref: ClaimRef, manifest: Mapping[str, Any], repository: Repository) -> None:
        """Start the run; it may have been started before. Raise one of REFUSALS where the cluster does not let it."""
        name = manifest["metadata"]["name"]
        self._known[ref] = name
        try:
            with contextlib.suppress(errors.AlreadyExists):
                await self._world.kube.create(manifest)
            await self._lend(await self._world.kube.get(objects.JOBS, name, ref.namespace), repository)
        except errors.REFUSALS:
            del self._known[ref]
            raise

    async def _lend(self, job: objects.Job, repository: Repository) -> None:
        """Give the Job its credential: after it, so that it never stays without a Job to go with.

        Asked for once more what opens it: a claim may name another Repository than when its Job was made, and the Job
        itself can be forged.
        """
        labels = self._world.namespace_labels(str(job.metadata.namespace))
        if guest.refusal(str(job.metadata.namespace), labels, repository) is not None:
            return
        secret = self._world.informers.secrets.get(self._world.settings.namespace, repository.secret)
        held = (secret.data or {}) if secret is not None else {}
        keys = {key: held[key] for key in (*pods.secret_keys(repository), pods.SESSION_KEY) if key in held}
        with contextlib.suppress(errors.AlreadyExists):
            name, namespace = job.metadata.name, str(job.metadata.namespace)
            await self._world.kube.create(backups.loan(name, namespace, job.metadata.uid, keys))

    async def run(self, ref: ClaimRef, repository: Repository | None) -> Run | None:
        """Return the run that reads the claim; None when there is none. A crash may have left it without credential."""
        name = self._known.get(ref)
        if name is None:
            return None
        try:
            job = await self._world.kube.get(objects.JOBS, name, ref.namespace)
        except (errors.NotFound, errors.Forbidden):
            del self._known[ref]  # without the right to look nothing can be said of it, and the cluster clears it away
            return None
        found = await self._world.kube.list(objects.PODS, ref.namespace, {"batch.kubernetes.io/job-name": name})
        since = self._world.met.since(job)
        facts = runs.read(job, found, self._world.settings.start_deadline, since=since, now=self._world.now())
        if repository is not None and facts.state is JobState.RUNNING and not any(map(_has_started, found)):
            await self._lend(job, repository)
        return Run(job=job, facts=facts)

    async def clear(self, ref: ClaimRef, job: objects.Job) -> None:
        """Delete the run's Job; the cluster deletes its pod and Secret after it."""
        await self._world.kube.delete(objects.JOBS, job.metadata.name, ref.namespace, uid=job.metadata.uid)
        self._known.pop(ref, None)


def _has_started(pod: objects.Pod) -> bool:
    return pod.status is not None and pod.status.phase not in (None, "Pending")
