"""By which way a claim is read, and facts about its copy → the one next step of making it, or of clearing it away.

Every step may have been done before (at-least-once), and a crash between any two leads back to the same one. Between
them, the driver's snapshot is held by exactly one of our objects that would delete it, or by none and then by Retain.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, assert_never

from holdfast.model.claim import Claim
from holdfast.model.copying import (
    AsGuest,
    Broken,
    ByAlias,
    BySnapshot,
    Cleared,
    Clearing,
    CopyFacts,
    DeleteWithClaim,
    Drop,
    DropContent,
    Making,
    NoWay,
    Offer,
    Part,
    Ready,
    Request,
    Seat,
    SetPolicy,
    SnapshotClass,
    SnapshotFacts,
    Source,
    Take,
    User,
    Wait,
    Way,
)
from holdfast.model.failure import Failure, FailureKind
from holdfast.model.intent import CopyMethod

SINGLE_POD: Final = "ReadWriteOncePod"
# The snapshot controller shows conflicts of its own as errors and mends them in seconds.
PATIENCE: Final = timedelta(seconds=20)
# A driver takes a snapshot in less than a second or in minutes: it is asked again after a tenth of the time until then.
PAUSES: Final = timedelta(milliseconds=200), timedelta(seconds=10)
# Clouds upload a snapshot before they call it ready.
DEADLINE: Final = timedelta(hours=2)


def way(
    claim: Claim, wish: CopyMethod, source: Source, classes: Sequence[SnapshotClass], *, no_guest: str | None
) -> Way:
    """Return how the claim's data is read. `no_guest`: why no mover may work in its namespace; None when one may."""
    wished = source.settings.copy_method if wish is CopyMethod.AUTO else wish
    match wished:
        case CopyMethod.DIRECT:
            asked = "it is asked for" if wish is wished else f"StorageClass {claim.storage_class} asks for it"
            return _direct(claim, source, asked, no_guest)
        case CopyMethod.SNAPSHOT | CopyMethod.AUTO:
            found = _snapshot_class(claim, source, classes)
            if isinstance(found, _Class):
                modes = source.settings.access_modes or claim.access_modes
                return BySnapshot(snapshot_class=found.name, access_modes=modes, why=found.why)
            if wished is CopyMethod.SNAPSHOT or source.settings.snapshot_class is not None:
                return NoWay(reason="NoSnapshotClass", detail=found)
            return _direct(claim, source, found, no_guest)
    assert_never(wished)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Class:
    name: str
    why: str


def _snapshot_class(claim: Claim, source: Source, classes: Sequence[SnapshotClass]) -> _Class | str:
    """Return the class to take snapshots with, or why there is none."""
    if source.driver is None:
        return "its volume is of no CSI driver, so there are no snapshots of it"
    if source.provisioner != source.driver:
        return f"StorageClass {claim.storage_class or '(none)'} makes no volumes of driver {source.driver}"
    own = sorted((each for each in classes if each.driver == source.driver), key=lambda each: each.name)
    named = source.settings.snapshot_class
    if named is not None:
        if any(each.name == named for each in own):
            return _Class(name=named, why=f"StorageClass {claim.storage_class} names {named}")
        return f"StorageClass {claim.storage_class} names {named}, and driver {source.driver} has no such class"
    default = [each for each in own if each.is_default]
    if len(default) == 1:
        return _Class(
            name=default[0].name, why=f"VolumeSnapshotClass {default[0].name} is the default of driver {source.driver}"
        )
    if len(own) == 1:
        return _Class(name=own[0].name, why=f"VolumeSnapshotClass {own[0].name} is the one of driver {source.driver}")
    if not own:
        return f"driver {source.driver} has no VolumeSnapshotClass"
    which = "none is" if not default else "several are"
    return f"driver {source.driver} has the VolumeSnapshotClasses {', '.join(c.name for c in own)}, and {which} default"


def _direct(claim: Claim, source: Source, why: str, no_guest: str | None) -> ByAlias | AsGuest | NoWay:
    if SINGLE_POD in claim.access_modes:
        detail = f"{SINGLE_POD} lets no second pod read the volume, and no snapshot can be read instead: {why}"
        return NoWay(reason=SINGLE_POD, detail=detail)
    if source.has_alias and source.settings.alias:
        return ByAlias(why=why)
    alone = (
        f"StorageClass {claim.storage_class} says that no second volume can name the bytes of {claim.volume_name}"
        if source.has_alias
        else f"volume {claim.volume_name} is none of hostPath, local, nfs or csi, so no second one can name its bytes"
    )
    if no_guest is not None:
        return NoWay(reason="NoAlias", detail=f"{alone}, and {no_guest}")
    return AsGuest(why=f"{why}; in namespace {claim.ref.namespace}: {alone}")


