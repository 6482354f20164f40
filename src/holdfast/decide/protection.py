"""Intent and Repositories → the plan for a claim, or the reason for none. P11 is kept here."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from holdfast.decide import schedule
from holdfast.model.claim import Claim, ClaimRef, Identity
from holdfast.model.evidence import Doubt
from holdfast.model.intent import PREFIX, Intent, Problem, Protect, Sourced, Unreadable
from holdfast.model.protection import BackupMemory, Health, NoPlan, Plan
from holdfast.model.repository import Repository
from holdfast.model.verdict import Hold

DEFAULT: Final = "default"
# A Repository object that cannot be used: why, as a sentence.
Broken = str


def plan(ref: ClaimRef, intent: Intent, repositories: Mapping[str, Repository | Broken]) -> Plan | NoPlan:
    """Return what is done for the claim."""
    if intent.protect.value is not Protect.YES:
        return NoPlan(why=intent.protect.value, detail=intent.protect.origin, problems=intent.problems)
    repository = choose(intent.repository, ref.namespace, repositories)
    if isinstance(repository, NoPlan):
        return NoPlan(why=repository.why, detail=repository.detail, problems=intent.problems)
    identity = identify(ref, intent.identity, repository.value)
    if isinstance(identity, NoPlan):
        return NoPlan(why=identity.why, detail=identity.detail, problems=intent.problems)
    return Plan(
        identity=identity,
        repository=repository,
        tier=intent.tier,
        cron=intent.cron,
        restore=intent.restore,
        copy_method=intent.copy_method,
        exclude=intent.exclude,
        run_as=intent.run_as,
        accept_partial=intent.accept_partial,
        backup_now=intent.backup_now,
        problems=intent.problems,
    )


def choose(
    wanted: str | None, namespace: str, repositories: Mapping[str, Repository | Broken]
) -> Sourced[Repository] | NoPlan:
    """Return the Repository for a claim: the one it names, else `default`, else the only one."""
    if wanted is not None:
        name, origin = wanted, f"annotation {PREFIX}repository"
    elif DEFAULT in repositories or not repositories:
        name, origin = DEFAULT, "the Repository named default"
    elif len(repositories) == 1:
        name, origin = next(iter(repositories)), "the only Repository"
    else:
        names = ", ".join(sorted(repositories))
        return NoPlan(
            why=Doubt.NOT_CHOSEN,
            detail=f"there are several Repositories ({names}) and none is named default: "
            f"name one in annotation {PREFIX}repository",
        )
    found = repositories.get(name)
    if found is None:
        return NoPlan(why=Doubt.NOT_CHOSEN, detail=f"there is no Repository {name} ({origin})")
    if isinstance(found, Broken):
        return NoPlan(why=Doubt.NOT_READY, detail=f"Repository {name} cannot be used: {found}")
    if not any(allowed in ("*", namespace) for allowed in found.namespaces):
        return NoPlan(
            why=Doubt.NOT_CHOSEN,
            detail=f"Repository {name} does not admit namespace {namespace}: add it to spec.namespaces",
        )
    return Sourced(value=found, origin=origin)


def identify(ref: ClaimRef, wanted: Identity | Unreadable | None, repository: Repository) -> Sourced[Identity] | NoPlan:
    """Return the identity whose history the claim reads and writes, if it may."""
    own = Identity(cluster=repository.cluster, namespace=ref.namespace, claim=ref.name)
    match wanted:
        case None:
            return Sourced(value=own, origin="the claim's own namespace and name")
        case Unreadable(text=text):
            return NoPlan(why=Doubt.NOT_CHOSEN, detail=f"annotation {PREFIX}identity says {text[:80]!r}")
        case Identity():
            identity = Identity(
                cluster=wanted.cluster or repository.cluster, namespace=wanted.namespace, claim=wanted.claim
            )
            if not permitted(ref.namespace, identity, repository):
                return NoPlan(
                    why=Hold.NOT_GRANTED,
                    detail=f"namespace {ref.namespace} may not use the history of {identity}: a cluster administrator "
                    f"must add {{from: {ref.namespace}, to: {_owner(identity, repository)}}} to spec.grants of "
                    f"Repository {repository.name}",
                )
            return Sourced(value=identity, origin=f"annotation {PREFIX}identity")


def permitted(namespace: str, identity: Identity, repository: Repository) -> bool:
    """Return whether claims of the namespace may read and write the identity's history (P11)."""
    owner = _owner(identity, repository)
    if owner == namespace:
        return True
    return any(grant.reader == namespace and grant.owner in ("*", owner) for grant in repository.grants)


