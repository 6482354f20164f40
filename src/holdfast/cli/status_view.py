"""`holdfast status`: from the cluster to the screen."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Final

from rich.text import Text

from holdfast.cli import ledger, output, status
from holdfast.cli.cluster import Cluster, connect, find, protections
from holdfast.cli.options import Asked, Output
from holdfast.cli.output import Line
from holdfast.cli.problems import ExitCode
from holdfast.cli.status import ClaimLine, Facts, Grade, Leader, RepositoryFacts, RepositoryLine, StatusReport
from holdfast.cli.text import ago, counted
from holdfast.decide import intent
from holdfast.decide.protection import Broken
from holdfast.kube import objects, parse, specs
from holdfast.model.claim import ClaimRef
from holdfast.model.intent import Protect
from holdfast.model.protection import Health
from holdfast.model.repository import Repository

LEASE: Final = "holdfast-operator"
STYLES: Final = {Grade.BAD: "bold red", Grade.BUSY: "yellow", Grade.GOOD: "green"}
NOTHING: Final = "–"


async def run(asked: Asked, everything: bool) -> int:
    """Show the report; the exit code says whether a person is needed."""
    async with connect(asked) as cluster:
        facts = await gather(cluster)
    report = status.report(facts)
    if asked.output is Output.JSON:
        output.write_json(report)
    else:
        to = output.console()
        output.write(screen(report, facts.now, to.width, everything=everything), to)
    return ExitCode.ATTENTION if report.attention else ExitCode.OK


async def gather(cluster: Cluster) -> Facts:
    """Return what the objects say about all claims, or those of the namespace that was named."""
    only = cluster.asked.namespace
    kube, label, ours = cluster.kube, cluster.asked.label, cluster.asked.holdfast_namespace
    namespaces = {each.metadata.name: each.labels for each in await kube.list(objects.NAMESPACES)}
    claims = [parse.claim(each) for each in await kube.list(objects.CLAIMS, only)]
    return Facts(
        now=datetime.now(UTC),
        leader=await _leader(cluster),
        repositories=tuple(_repository(each) for each in await kube.list(objects.REPOSITORIES)),
        claims=tuple(
            (claim, intent.read(claim, namespaces.get(claim.ref.namespace, {}), label))
            for claim in claims
            if claim.ref.namespace != ours
        ),
        rows={ref: ledger.row(item) for ref, item in (await protections(cluster, only)).items()},
        restores={_ref(each): ledger.restoring(each.status or {}) for each in await kube.list(objects.RESTORES, only)},
    )


def _ref(item: objects.Object) -> ClaimRef:
    return ClaimRef(namespace=item.metadata.namespace or "", name=item.metadata.name)


async def _leader(cluster: Cluster) -> Leader | None:
    lease = await find(cluster, objects.LEASES, LEASE, cluster.asked.holdfast_namespace)
    if lease is None or lease.spec is None:
        return None
    try:
        renewed = datetime.fromisoformat(lease.spec.renew_time) if lease.spec.renew_time else None
    except ValueError:
        renewed = None
    return Leader(holder=lease.spec.holder_identity or "", renewed=renewed)


def _repository(item: objects.Repository) -> RepositoryFacts:
    try:
        spec: Repository | Broken = specs.repository(item)
    except ValueError as error:
        spec = str(error)
    told = item.status or {}
    conditions = told.get("conditions") or []
    ready: Mapping[str, str] = next((each for each in conditions if each.get("type") == "Ready"), {})
    claims = told.get("claims")
    return RepositoryFacts(
        name=item.metadata.name,
        spec=spec,
        ready=ready.get("status") or "",
        reason=ready.get("reason") or "",
        message=ready.get("message") or "",
        claims=claims if isinstance(claims, int) else None,
    )


def screen(report: StatusReport, now: datetime, width: int, *, everything: bool) -> Iterator[Text]:
    """Yield the lines of one screen."""
    style = "bold red" if report.attention else "bold green"
    yield from output.indented(output.text(report.headline, style), width, 0)
    yield Text()
    if not report.operator_is_well:
        yield from output.indented(output.text(f"Operator: {report.operator}.", "bold red"), width, 0)
        yield Text()
    yield from _repositories(report, width)
    if report.claims:
        headers = ("STATE", "CLAIM", "LAST BACKUP", "NEXT RUN", "SCHEDULE", "RESTORE")
        yield from output.grid(headers, [_claim(line, now) for line in report.claims], width)
        yield Text()
    yield from _unprotected(report, width, everything)
    if report.released and everything:
        headers = ("STATE", "CLAIM", "LAST BACKUP", "", "", "")
        yield from output.grid(headers, [_claim(line, now) for line in report.released], width)
    elif report.released:
        past = counted(len(report.released), "claim")
        yield output.text(f"The backups of {past} of the past are kept (--all).", "dim")


def _repositories(report: StatusReport, width: int) -> Iterator[Text]:
    if not report.repositories:
        yield output.text("There is no Repository: `holdfast render repository` writes one.", "bold red")
    else:
        headers = ("READY", "REPOSITORY", "ENGINE", "ID", "PLACE")
        yield from output.grid(headers, [_repository_line(each) for each in report.repositories], width)
    yield Text()


def _repository_line(line: RepositoryLine) -> Line:
    notes = []
    if not line.is_ready:
        notes.append(output.text(line.message, STYLES[Grade.BAD]))
    elif line.pin is not None:
        copied = output.text(f"  {line.pin}")
        copied.no_wrap = True
        notes += [output.text("to pin it, write into its spec:", "dim"), copied]
    return Line(
        cells=(
            output.text("yes", STYLES[Grade.GOOD]) if line.is_ready else output.text(line.reason, STYLES[Grade.BAD]),
            output.text(line.name),
            output.text(line.engine or NOTHING),
            output.text((line.repository_id or NOTHING)[:16]),
            output.text(line.place or NOTHING),
        ),
        notes=tuple(notes),
    )


def _claim(line: ClaimLine, now: datetime) -> Line:
    notes = []
    if line.message and line.state is not Health.PROTECTED:
        notes.append(output.text(line.message, STYLES[line.grade]))
    if line.lossy:
        notes.append(output.text(line.lossy, "yellow"))
    return Line(
        cells=(
            output.text(line.state.value, STYLES[line.grade]),
            output.text(line.claim),
            output.text(ago(line.last_backup, now) if line.last_backup is not None else NOTHING),
            output.text(_next(line, now)),
            output.text(line.schedule or NOTHING),
            output.text(line.restore or NOTHING),
        ),
        notes=tuple(notes),
    )


def _next(line: ClaimLine, now: datetime) -> str:
    if line.running:
        return "now"
    if line.next_run is None:
        return NOTHING
    return "due" if line.next_run <= now else ago(line.next_run, now)


def _unprotected(report: StatusReport, width: int, everything: bool) -> Iterator[Text]:
    shown = [each for each in report.unprotected if everything or each.needs_review or each.why is Protect.EXEMPT]
    if shown:
        lines = [
            Line(
                cells=(
                    output.text(each.why.value, STYLES[Grade.BAD] if each.needs_review else "dim"),
                    output.text(each.claim),
                ),
                notes=(output.text(each.reason),),
            )
            for each in shown
        ]
        yield from output.grid(("NOT PROTECTED", "CLAIM"), lines, width)
        yield Text()
    rest = len(report.unprotected) - len(shown)
    if rest:
        yield output.text(
            f"{counted(rest, 'claim')} without protection {'is' if rest == 1 else 'are'} not shown (--all).", "dim"
        )
