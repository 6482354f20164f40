"""Am I safe? What the objects say, as one report; nothing is asked of a repository."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from holdfast.cli.ledger import Restoring, Row
from holdfast.cli.text import ago, counted, ended
from holdfast.decide import protection
from holdfast.decide.protection import Broken
from holdfast.model.claim import Claim, ClaimPhase, ClaimRef
from holdfast.model.intent import Intent, Protect
from holdfast.model.protection import Health, Plan
from holdfast.model.repository import Repository
from holdfast.model.request import GROUP, KIND
from holdfast.render import place

SILENT: Final = timedelta(minutes=2)  # a leader renews every few seconds


class Grade(StrEnum):
    """How much a line needs a person."""

    BAD = "Bad"
    BUSY = "Busy"
    GOOD = "Good"


GRADES: Final[Mapping[Health, Grade]] = {
    Health.UNKNOWN: Grade.BAD,
    Health.BORN_UNARMED: Grade.BAD,
    Health.FAILING: Grade.BAD,
    Health.WAITING: Grade.BAD,
    Health.LATE: Grade.BAD,
    Health.FLAGGED: Grade.BAD,
    Health.REVIEW: Grade.BAD,
    Health.RESTORING: Grade.BUSY,
    Health.NEW: Grade.BUSY,
    Health.PROTECTED: Grade.GOOD,
    Health.RELEASED: Grade.GOOD,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Leader:
    """The operator's lease: who holds it, and its last sign of life."""

    holder: str
    renewed: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryFacts:
    """A Repository: its spec as it reads, and the Ready condition that the operator wrote."""

    name: str
    spec: Repository | Broken
    ready: str
    reason: str
    message: str
    claims: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """All that the report is made from. `restores` are those that claims name, by namespace and name."""

    now: datetime
    leader: Leader | None
    repositories: tuple[RepositoryFacts, ...]
    claims: tuple[tuple[Claim, Intent], ...]
    rows: Mapping[ClaimRef, Row]
    restores: Mapping[ClaimRef, Restoring]


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryLine:
    """`pin` is the line to write into the spec, where it is not pinned yet."""

    name: str
    engine: str
    place: str
    is_ready: bool
    reason: str
    message: str
    repository_id: str | None
    pin: str | None
    claims: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimLine:
    """One claim: its one word, and what a person wants to know beside it."""

    claim: str
    state: Health
    grade: Grade
    message: str
    schedule: str | None
    last_backup: datetime | None
    next_run: datetime | None
    restore: str
    running: bool
    lossy: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unprotected:
    """A claim that is not backed up, and why."""

    claim: str
    why: Protect
    reason: str
    needs_review: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusReport:
    """What `holdfast status` shows; `attention` decides the exit code."""

    headline: str
    attention: bool
    operator: str
    operator_is_well: bool
    repositories: tuple[RepositoryLine, ...]
    claims: tuple[ClaimLine, ...]
    unprotected: tuple[Unprotected, ...]
    released: tuple[ClaimLine, ...]


def report(facts: Facts) -> StatusReport:
    """Return the report, the worst first."""
    lines = [line for claim, wish in facts.claims if (line := _line(claim, wish, facts)) is not None]
    claims = tuple(sorted(lines, key=lambda line: (_rank(line.state), line.claim)))
    shown = {line.claim for line in lines}
    living = {claim.ref for claim, _ in facts.claims}
    released = tuple(
        _told(ref, Health.RELEASED, row, "", facts.rows[ref].restoring)
        for ref, row in sorted(facts.rows.items())
        if ref not in living
    )
    repositories = tuple(
        sorted((_repository(each) for each in facts.repositories), key=lambda each: (each.is_ready, each.name))
    )
    unprotected = tuple(
        sorted(
            (
                each
                for claim, wish in facts.claims
                if (each := _unprotected(claim, wish)) is not None and each.claim not in shown
            ),
            key=lambda each: (not each.needs_review, each.why, each.claim),
        )
    )
    operator, well = _operator(facts)
    bad = [line for line in claims if line.grade is Grade.BAD]
    attention = (
        bool(bad)
        or not well
        or any(not each.is_ready for each in repositories)
        or any(each.needs_review for each in unprotected)
        or (bool(claims) and not repositories)
    )
    return StatusReport(
        headline=_headline(claims, repositories, well),
        attention=attention,
        operator=operator,
        operator_is_well=well,
        repositories=repositories,
        claims=claims,
        unprotected=unprotected,
        released=released,
    )


