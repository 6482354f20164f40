"""What the two witnesses prove about one identity. The only place that builds `Absent`."""

from dataclasses import replace
from datetime import datetime

from holdfast.model.claim import Identity
from holdfast.model.evidence import Absent, Answer, Doubt, Evidence, Exists, Inventory, Remembered, Unknown
from holdfast.model.failure import Failure, FailureKind
from holdfast.model.repository import EngineKind, Repository
from holdfast.model.snapshot import Flag, Listing, Record, RecordedSnapshot, Snapshot


def judge(
    identity: Identity,
    inventory: Inventory | Failure | None,
    *,
    repository: Repository,
    asked: datetime,
    remembered: Remembered | None,
    now: datetime,
) -> Evidence:
    """Return what is known about the identity's snapshots.

    An inventory that began before the claim asked answers nothing (P7). `remembered` is what the Protection knows.
    """
    match inventory:
        case None:
            return Unknown(learned=now, why=Doubt.NOT_ASKED, detail="the repository has not been asked yet")
        case Failure(kind=kind, detail=detail):
            return Unknown(learned=now, why=kind, detail=detail + _was_here(kind, repository))
        case Inventory(began=began) if began < asked:
            return Unknown(learned=began, why=Doubt.NOT_ASKED, detail="no inventory has begun since the claim asked")
        case Inventory(answers=answers):
            misplaced = _misplaced(inventory, repository)
            answer = answers.get(identity)
            if misplaced is not None:
                return misplaced
            if answer is None:
                return Unknown(learned=inventory.began, why=Doubt.NOT_ASKED, detail=f"not asked about {identity}")
            return _weigh(identity, inventory, answer, remembered)


def _was_here(kind: FailureKind, repository: Repository) -> str:
    """A place without marker is the wrong place when a repository was seen there: name it."""
    expected = repository.pin or repository.known_id
    if kind is not FailureKind.NO_MARKER or expected is None:
        return ""
    return f". Repository {repository.name} was {expected} before: check its bucket, prefix or disk"


def _misplaced(inventory: Inventory, repository: Repository) -> Unknown | None:
    marker = inventory.marker
    for expected, whence in ((repository.pin, "spec.repositoryID"), (repository.known_id, "status.repositoryID")):
        if expected is not None and expected != marker.repository_id:
            return Unknown(
                learned=inventory.began,
                why=Doubt.PINNED_ELSEWHERE,
                detail=f"the storage holds repository {marker.repository_id}, but {whence} of Repository "
                f"{repository.name} names {expected}: is this the right bucket, prefix or disk?",
                known=expected,
                found=marker.repository_id,
            )
    if marker.engine != repository.engine:
        return Unknown(
            learned=inventory.began,
            why=Doubt.PINNED_ELSEWHERE,
            detail=f"the storage was initialised for {marker.engine}, but Repository {repository.name} "
            f"says {repository.engine}",
            known=repository.engine,
            found=marker.engine,
        )
    return None


def _weigh(identity: Identity, inventory: Inventory, answer: Answer, remembered: Remembered | None) -> Evidence:
    if isinstance(answer.listing, Failure):
        return Unknown(learned=inventory.began, why=answer.listing.kind, detail=answer.listing.detail)
    if isinstance(answer.record, Failure):
        return Unknown(learned=inventory.began, why=answer.record.kind, detail=answer.record.detail)
    if answer.record is None:
        return _without_record(identity, inventory, answer.listing, remembered)
    return _with_record(inventory, answer.listing, answer.record)


