"""The objects that fill a claim: prime claim, mover's Job, volume. Reads them as facts, and carries out one step."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from holdfast.controllers import clearing, offer, place, runs, status, telling
from holdfast.controllers.world import World
from holdfast.decide import admission, capacity
from holdfast.kube import errors, objects, obstacles, parse
from holdfast.model.claim import Claim, ClaimPhase, ClaimRef, Identity
from holdfast.model.population import (
    ByName,
    Discard,
    JobFacts,
    MakePrime,
    PrimeFacts,
    RetryJob,
    SetAside,
    StartJob,
    Taken,
    VolumeFacts,
    wanted_snapshot,
)
from holdfast.model.repository import Repository
from holdfast.model.run import Restored, RunResult
from holdfast.model.workorder import Restore as RestoreWork
from holdfast.model.workorder import WorkOrder
from holdfast.render import claims, names, pods, sentences

log = logging.getLogger(__name__)

TARGET: Final = "/restore/data"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fill:
    """One claim's fill, as the objects stand."""

    world: World
    claim: Claim
    wish: str
    name: str
    prime: objects.PersistentVolumeClaim | None
    volume: objects.PersistentVolume | None
    named: objects.PersistentVolume | None  # what has the reserved name of a claim that is held by name

    @classmethod
    def of(cls, world: World, claim: Claim, repository: Repository, identity: Identity, wish: str) -> "Fill":
        """Return the fill that serves the claim: found by its name, identity, class and mode."""
        mode = f"{claim.volume_mode}:{','.join(claim.access_modes)}"
        name = names.prime(claim.ref, repository.name, identity, claim.storage_class or "", mode)
        return cls._by(world, claim, name, world.informers.claims.get(world.settings.namespace, name), wish)

    @classmethod
    def of_prime(cls, world: World, claim: Claim, prime: objects.PersistentVolumeClaim, wish: str) -> "Fill":
        """Return the claim's fill by this prime, whatever it was made for."""
        return cls._by(world, claim, prime.metadata.name, prime, wish)

    @classmethod
    def _by(
        cls, world: World, claim: Claim, name: str, prime: objects.PersistentVolumeClaim | None, wish: str
    ) -> "Fill":
        volume = world.informers.volumes.get("", prime.spec.volume_name or "") if prime is not None else None
        by_name = admission.is_held_by_name(claim)
        named = world.informers.volumes.get("", claim.volume_name or "") if by_name else None
        return cls(world=world, claim=claim, wish=wish, name=name, prime=prime, volume=volume, named=named)

    @property
    def is_handed_over(self) -> bool:
        """Return whether the filled volume is this claim's: it is too late for another."""
        given = self.offered or self.volume
        return given is not None and given.spec.claim_ref is not None and given.spec.claim_ref.uid == self.claim.uid

    @property
    def offered(self) -> objects.PersistentVolume | None:
        """Return the filled volume's second object, under the name that the claim waits for."""
        return offer.standing(self.claim, self.prime, self.named)

    # Facts

    def by_name(self) -> ByName | None:
        if not admission.is_held_by_name(self.claim):
            return None
        return place.facts(self.world, self.claim, self.named if self.offered is None else None)

    def prime_facts(self) -> PrimeFacts | None:
        if self.prime is None:
            return None
        annotations = self.prime.annotations
        snapshot = annotations.get(claims.SNAPSHOT, "")
        return PrimeFacts(
            uid=self.prime.metadata.uid,
            created=self.prime.metadata.creation_timestamp,
            deleting=self.prime.is_deleting,
            node=annotations.get(claims.SELECTED_NODE),
            decided_for=annotations.get(claims.DECIDED_FOR, ""),
            snapshot=None if snapshot == claims.EMPTY else snapshot,
            filled=claims.FILLED in annotations,
            attempt=clearing.attempt(self.prime),
            wish=annotations.get(claims.WISH, ""),
            lost=self._is_lost(self.prime),
            obstacle=obstacles.last(self.world.warnings(self.prime)),
        )

    def _is_lost(self, prime: objects.PersistentVolumeClaim) -> bool:
        """The filled volume's first object is deleted when its bytes are a claim's, and may go with that claim."""
        going = self.volume is not None and self.volume.is_deleting and self.offered is None
        return going or (prime.status is not None and prime.status.phase == "Lost")

    def volume_facts(self) -> VolumeFacts | None:
        """Return the volume once it is the prime's, or was handed over from it; before that it is not there yet."""
        volume, prime = self.offered or self.volume, self.prime
        owner = volume.spec.claim_ref if volume is not None else None
        if volume is None or prime is None or owner is None:
            return None
        if owner.uid != prime.metadata.uid and claims.CLAIM_UID not in volume.annotations:
            return None
        return VolumeFacts(
            name=volume.metadata.name,
            provisioned=clearing.is_provisioned(volume),
            claim=ClaimRef(namespace=owner.namespace or "", name=owner.name or ""),
            claim_uid=owner.uid,
            capacity_bytes=parse.quantity((volume.spec.capacity or {}).get("storage", "0")),
            access_modes=tuple(volume.spec.access_modes or ()),
        )

    def job_facts(self) -> JobFacts | None:
        """Return the facts of the mover's Job; one that filled an earlier prime of this name says nothing of ours."""
        if self.prime is None:
            return None
        name = names.restore_job(self.name, clearing.attempt(self.prime))
        job = self.world.informers.jobs.get(self.world.settings.namespace, name)
        if job is None or not _is_owned(job, self.prime):
            return None
        return runs.observe(self.world, name)

    # Steps

    async def make_prime(self, step: MakePrime, identity: Identity) -> None:
        pod = place.consumer(self.world, self.claim) if admission.is_held_by_name(self.claim) else None
        manifest = claims.prime_claim(
            self.name,
            self.world.settings.namespace,
            self.claim,
            identity,
            snapshot=wanted_snapshot(step.verdict),
            size_bytes=step.size_bytes,
            node=step.node,
            wish=self.wish,
            chooser=names.chooser(pod.metadata.uid) if pod is not None else None,
        )
        if not await self._still_asks():
            return
        status.normal(self.world, self.claim.ref, *sentences.verdict(step.verdict))
        await self.tell("Preparing", "Preparing", "making the volume", telling.chosen(step.verdict))
        try:
            await self.world.kube.create(manifest)
        except errors.AlreadyExists:
            log.info("fill.prime_exists", extra={"claim": str(self.claim.ref), "prime": self.name})

    def adoption(self) -> Mapping[str, str]:
        """Return the annotations that make the prime serve this claim instead of an earlier one."""
        return {
            claims.DECIDED_FOR: self.claim.uid,
            claims.CLAIM: str(self.claim.ref),
            claims.WISH: self.wish,
        }

    async def note(self, annotations: Mapping[str, str | None]) -> None:
        """Write annotations on the prime: what the next step reads."""
        if self.prime is None:
            return
        meta = self.prime.metadata
        body = {"metadata": {"uid": meta.uid, "annotations": dict(annotations)}}
        await self.world.kube.patch(objects.CLAIMS, meta.name, meta.namespace, body)

    async def start_job(self, step: StartJob, repository: Repository, identity: Identity) -> None:
        if self.prime is None or not self._has_a_place():
            return
        annotations = self.prime.annotations
        files, _, content = annotations[claims.CONTENT].partition(",")
        name = names.restore_job(self.name, step.attempt)
        pod = place.consumer(self.world, self.claim)
        work = RestoreWork(
            identity=identity,
            snapshot=annotations[claims.SNAPSHOT],
            files=int(files),
            bytes=int(content),
            target=TARGET,
        )
        manifest = pods.mover_job(
            name,
            self.world.settings.namespace,
            self.world.settings.image,
            repository,
            WorkOrder(run=name, repository=pods.access(repository), work=work),
            mounts=[pods.Mount(claim=self.name, path=TARGET, read_only=False)],
            node=annotations.get(claims.SELECTED_NODE),
            tolerations=parse.consumer(pod).tolerations if pod is not None else (),
            labels={names.KIND: "restore"},
            annotations={claims.CLAIM: str(self.claim.ref)},
            owner=claims.owner(self.name, self.prime.metadata.uid),
            run_as=self.world.intent(self.claim).run_as,
        )
        try:
            await self.world.kube.create(manifest)
        except errors.AlreadyExists:
            log.info("fill.job_exists", extra={"claim": str(self.claim.ref), "job": name})
            found = await self.world.kube.get(objects.JOBS, name, self.world.settings.namespace)
            if not _is_owned(found, self.prime):
                await clearing.delete_job(self.world, name)

    def _has_a_place(self) -> bool:
        """Ask the gate for restores: the longest waiting fill starts first."""
        jobs = {job.metadata.name.rpartition("-")[0] for job in runs.active(self.world, "restore")}
        waiting = [
            capacity.Waiting(key=each.metadata.name, since=each.metadata.creation_timestamp)
            for each in self.world.informers.claims.by("component", "fill")
            if claims.CONTENT in each.annotations and claims.FILLED not in each.annotations and not each.is_deleting
        ]
        return self.name in capacity.admit(waiting, jobs, self.world.settings.concurrent_restores)

    async def retry(self, step: RetryJob) -> None:
        status.warning(self.world, self.claim.ref, step.failure.kind.value, f"Restore failed: {step.failure.detail}")
        await self.note({claims.ATTEMPT: str(step.attempt)})
        await clearing.delete_job(self.world, names.restore_job(self.name, step.attempt - 1))

    async def discard(self, step: Discard) -> None:
        log.info("fill.discarded", extra={"claim": str(self.claim.ref), "why": step.why})
        if self.prime is not None:
            await clearing.clear(self.world, self.prime, self.volume if step.reclaim else None)

    async def hand_over(self) -> None:
        if not await self._still_asks():
            return
        if admission.is_held_by_name(self.claim):
            await offer.give(self.world, self.claim, self.volume, self.offered)
            return
        if self.volume is None:
            return
        now = await self.world.kube.get(objects.VOLUMES, self.volume.metadata.name)
        policy = now.spec.persistent_volume_reclaim_policy or "Delete"
        noted = now.annotations.get(claims.RECLAIM_POLICY)
        body = claims.hand_over(self.claim, policy, noted, now.metadata.resource_version)
        await self.world.kube.patch(objects.VOLUMES, now.metadata.name, None, body)

    async def set_aside(self, step: SetAside) -> None:
        await offer.set_aside(self.world, self.claim, step.volume)

    async def finish(self) -> None:
        if self.prime is not None:
            await telling.finish(self.world, self.claim, self.prime, self.volume, self.offered)

    async def taken(self, step: Taken) -> None:
        detail = f"bound to volume {step.volume} by somebody else while it was being filled; that volume is kept"
        status.warning(self.world, self.claim.ref, "BoundByOther", detail)
        await self.tell("BoundByOther", "BoundByOther", detail, {"finished": status.text(self.world.now())})
        if self.prime is not None:
            await clearing.clear(self.world, self.prime, self.volume)

    async def _still_asks(self) -> bool:
        """Read the claim again: nothing irreversible is done for one that is gone, bound or another by now."""
        ref = self.claim.ref
        try:
            now = parse.claim(await self.world.kube.get(objects.CLAIMS, ref.name, ref.namespace))
        except errors.NotFound:
            return False
        return now.uid == self.claim.uid and now.phase is ClaimPhase.PENDING and not now.deleting

    async def tell(self, phase: str, reason: str, message: str, more: Mapping[str, Any]) -> None:
        await telling.tell(self.world, self.claim, phase, reason, message, more)


def filled(result: RunResult) -> Mapping[str, str | None]:
    """Return the annotations that say that the prime holds its snapshot, and whether without its owners."""
    left_out = isinstance(result.outcome, Restored) and not result.outcome.owners_kept
    return {claims.FILLED: result.run, claims.OWNERS_LEFT_OUT: "true" if left_out else None}


def _is_owned(job: objects.Job, prime: objects.PersistentVolumeClaim) -> bool:
    return any(each.uid == prime.metadata.uid for each in job.metadata.owner_references or ())