def _rank(state: Health) -> int:
    return next(index for index, each in enumerate(GRADES) if each is state)


def _line(claim: Claim, wish: Intent, facts: Facts) -> ClaimLine | None:
    row = facts.rows.get(claim.ref)
    if wish.protect.value is not Protect.YES:
        return _restored_only(claim, facts)
    if row is None or row.claim_uid != claim.uid:
        message = "Holdfast has not looked at it yet"
        return _told(claim.ref, Health.UNKNOWN, row, message, None)
    restoring = row.restoring if row.restored_uid == claim.uid else None
    state, message = _now(claim, wish, row, restoring, facts)
    return _told(claim.ref, state, row, message, restoring)


def _now(claim: Claim, wish: Intent, row: Row, restoring: Restoring | None, facts: Facts) -> tuple[Health, str]:
    """Return the word that the operator wrote, unless time alone has made it worse since."""
    try:
        written = Health(row.state)
    except ValueError:
        return Health.UNKNOWN, f"its Protection says {row.state!r}, which this version does not know"
    if written not in (Health.PROTECTED, Health.NEW):
        return written, row.message
    plan = protection.plan(claim.ref, wish, {each.name: each.spec for each in facts.repositories})
    if not isinstance(plan, Plan):
        return Health.REVIEW, plan.detail
    phase = restoring.phase if restoring is not None else None
    judged = protection.health(plan, row.memory, restoring=phase, created=claim.created, now=facts.now)
    if judged is Health.LATE:
        last = row.memory.last_time
        what = f"the last good backup is from {ago(last, facts.now)}" if last else "there is no backup yet"
        return Health.LATE, f"{what}, and a newer one is overdue"
    return written, row.message


def _restored_only(claim: Claim, facts: Facts) -> ClaimLine | None:
    """A claim without our label that waits for a Restore of ours."""
    source = claim.source
    if claim.phase is not ClaimPhase.PENDING or source is None or (source.group, source.kind) != (GROUP, KIND):
        return None
    told = facts.restores.get(ClaimRef(namespace=claim.ref.namespace, name=source.name))
    if told is None:
        return _told(claim.ref, Health.WAITING, None, f"there is no Restore {source.name}", None)
    state = Health.WAITING if told.phase == "Waiting" else Health.RESTORING
    return _told(claim.ref, state, None, told.message, told)


def _told(ref: ClaimRef, state: Health, row: Row | None, message: str, restoring: Restoring | None) -> ClaimLine:
    if not message and state is Health.FLAGGED and row is not None:
        message = f"the newest backup is {', '.join(row.memory.flags)}"
    if not message and state is not Health.PROTECTED and restoring is not None and restoring.phase != "Done":
        message = restoring.message
    return ClaimLine(
        claim=str(ref),
        state=state,
        grade=GRADES[state],
        message=message,
        schedule=row.schedule if row is not None else None,
        last_backup=row.memory.last_time if row is not None else None,
        next_run=row.next_run if row is not None else None,
        restore=restoring.phase if restoring is not None else "",
        running=row is not None and row.running is not None,
        lossy=row.lossy if row is not None else None,
    )


def _unprotected(claim: Claim, wish: Intent) -> Unprotected | None:
    why = wish.protect.value
    if why in (Protect.YES, Protect.OURS):
        return None
    reason = claim.annotations.get("holdfast.dev/exempt-reason", "").strip() if why is Protect.EXEMPT else ""
    problems = "; ".join(str(problem) for problem in wish.problems)
    return Unprotected(
        claim=str(claim.ref), why=why, reason=problems or reason or wish.protect.origin, needs_review=bool(problems)
    )


