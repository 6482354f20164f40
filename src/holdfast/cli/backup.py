"""`holdfast backup`: ask for a run now, and watch it."""

import asyncio
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import click

from holdfast.cli import ledger, live, output, runlog, runs
from holdfast.cli.cluster import Cluster, connect, protection_of, protections, repositories
from holdfast.cli.ledger import Row
from holdfast.cli.options import Asked, Output
from holdfast.cli.problems import ExitCode, Problem
from holdfast.cli.runs import Done, Failed, Result, State, Watched
from holdfast.decide import intent, protection
from holdfast.kube import errors, objects, parse
from holdfast.model.claim import Claim, ClaimPhase, ClaimRef
from holdfast.model.protection import NoPlan, Plan
from holdfast.render import names

NOW: Final = names.PREFIX + "backup-now"
FEW: Final = 20  # up to here each Protection is read by itself
POLL_SECONDS: Final = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A claim that could be backed up, or why it cannot."""

    claim: Claim
    plan: Plan | NoPlan
    writer: ClaimRef | None

    @property
    def refusal(self) -> str | None:
        """Return why no backup would start; None when one would."""
        if isinstance(self.plan, NoPlan):
            return f"it is not backed up: {self.plan.detail}"
        if self.claim.phase is not ClaimPhase.BOUND:
            return f"it is {self.claim.phase.value}: there is nothing to back up yet"
        if self.claim.volume_mode == "Block":
            return "its volumeMode is Block: only Filesystem can be backed up"
        if self.claim.deleting:
            return "it is being deleted"
        if self.writer is not None:
            return f"claim {self.writer} writes the history {self.plan.identity.value}: two must not share one"
        return None


async def candidates(cluster: Cluster) -> Mapping[ClaimRef, Candidate]:
    """Return every claim outside Holdfast's namespace, with its plan."""
    kube, ours = cluster.kube, cluster.asked.holdfast_namespace
    known = await repositories(cluster)
    labels = {each.metadata.name: each.labels for each in await kube.list(objects.NAMESPACES)}
    claims = [parse.claim(each) for each in await kube.list(objects.CLAIMS) if each.metadata.namespace != ours]
    plans = {
        each.ref: protection.plan(
            each.ref, intent.read(each, labels.get(each.ref.namespace, {}), cluster.asked.label), known
        )
        for each in claims
    }
    writers = protection.clashes(
        {
            ref: (plan.repository.value.name, plan.identity.value)
            for ref, plan in plans.items()
            if isinstance(plan, Plan)
        }
    )
    return {each.ref: Candidate(claim=each, plan=plans[each.ref], writer=writers.get(each.ref)) for each in claims}


def select(found: Mapping[ClaimRef, Candidate], wanted: Iterable[ClaimRef]) -> list[Candidate]:
    """Return the claims that were named; raise Problem when one of them cannot be backed up."""
    chosen = []
    for ref in dict.fromkeys(wanted):
        candidate = found.get(ref)
        if candidate is None:
            raise Problem(f"There is no claim {ref}", "`holdfast status --all` lists the claims.")
        if candidate.refusal is not None:
            raise Problem(f"{ref}: {candidate.refusal}", f"`holdfast explain {ref}` says more.")
        chosen.append(candidate)
    return chosen


async def run(asked: Asked, named: Sequence[str], *, everything: bool, wait: bool, timeout: timedelta | None) -> int:
    """Ask for the runs and, unless told otherwise, wait for their ends."""
    async with connect(asked) as cluster:
        found = await candidates(cluster)
        chosen = _all(found, asked.namespace) if everything else select(found, map(cluster.ref, named))
        watched = [await _ask(cluster, each) for each in chosen]
        if not wait:
            for each in watched:
                output.write([output.text(f"{each.ref}: asked for")], output.console(stderr=True))
            return ExitCode.OK
        results = await _watch(cluster, watched, timeout)
    return _show(results, asked)


