"""A labelled claim gets its Protection: the effective plan, and the ledger's one word for it."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

from holdfast.controllers import status
from holdfast.controllers.unheld import BORN_UNARMED
from holdfast.controllers.world import World
from holdfast.decide import backup, intent, ownership, protection, schedule, unheld
from holdfast.kube import errors, objects
from holdfast.kube.objects import Key
from holdfast.model.claim import Claim, ClaimPhase, ClaimRef
from holdfast.model.copying import NoWay, Way
from holdfast.model.intent import Problem, Protect
from holdfast.model.protection import BackupMemory, Health, NoPlan, Plan
from holdfast.model.verdict import Hold
from holdfast.render import names, sentences

LOOK_AGAIN: Final = timedelta(minutes=10)


class Protector:
    """Keeps one Protection per protected claim."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def reconcile(self, key: Key) -> timedelta | None:
        """Bring the claim's Protection up to date."""
        ref = ClaimRef(namespace=key.namespace, name=key.name)
        claim = self._world.claim(ref)
        if claim is None or self._world.is_ending(ref.namespace):
            await self._release(ref)
            return None
        plan = self._world.plan(claim)
        if isinstance(plan, NoPlan) and isinstance(plan.why, Protect):
            await self._unprotected(ref, plan)
            return None
        item = await self._ensure(claim)
        if item is None:
            return None
        await status.write(self._world, objects.PROTECTIONS, item, await self._status(claim, plan, item))
        if isinstance(plan, NoPlan) and plan.why is Hold.NOT_GRANTED and claim.phase is ClaimPhase.BOUND:
            status.warning(self._world, ref, plan.why.value, f"Not backed up: {plan.detail}")
        for problem in plan.problems:
            status.warning(self._world, ref, Health.REVIEW.value, str(problem))
        return LOOK_AGAIN

    async def _ensure(self, claim: Claim) -> objects.Protection | None:
        """Return the claim's Protection, made if there is none; None when one of this name is somebody else's."""
        ref = claim.ref
        found = self._world.informers.protections.get(ref.namespace, ref.name)
        if found is not None:
            if ownership.is_ours(found.labels):
                return found
            status.warning(
                self._world, ref, "NotOurs", f"Protection {ref} was not made by Holdfast: remove it, or label it"
            )
            return None
        manifest = {
            "apiVersion": objects.PROTECTIONS.api_version,
            "kind": objects.PROTECTIONS.kind,
            "metadata": names.metadata(ref.name, ref.namespace, "protection"),
        }
        try:
            await self._world.kube.create(manifest)
        except errors.Terminating:
            return None
        except errors.AlreadyExists:
            pass
        return await self._world.kube.get(objects.PROTECTIONS, ref.name, ref.namespace)

    async def _status(self, claim: Claim, plan: Plan | NoPlan, item: objects.Protection) -> dict[str, Any]:
        known, now = status.memory(item), self._world.now()
        restoring = status.section(item, "restore")
        phase = restoring.get("phase") if restoring.get("claimUID") == claim.uid else None
        found = await self._world.way(claim, plan) if isinstance(plan, Plan) else None
        if isinstance(found, NoWay) and isinstance(plan, Plan):
            plan = replace(plan, problems=(*plan.problems, Problem(where=found.reason, what=found.detail)))
        problems = [str(problem) for problem in plan.problems + protection.unarmed(claim)]
        if isinstance(plan, NoPlan):
            return {
                "state": Health.REVIEW.value,
                "message": plan.detail,
                "claimUID": claim.uid,
                "plan": {"nextRun": None},
                "problems": problems,
            }
        writer = self._world.writer(claim.ref, plan)
        if writer is not None:
            problems.append(f"claim {writer} writes the history {plan.identity.value}: backups of this one are held")
        foreign = status.foreign(item, claim.uid)
        born_unarmed = phase == BORN_UNARMED and foreign is not None and backup.is_standing(foreign, known)
        if born_unarmed:
            problems.insert(0, str(restoring.get("message")))
        health = protection.health(
            plan, known, restoring=phase, created=claim.created, now=now, born_unarmed=born_unarmed
        )
        return {
            "state": (Health.REVIEW if writer is not None else health).value,
            "message": _message(health, known, restoring, problems),
            "conditions": self._armed(claim, item, born_unarmed=born_unarmed),
            "claimUID": claim.uid,
            "plan": self._plan(plan, found),
            "problems": problems,
        }

    def _armed(self, claim: Claim, item: objects.Protection, *, born_unarmed: bool) -> list[dict[str, Any]]:
        labels = self._world.namespace_labels(claim.ref.namespace)
        standing = unheld.standing(claim, labels, self._world.settings.rule)
        told = sentences.armed(standing, born_unarmed=born_unarmed)
        return status.conditions(item, "Armed", told, self._world.now())[0]

    def _plan(self, plan: Plan, found: Way | None) -> dict[str, Any]:
        following = schedule.next_due(plan.tier.value, plan.cron, str(plan.identity.value), self._world.now())
        method, why = sentences.way(found)
        return {
            "repository": plan.repository.value.name,
            "identity": str(plan.identity.value),
            "schedule": plan.cron or plan.tier.value.value,
            "scheduleFrom": "annotation holdfast.dev/schedule" if plan.cron else plan.tier.origin,
            "restore": intent.describe(plan.restore.value),
            "copyMethod": method,
            "copyMethodFrom": why,
            "nextRun": status.text(following),
        }

    async def _unprotected(self, ref: ClaimRef, plan: NoPlan) -> None:
        """The label is off or gone: backups stop, and the Protection stays as memory of the history."""
        item = status.protection(self._world, ref)
        if item is None:
            return
        changes = {"state": plan.why.value, "message": f"not backed up: {plan.detail}", "plan": {"nextRun": None}}
        await status.write(self._world, objects.PROTECTIONS, item, changes)

    async def _release(self, ref: ClaimRef) -> None:
        item = status.protection(self._world, ref)
        if item is None:
            return
        message = "the claim is gone; its backups stay, and it gets them back when it is created again"
        changes = {
            "state": Health.RELEASED.value,
            "message": message,
            "plan": {"nextRun": None},
            "restore": {"phase": None, "reason": None, "message": None},
        }
        await status.write(self._world, objects.PROTECTIONS, item, changes)


def _message(health: Health, known: BackupMemory, restoring: Mapping[str, Any], problems: list[str]) -> str:
    match health:
        case Health.WAITING | Health.RESTORING:
            return str(restoring.get("message") or "")
        case Health.FAILING:
            return known.failure or ""
        case _ if problems:
            return problems[0]
        case _:
            return ""
