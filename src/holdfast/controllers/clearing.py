"""A fill ends: its Jobs, its prime claim and, where nobody has them, the bytes of its volume are deleted."""

from collections.abc import Sequence
from typing import Final

from holdfast.controllers import offer
from holdfast.controllers.world import World
from holdfast.kube import objects
from holdfast.model.claim import ClaimRef
from holdfast.render import claims

PROVISIONED_BY: Final = "pv.kubernetes.io/provisioned-by"


async def clear(world: World, prime: objects.PersistentVolumeClaim, volume: objects.PersistentVolume | None) -> None:
    """Delete a fill; a volume of ours goes with the claim."""
    meta = prime.metadata
    await let_go(world, prime)
    if (chooser := prime.annotations.get(claims.CHOOSER)) is not None:
        await delete_job(world, chooser)
    if volume is not None and is_provisioned(volume):
        await _reclaim(world, volume)
    await world.kube.delete(objects.CLAIMS, meta.name, meta.namespace, uid=meta.uid)


async def let_go(world: World, prime: objects.PersistentVolumeClaim) -> None:
    """Delete the Jobs of a fill, of all attempts: their pods, also ended ones, keep the claim from being deleted.

    The cluster would delete them only after the claim, which owns them.
    """
    for job in world.informers.jobs.by("owner", prime.metadata.uid):
        await world.kube.delete(objects.JOBS, job.metadata.name, world.settings.namespace, uid=job.metadata.uid)


async def _reclaim(world: World, volume: objects.PersistentVolume) -> None:
    """Let the bytes go with the prime, unless a claim has them under another name: then only this object goes."""
    meta = volume.metadata
    now = await world.kube.get(objects.VOLUMES, meta.name)
    offered = now.annotations.get(claims.OFFERED_AS)
    if offered is not None and not await offer.withdraw(world, meta.name, offered):
        await world.kube.delete(objects.VOLUMES, meta.name, uid=meta.uid)
        return
    body = {"metadata": {"uid": meta.uid}, "spec": {"persistentVolumeReclaimPolicy": "Delete"}}
    await world.kube.patch(objects.VOLUMES, meta.name, None, body)


async def clear_abandoned(world: World, prime: objects.PersistentVolumeClaim) -> None:
    """Delete a fill that no claim waits for; a volume that was handed over to a claim that lives stays with it."""
    volume = world.informers.volumes.get("", prime.spec.volume_name or "")
    owner = volume.spec.claim_ref if volume is not None else None
    if volume is not None and owner is not None and owner.uid != prime.metadata.uid and _lives(world, owner):
        await offer.settle(world, volume)
        volume = None
    await clear(world, prime, volume)


def _lives(world: World, owner: objects.ObjectReference) -> bool:
    claim = world.informers.claims.get(owner.namespace or "", owner.name or "")
    return claim is not None and claim.metadata.uid == owner.uid


def abandoned(world: World, ref: ClaimRef) -> Sequence[objects.PersistentVolumeClaim]:
    """Return the fills that were last decided for a claim of this name."""
    return [each for each in world.informers.claims.by("filled-for", str(ref)) if not each.is_deleting]


async def delete_job(world: World, name: str) -> None:
    await world.kube.delete(objects.JOBS, name, world.settings.namespace)


def attempt(prime: objects.PersistentVolumeClaim) -> int:
    return int(prime.annotations.get(claims.ATTEMPT, "0"))


def is_provisioned(volume: objects.PersistentVolume) -> bool:
    return PROVISIONED_BY in volume.annotations and claims.BOUND_BY_CONTROLLER not in volume.annotations
