"""What is said of a claim's data: how far it is, and the end of it, once the claim is bound."""

from collections.abc import Mapping
from typing import Any

from holdfast.controllers import clearing, offer, status
from holdfast.controllers.world import World
from holdfast.decide import admission
from holdfast.kube import objects
from holdfast.model.claim import Claim
from holdfast.model.request import AUTO
from holdfast.model.snapshot import Snapshot
from holdfast.model.verdict import Restore, Verdict
from holdfast.render import claims, sentences


async def finish(
    world: World,
    claim: Claim,
    prime: objects.PersistentVolumeClaim,
    volume: objects.PersistentVolume | None,
    offered: objects.PersistentVolume | None,
) -> None:
    """The claim is bound to our volume: say so, then give the volume its policy back, then clear the helpers.

    The prime goes last: it is what leads back here after a crash.
    """
    given = offered or volume
    if given is None:
        return
    snapshot = prime.annotations.get(claims.SNAPSHOT)
    empty = snapshot == claims.EMPTY
    known = status.section(status.protection(world, claim.ref), "restore")
    if known.get("claimUID") != claim.uid or known.get("phase") != "Done":
        owners_kept = claims.OWNERS_LEFT_OUT not in prime.annotations
        reason, message = sentences.done(None if empty else snapshot, owners_kept=owners_kept)
        now = status.text(world.now())
        await tell(world, claim, "Done", reason, message, {"finished": now, "startedEmpty": now if empty else None})
        status.normal(world, claim.ref, reason, f"The claim is bound: {message}")
        await _remember(world, claim, prime, known)
    if given is offered and volume is not None:  # retained: only the first object goes
        await world.kube.delete(objects.VOLUMES, volume.metadata.name, uid=volume.metadata.uid)
    await offer.settle(world, given)
    await clearing.clear(world, prime, None)


async def _remember(world: World, claim: Claim, prime: objects.PersistentVolumeClaim, known: Mapping[str, Any]) -> None:
    """A new cluster remembers nothing: what was restored is the last backup that it knows of."""
    item = status.protection(world, claim.ref)
    content = prime.annotations.get(claims.CONTENT)
    if content is None or status.memory(item).last_id is not None:
        return
    files, _, size = content.partition(",")
    memory = {"lastID": known.get("snapshot"), "lastTime": known.get("snapshotTime")}
    changes = {"backup": memory | {"files": int(files), "bytes": int(size)}}
    await status.write(world, objects.PROTECTIONS, item, changes)


async def tell(world: World, claim: Claim, phase: str, reason: str, message: str, more: Mapping[str, Any]) -> None:
    """Write how far a claim's data is: on its Protection, and on the Restore that it names."""
    changes = {"phase": phase, "reason": reason, "message": message, "claimUID": claim.uid}
    if (name := admission.request_name(claim)) != AUTO:
        item = world.informers.restores.get(claim.ref.namespace, name)
        brief = {"phase": phase, "reason": reason, "message": message, "claim": claim.ref.name}
        await status.write(world, objects.RESTORES, item, brief)
    ended = {"finished": None, "startedEmpty": None}
    protected = status.protection(world, claim.ref)
    await status.write(world, objects.PROTECTIONS, protected, {"restore": changes | ended | dict(more)})


def chosen(verdict: Verdict) -> Mapping[str, Any]:
    """Return the status fields that name the snapshot of a verdict and those it passed over."""
    if not isinstance(verdict, Restore):
        return {"snapshot": None, "snapshotTime": None, "skipped": []}
    return {
        "snapshot": verdict.snapshot.id,
        "snapshotTime": status.text(verdict.snapshot.time),
        "skipped": [_skipped(each) for each in verdict.skipped],
    }


def _skipped(snapshot: Snapshot) -> str:
    return f"{snapshot.id} of {status.text(snapshot.time)}: {', '.join(sorted(snapshot.flags))}"
