"""The decision about one claim as it would be made now, with everything that it is made from, as one report."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import assert_never

from holdfast.cli import ledger
from holdfast.cli.cluster import Claimed, Order
from holdfast.cli.history import History
from holdfast.cli.ledger import Row
from holdfast.cli.text import counted, moment
from holdfast.decide import initialize, intent, restore, schedule
from holdfast.model.claim import ClaimPhase
from holdfast.model.evidence import Absent, Answer, Evidence, Exists, Inventory, Unknown
from holdfast.model.failure import Failure, FailureKind
from holdfast.model.intent import Intent, Protect
from holdfast.model.protection import NoPlan
from holdfast.model.repository import Repository
from holdfast.model.snapshot import Listing, Record
from holdfast.model.verdict import Restore, StartEmpty, Verdict, Wait
from holdfast.render import advice, place, sentences


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """One value of the plan, and where it comes from."""

    name: str
    value: str
    origin: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Witness:
    """What one witness says: a sentence; and the figures, where it could be heard."""

    says: str
    count: int | None
    newest: str | None
    newest_time: datetime | None
    flags: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """Two things that were compared."""

    what: str
    holds: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """One reading of the repository: both witnesses, side by side, and what was compared."""

    began: datetime
    seconds: float
    marker: str | None
    engine: Witness
    record: Witness
    checks: tuple[Check, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The verdict: one word, the sentence for it, and what a person can do where it waits."""

    verdict: str
    reason: str
    sentence: str
    todo: str
    retry_after: timedelta | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """The claim's volume, and where its data lies on its node, when the volume says so."""

    name: str
    place: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainReport:
    """What `holdfast explain` shows. `heard` is None when there is no repository to ask."""

    claim: str
    phase: str
    volume: Volume | None
    values: tuple[Value, ...]
    problems: tuple[str, ...]
    heard: Heard | None
    evidence: Evidence | None
    decision: Decision
    applies_now: bool
    ledger: tuple[Value, ...]

    @property
    def attention(self) -> bool:
        """Return whether a person is needed."""
        return self.decision.verdict == "Wait" or bool(self.problems)


def report(claimed: Claimed, history: History | NoPlan, volume: Volume | None, now: datetime) -> ExplainReport:
    """Return the report; a NoPlan says why no repository could be asked."""
    claim, wish = claimed.claim, claimed.wish
    pending = claim is not None and claim.phase is ClaimPhase.PENDING
    row = ledger.row(claimed.item) if claimed.item is not None else None
    problems = tuple(str(problem) for problem in wish.problems) if wish is not None else ()
    if row is not None:
        problems += tuple(each for each in row.problems if each not in problems)
    if isinstance(history, NoPlan):
        decided = Decision(
            verdict="Wait",
            reason=history.why.value,
            sentence=history.detail,
            todo="" if isinstance(history.why, Protect) else advice.on(history.why),
            retry_after=None,
        )
        values, heard, evidence = tuple(_wishes(wish)), None, None
    else:
        order = history.order
        verdict = restore.decide(history.evidence, order.mode.value, accept_partial=order.accept_partial)
        decided, evidence = decision(verdict, history, now), history.evidence
        values = (*_plan(order), *_wishes(wish), *_schedule(wish, order, now))
        heard = _heard(history, now)
    return ExplainReport(
        claim=str(claimed.ref),
        phase=claim.phase.value if claim is not None else "gone",
        volume=volume,
        values=values,
        problems=problems,
        heard=heard,
        evidence=evidence,
        decision=decided,
        applies_now=pending,
        ledger=tuple(_ledger(row, claim.uid if claim is not None else "")) if row is not None else (),
    )


def decision(verdict: Verdict, history: History, now: datetime) -> Decision:
    """Return a verdict as it is told."""
    match verdict:
        case Restore() | StartEmpty():
            reason, sentence = sentences.verdict(verdict)
            name = type(verdict).__name__
            return Decision(verdict=name, reason=reason, sentence=sentence, todo="", retry_after=None)
        case Wait(why=FailureKind.NO_MARKER, retry_after=after) if isinstance(history.found, Failure):
            said = initialize.advice(history.order.repository.value, history.found, now)
            return Decision(
                verdict="Wait", reason=FailureKind.NO_MARKER.value, sentence=said, todo="", retry_after=after
            )
        case Wait(why=why, detail=detail, retry_after=after):
            return Decision(verdict="Wait", reason=why.value, sentence=detail, todo=advice.on(why), retry_after=after)
    assert_never(verdict)


def _plan(order: Order) -> Iterator[Value]:
    repository = order.repository.value
    yield Value(name="repository", value=repository.name, origin=order.repository.origin)
    yield Value(
        name="storage", value=f"{repository.engine.value} in {place.where(repository.storage)}", origin="its spec"
    )
    if repository.pin is not None:
        yield Value(name="repository id", value=repository.pin, origin="spec.repositoryID (pinned)")
    elif repository.known_id is not None:
        yield Value(name="repository id", value=repository.known_id, origin="seen before (not pinned)")
    yield Value(name="identity", value=str(order.identity.value), origin=order.identity.origin)
    yield Value(name="restore", value=intent.describe(order.mode.value), origin=order.mode.origin)


def _wishes(wish: Intent | None) -> Iterator[Value]:
    if wish is None:
        return
    yield Value(name="protected", value=_protect(wish.protect.value), origin=wish.protect.origin)
    run_as = ("run-as", wish.run_as)
    for name, value in (run_as, ("accept-partial", wish.accept_partial), ("backup-now", wish.backup_now)):
        if value is not None:
            yield Value(name=name, value=str(value), origin=f"annotation holdfast.dev/{name}")
    if wish.exclude:
        yield Value(name="exclude", value=", ".join(wish.exclude), origin="annotation holdfast.dev/exclude")


