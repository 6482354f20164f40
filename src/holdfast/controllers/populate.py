"""A new claim gets its data: observe, decide the one next step, carry it out; every step may have been done before."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final, assert_never

from holdfast.controllers import clearing, fill, place, runs, status, telling
from holdfast.controllers.fill import Fill
from holdfast.controllers.inventory import Inventories, Questions
from holdfast.controllers.world import World
from holdfast.decide import admission, evidence, intent, population, protection, request, restore
from holdfast.kube import errors
from holdfast.kube.objects import Key
from holdfast.model.claim import Claim, ClaimPhase, ClaimRef, Identity
from holdfast.model.intent import RestoreMode
from holdfast.model.population import (
    Adopt,
    ChooseNode,
    ClassFacts,
    Discard,
    Finish,
    HandOver,
    MakePrime,
    MarkFilled,
    NeedVerdict,
    Nothing,
    Pause,
    RetryJob,
    SetAside,
    StartJob,
    Step,
    Taken,
    Waiting,
)
from holdfast.model.protection import NoPlan
from holdfast.model.repository import Repository
from holdfast.model.request import AUTO, RestoreRequest
from holdfast.model.verdict import Hold, Verdict, Wait

SOON: Final = timedelta(seconds=1)
LATER: Final = timedelta(seconds=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """Whose history a claim asks for, where it lies, and which point of it."""

    repository: Repository
    identity: Identity
    mode: RestoreMode
    accept_partial: str | None


class Populate:
    """Fills claims that are held: by a Restore of ours that they name, or by the name of a volume."""

    def __init__(self, world: World, inventories: Inventories) -> None:
        self._world = world
        self.questions = Questions(inventories, world.now)

    async def reconcile(self, key: Key) -> timedelta | None:
        """Take the claim's next step; return when to look again without a change."""
        ref = ClaimRef(namespace=key.namespace, name=key.name)
        for prime in self._world.informers.claims.by("filled-for", str(ref)):
            if prime.is_deleting:
                await clearing.let_go(self._world, prime)
        claim = self._world.claim(ref)
        if claim is None or self._world.is_ending(ref.namespace):
            return await self._clear_abandoned(ref)
        if not admission.is_held(claim):
            return None
        order = self._order(claim)
        if isinstance(order, NoPlan):
            if claim.phase is not ClaimPhase.PENDING:
                await self._end_bound(claim)
                return None
            return await self._wait(claim, Waiting(reason=order.why.value, detail=order.detail, retry_after=LATER))
        found = Fill.of(self._world, claim, order.repository, order.identity, intent.describe(order.mode))
        for prime in clearing.abandoned(self._world, ref):
            if prime.metadata.name == found.name:
                continue
            earlier = Fill.of_prime(
                self._world, claim, prime, found.wish
            )  # another repository, identity or class was asked for then
            if earlier.is_handed_over:
                found = earlier
            else:
                await clearing.clear_abandoned(self._world, prime)
        verdict = self._verdict(claim, order, found)
        return await self._act(found, order, self._decide(found, verdict), verdict)

    # Observe

    def _order(self, claim: Claim) -> Order | NoPlan:
        wish = self._world.intent(claim)
        asked = self._request(claim)
        if isinstance(asked, NoPlan):
            return asked
        chosen = (asked.repository if asked is not None else None) or wish.repository
        repository = protection.choose(chosen, claim.ref.namespace, self._world.repositories())
        if isinstance(repository, NoPlan):
            return repository
        wanted = asked.identity if asked is not None and asked.identity is not None else wish.identity
        identity = protection.identify(claim.ref, wanted, repository.value)
        if isinstance(identity, NoPlan):
            return identity
        return Order(
            repository=repository.value,
            identity=identity.value,
            mode=wish.restore.value if asked is None else asked.mode,
            accept_partial=wish.accept_partial,
        )

    def _request(self, claim: Claim) -> RestoreRequest | NoPlan | None:
        """Return what the Restore that the claim names asks for; None when it names `auto`."""
        name = admission.request_name(claim)
        if name == AUTO:
            return None
        found = self._world.informers.restores.get(claim.ref.namespace, name)
        where = f"Restore {claim.ref.namespace}/{name}"
        if found is None:
            return NoPlan(why=Hold.NO_REQUEST, detail=f"there is no {where}: create it")
        try:
            return request.read(name, found.spec or {})
        except ValueError as error:
            return NoPlan(why=Hold.NO_REQUEST, detail=f"{where}: {error}")

    def _verdict(self, claim: Claim, order: Order, found: Fill) -> Verdict | None:
        prime = found.prime_facts()
        if claim.phase is not ClaimPhase.PENDING or (prime is not None and prime.decided_for == claim.uid):
            return None
        answer = self.questions.ask(claim, order.repository.name, order.identity)
        if answer is None:
            return None
        reading, since = answer
        known = status.remembered(status.protection(self._world, claim.ref), order.repository.name, str(order.identity))
        facts = evidence.judge(
            order.identity,
            reading.found,
            repository=order.repository,
            asked=since,
            remembered=known,
            now=self._world.now(),
        )
        return restore.decide(facts, order.mode, accept_partial=order.accept_partial)

    def _decide(self, found: Fill, verdict: Verdict | None) -> Step:
        storage_class = self._world.informers.classes.get("", found.claim.storage_class or "")
        return population.next_step(
            found.claim,
            storage_class=ClassFacts(
                name=storage_class.metadata.name,
                waits_for_consumer=storage_class.volume_binding_mode == "WaitForFirstConsumer",
            )
            if storage_class is not None
            else None,
            prime=found.prime_facts(),
            volume=found.volume_facts(),
            job=found.job_facts(),
            verdict=verdict,
            now=self._world.now(),
            wish=found.wish,
            by_name=found.by_name(),
        )

    # Act

    async def _act(self, found: Fill, order: Order, step: Step, verdict: Verdict | None) -> timedelta | None:
        match step:
            case Nothing():
                self.questions.answered(found.claim)
                return None
            case NeedVerdict():
                return None
            case Waiting():
                if isinstance(verdict, Wait):
                    self.questions.answered(found.claim)
                return await self._wait(found.claim, step, verdict)
            case ChooseNode() | MakePrime() | StartJob():
                return await self._make(found, order, step)
            case Adopt():
                await found.note(found.adoption())
            case Discard():
                self.questions.answered(found.claim)
                await found.discard(step)
            case RetryJob():
                await found.retry(step)
            case MarkFilled():
                await found.note(fill.filled(step.result))
            case SetAside():
                await found.set_aside(step)
            case HandOver():
                await found.hand_over()
            case Finish():
                self.questions.answered(found.claim)
                await found.finish()
            case Taken():
                await found.taken(step)
            case _:
                assert_never(step)
        return SOON

    async def _make(self, found: Fill, order: Order, step: ChooseNode | MakePrime | StartJob) -> timedelta | None:
        """Make what the step takes, or say on the claim what the cluster has against it."""
        try:
            match step:
                case ChooseNode():
                    await place.choose(self._world, found.claim)
                case MakePrime():
                    await found.make_prime(step, order.identity)
                case StartJob():
                    await found.start_job(step, order.repository, order.identity)
                case _:
                    assert_never(step)
        except errors.REFUSALS as error:
            failure = runs.refused(error)
            return await self._wait(
                found.claim, Waiting(reason=failure.kind.value, detail=failure.detail, retry_after=LATER)
            )
        return SOON

    async def _wait(self, claim: Claim, step: Waiting, verdict: Verdict | None = None) -> timedelta | None:
        if step.alarm:
            status.warning(self._world, claim.ref, step.reason, f"Waiting: {step.detail}")
        working = "Restoring" if step.reason == Pause.MOVER else "Preparing"
        more = telling.chosen(verdict) if verdict is not None else {}
        await telling.tell(self._world, claim, "Waiting" if step.alarm else working, step.reason, step.detail, more)
        return step.retry_after

    async def _end_bound(self, claim: Claim) -> None:
        """End the fills of a claim that has a volume, where nobody can say any more what was asked for."""
        for prime in clearing.abandoned(self._world, claim.ref):
            found = Fill.of_prime(self._world, claim, prime, "")
            match population.bound(claim, found.prime_facts(), found.volume_facts()):
                case Finish():
                    await found.finish()
                case Taken() as step:
                    await found.taken(step)
                case Nothing():
                    pass

    async def _clear_abandoned(self, ref: ClaimRef) -> timedelta | None:
        """Keep a fill whose claim is gone for the next claim of the identity, for a while."""
        ending, keep = self._world.is_ending(ref.namespace), self._world.settings.keep_fill
        left: list[timedelta] = []
        for prime in clearing.abandoned(self._world, ref):
            age = self._world.now() - prime.metadata.creation_timestamp
            if ending or age >= keep:
                await clearing.clear_abandoned(self._world, prime)
            else:
                left.append(keep - age)
        return min(left, default=None)
