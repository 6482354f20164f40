"""A claim that is held by name is given a second object for a filled volume, under the name that it waits for."""

import logging

from holdfast.controllers import status
from holdfast.controllers.world import World
from holdfast.kube import errors, objects
from holdfast.model.claim import Claim
from holdfast.render import claims, names

log = logging.getLogger(__name__)


def standing(
    claim: Claim, prime: objects.PersistentVolumeClaim | None, named: objects.PersistentVolume | None
) -> objects.PersistentVolume | None:
    """Return the volume that has the reserved name if it is of the prime's bytes, and can be this claim's.

    One that was settled is an earlier claim's: its provisioner may be deleting the bytes.
    """
    if named is None or prime is None or named.annotations.get(claims.COPY_OF) != prime.spec.volume_name:
        return None
    owner = named.spec.claim_ref
    is_this_claims = owner is not None and owner.uid == claim.uid
    return named if is_this_claims or claims.RECLAIM_POLICY in named.annotations else None


async def give(
    world: World, claim: Claim, volume: objects.PersistentVolume | None, offered: objects.PersistentVolume | None
) -> None:
    """Give the claim a second volume of the name that it waits for.

    It binds at the volume controller's next resync, after 3 to 15 s: only a write to the claim itself would be
    noticed sooner, and for that we would need the right to change every claim of the cluster.
    """
    if offered is not None:  # for an earlier claim of this name
        body = claims.pointed_at(claim, offered.metadata.resource_version)
        await world.kube.patch(objects.VOLUMES, offered.metadata.name, None, body)
        return
    if volume is None or claim.volume_name is None:
        return
    name = volume.metadata.name
    whole = await world.kube.manifest(objects.VOLUMES, name)
    await world.kube.patch(objects.VOLUMES, name, None, claims.retained(whole, claim.volume_name))
    try:
        await world.kube.create(claims.second_volume(whole, claim.volume_name, claim))
    except errors.AlreadyExists:
        log.info("fill.volume_exists", extra={"claim": str(claim.ref), "volume": claim.volume_name})


async def set_aside(world: World, claim: Claim, earlier: str) -> None:
    """Give the volume that an earlier claim left a name of its own: its bytes are the user's to delete."""
    whole = await world.kube.manifest(objects.VOLUMES, earlier)
    owner, uid = whole["spec"].get("claimRef") or {}, whole["metadata"]["uid"]
    if owner.get("uid") == claim.uid or whole["spec"]["persistentVolumeReclaimPolicy"] != "Retain":
        return
    name = names.kept(claim.ref, uid)
    try:
        await world.kube.create(claims.kept_volume(whole, name))
    except errors.AlreadyExists:
        log.info("fill.kept_exists", extra={"claim": str(claim.ref), "volume": name})
    await world.kube.delete(objects.VOLUMES, earlier, uid=uid)
    status.normal(world, claim.ref, "VolumeKept", f"The volume of an earlier claim is kept as {name}")


async def settle(world: World, volume: objects.PersistentVolume) -> None:
    """Give a volume that a claim has got its own reclaim policy back."""
    noted = volume.annotations.get(claims.RECLAIM_POLICY)
    if noted is not None:
        await world.kube.patch(objects.VOLUMES, volume.metadata.name, None, claims.settled(noted))


async def withdraw(world: World, volume: str, offered: str) -> bool:
    """Delete the second object of a volume; return False when a claim that lives has it, or had it to the end."""
    try:
        second = await world.kube.get(objects.VOLUMES, offered)
    except errors.NotFound:
        return True
    if second.annotations.get(claims.COPY_OF) != volume:
        return True
    owner = second.spec.claim_ref
    if claims.RECLAIM_POLICY not in second.annotations:
        return False
    if owner is not None and await _asks(world, owner):
        await settle(world, second)
        return False
    await world.kube.delete(objects.VOLUMES, offered, uid=second.metadata.uid)
    return True


async def _asks(world: World, owner: objects.ObjectReference) -> bool:
    try:
        claim = await world.kube.get(objects.CLAIMS, owner.name or "", owner.namespace)
    except errors.NotFound:
        return False
    return claim.metadata.uid == owner.uid
