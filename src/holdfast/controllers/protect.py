"""A labelled claim gets its Protection: the effective plan, and the ledger's one word for it."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from holdfast.controllers import status
from holdfast.controllers.world import World
from holdfast.decide import intent, ownership, protection, schedule
from holdfast.kube import errors, objects
from holdfast.kube.objects import Key
from holdfast.model.claim import Claim, ClaimRef, Identity
from holdfast.model.intent import Protect
from holdfast.model.protection import BackupMemory, Health, NoPlan, Plan
from holdfast.render import names

LOOK_AGAIN: Final = timedelta(minutes=10)


class Plans:
    """The plan of every protected claim: what protect wrote, backup and clash detection read."""

    def __init__(self) -> None:
        self._plans: dict[ClaimRef, Plan] = {}
        self._holders: Mapping[ClaimRef, ClaimRef] = {}

    def put(self, ref: ClaimRef, plan: Plan | None) -> bool:
        """Note a claim's plan; return whether that changes who writes which history."""
        before = self._identity(self._plans.get(ref))
        if plan is None:
            self._plans.pop(ref, None)
        else:
            self._plans[ref] = plan
        if before == self._identity(plan):
            return False
        self._holders = protection.clashes(
            {each: (found.repository.value.name, found.identity.value) for each, found in self._plans.items()}
        )
        return True

    @staticmethod
    def _identity(plan: Plan | None) -> tuple[str, Identity] | None:
        return (plan.repository.value.name, plan.identity.value) if plan is not None else None

    def writer(self, ref: ClaimRef) -> ClaimRef | None:
        """Return the other claim that writes this claim's history; None when this claim does."""
        return self._holders.get(ref)

    def clashing(self) -> frozenset[ClaimRef]:
        return frozenset(self._holders)


class Protector:
    """Keeps one Protection per protected claim."""

    def __init__(self, world: World, plans: Plans) -> None:
        self._world = world
        self._plans = plans

    async def reconcile(self, key: Key) -> timedelta | None:
        """Bring the claim's Protection up to date."""
        ref = ClaimRef(namespace=key.namespace, name=key.name)
        claim = self._world.claim(ref)
        if claim is None or self._world.is_ending(ref.namespace):
            self._plans.put(ref, None)
            await self._release(ref)
            return None
        wish = self._world.intent(claim)
        plan = protection.plan(ref, wish, self._world.repositories())
        self._plans.put(ref, plan if isinstance(plan, Plan) else None)
        if isinstance(plan, NoPlan) and isinstance(plan.why, Protect):
            await self._unprotected(ref, plan)
            return None
        item = await self._ensure(claim)
        if item is None:
            return None
        await status.write(self._world, objects.PROTECTIONS, item, self._status(claim, plan, item))
        for problem in wish.problems:
            status.warning(self._world, ref, Health.REVIEW.value, str(problem))
        return LOOK_AGAIN

    async def _ensure(self, claim: Claim) -> objects.Protection | None:
        """Return the claim's Protection, made if there is none; None when one of this name is somebody else's."""
        ref = claim.ref
        found = status.protection(self._world, ref)
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

    def _status(self, claim: Claim, plan: Plan | NoPlan, item: objects.Protection) -> dict[str, Any]:
        known, now = status.memory(item), self._world.now()
        restoring = status.section(item, "restore")
        phase = restoring.get("phase") if restoring.get("claimUID") == claim.uid else None
        problems = [str(problem) for problem in plan.problems]
        if isinstance(plan, NoPlan):
            return {
                "state": Health.REVIEW.value,
                "message": plan.detail,
                "claimUID": claim.uid,
                "plan": {"nextRun": None},
                "problems": problems,
            }
        writer = self._plans.writer(claim.ref)
        if writer is not None:
            problems.append(f"claim {writer} writes the history {plan.identity.value}: backups of this one are held")
        health = protection.health(plan, known, restoring=phase, created=claim.created, now=now)
        return {
            "state": (Health.REVIEW if writer is not None else health).value,
            "message": _message(health, known, restoring, problems),
            "claimUID": claim.uid,
            "plan": self._plan(plan),
            "problems": problems,
        }

    def _plan(self, plan: Plan) -> dict[str, Any]:
        following = schedule.next_due(plan.tier.value, plan.cron, str(plan.identity.value), self._world.now())
        return {
            "repository": plan.repository.value.name,
            "identity": str(plan.identity.value),
            "schedule": plan.cron or plan.tier.value.value,
            "scheduleFrom": "annotation holdfast.dev/schedule" if plan.cron else plan.tier.origin,
            "restore": intent.describe(plan.restore.value),
            "nextRun": status.text(following),
        }

    async def _unprotected(self, ref: ClaimRef, plan: NoPlan) -> None:
        """The label is off or gone: backups stop, and the Protection stays as memory of the history."""
        item = status.protection(self._world, ref)
        if item is None or not ownership.is_ours(item.labels):
            return
        changes = {"state": plan.why.value, "message": f"not backed up: {plan.detail}", "plan": {"nextRun": None}}
        await status.write(self._world, objects.PROTECTIONS, item, changes)

    async def _release(self, ref: ClaimRef) -> None:
        item = status.protection(self._world, ref)
        if item is None or not ownership.is_ours(item.labels):
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
