"""`holdfast explain`: from the cluster and the repository to the screen."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from rich.text import Text

from holdfast.cli import cluster as objects_of
from holdfast.cli import explain, history, output
from holdfast.cli.cluster import Claimed, Cluster, connect, find
from holdfast.cli.explain import ExplainReport, Heard, Value, Volume, Witness
from holdfast.cli.options import Asked, Output
from holdfast.cli.problems import ExitCode, Problem
from holdfast.cli.text import ended, moment, span
from holdfast.kube import objects
from holdfast.model.evidence import Evidence
from holdfast.model.protection import NoPlan

STYLES: Final = {"Restore": "bold green", "StartEmpty": "bold yellow", "Wait": "bold red"}
WORDS: Final = {"Restore": "Restore", "StartEmpty": "Start empty", "Wait": "Wait"}


async def run(asked: Asked, text: str) -> int:
    """Show the report; 3 says that the claim waits, or would."""
    async with connect(asked) as cluster:
        report = await gather(cluster, text)
    if asked.output is Output.JSON:
        output.write_json(report)
    else:
        to = output.console()
        output.write(screen(report, to.width), to)
    return ExitCode.ATTENTION if report.attention else ExitCode.OK


async def gather(cluster: Cluster, text: str) -> ExplainReport:
    """Return the report on a claim; raise Problem when there is and was none."""
    ref = cluster.ref(text)
    claimed = await objects_of.claimed(cluster, ref)
    if claimed.claim is None and claimed.item is None:
        raise Problem(f"There is no claim {ref}, and Holdfast remembers none", "`holdfast status --all` lists claims.")
    order = objects_of.order(claimed)
    found = order if isinstance(order, NoPlan) else await history.of(cluster, claimed, order)
    return explain.report(claimed, found, await _volume(cluster, claimed), datetime.now(UTC))


async def _volume(cluster: Cluster, claimed: Claimed) -> Volume | None:
    name = claimed.claim.volume_name if claimed.claim is not None else None
    found = await find(cluster, objects.VOLUMES, name) if name is not None else None
    if found is None:
        return None
    spec = found.spec
    for source in (spec.host_path, spec.local):
        if source is not None:
            return Volume(name=found.metadata.name, place=str(source.get("path", "")))
    if spec.nfs is not None:
        return Volume(name=found.metadata.name, place=f"{spec.nfs.get('server')}:{spec.nfs.get('path')}")
    driver = str(spec.csi.get("driver", "")) if spec.csi is not None else ""
    return Volume(name=found.metadata.name, place=driver)


def screen(report: ExplainReport, width: int) -> Iterator[Text]:
    """Yield the report's lines: the decision first, then what it is made from."""
    yield from _decision(report, width)
    yield Text()
    if report.problems:
        yield Text("Needs review", style="bold red")
        for problem in report.problems:
            yield from output.indented(output.text(problem), width, 2)
        yield Text()
    if report.heard is not None:
        yield from _heard(report.heard, report.evidence, width)
        yield Text()
    yield Text("Plan", style="bold")
    yield from output.pairs(((each.name, _sourced(each)) for each in report.values), width)
    if report.ledger:
        yield Text()
        yield Text("What Holdfast last wrote of it", style="bold")
        yield from output.pairs(((each.name, _sourced(each)) for each in report.ledger), width)


def _decision(report: ExplainReport, width: int) -> Iterator[Text]:
    head = output.text(report.claim, "bold").append(f"  {report.phase}", style="dim")
    if report.volume is not None:
        head.append_text(output.text(f"  volume {report.volume.name}  {report.volume.place}", "dim"))
    yield from output.indented(head, width, 0)
    decided = report.decision
    when = "" if report.applies_now else "If it were created again now: "
    said = Text(when).append(WORDS[decided.verdict], style=STYLES[decided.verdict])
    why = f" ({decided.reason})" if decided.verdict == "Wait" else ""
    said.append_text(output.text(f"{why}. {_sentence(decided.sentence)}"))
    yield from output.indented(said, width, 0)
    if decided.todo:
        yield from output.indented(Text("What to do: ").append_text(output.text(decided.todo)), width, 0)
    if decided.retry_after is not None and report.applies_now:
        yield output.text(f"It is tried again after {span(decided.retry_after)}, and so on until it is clear.", "dim")


def _sentence(text: str) -> str:
    return ended(f"{text[:1].upper()}{text[1:]}")


def _heard(heard: Heard, evidence: Evidence | None, width: int) -> Iterator[Text]:
    yield Text("Two witnesses", style="bold").append(f"  asked at {moment(heard.began)}, {heard.seconds:.1f} s", "dim")
    told = [("engine lists", _witness(heard.engine)), ("our record", _witness(heard.record))]
    if heard.marker is not None:
        told.append(("marker", output.text(heard.marker)))
    if evidence is not None:
        told.append(("evidence", output.text(explain.describe(evidence))))
    yield from output.pairs(told, width)
    for check in heard.checks:
        mark = Text("  yes  ", style="green") if check.holds else Text("  NO   ", style="bold red")
        lines = output.indented(output.text(check.what), width, 7)
        yield mark.append_text(lines[0][7:])
        yield from lines[1:]


def _witness(witness: Witness) -> Text:
    if witness.count is None:
        return output.text(witness.says, "red")
    said = output.text(witness.says)
    if witness.newest is not None and witness.newest_time is not None:
        said.append_text(output.text(f", the newest {witness.newest} of {moment(witness.newest_time)}"))
    if witness.flags:
        said.append_text(output.text(f" [{', '.join(witness.flags)}]", "yellow"))
    return said


def _sourced(value: Value) -> Text:
    said = output.text(value.value)
    return said.append_text(output.text(f"  ({value.origin})", "dim")) if value.origin else said
