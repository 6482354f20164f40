"""`holdfast rearm`: a claim that was created without a hold gets its data: delete, create held, restore."""

import asyncio
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import click
from rich.text import Text

from holdfast.cli import cluster as objects_of
from holdfast.cli import history, ledger, output
from holdfast.cli.cluster import Cluster, Order, connect, find
from holdfast.cli.options import Asked, Output, rule_of
from holdfast.cli.problems import ExitCode, Problem
from holdfast.cli.text import ended
from holdfast.decide import admission, rearm, restore
from holdfast.kube import errors, objects, parse
from holdfast.kube import manifest as parse_manifest
from holdfast.model.admission import RESERVED, Arm, Rule
from holdfast.model.claim import Claim, ClaimRef
from holdfast.model.protection import Health, NoPlan
from holdfast.model.rearm import Against, Obstacle
from holdfast.model.verdict import Restore, Verdict
from holdfast.render import sentences
from holdfast.render.repository import to_yaml

GONE_SECONDS: Final = 60.0
POLL_SECONDS: Final = 0.2
CREATE_ATTEMPTS: Final = 5
TRIED: Final = "-rearm"  # ends the name of a claim that is only tried, never made
RETAIN: Final = "Retain"
OVER_QUOTA: Final = "exceeded quota"  # the claim itself counts; it is gone when it is created again
ENDED: Final = ("Succeeded", "Failed")


@dataclass(frozen=True, slots=True, kw_only=True)
class RearmReport:
    """What stands, what would be done, and whether it was done. `against` is empty when it can be done."""

    claim: str
    volume: str | None
    reclaim_policy: str | None
    keeps_volume: bool
    snapshot: str | None
    snapshot_told: str
    policies_active: bool
    against: tuple[Against, ...]
    done: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What was found out, and the claim to create."""

    claim: Claim
    manifest: Mapping[str, Any] | None
    report: RearmReport


async def run(asked: Asked, text: str, by_name: tuple[str, ...], *, yes: bool, discard: bool) -> int:
    """Explain and check it; with `yes` carry it out."""
    async with connect(asked) as cluster:
        plan = await prepare(cluster, cluster.ref(text), rule_of(asked, by_name), discard=discard)
        report = plan.report
        if yes and not report.against and plan.manifest is not None:
            await _carry_out(cluster, plan, plan.manifest)
            report = replace(report, done=True)
    if asked.output is Output.JSON:
        output.write_json(report)
    else:
        to = output.console()
        for line in _screen(report, asked_to=yes):
            output.write(output.indented(line, to.width, 0), to)
    if all(each.why is Obstacle.HELD for each in report.against):
        return ExitCode.OK
    return ExitCode.FAILED if yes else ExitCode.ATTENTION


# Finding out


async def prepare(cluster: Cluster, ref: ClaimRef, rule: Rule, *, discard: bool) -> Plan:
    """Return everything that is known, tried against the API server; nothing is changed."""
    claimed = await objects_of.claimed(cluster, ref)
    claim = claimed.claim
    if claim is None:
        raise Problem(f"There is no claim {ref}", "Create it: under the policies it is held, and gets its data.")
    order = objects_of.order(claimed)
    if isinstance(order, NoPlan):
        raise Problem(f"{ref}: {order.detail}")
    stored = await cluster.kube.manifest(objects.CLAIMS, ref.name, ref.namespace)
    namespace = await find(cluster, objects.NAMESPACES, ref.namespace)
    active, rule = await _try_policies(cluster, stored, rule)
    again = admission.again(claim, namespace.labels if namespace is not None else {}, rule)
    manifest = rearm.manifest(stored, again) if isinstance(again, Arm) else None
    verdict = await _verdict(cluster, claimed, order)
    born = claimed.item is not None and ledger.row(claimed.item).state == Health.BORN_UNARMED
    against = list(rearm.obstacles(claim, again, verdict, await _users(cluster, ref), born_unarmed=born))
    if manifest is not None and not against:
        against += await _try_creation(cluster, manifest)
    volume = await find(cluster, objects.VOLUMES, claim.volume_name) if claim.volume_name else None
    policy = volume.spec.persistent_volume_reclaim_policy if volume is not None else None
    snapshot = verdict.snapshot if isinstance(verdict, Restore) else None
    report = RearmReport(
        claim=str(ref),
        volume=volume.metadata.name if volume is not None else None,
        reclaim_policy=policy,
        keeps_volume=not discard or policy == RETAIN,
        snapshot=snapshot.id if snapshot is not None else None,
        snapshot_told=sentences.snapshot(snapshot) if snapshot is not None else "",
        policies_active=active,
        against=tuple(against),
        done=False,
    )
    return Plan(claim=claim, manifest=manifest, report=report)


async def _verdict(cluster: Cluster, claimed: objects_of.Claimed, order: Order) -> Verdict:
    found = await history.of(cluster, claimed, order)
    return restore.decide(found.evidence, order.mode.value, accept_partial=order.accept_partial)


async def _try_policies(cluster: Cluster, stored: Mapping[str, Any], rule: Rule) -> tuple[bool, Rule]:
    """Return whether the cluster's own rule would hold the claim, and the rule with what it says of the class."""
    plain = _tried(rearm.manifest(stored, Arm()))
    try:
        made = await cluster.kube.try_create(plain)
    except (errors.Forbidden, errors.Invalid, errors.AlreadyExists):
        return False, rule
    found = parse_manifest.creation(made, {})
    if found.volume_name.startswith(RESERVED) and found.storage_class:
        return True, replace(rule, by_name=(*rule.by_name, found.storage_class))
    return admission.is_ours(found.source_ref), rule


