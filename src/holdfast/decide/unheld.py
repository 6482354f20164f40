"""A claim that was bound without our hold, or in spite of it: did it miss a restore?"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from holdfast.decide import admission
from holdfast.model.admission import Arm, LeaveAlone, Refuse, Rule
from holdfast.model.claim import Claim, ClaimPhase, Identity
from holdfast.model.evidence import Inventory
from holdfast.model.failure import Failure
from holdfast.model.intent import Never
from holdfast.model.protection import Plan
from holdfast.model.request import AUTO
from holdfast.model.snapshot import Listing, Record

CLAIM_UID: Final = "claim-uid"  # the tag that every backup of ours carries


@dataclass(frozen=True, slots=True, kw_only=True)
class Missed:
    """There are backups, all of other claims of this identity: `newest` of them, and how many."""

    count: int
    newest: str
    time: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Nothing:
    """There was nothing to miss, or the claim has backups of its own by now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unclear:
    """The repository did not answer whole."""

    detail: str


Judgement = Missed | Nothing | Unclear


def is_asked(claim: Claim, plan: Plan, namespace_labels: Mapping[str, str], rule: Rule, *, filled_by_us: bool) -> bool:
    """Return whether the question arises: bound to a volume that is not from us, though the rule would hold the claim.

    A provisioner that ignores dataSourceRef binds a held claim while no operator is there to see it.
    """
    if claim.phase is not ClaimPhase.BOUND or claim.deleting or filled_by_us:
        return False
    if isinstance(plan.restore.value, Never) and plan.restore.value.reason is not None:
        return False  # a person does not want the data
    if claim.source is not None and admission.is_ours(claim.source):
        return claim.source.name == AUTO
    if admission.is_held(claim):
        return False  # only we make a volume of that name
    return isinstance(admission.again(claim, namespace_labels, rule), Arm | Refuse)


def judge(found: Inventory | Failure, identity: Identity, uid: str) -> Judgement:
    """Return what the repository says of a claim's identity: whose backups there are."""
    if isinstance(found, Failure):
        return Unclear(detail=str(found))
    answer = found.answers.get(identity)
    if answer is None:
        return Unclear(detail="the repository was not asked about it")
    record, listing = answer.record, answer.listing
    theirs: dict[str, tuple[datetime, str]] = {}
    if isinstance(listing, Listing):
        theirs |= {each.id: (each.time, each.tags.get(CLAIM_UID, "")) for each in listing.snapshots}
    if isinstance(record, Record):
        theirs |= {each.id: (each.time, each.claim_uid) for each in record.snapshots}
    known = {name: (time, whose) for name, (time, whose) in theirs.items() if whose}
    if any(whose == uid for _, whose in known.values()):
        return Nothing()
    for witness in (record, listing):
        if isinstance(witness, Failure):
            return Unclear(detail=str(witness))
    if not known:
        return Nothing()
    newest = max(known, key=lambda name: known[name][0])
    return Missed(count=len(known), newest=newest, time=known[newest][0])


def standing(claim: Claim, namespace_labels: Mapping[str, str], rule: Rule) -> LeaveAlone | Arm | Refuse | None:
    """Return None for a claim that is held, else what the rule would do if it were created again."""
    return None if admission.is_held(claim) else admission.again(claim, namespace_labels, rule)