def _all(found: Mapping[ClaimRef, Candidate], namespace: str | None) -> list[Candidate]:
    inside = [each for ref, each in sorted(found.items()) if namespace in (None, ref.namespace)]
    protected = [each for each in inside if isinstance(each.plan, Plan)]
    for each in protected:
        if each.refusal is not None:
            output.write([output.text(f"{each.claim.ref}: left out: {each.refusal}")], output.console(stderr=True))
    chosen = [each for each in protected if each.refusal is None]
    if not chosen:
        raise Problem("There is no claim to back up", "Label one with backup: daily; `holdfast status` shows all.")
    return chosen


async def _ask(cluster: Cluster, candidate: Candidate) -> Watched:
    claim = candidate.claim
    value = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}-{secrets.token_hex(3)}"
    body = {"metadata": {"uid": claim.uid, "annotations": {NOW: value}}}
    await cluster.kube.patch(objects.CLAIMS, claim.ref.name, claim.ref.namespace, body)
    return Watched(ref=claim.ref, value=value)


async def _watch(cluster: Cluster, watched: Sequence[Watched], timeout: timedelta | None) -> list[Result]:
    try:
        async with asyncio.timeout(timeout.total_seconds() if timeout is not None else None):
            with live.display() as shown:
                return await _until_ended(cluster, watched, shown)
    except TimeoutError as error:
        raise Problem("The time is over; runs that started go on", "`holdfast status` shows them.") from error
    except asyncio.CancelledError:
        click.echo("Not waiting any longer; the runs go on. `holdfast status` shows them.", err=True)
        raise


async def _until_ended(cluster: Cluster, watched: Sequence[Watched], shown: live.Display) -> list[Result]:
    ended: dict[ClaimRef, Done | Failed] = {}
    async with runlog.Logs(cluster) as logs:
        while open_runs := [each for each in watched if each.ref not in ended]:
            states = await _look(cluster, open_runs, logs)
            shown.update({str(ref): state for ref, state in states.items()})
            for ref, state in states.items():
                if isinstance(state, Done | Failed):
                    ended[ref] = state
            if len(ended) < len(watched):
                await asyncio.sleep(POLL_SECONDS)
    return [Result(claim=str(each.ref), outcome=ended[each.ref]) for each in watched]


async def _look(cluster: Cluster, open_runs: Sequence[Watched], logs: runlog.Logs) -> Mapping[ClaimRef, State]:
    try:
        rows = await _rows(cluster, [each.ref for each in open_runs])
        jobs = await runlog.backups(cluster)
    except errors.Unreachable:
        # The runs do not need us: look again, for as long as the person waits.
        return {each.ref: runs.CUT_OFF for each in open_runs}
    states: dict[ClaimRef, State] = {}
    for each in open_runs:
        job = jobs.get(str(each.ref))
        value = job.annotations.get(NOW, "") if job is not None else None
        asked = job if job is not None and value == each.value else None
        progress = logs.progress(asked) if asked is not None else None
        obstacle = logs.obstacle(asked) if asked is not None else None
        states[each.ref] = runs.state(each, rows.get(each.ref), value, progress, obstacle)
    return states


async def _rows(cluster: Cluster, refs: Sequence[ClaimRef]) -> Mapping[ClaimRef, Row]:
    if len(refs) > FEW:
        found = await protections(cluster, None)
    else:
        read = [(ref, await protection_of(cluster, ref)) for ref in refs]
        found = {ref: item for ref, item in read if item is not None}
    return {ref: ledger.row(item) for ref, item in found.items()}


def _show(results: Sequence[Result], asked: Asked) -> int:
    if asked.output is Output.JSON:
        output.write_json(tuple(results))
    else:
        to = output.console()
        for each in results:
            style = "bold red" if isinstance(each.outcome, Failed) else "yellow" if each.outcome.flags else "green"
            output.write([output.text(each.claim).append_text(output.text(f": {runs.tell(each.outcome)}", style))], to)
    return ExitCode.FAILED if any(isinstance(each.outcome, Failed) for each in results) else ExitCode.OK