def _without_record(
    identity: Identity, inventory: Inventory, listing: Listing, remembered: Remembered | None
) -> Evidence:
    replaced = _replaced(inventory, listing.engine_id)
    if replaced is not None:
        return replaced
    if listing.snapshots:
        newest = listing.snapshots[-1]
        flagged = tuple(replace(each, flags=each.flags | {Flag.UNRECORDED}) for each in listing.snapshots)
        if remembered is None:
            return Exists(learned=inventory.began, snapshots=flagged)
        return Unknown(
            learned=inventory.began,
            why=Doubt.NO_RECORD,
            detail=f"the repository holds snapshots of {identity} (the newest is {newest.id} of "
            f"{newest.time:%Y-%m-%d %H:%M}Z), but our record of them is gone",
            found=newest.id,
            snapshots=flagged,
        )
    if remembered is not None:
        return Unknown(
            learned=inventory.began,
            why=Doubt.REMEMBERED,
            detail=f"a backup of {identity} was made at {remembered.time:%Y-%m-%d %H:%M}Z ({remembered.id}), "
            "but the repository holds no snapshot and no record of it",
            known=remembered.id,
        )
    if inventory.marker.engine is EngineKind.KOPIA and listing.engine_id is None:
        return Unknown(learned=inventory.began, why=FailureKind.NO_REPOSITORY, detail="kopia named no repository")
    return Absent(learned=inventory.began, marker=inventory.marker, listing=listing, recorded=inventory.recorded)


def _replaced(inventory: Inventory, engine_id: str | None) -> Unknown | None:
    """kopia: the repository's own id is the marker's. restic keeps one per identity, compared with its record."""
    shared = inventory.marker.engine is not EngineKind.RESTIC
    if not shared or engine_id == inventory.marker.repository_id:
        return None
    return Unknown(
        learned=inventory.began,
        why=FailureKind.REPLACED,
        detail=f"the engine opened repository {engine_id}, but the marker names {inventory.marker.repository_id}",
        known=inventory.marker.repository_id,
        found=engine_id,
    )


def _with_record(inventory: Inventory, listing: Listing, record: Record) -> Evidence:
    replaced = _replaced(inventory, listing.engine_id)
    if replaced is not None:
        return replaced
    if listing.engine_id is not None and listing.engine_id != record.engine_id:
        return Unknown(
            learned=inventory.began,
            why=FailureKind.REPLACED,
            detail=f"the engine opened repository {listing.engine_id}, but our record is of {record.engine_id}",
            known=record.engine_id,
            found=listing.engine_id,
        )
    if not record.snapshots:
        return Unknown(
            learned=inventory.began,
            why=FailureKind.BAD_RECORD,
            detail=f"every backup of {record.identity} was deleted by hand, its record says. To start empty set "
            "annotation holdfast.dev/restore to never, with a holdfast.dev/restore-reason",
        )
    newest = record.snapshots[-1]
    if not any(each.id == newest.id for each in listing.snapshots):
        return _newest_missing(inventory, _joined(listing, record), newest)
    return Exists(learned=inventory.began, snapshots=_joined(listing, record))


def _newest_missing(inventory: Inventory, listed: tuple[Snapshot, ...], newest: RecordedSnapshot) -> Unknown:
    found = listed[-1] if listed else None
    there = f"the newest that is there is {found.id} of {found.time:%Y-%m-%d %H:%M}Z" if found else "none is there"
    return Unknown(
        learned=inventory.began,
        why=Doubt.NEWEST_MISSING,
        detail=f"the newest known backup, {newest.id} of {newest.time:%Y-%m-%d %H:%M}Z, is not in the repository; "
        f"{there}. To accept an older one set annotation holdfast.dev/restore to its id",
        known=newest.id,
        found=found.id if found else None,
        snapshots=listed,
    )


def _joined(listing: Listing, record: Record) -> tuple[Snapshot, ...]:
    recorded = {each.id: each for each in record.snapshots}
    return tuple(_join(each, recorded.get(each.id)) for each in listing.snapshots)


def _join(snapshot: Snapshot, recorded: RecordedSnapshot | None) -> Snapshot:
    if recorded is None:
        return replace(snapshot, flags=snapshot.flags | {Flag.UNRECORDED})
    # A person's clearance lifts what we flagged, never what the engine says of an interrupted run.
    flags = (frozenset(recorded.flags) | snapshot.flags) if recorded.cleared is None else snapshot.flags
    if recorded.cleared is not None:
        flags -= {Flag.PARTIAL}
    return replace(snapshot, flags=flags, capacity_bytes=recorded.capacity_bytes)
