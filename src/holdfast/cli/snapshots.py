"""`holdfast snapshots`: every restore point of one history, and whether both witnesses know it."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

from rich.text import Text

from holdfast.cli import history, output
from holdfast.cli.cluster import connect
from holdfast.cli.history import History
from holdfast.cli.options import Asked, Output
from holdfast.cli.output import Line
from holdfast.cli.problems import ExitCode, Problem
from holdfast.cli.text import ago, ended, moment
from holdfast.model.evidence import Absent, Answer, Exists, Inventory, Unknown
from holdfast.model.failure import Failure
from holdfast.model.snapshot import Flag, Listing, Record, RecordedSnapshot, Snapshot
from holdfast.render import advice, sentences

SHORT: Final = 16  # enough to name it by; JSON has the whole id


class Known(StrEnum):
    """Which witnesses know a snapshot."""

    BOTH = "recorded"
    ENGINE = "not recorded"
    RECORD = "missing"  # in our record, not in the repository


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One restore point; `cleared` is the reason for which a person lifted its flags."""

    id: str
    time: datetime
    files: int
    bytes: int
    flags: tuple[Flag, ...]
    known: Known
    cleared: str | None
    unreadable: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotsReport:
    """The points, newest first; `doubt` is why nothing may be restored by itself, and `doubt_advice` what to do."""

    identity: str
    repository: str
    points: tuple[Point, ...]
    doubt: str
    doubt_advice: str


def report(found: History) -> SnapshotsReport:
    """Return the list; raise Problem when the witnesses could not be heard."""
    if isinstance(found.found, Failure):
        raise Problem(f"{found.order.repository.value.name}: {found.found}", advice.on(found.found.kind))
    doubt, todo = "", ""
    match found.evidence:
        case Unknown(why=why, detail=detail):
            doubt, todo = detail, advice.on(why)
        case Exists() | Absent():
            pass
    return SnapshotsReport(
        identity=str(found.order.identity.value),
        repository=found.order.repository.value.name,
        points=points(found.found, found),
        doubt=doubt,
        doubt_advice=todo,
    )


def points(inventory: Inventory, found: History) -> tuple[Point, ...]:
    """Return every snapshot that either witness names, newest first."""
    answer = inventory.answers.get(found.order.identity.value)
    if answer is None:
        return ()
    listed, recorded = _listed(answer), _recorded(answer)
    joined = {each.id: each for each in _joined(found)}
    made = [_point(joined.get(each.id, each), recorded.get(each.id)) for each in listed]
    there = {each.id for each in listed}
    made += [
        _missing(each) for each in recorded.values() if each.id not in there and isinstance(answer.listing, Listing)
    ]
    return tuple(sorted(made, key=lambda each: each.time, reverse=True))


def _listed(answer: Answer) -> tuple[Snapshot, ...]:
    return answer.listing.snapshots if isinstance(answer.listing, Listing) else ()


def _recorded(answer: Answer) -> dict[str, RecordedSnapshot]:
    return {each.id: each for each in answer.record.snapshots} if isinstance(answer.record, Record) else {}


def _joined(found: History) -> tuple[Snapshot, ...]:
    match found.evidence:
        case Exists(snapshots=snapshots) | Unknown(snapshots=snapshots):
            return snapshots
        case Absent():
            return ()


def _point(snapshot: Snapshot, recorded: RecordedSnapshot | None) -> Point:
    return Point(
        id=snapshot.id,
        time=snapshot.time,
        files=snapshot.files,
        bytes=snapshot.bytes,
        flags=tuple(sorted(snapshot.flags)),
        known=Known.BOTH if recorded is not None else Known.ENGINE,
        cleared=recorded.cleared if recorded is not None else None,
        unreadable=recorded.unreadable if recorded is not None else (),
    )


def _missing(recorded: RecordedSnapshot) -> Point:
    return Point(
        id=recorded.id,
        time=recorded.time,
        files=recorded.files,
        bytes=recorded.bytes,
        flags=recorded.flags,
        known=Known.RECORD,
        cleared=recorded.cleared,
        unreadable=recorded.unreadable,
    )


async def run(asked: Asked, claim: str, repository: str | None) -> int:
    """Show the list."""
    async with connect(asked) as cluster:
        made = report(await history.read(cluster, cluster.ref(claim), repository))
    if asked.output is Output.JSON:
        output.write_json(made)
    else:
        to = output.console()
        output.write(screen(made, datetime.now(UTC), to.width), to)
    return ExitCode.ATTENTION if made.doubt else ExitCode.OK


def screen(made: SnapshotsReport, now: datetime, width: int) -> Iterator[Text]:
    """Yield the table's lines."""
    if made.doubt:
        yield from output.indented(output.text(f"{ended(made.doubt)} {made.doubt_advice}", "bold red"), width, 0)
    if not made.points:
        if not made.doubt:
            yield output.text(f"There is no backup of {made.identity} in Repository {made.repository}.")
        return
    yield from output.grid(
        ("SNAPSHOT", "TIME", "AGE", "FILES", "SIZE", "FLAGS", ""), [_line(each, now) for each in made.points], width
    )


def _line(point: Point, now: datetime) -> Line:
    bad = point.flags and point.cleared is None
    notes = []
    if point.unreadable:
        notes.append(output.text(f"not readable: {', '.join(point.unreadable)}", "yellow"))
    if point.cleared is not None:
        notes.append(output.text(f"cleared: {point.cleared}", "dim"))
    return Line(
        cells=(
            output.text(point.id[:SHORT]),
            output.text(moment(point.time)),
            output.text(ago(point.time, now)),
            output.text(f"{point.files:,}"),
            output.text(sentences.size(point.bytes)),
            output.text(", ".join(point.flags) or "–", "yellow" if bad else ""),
            output.text("" if point.known is Known.BOTH else point.known.value, "bold red"),
        ),
        notes=tuple(notes),
    )
