"""Due runs become Jobs, and what came of them becomes memory."""

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, assert_never

from holdfast.controllers import aliases, runs, status, unheld
from holdfast.controllers.copies import Copies
from holdfast.controllers.guests import POLL, Guests
from holdfast.controllers.runs import Run
from holdfast.controllers.world import World
from holdfast.decide import backup, capacity, copying, retry
from holdfast.kube import errors, objects
from holdfast.kube.objects import Key
from holdfast.model.backup import Counted, Due, Held, NotCounted, NotDue, Running, Void
from holdfast.model.claim import Claim, ClaimRef
from holdfast.model.copying import AsGuest, Broken, ByAlias, BySnapshot, NoWay, Ready, Seat, Wait
from holdfast.model.failure import Failure
from holdfast.model.intent import CopyMethod
from holdfast.model.protection import Plan
from holdfast.model.repository import EngineKind
from holdfast.model.run import BackedUp
from holdfast.model.snapshot import Loss
from holdfast.render import backups, claims, names, sentences
from holdfast.render.backups import METHOD, NOW_VALUE, SLOT

log = logging.getLogger(__name__)

SOON: Final = timedelta(seconds=1)
LATER: Final = timedelta(minutes=10)
FULL: Final = timedelta(seconds=3)  # how soon to ask the gate again
# kopia drops all of these without a word; restic keeps all but sockets.
LOST_BY: Final[Mapping[EngineKind, frozenset[Loss]]] = {
    EngineKind.KOPIA: frozenset(Loss),
    EngineKind.RESTIC: frozenset({Loss.SOCKETS}),
    EngineKind.MEMORY: frozenset({Loss.SOCKETS, Loss.FIFOS, Loss.DEVICES}),
}


