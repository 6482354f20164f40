"""A protected claim that was bound to a volume not from us is judged once: did it miss its data?"""

from datetime import timedelta
from typing import Final, assert_never

from holdfast.controllers import status, telling
from holdfast.controllers.inventory import Inventories, Questions
from holdfast.controllers.world import World
from holdfast.decide import backup, unheld
from holdfast.kube import objects
from holdfast.kube.objects import Key
from holdfast.model.claim import Claim, ClaimRef
from holdfast.model.protection import Plan
from holdfast.render import claims, sentences

BORN_UNARMED: Final = "BornUnarmed"  # the phase of the restore that did not take place
NOT_HELD: Final = "NotHeld"  # there was nothing to restore
SOON: Final = timedelta(seconds=1)
LATER: Final = timedelta(seconds=30)
REMIND: Final = timedelta(hours=1)


class Unheld:
    """Asks the repository about claims that were bound without us, before their first backup."""

    def __init__(self, world: World, inventories: Inventories) -> None:
        self._world = world
        self.questions = Questions(inventories, world.now)

    async def reconcile(self, key: Key) -> timedelta | None:
        """Judge the claim, if that was not done before; return when to look again."""
        ref = ClaimRef(namespace=key.namespace, name=key.name)
        claim, item = self._world.claim(ref), status.protection(self._world, ref)
        plan = self._world.plan(claim) if claim is not None else None
        if claim is None or item is None or not isinstance(plan, Plan):
            return None
        if is_unjudged(self._world, claim, plan, item):
            return await self._judge(claim, plan)
        told = status.foreign(item, claim.uid)
        if told is None or told.reason != BORN_UNARMED or not backup.is_standing(told, status.memory(item)):
            return None
        if not _is_asked(self._world, claim, plan):
            await telling.tell(self._world, claim, NOT_HELD, NOT_HELD, "nothing is to be restored", {})
            return None
        status.warning(self._world, ref, BORN_UNARMED, told.detail)
        return REMIND

    async def _judge(self, claim: Claim, plan: Plan) -> timedelta | None:
        repository, identity = plan.repository.value.name, plan.identity.value
        answer = self.questions.ask(claim, repository, identity)
        if answer is None:
            return None
        reading, _ = answer
        self.questions.answered(claim)
        match unheld.judge(reading.found, identity, claim.uid):
            case unheld.Unclear():
                return LATER  # the Repository says what is wrong with it
            case unheld.Nothing():
                message = "it was bound without Holdfast, and there was nothing to restore"
                await telling.tell(self._world, claim, NOT_HELD, NOT_HELD, message, {})
                return None
            case unheld.Missed() as missed:
                message = sentences.missed(claim, missed.count, missed.newest, missed.time)
                more = {"finished": status.text(self._world.now())}
                await telling.tell(self._world, claim, BORN_UNARMED, BORN_UNARMED, message, more)
                status.warning(self._world, claim.ref, BORN_UNARMED, message)
                return REMIND
            case other:
                assert_never(other)


def is_unjudged(world: World, claim: Claim, plan: Plan, item: objects.Protection | None) -> bool:
    """Return whether nobody knows yet if the claim missed its data."""
    if status.section(item, "restore").get("claimUID") == claim.uid:
        return False
    return _is_asked(world, claim, plan)


def _is_asked(world: World, claim: Claim, plan: Plan) -> bool:
    volume = world.informers.volumes.get("", claim.volume_name or "")
    handed_over = volume is not None and volume.annotations.get(claims.CLAIM_UID) == claim.uid
    labels = world.namespace_labels(claim.ref.namespace)
    return unheld.is_asked(claim, plan, labels, world.settings.rule, filled_by_us=handed_over)
