"""A claim's history: whose it is, and what both witnesses say of it now."""

from dataclasses import dataclass
from datetime import UTC, datetime

from holdfast.cli import cluster as objects_of
from holdfast.cli import ledger, reading
from holdfast.cli.cluster import Claimed, Cluster, Order
from holdfast.cli.problems import Problem
from holdfast.decide import evidence, restore
from holdfast.model.claim import ClaimRef
from holdfast.model.evidence import Evidence, Inventory
from holdfast.model.failure import Failure
from holdfast.model.intent import RestoreMode
from holdfast.model.protection import NoPlan
from holdfast.model.snapshot import Snapshot
from holdfast.model.verdict import Restore, StartEmpty, Wait
from holdfast.render import advice


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """One reading about one identity."""

    claimed: Claimed
    order: Order
    began: datetime
    found: Inventory | Failure
    evidence: Evidence


async def read(cluster: Cluster, ref: ClaimRef, repository: str | None = None) -> History:
    """Return what is known of the history that belongs to a claim; raise Problem when it is not clear which."""
    claimed = await objects_of.claimed(cluster, ref)
    order = objects_of.order(claimed, repository)
    if isinstance(order, NoPlan):
        raise Problem(f"{ref}: {order.detail}")
    return await of(cluster, claimed, order)


async def of(cluster: Cluster, claimed: Claimed, order: Order) -> History:
    """Return one fresh reading about the order's identity."""
    identity = order.identity.value
    asked = datetime.now(UTC)
    began, found = await reading.ask(cluster, order.repository.value.name, [identity])
    known = ledger.remembered(claimed.item, order.repository.value.name, str(identity))
    judged = evidence.judge(
        identity,
        found,
        repository=order.repository.value,
        # The reading was asked for after everything else was read: it answers whatever its clock says.
        asked=min(asked, began),
        remembered=known,
        now=datetime.now(UTC),
    )
    return History(claimed=claimed, order=order, began=began, found=found, evidence=judged)


def choose(history: History, mode: RestoreMode) -> Snapshot:
    """Return the snapshot that a restore would take; raise Problem when it would wait or start empty."""
    verdict = restore.decide(history.evidence, mode, accept_partial=history.order.accept_partial)
    identity = history.order.identity.value
    match verdict:
        case Restore(snapshot=snapshot):
            return snapshot
        case StartEmpty():
            raise Problem(f"There is no backup of {identity}", "`holdfast backup` makes one.")
        case Wait(why=why, detail=detail):
            raise Problem(f"{identity}: {detail}", advice.on(why))