def _owner(identity: Identity, repository: Repository) -> str:
    if identity.cluster == repository.cluster:
        return identity.namespace
    return f"{identity.cluster}/{identity.namespace}"


def limits(claim: Claim) -> tuple[Problem, ...]:
    """Return what a claim is that keeps Holdfast from protecting it at all."""
    if claim.volume_mode != "Block":
        return ()
    what = "Block volumes are neither backed up nor restored; use a claim of volumeMode Filesystem"
    return (Problem(where="spec.volumeMode", what=what),)


def unarmed(claim: Claim) -> tuple[Problem, ...]:
    """Return why a claim is backed up, yet not restored by itself when it is created again."""
    if claim.storage_class != "" and not claim.has_selector:
        return ()
    where = "spec.selector" if claim.has_selector else "spec.storageClassName"
    what = "its volume is chosen by hand, so it is backed up, and not restored by itself when it is created again"
    return (Problem(where=where, what=what),)


def clashes(identities: Mapping[ClaimRef, tuple[str, Identity]]) -> Mapping[ClaimRef, ClaimRef]:
    """Return each claim that must not write its identity, with the claim that does.

    `identities` gives each claim's repository and identity. The claim whose own name it is writes; else the first
    by name does. Reading (a restore) is never held by this.
    """
    holders: dict[tuple[str, Identity], ClaimRef] = {}
    for ref in sorted(identities, key=lambda each: (not _is_own(each, identities[each][1]), each)):
        holders.setdefault(identities[ref], ref)
    return {ref: holders[key] for ref, key in identities.items() if holders[key] != ref}


def _is_own(ref: ClaimRef, identity: Identity) -> bool:
    return (identity.namespace, identity.claim) == (ref.namespace, ref.name)


def health(
    plan_: Plan,
    memory: BackupMemory,
    *,
    restoring: str | None,
    created: datetime,
    now: datetime,
    born_unarmed: bool = False,
) -> Health:
    """Return the ledger's one word for a protected claim. `restoring` is the phase of its restore, if any."""
    match restoring:
        case "Waiting":
            return Health.WAITING
        case "Restoring":
            return Health.RESTORING
        case _:
            pass
    if born_unarmed:
        return Health.BORN_UNARMED
    if plan_.problems:
        return Health.REVIEW
    if memory.failure is not None:
        return Health.FAILING
    if memory.flags:
        return Health.FLAGGED
    late = _late(plan_, memory, created, now)
    if memory.last_time is None:
        return Health.LATE if late else Health.NEW
    return Health.LATE if late else Health.PROTECTED


def _late(plan_: Plan, memory: BackupMemory, created: datetime, now: datetime) -> bool:
    interval = schedule.interval(plan_.tier.value, plan_.cron, str(plan_.identity.value), now)
    if interval is None:
        return False
    return now - (memory.last_time or created) > 2 * interval + timedelta(hours=2)


def worst(states: Sequence[Health]) -> Health | None:
    """Return the state that most needs a person; None when there is none."""
    order = (
        Health.UNKNOWN,
        Health.BORN_UNARMED,
        Health.FAILING,
        Health.WAITING,
        Health.LATE,
        Health.FLAGGED,
        Health.REVIEW,
        Health.RESTORING,
        Health.NEW,
        Health.PROTECTED,
        Health.RELEASED,
    )
    return min(states, key=order.index, default=None)
