"""`holdfast restore`: a Restore object, and a new claim that names it. What is there already is never touched."""

import asyncio
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import click

from holdfast.cli import cluster as objects_of
from holdfast.cli import history, ledger, live, output, runlog, runs
from holdfast.cli.cluster import Cluster, Order, connect, find
from holdfast.cli.history import History
from holdfast.cli.ledger import Restoring
from holdfast.cli.options import Asked, Output
from holdfast.cli.problems import ExitCode, Problem
from holdfast.cli.runs import Waiting
from holdfast.decide import intent, protection
from holdfast.decide import restore as rule
from holdfast.kube import errors, objects, parse
from holdfast.model.claim import Claim, ClaimPhase, ClaimRef, Identity
from holdfast.model.intent import AsOf, Auto, ById, RestoreMode, Sourced
from holdfast.model.protection import NoPlan
from holdfast.model.request import GROUP, KIND
from holdfast.model.snapshot import Snapshot
from holdfast.model.verdict import Restore, StartEmpty, Wait
from holdfast.render import advice, sentences

POLL_SECONDS: Final = 0.5
NEEDS_A_POD: Final = "WaitForFirstConsumer"
TAKEN: Final = "BoundByOther"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What the person wrote."""

    claim: str
    into: str
    snapshot: str | None
    time: str | None
    identity: str | None
    repository: str | None
    storage_class: str | None
    size: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreReport:
    """What was made, and how far it is."""

    claim: str
    restore: str
    identity: str
    snapshot: str
    phase: str
    message: str


def mode(wish: Wish) -> RestoreMode:
    """Return the point that was asked for; raise Problem for one that cannot be read."""
    if wish.snapshot is not None and wish.time is not None:
        raise Problem("--snapshot and --time contradict each other", "Keep one of them.", ExitCode.USAGE)
    if wish.snapshot is not None:
        read = intent.parse_restore(wish.snapshot, None)
        if not isinstance(read, ById):
            todo = "Write an id, or at least 8 characters of its beginning: `holdfast snapshots` lists them."
            raise Problem(f"--snapshot {wish.snapshot!r} is no snapshot id", todo, ExitCode.USAGE)
        return read
    if wish.time is not None:
        read = intent.parse_restore(wish.time, None)
        if not isinstance(read, AsOf):
            todo = "Write for example 2026-01-31T12:00:00Z."
            raise Problem(f"--time {wish.time!r} is no time with a zone", todo, ExitCode.USAGE)
        return read
    return Auto()


def other_identity(order: Order, text: str, into: ClaimRef) -> Sourced[Identity]:
    """Return the identity that `--identity` names, if the namespace of the new claim may read it."""
    try:
        wanted = Identity.parse(text)
    except ValueError as error:
        raise Problem(f"--identity {error}", "Write namespace/claim.", ExitCode.USAGE) from error
    return _permitted(order, wanted, into)


def _permitted(order: Order, wanted: Identity, into: ClaimRef) -> Sourced[Identity]:
    found = protection.identify(into, wanted, order.repository.value)
    if isinstance(found, NoPlan):
        raise Problem(found.detail)
    return found


def manifests(
    into: ClaimRef, name: str, order: Order, point: RestoreMode, snapshot: Snapshot, original: Claim | None, wish: Wish
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the Restore and the claim. A time is written as the snapshot that it means now."""
    spec = {"identity": str(order.identity.value), "repository": order.repository.value.name}
    if not isinstance(point, Auto):
        spec["snapshot"] = snapshot.id
    claim: dict[str, Any] = {
        "accessModes": list(original.access_modes) if original is not None else ["ReadWriteOnce"],
        "volumeMode": "Filesystem",
        "resources": {"requests": {"storage": _size(snapshot, original, wish)}},
        "dataSourceRef": {"apiGroup": GROUP, "kind": KIND, "name": name},
    }
    storage_class = wish.storage_class or (original.storage_class if original is not None else None)
    if storage_class:
        claim["storageClassName"] = storage_class
    return (
        {
            "apiVersion": objects.RESTORES.api_version,
            "kind": KIND,
            "metadata": {"name": name, "namespace": into.namespace},
            "spec": spec,
        },
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": into.name, "namespace": into.namespace},
            "spec": claim,
        },
    )


