"""Aliases: a second, read-only volume in Holdfast's namespace that names the bytes of a claim's own."""

import contextlib
from datetime import timedelta
from typing import Final

from holdfast.controllers.world import World, alias_source, used_claims
from holdfast.decide import copying
from holdfast.kube import errors, objects, parse
from holdfast.model.claim import Claim, ClaimRef
from holdfast.model.copying import Broken, Seat
from holdfast.render import claims

ORPHANED: Final = timedelta(minutes=2)


async def seat(world: World, claim: Claim, volume: objects.PersistentVolume) -> Seat | Broken:
    """Return where a mover can read the volume; the pods of the claim's namespace are asked for, never watched."""
    spec = volume.spec
    pods = await world.kube.list(objects.PODS, claim.ref.namespace)
    users = [user for pod in pods if str(claim.ref) in used_claims(pod) and (user := parse.user(pod)) is not None]
    return copying.seat(claim, users, placeless=spec.host_path is not None and not spec.node_affinity)


async def make(world: World, name: str, claim: Claim, volume: objects.PersistentVolume) -> bool:
    """Create the alias, and later the claim that is bound to it; return whether both are there.

    The claim has to wait until the cluster's binder knows the volume: one that came too early is looked at again only
    15 s later (16 of 60 that were made at once).
    """
    source = alias_source(volume) or {}
    namespace, marks = world.settings.namespace, {claims.CLAIM: str(claim.ref)}
    modes = ["ReadOnlyMany"] if "csi" not in source else list(claim.access_modes)
    size = (volume.spec.capacity or {}).get("storage", "1")
    alias = world.informers.volumes.get("", name)
    if alias is None:
        affinity = volume.spec.node_affinity
        wanted = claims.alias_volume(
            name, namespace, source, access_modes=modes, capacity=size, node_affinity=affinity, annotations=marks
        )
    elif not _is_going(world, alias) and alias.status is not None and alias.status.phase in ("Available", "Bound"):
        wanted = claims.alias_claim(name, namespace, access_modes=modes, capacity=size, annotations=marks)
    else:
        return False
    with contextlib.suppress(errors.AlreadyExists):
        await world.kube.create(wanted)
    return alias is not None


async def clear(world: World, name: str) -> None:
    """Delete the alias claim, then its volume: Retain keeps the app's data."""
    await world.kube.delete(objects.CLAIMS, name, world.settings.namespace)
    await world.kube.delete(objects.VOLUMES, name)


async def clear_orphans(world: World, ref: ClaimRef) -> timedelta | None:
    """Delete the aliases of a claim without a run that a crash left; return when to look again, None if there is none.

    The Job of one that we have just met may only not be seen yet.
    """
    found = world.informers.volumes.by("alias-of", str(ref))
    for volume in found:
        if _is_orphan(world, volume):
            await clear(world, volume.metadata.name)
    return ORPHANED if found else None


def _is_going(world: World, alias: objects.PersistentVolume) -> bool:
    """Return whether an alias is on its way out, or has gone and that is not seen yet."""
    return alias.is_deleting or _is_orphan(world, alias)


def _is_orphan(world: World, alias: objects.PersistentVolume) -> bool:
    return world.now() - world.met.since(alias) >= ORPHANED