def _protect(protect: Protect) -> str:
    return "yes" if protect is Protect.YES else f"no ({protect.value})"


def _schedule(wish: Intent | None, order: Order, now: datetime) -> Iterator[Value]:
    if wish is None or wish.protect.value is not Protect.YES:
        return
    tier, cron = wish.tier.value, wish.cron
    origin = "annotation holdfast.dev/schedule" if cron is not None else wish.tier.origin
    yield Value(name="schedule", value=cron or tier.value, origin=origin)
    following = schedule.next_due(tier, cron, str(order.identity.value), now)
    if following is not None:
        yield Value(name="next run", value=moment(following), origin="its slot: a hash of the identity")


def _heard(history: History, now: datetime) -> Heard:
    found, order = history.found, history.order
    seconds = (now - history.began).total_seconds()
    match found:
        case Failure():
            silent = _silent("could not be asked")
            return Heard(began=history.began, seconds=seconds, marker=None, engine=silent, record=silent, checks=())
        case Inventory():
            answer = found.answers.get(order.identity.value)
            return Heard(
                began=history.began,
                seconds=seconds,
                marker=found.marker.repository_id,
                engine=_engine(answer) if answer is not None else _silent("was not asked"),
                record=_record(answer, found.recorded) if answer is not None else _silent("was not asked"),
                checks=tuple(_checks(found, answer, order.repository.value)) if answer is not None else (),
            )
    assert_never(found)


def _silent(why: str) -> Witness:
    return Witness(says=why, count=None, newest=None, newest_time=None, flags=())


def _engine(answer: Answer) -> Witness:
    listing = answer.listing
    if isinstance(listing, Failure):
        return _silent(str(listing))
    newest = listing.snapshots[-1] if listing.snapshots else None
    return Witness(
        says=counted(len(listing.snapshots), "snapshot") if newest is not None else "no snapshot, in a whole listing",
        count=len(listing.snapshots),
        newest=newest.id if newest is not None else None,
        newest_time=newest.time if newest is not None else None,
        flags=tuple(sorted(newest.flags)) if newest is not None else (),
    )


def _record(answer: Answer, recorded: int) -> Witness:
    record = answer.record
    if isinstance(record, Failure):
        return _silent(str(record))
    if record is None:
        says = f"no record of it among {counted(recorded, 'record')}" if recorded else "no record of any claim"
        return Witness(says=says, count=0, newest=None, newest_time=None, flags=())
    newest = record.snapshots[-1] if record.snapshots else None
    return Witness(
        says=counted(len(record.snapshots), "snapshot"),
        count=len(record.snapshots),
        newest=newest.id if newest is not None else None,
        newest_time=newest.time if newest is not None else None,
        flags=tuple(newest.flags) if newest is not None else (),
    )


def _checks(found: Inventory, answer: Answer, repository: Repository) -> Iterator[Check]:
    marker = found.marker.repository_id
    if repository.pin is not None:
        yield Check(what=f"the marker names the pinned repository {repository.pin}", holds=marker == repository.pin)
    if repository.known_id is not None:
        what = f"the marker names the repository that was seen before, {repository.known_id}"
        yield Check(what=what, holds=marker == repository.known_id)
    yield Check(
        what=f"the storage was initialised for {repository.engine.value}",
        holds=found.marker.engine is repository.engine,
    )
    listing, record = answer.listing, answer.record
    yield Check(what="the engine's listing is whole", holds=isinstance(listing, Listing))
    yield Check(what="our record can be read, or is proven absent", holds=not isinstance(record, Failure))
    if isinstance(listing, Listing) and isinstance(record, Record):
        if listing.engine_id is not None:
            what = f"engine and record mean the same repository, {record.engine_id}"
            yield Check(what=what, holds=listing.engine_id == record.engine_id)
        if record.snapshots:
            newest = record.snapshots[-1].id
            listed = any(each.id == newest for each in listing.snapshots)
            yield Check(what=f"the record's newest snapshot, {newest}, is in the listing", holds=listed)


def _ledger(row: Row, uid: str) -> Iterator[Value]:
    """Yield what the operator last wrote: the past, and what is under way."""
    known, told = row.memory, row.restoring
    yield Value(name="state", value=row.state or "none", origin=row.message)
    if row.copy_method_from is not None:
        yield Value(name="copy method", value=row.copy_method or "none", origin=row.copy_method_from)
    if known.last_time is not None:
        yield Value(name="last good backup", value=moment(known.last_time), origin=known.last_id or "")
    if known.failure is not None:
        after = f"tried again at {moment(known.retry_at)}" if known.retry_at is not None else ""
        yield Value(name="last failure", value=known.failure, origin=after)
    if row.running is not None:
        yield Value(name="running", value=row.running, origin="")
    if told.phase:
        whose = "" if row.restored_uid == uid else "an earlier claim of this name"
        yield Value(name="restore", value=f"{told.phase}: {told.message}", origin=whose)
    if row.lossy is not None:
        yield Value(name="LossyEngine", value=row.lossy, origin="")


def describe(evidence: Evidence) -> str:
    """Return the evidence as one sentence."""
    match evidence:
        case Exists(snapshots=snapshots):
            good = sum(not each.flags for each in snapshots)
            return f"Exists: {counted(len(snapshots), 'snapshot')}, {good} of them good; both witnesses agree"
        case Absent(marker=marker, recorded=recorded):
            records = counted(recorded, "record")
            return f"Absent, proven: repository {marker.repository_id} was listed whole; of {records} none is of it"
        case Unknown(why=why, detail=detail):
            return f"Unknown ({why.value}): {detail}"
    assert_never(evidence)