async def _try_creation(cluster: Cluster, manifest: Mapping[str, Any]) -> list[Against]:
    try:
        await cluster.kube.try_create(_tried(manifest))
    except (errors.Forbidden, errors.Invalid) as error:
        if OVER_QUOTA not in error.message:
            return [Against(why=Obstacle.REFUSED, what=f"it could not be created again: {error.message}")]
    except errors.AlreadyExists:
        pass
    return []


def _tried(manifest: Mapping[str, Any]) -> dict[str, Any]:
    name = f"{manifest['metadata']['name'][: 253 - len(TRIED)].rstrip('-.')}{TRIED}"
    return {**manifest, "metadata": {**manifest["metadata"], "name": name}}


async def _users(cluster: Cluster, ref: ClaimRef) -> list[str]:
    """Return the pods that use the claim, and have not ended."""
    return sorted(
        f"pod {pod.metadata.name}"
        for pod in await cluster.kube.list(objects.PODS, ref.namespace)
        if (pod.status.phase if pod.status is not None else None) not in ENDED
        and any(
            each.persistent_volume_claim is not None and each.persistent_volume_claim.claim_name == ref.name
            for each in pod.spec.volumes or ()
        )
    )


# Carrying out


async def _carry_out(cluster: Cluster, plan: Plan, manifest: Mapping[str, Any]) -> None:
    """Keep the volume, delete the claim, create it held. What cannot be undone comes after all that may be refused."""
    report, ref = plan.report, plan.claim.ref
    if report.volume is not None and report.keeps_volume and report.reclaim_policy != RETAIN:
        body = {"spec": {"persistentVolumeReclaimPolicy": RETAIN}}
        await cluster.kube.patch(objects.VOLUMES, report.volume, None, body)
    await cluster.kube.delete(objects.CLAIMS, ref.name, ref.namespace, uid=plan.claim.uid)
    try:
        await _until_gone(cluster, plan.claim)
        await _create(cluster, ref, manifest)
    except BaseException:
        click.echo(f"# The claim to create, once {ref} is gone:\n{to_yaml([manifest])}", err=True, nl=False)
        raise


async def _until_gone(cluster: Cluster, claim: Claim) -> None:
    deadline = time.monotonic() + GONE_SECONDS
    while True:
        found = await find(cluster, objects.CLAIMS, claim.ref.name, claim.ref.namespace)
        if found is None or found.metadata.uid != claim.uid:
            return
        if time.monotonic() > deadline:
            users = ", ".join(await _users(cluster, claim.ref)) or "something"
            raise Problem(f"Claim {claim.ref} is being deleted, but {users} still uses it", "Stop it, then create the "
                          "claim below.")  # fmt: skip
        await asyncio.sleep(POLL_SECONDS)


async def _create(cluster: Cluster, ref: ClaimRef, manifest: Mapping[str, Any]) -> None:
    for attempt in range(1, CREATE_ATTEMPTS + 1):
        try:
            await cluster.kube.create(manifest)
        except errors.AlreadyExists:
            # A GitOps tool was faster, or our own answer was lost.
            found = parse.claim(await cluster.kube.get(objects.CLAIMS, ref.name, ref.namespace))
            if admission.is_held(found):
                return
            todo = "Apply `holdfast render arm` first, then do this again."
            raise Problem(f"Somebody created claim {ref} again, without a hold", todo) from None
        except errors.Unreachable:
            if attempt == CREATE_ATTEMPTS:
                raise
            await asyncio.sleep(attempt)
        else:
            return


# Showing


def _screen(report: RearmReport, *, asked_to: bool) -> Iterator[Text]:
    if report.done:
        yield output.text(f"{report.claim} is created again, and held until {report.snapshot_told} is in it.", "green")
        yield output.text(f"Start what uses it again; `holdfast explain {report.claim}` shows how far it is.")
        yield from _kept(report)
    elif report.against:
        head = "was not changed" if asked_to else "cannot get its data back now"
        style = "" if all(each.why is Obstacle.HELD for each in report.against) else "bold red"
        yield output.text(f"{report.claim} {head}:", style)
        for each in report.against:
            yield output.text(f"  {ended(each.what)} {ended(each.todo)}".rstrip())
    else:
        yield output.text(f"{report.claim} can get its data back. `holdfast rearm {report.claim} --yes` will", "bold")
        if report.volume is not None:
            kept = "keep" if report.keeps_volume else "give up"
            yield output.text(f"  1. {kept} volume {report.volume} with what the app wrote into it since")
        yield output.text(f"  2. delete claim {report.claim}, and create it again from its own manifest, held")
        yield output.text(f"  3. and Holdfast restores {report.snapshot_told} into it, as soon as a pod uses it.")
    if not report.policies_active:
        yield output.text(
            "The policies do not hold this claim: without them it will be created without its data next time. "
            "`holdfast render arm | kubectl apply -f -` brings them.",
            "yellow",
        )


def _kept(report: RearmReport) -> Iterator[Text]:
    if report.volume is not None and report.keeps_volume:
        yield output.text(
            f"What the app wrote meanwhile is in no backup; it stays in volume {report.volume}, which now has policy "
            f"Retain. When nobody needs it: `kubectl delete pv {report.volume}`, and its data in the storage by hand."
        )