def seat(claim: Claim, users: Sequence[User], *, placeless: bool) -> Seat | Broken:
    """Return where a mover reads the claim's volume beside the app.

    Most storage serves one node at a time, so the mover goes where the app is. `placeless`: the volume is a directory
    that every node may have, another one each, and says not on which node it is.
    """
    known = [each for each in users if each.running or placeless]
    user = min(known, key=lambda each: (not each.running, each.node, each.name), default=None)
    if user is not None:
        return Seat(node=user.node, tolerations=user.tolerations)
    if placeless and claim.selected_node is None:
        detail = (
            f"volume {claim.volume_name} is a directory of a node and says not of which (it has no nodeAffinity), "
            "and no pod that uses the claim tells: start the app, or give the volume its node"
        )
        return Broken(failure=Failure(kind=FailureKind.NODE_NOT_KNOWN, detail=detail))
    return Seat(node=claim.selected_node if placeless else None)


def next_step(facts: CopyFacts, *, requested_bytes: int, strays: Sequence[str], now: datetime) -> Making:
    """Return the next step towards a claim that a mover can read.

    `strays` are volumes that nobody claims and that the temporary claim would be bound to, instead of a new one.
    """
    taken, first, second, offered = facts.taken, facts.first, facts.second, facts.offered
    if facts.claim is False:
        return Ready()
    if facts.claim is True:
        return Wait(detail="the temporary claim is being deleted", since=taken.since if taken is not None else None)
    if taken is None and first is None and second is None:
        return Take()
    if taken is None or taken.deleting:
        return _broken("the VolumeSnapshot beside the claim was deleted")
    if not taken.ours:
        return _broken("beside the claim is a VolumeSnapshot of this name that Holdfast did not make: delete it")
    failure = _failed(taken, now) or (_failed(offered, now) if offered is not None else None)
    if failure is not None:
        return Broken(failure=failure)
    if first is None:
        return Wait(detail="the snapshot is being taken", since=taken.since)
    if not (first.ours and first.retained):
        return SetPolicy(content=first.name, retain=True)
    if not taken.ready or first.handle is None:
        return Wait(detail="the snapshot is not ready", since=taken.since)
    if second is None or offered is None:
        return Offer(content=first if second is None else None)
    if not offered.ready:
        return Wait(detail="the snapshot is not ready in our namespace", since=taken.since)
    if strays:
        return _broken(
            f"volume {strays[0]} belongs to no claim and would be read instead of the snapshot: delete or reserve it"
        )
    return Request(size_bytes=max(requested_bytes, taken.restore_bytes or 0))


def pause(wait: Wait, now: datetime) -> timedelta:
    """Return after how long to look at the copy again: none of its objects is watched."""
    shortest, longest = PAUSES
    return min(max((now - wait.since) / 10, shortest), longest) if wait.since is not None else longest


def _failed(snapshot: SnapshotFacts, now: datetime) -> Failure | None:
    age = now - snapshot.since
    if snapshot.ready:
        return None
    if snapshot.error is not None and age >= PATIENCE:
        return Failure(kind=FailureKind.NO_VOLUME_SNAPSHOT, detail=snapshot.error)
    if age >= DEADLINE:
        return Failure(kind=FailureKind.TIMEOUT, detail=f"the VolumeSnapshot is not ready within {DEADLINE}")
    return None


def _broken(detail: str) -> Broken:
    return Broken(failure=Failure(kind=FailureKind.NO_VOLUME_SNAPSHOT, detail=detail))


def clearing(facts: CopyFacts) -> Clearing:
    """Return the next step towards nothing being left, in the driver neither.

    The volume goes before the snapshot that it was made from: some drivers refuse the other order.
    """
    volume = facts.volume
    if volume is not None and volume.retained:
        return DeleteWithClaim(volume=volume.name)
    if facts.claim is False:
        return Drop(part=Part.CLAIM)
    if facts.claim is not None or volume is not None:
        return Wait(detail="the temporary volume is being deleted")
    return _clearing_first(facts) or _clearing_second(facts)


def _clearing_first(facts: CopyFacts) -> Clearing | None:
    """The driver's snapshot goes with the first content only where there is no second one."""
    taken, first, shared = facts.taken, facts.first, facts.second is not None
    if first is not None and not first.deleting and not (first.ours and first.retained is shared):
        return SetPolicy(content=first.name, retain=shared)
    if taken is not None and taken.ours:
        return Wait(detail="the VolumeSnapshot is being deleted") if taken.deleting else Drop(part=Part.TAKEN)
    if first is not None:
        return Wait(detail="its content is being deleted") if first.deleting else DropContent(content=first.name)
    return None


def _clearing_second(facts: CopyFacts) -> Clearing:
    second, offered = facts.second, facts.offered
    if second is not None and second.retained and not second.deleting:
        return SetPolicy(content=second.name, retain=False)
    if offered is not None:
        return Wait(detail="the VolumeSnapshot is being deleted") if offered.deleting else Drop(part=Part.OFFERED)
    if second is not None:
        return Wait(detail="its content is being deleted") if second.deleting else Drop(part=Part.SECOND)
    return Cleared()