def _size(snapshot: Snapshot, original: Claim | None, wish: Wish) -> str:
    if wish.size is not None:
        try:
            parse.quantity(wish.size)
        except ValueError as error:
            raise Problem(f"--size {error}", code=ExitCode.USAGE) from error
        return wish.size
    known = [snapshot.capacity_bytes or 0]
    if original is not None:
        known += [original.requested_bytes, original.capacity_bytes or 0]
    if not max(known):
        raise Problem("Nothing says how large the new claim must be", "Write --size, for example 10Gi.", ExitCode.USAGE)
    return str(max(known))


async def run(asked: Asked, wish: Wish, *, wait: bool, timeout: timedelta | None) -> int:
    """Check everything, then create the Restore and the claim, and wait for the data."""
    point = mode(wish)
    async with connect(asked) as cluster:
        ref = cluster.ref(wish.claim)
        into = cluster.ref(wish.into if "/" in wish.into else f"{ref.namespace}/{wish.into}")
        await _refuse_existing(cluster, into)
        found, snapshot, skipped = await _choose(cluster, ref, into, point, wish)
        name = f"{into.name[:240].rstrip('-.')}-{secrets.token_hex(3)}"
        pair = manifests(into, name, found.order, point, snapshot, found.claimed.claim, wish)
        await _create(cluster, into, *pair)
        _announce(into, found.order, snapshot, skipped)
        told = await _watch(cluster, into, name, timeout) if wait else _told("Created", "asked for")
    return _show(asked, into, name, found.order, snapshot, told)


async def _refuse_existing(cluster: Cluster, into: ClaimRef) -> None:
    if await find(cluster, objects.CLAIMS, into.name, into.namespace) is not None:
        raise _exists(into)
    if await find(cluster, objects.NAMESPACES, into.namespace) is None:
        raise Problem(f"There is no namespace {into.namespace}", "Create it, or write --into NAMESPACE/NAME.")


def _exists(into: ClaimRef) -> Problem:
    return Problem(
        f"Claim {into} exists, and a restore never changes a claim that exists",
        "Choose another name for --into; to get the data under this name, delete the claim and create it again "
        "with annotation holdfast.dev/restore.",
    )


async def _choose(
    cluster: Cluster, ref: ClaimRef, into: ClaimRef, point: RestoreMode, wish: Wish
) -> tuple[History, Snapshot, tuple[Snapshot, ...]]:
    """Return the history and the snapshot that the restore will take now; raise Problem where it would not."""
    claimed = await objects_of.claimed(cluster, ref)
    order = objects_of.order(claimed, wish.repository)
    if isinstance(order, NoPlan):
        raise Problem(f"{ref}: {order.detail}")
    if wish.identity is not None:
        identity = other_identity(order, wish.identity, into)
    else:
        identity = _permitted(order, order.identity.value, into)
    chosen = Order(
        repository=order.repository,
        identity=identity,
        mode=Sourced(value=point, origin="the command"),
        # The new claim carries no annotation: what the old one accepts does not count.
        accept_partial=None,
    )
    found = await history.of(cluster, claimed, chosen)
    verdict = rule.decide(found.evidence, point, accept_partial=None)
    match verdict:
        case Restore(snapshot=snapshot, skipped=skipped):
            return found, snapshot, skipped
        case StartEmpty():
            raise Problem(f"There is no backup of {identity.value}; nothing was created")
        case Wait(why=why, detail=detail):
            raise Problem(f"{detail}; nothing was created", advice.on(why))