def _repository(facts: RepositoryFacts) -> RepositoryLine:
    if isinstance(facts.spec, Broken):
        return RepositoryLine(
            name=facts.name,
            engine="",
            place="",
            is_ready=False,
            reason="RepositoryNotReady",
            message=facts.spec,
            repository_id=None,
            pin=None,
            claims=facts.claims,
        )
    known = facts.spec.known_id
    ready = facts.ready == "True"
    return RepositoryLine(
        name=facts.name,
        engine=facts.spec.engine.value,
        place=place.where(facts.spec.storage),
        is_ready=ready,
        reason=facts.reason or "NotLookedAt",
        message=facts.message if facts.reason else "Holdfast has not looked at it yet",
        repository_id=known,
        pin=f"repositoryID: {known}" if known is not None and facts.spec.pin is None else None,
        claims=facts.claims,
    )


def _operator(facts: Facts) -> tuple[str, bool]:
    leader = facts.leader
    if leader is None or not leader.holder:
        return "no operator is running: nothing is backed up or restored", False
    if leader.renewed is None:
        return f"{leader.holder} leads", True
    if facts.now - leader.renewed > SILENT:
        return f"{leader.holder} gave its last sign of life {ago(leader.renewed, facts.now)}", False
    return f"{leader.holder} leads", True


def _headline(claims: Sequence[ClaimLine], repositories: Sequence[RepositoryLine], well: bool) -> str:
    if not claims:
        return "No claim asks for protection: label one with backup: daily."
    if not repositories:
        return f"Nothing is protected: there is no Repository, and {counted(len(claims), 'claim')} ask for one."
    groups = _grouped(claims)
    if not well:
        told = "; ".join(f"{len(found)} {_are(found)}" for found in groups)
        return f"No operator is at work. When it last was: {told}."
    if len(claims) == 1:
        first = f"{claims[0].claim} {_are(claims)}"
    elif len(groups) == 1:
        every = "All " if claims[0].state is Health.PROTECTED else ""
        first = f"{every}{len(claims)} claims {_are(claims)}"
    else:
        good = [line for line in claims if line.state is Health.PROTECTED]
        others = ", ".join(f"{len(found)} {_are(found)}" for found in groups if found != good)
        first = f"{len(good) or 'None'} of {len(claims)} claims {'is' if len(good) < 2 else 'are'} protected; {others}"
    worst = claims[0]
    if worst.grade is not Grade.BAD or not worst.message:
        return ended(first)
    if len(claims) == 1:
        return ended(f"{first}: {worst.message}")
    return ended(f"{ended(first)} {worst.claim}: {worst.message}")


def _grouped(claims: Sequence[ClaimLine]) -> list[list[ClaimLine]]:
    """Return the claims by state, the worst state first."""
    states = dict.fromkeys(line.state for line in claims)
    return [[line for line in claims if line.state is state] for state in states]


def _are(found: Sequence[ClaimLine]) -> str:
    one = len(found) == 1
    match found[0].state:
        case Health.PROTECTED:
            return "is protected" if one else "are protected"
        case Health.NEW:
            return "has no backup yet" if one else "have no backup yet"
        case Health.LATE:
            return "is late" if one else "are late"
        case Health.FAILING:
            return "fails" if one else "fail"
        case Health.WAITING:
            return "waits" if one else "wait"
        case Health.RESTORING:
            return "gets its data back" if one else "get their data back"
        case Health.FLAGGED:
            return "has a doubtful newest backup" if one else "have a doubtful newest backup"
        case Health.BORN_UNARMED:
            return "lacks its data" if one else "lack their data"
        case Health.REVIEW:
            return "needs review" if one else "need review"
        case Health.UNKNOWN:
            return "is unknown" if one else "are unknown"
        case Health.RELEASED:
            return "is released" if one else "are released"