class Backups:
    """Starts due backups through the one gate, and counts those that ended."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._waiting: dict[ClaimRef, datetime] = {}
        self._copies = Copies(world)
        self._guests = Guests(world)

    async def recover(self) -> Sequence[ClaimRef]:
        """Find what an earlier process left half done where nothing is watched; return the claims to look at."""
        return (*await self._copies.recover(), *await self._guests.recover())

    async def reconcile(self, key: Key) -> timedelta | None:
        """Take the next step for the claim's backups; return when to look again."""
        ref = ClaimRef(namespace=key.namespace, name=key.name)
        claim = self._world.claim(ref)
        item = status.protection(self._world, ref)
        plan = self._plan(claim)
        run = self._run(ref) or await self._guests.run(ref, plan.repository.value if plan is not None else None)
        if run is not None:
            return await self._follow(ref, claim, item, run)
        orphans = await aliases.clear_orphans(self._world, ref)
        if claim is None or plan is None or item is None:
            self._waiting.pop(ref, None)
            again = await self._copies.clear(ref)
        else:
            again = await self._start_if_due(claim, plan, item)
        return min((each for each in (orphans, again) if each is not None), default=None)

    def _plan(self, claim: Claim | None) -> Plan | None:
        if claim is None:
            return None
        found = self._world.plan(claim)
        return found if isinstance(found, Plan) else None

    def _run(self, ref: ClaimRef) -> Run | None:
        found = self._world.informers.jobs.by("backup-of", str(ref))
        job = next((job for job in found if not job.is_deleting), None)
        facts = runs.observe(self._world, job.metadata.name) if job is not None else None
        return Run(job=job, facts=facts) if job is not None and facts is not None else None

    # Starting

    async def _start_if_due(self, claim: Claim, plan: Plan, item: objects.Protection) -> timedelta | None:
        restoring = status.section(item, "restore")
        ours = restoring.get("claimUID") == claim.uid
        wish = backup.due(
            claim,
            plan,
            status.memory(item),
            started_empty=status.time(restoring.get("startedEmpty")) if ours else None,
            restoring=ours and restoring.get("phase") in ("Preparing", "Restoring", "Waiting"),
            foreign=status.foreign(item, claim.uid),
            unjudged=unheld.is_unjudged(self._world, claim, plan, item),
            writer=self._world.writer(claim.ref, plan),
            first_backup_after=self._world.settings.first_backup_after,
            now=self._world.now(),
        )
        if not isinstance(wish, Due):
            left = await self._clear_copies(claim.ref, item)
            if left is not None:
                return left
        match wish:
            case NotDue(at=at):
                self._waiting.pop(claim.ref, None)
                return min(at - self._world.now(), LATER) if at is not None else LATER
            case Held():
                self._waiting.pop(claim.ref, None)
                if wish.alarm:
                    status.warning(self._world, claim.ref, wish.reason, f"Not backed up: {wish.detail}")
                return wish.retry_after or LATER
            case Due():
                return await self._start(claim, plan, item, wish)
        assert_never(wish)

    async def _start(self, claim: Claim, plan: Plan, item: objects.Protection, due: Due) -> timedelta | None:
        slot = status.text(due.slot) if due.now_value is None else f"now:{due.now_value}"
        run = f"{claim.uid}:{slot}:{due.attempt}"
        name = names.backup_job(plan.repository.value.name, plan.identity.value, run)
        left = await self._copies.clear(claim.ref, keep=name)
        if left is not None:
            return left
        volume = self._world.informers.volumes.get("", claim.volume_name or "")
        way = await self._world.way(claim, plan)
        if volume is None or way is None:
            return SOON
        if isinstance(way, NoWay):
            self._waiting.pop(claim.ref, None)  # it would hold a place in the queue for as long as nobody mends it
            status.warning(self._world, claim.ref, way.reason, way.detail)
            return await self._copies.clear(claim.ref) or LATER
        if not self._copies.has(claim.ref, name) and not self._may_start(claim.ref, way):
            return FULL
        # What was written when the last run was counted may not be seen yet: it would be made once more.
        now = await self._world.kube.get(objects.PROTECTIONS, claim.ref.name, claim.ref.namespace)
        if status.memory(now) != status.memory(item):
            return SOON
        try:
            seat = await self._prepare(name, claim, item, volume, way)
            if isinstance(seat, Seat):
                manifest = backups.job(name, self._world.settings, self._world.cluster_uid, claim, plan, due, way, seat)
                await self._create(claim.ref, manifest, plan, way)
                return SOON
        except errors.REFUSALS as error:
            seat = Broken(failure=runs.refused(error))
        return await self._broken(claim, item, due, seat) if isinstance(seat, Broken) else seat

    async def _prepare(
        self,
        name: str,
        claim: Claim,
        item: objects.Protection,
        volume: objects.PersistentVolume,
        way: BySnapshot | ByAlias | AsGuest,
    ) -> Seat | Broken | timedelta:
        """Make what the run reads through; return where its mover can be, or when to go on."""
        match way:
            case BySnapshot():
                match await self._copies.make(name, claim, way):
                    case Wait() as wait:
                        await self._remember(item, {"running": name})
                        return copying.pause(wait, self._world.now())
                    case Broken() as broken:
                        return broken
                    case Ready():
                        return Seat(node=None)
            case ByAlias() | AsGuest():
                left = await self._copies.clear(claim.ref)
                if left is not None:
                    return left
                seat = await aliases.seat(self._world, claim, volume)
                if isinstance(seat, Broken) or isinstance(way, AsGuest):
                    return seat
                return seat if await aliases.make(self._world, name, claim, volume) else SOON
        assert_never(way)

    async def _create(
        self, ref: ClaimRef, manifest: Mapping[str, Any], plan: Plan, way: BySnapshot | ByAlias | AsGuest
    ) -> None:
        self._waiting.pop(ref, None)
        if isinstance(way, AsGuest):
            await self._guests.start(ref, manifest, plan.repository.value)
            return
        try:
            await self._world.kube.create(manifest)
        except errors.AlreadyExists:
            log.info("backup.job_exists", extra={"claim": str(ref), "job": manifest["metadata"]["name"]})

    async def _clear_copies(self, ref: ClaimRef, item: objects.Protection) -> timedelta | None:
        """Clear away what a run left that is wanted no more; return when to go on."""
        left = await self._copies.clear(ref)
        if left is not None:
            await self._remember(item, {"running": None})
        return left

    def _may_start(self, ref: ClaimRef, way: BySnapshot | ByAlias | AsGuest) -> bool:
        """Return whether the gate lets the claim's run start now; copies hold their places like Jobs.

        Guests have a gate of their own in each namespace: who works there may keep a mover from ending.
        """
        if isinstance(way, AsGuest):
            self._waiting.pop(ref, None)
            return self._guests.has_place(ref.namespace)
        self._waiting.setdefault(ref, self._world.now())
        waiting = [capacity.Waiting(key=str(each), since=since) for each, since in self._waiting.items()]
        busy = {job.annotations.get(claims.CLAIM, "") for job in runs.active(self._world, "backup")}
        busy |= self._copies.claims
        return str(ref) in capacity.admit(waiting, busy, self._world.settings.concurrent_backups)

    async def _broken(self, claim: Claim, item: objects.Protection, due: Due, broken: Broken) -> timedelta:
        failure = broken.failure
        retry_at = self._world.now() + retry.after(failure.kind, due.attempt + 1)
        await self._failed(claim.ref, item, failure, due.attempt, retry_at, due.now_value)
        return SOON

    # Following

    async def _follow(
        self, ref: ClaimRef, claim: Claim | None, item: objects.Protection | None, run: Run
    ) -> timedelta | None:
        job, annotations = run.job, run.job.annotations
        attempt = int(annotations.get(claims.ATTEMPT, "0"))
        judged = backup.judge(
            run.facts,
            claim=claim,
            claim_uid=annotations.get(claims.CLAIM_UID, ""),
            volume=annotations.get(claims.VOLUME, ""),
            attempt=attempt,
            now=self._world.now(),
            stray=annotations.get(METHOD) == CopyMethod.SNAPSHOT and self._copies.is_stray(job.metadata.name),
        )
        match judged:
            case Running():
                await self._remember(item, {"running": job.metadata.name})
                return POLL if self._is_guest(job) else LATER
            case Counted(outcome=outcome):
                await self._count(ref, item, job, outcome)
            case NotCounted(failure=failure, retry_at=retry_at):
                await self._failed(ref, item, failure, attempt, retry_at, annotations.get(NOW_VALUE))
            case Void(detail=detail):
                await self._remember(item, {"running": None})
                status.warning(self._world, ref, "BackupVoid", f"Backup does not count: {detail}")
            case _:
                assert_never(judged)
        await self._clear(ref, job)
        return SOON

    async def _failed(
        self,
        ref: ClaimRef,
        item: objects.Protection | None,
        failure: Failure,
        attempt: int,
        retry_at: datetime,
        now_value: str | None,
    ) -> None:
        changes = {
            "attempt": attempt + 1,
            "retryAt": status.text(retry_at),
            "failure": str(failure),
            "failedNow": now_value,
            "running": None,
        }
        await self._remember(item, changes)
        status.warning(self._world, ref, failure.kind.value, f"Backup failed: {failure.detail}")

    async def _count(self, ref: ClaimRef, item: objects.Protection | None, job: objects.Job, outcome: BackedUp) -> None:
        snapshot = outcome.snapshot
        changes: dict[str, Any] = {
            "lastID": snapshot.id,
            "lastTime": status.text(snapshot.time),
            "flags": [flag.value for flag in snapshot.flags],
            "files": snapshot.files,
            "bytes": snapshot.bytes,
            "slot": job.annotations.get(SLOT),
            "attempt": 0,
            "retryAt": None,
            "failure": None,
            "failedNow": None,
            "running": None,
            "lossy": self._lossy(item, outcome),
        }
        if NOW_VALUE in job.annotations:
            changes["servedNow"] = job.annotations[NOW_VALUE]
        await self._remember(item, changes)
        size = sentences.size(snapshot.bytes)
        if snapshot.flags:
            flags = ", ".join(flag.value for flag in snapshot.flags)
            paths = f": {', '.join(snapshot.unreadable)}" if snapshot.unreadable else ""
            status.warning(self._world, ref, "BackupFlagged", f"Backup {snapshot.id[:16]} is {flags}{paths}")
        else:
            message = f"Backed up {snapshot.files} files, {size}, as {snapshot.id[:16]}"
            status.normal(self._world, ref, "BackedUp", message)

    def _lossy(self, item: objects.Protection | None, outcome: BackedUp) -> str | None:
        name = status.section(item, "plan").get("repository")
        repository = self._world.repositories().get(str(name))
        if repository is None or isinstance(repository, str):
            return None
        lost = {
            loss: count
            for loss, count in outcome.snapshot.losses.items()
            if count and loss in LOST_BY[repository.engine]
        }
        if not lost:
            return None
        counted = ", ".join(f"{count} {loss.value}" for loss, count in sorted(lost.items()))
        advice = "; use restic to keep them" if repository.engine is EngineKind.KOPIA else ""
        return f"{repository.engine.value} does not keep {counted}{advice}"

    async def _remember(self, item: objects.Protection | None, changes: Mapping[str, Any]) -> None:
        await status.write(self._world, objects.PROTECTIONS, item, {"backup": changes})

    async def _clear(self, ref: ClaimRef, job: objects.Job) -> None:
        """Delete what the run read through, and its Job.

        An alias goes first: while the Job is there, whoever comes after a crash is led back to it.
        """
        if self._is_guest(job):
            await self._guests.clear(ref, job)
            return
        name = job.metadata.name
        by_snapshot = job.annotations.get(METHOD) == CopyMethod.SNAPSHOT
        if not by_snapshot:
            await aliases.clear(self._world, name)
        await self._world.kube.delete(objects.JOBS, name, self._world.settings.namespace, uid=job.metadata.uid)
        if by_snapshot:
            self._copies.note(ref, name)  # the next look clears it away

    def _is_guest(self, job: objects.Job) -> bool:
        return job.metadata.namespace != self._world.settings.namespace