async def _create(cluster: Cluster, into: ClaimRef, restore: Mapping[str, Any], claim: Mapping[str, Any]) -> None:
    made = await cluster.kube.create(restore)
    try:
        await cluster.kube.create(claim)
    except errors.KubeError as error:
        # Without the claim the Restore serves nobody.
        await cluster.kube.delete(objects.RESTORES, made.metadata.name, into.namespace, uid=made.metadata.uid)
        if isinstance(error, errors.AlreadyExists):
            raise _exists(into) from error
        raise


def _announce(into: ClaimRef, order: Order, snapshot: Snapshot, skipped: Sequence[Snapshot]) -> None:
    to = output.console(stderr=True)
    line = f"Restoring {sentences.snapshot(snapshot)} of {order.identity.value} into {into}."
    output.write([output.text(line)], to)
    for each in skipped:
        flags = ", ".join(sorted(each.flags))
        line = f"Passed over the newer {sentences.snapshot(each)}: {flags}. To take it: --snapshot {each.id[:16]}"
        output.write([output.text(line, "yellow")], to)


def _told(phase: str, message: str) -> Restoring:
    return ledger.restoring({"phase": phase, "message": message})


async def _watch(cluster: Cluster, into: ClaimRef, name: str, timeout: timedelta | None) -> Restoring:
    try:
        async with asyncio.timeout(timeout.total_seconds() if timeout is not None else None):
            with live.display() as shown:
                async with runlog.Logs(cluster) as logs:
                    return await _until_ended(cluster, into, name, shown, logs)
    except TimeoutError as error:
        raise Problem("The time is over; the restore goes on", f"`holdfast explain {into}` shows it.") from error
    except asyncio.CancelledError:
        click.echo(f"Not waiting any longer; the restore goes on. `holdfast explain {into}` shows it.", err=True)
        raise


async def _until_ended(
    cluster: Cluster, into: ClaimRef, name: str, shown: live.Display, logs: runlog.Logs
) -> Restoring:
    while True:
        try:
            told = await _look(cluster, into, name, shown, logs)
        except errors.Unreachable:
            told = None  # the restore does not need us: look again
            shown.update({str(into): runs.CUT_OFF})
        if told is not None:
            return told
        await asyncio.sleep(POLL_SECONDS)


async def _look(
    cluster: Cluster, into: ClaimRef, name: str, shown: live.Display, logs: runlog.Logs
) -> Restoring | None:
    """Return how it ended; None while it goes on."""
    found = await find(cluster, objects.CLAIMS, into.name, into.namespace)
    item = await find(cluster, objects.RESTORES, name, into.namespace)
    if found is None or item is None:
        return _told("Gone", "the new claim or its Restore was deleted meanwhile")
    told = ledger.restoring(item.status or {})
    bound = parse.claim(found).phase is ClaimPhase.BOUND
    if told.phase == TAKEN or told.reason == NEEDS_A_POD or (told.phase == "Done" and bound):
        return told
    job = (await runlog.restores(cluster)).get(str(into))
    if job is not None:
        shown.update({str(into): runs.working(logs.progress(job), logs.obstacle(job))})
    else:
        shown.update({str(into): Waiting(detail=told.message or "waiting for the operator")})
    return None


def _show(asked: Asked, into: ClaimRef, name: str, order: Order, snapshot: Snapshot, told: Restoring) -> int:
    made = RestoreReport(
        claim=str(into),
        restore=f"{into.namespace}/{name}",
        identity=str(order.identity.value),
        snapshot=snapshot.id,
        phase=told.phase,
        message=told.message,
    )
    bad = told.phase in (TAKEN, "Gone")
    if asked.output is Output.JSON:
        output.write_json(made)
    else:
        style = "bold red" if bad else "green" if told.phase == "Done" else ""
        output.write([output.text(_sentence(made, told), style)], output.console())
    return ExitCode.FAILED if bad else ExitCode.OK


def _sentence(made: RestoreReport, told: Restoring) -> str:
    if told.phase == "Done":
        return f"{made.claim}: {told.message}; the claim is bound."
    if told.reason == NEEDS_A_POD:
        return f"{made.claim}: its volume is made, and filled, as soon as a pod uses the claim."
    return f"{made.claim}: {told.message}."
