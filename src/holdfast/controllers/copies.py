"""Copies of claims by volume snapshot: made step by step for a run, and cleared away when no run needs them."""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final, TypeVar, assert_never

from holdfast.controllers.clearing import is_provisioned
from holdfast.controllers.world import World
from holdfast.decide import copying, ownership
from holdfast.kube import errors, objects, parse
from holdfast.kube.objects import Kind
from holdfast.model.claim import Claim, ClaimRef
from holdfast.model.copying import (
    Broken,
    BySnapshot,
    Cleared,
    ContentFacts,
    CopyFacts,
    DeleteWithClaim,
    Drop,
    DropContent,
    Offer,
    Part,
    Ready,
    Request,
    SetPolicy,
    SnapshotFacts,
    Take,
    TemporaryVolume,
    Wait,
)
from holdfast.model.intent import MANAGED_BY
from holdfast.render import claims, copies, names

T = TypeVar("T", bound=objects.Object)

RETAIN: Final = "Retain"
ROUNDS: Final = 12  # more steps than a copy has: who needs more goes in circles
SOON: Final = timedelta(milliseconds=500)


class Copies:
    """Knows every copy that exists: no kind of theirs is watched, since a cluster may not have them."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._known: dict[ClaimRef, set[str]] = {}

    @property
    def claims(self) -> frozenset[str]:
        """Return the claims that a copy exists of, or is being made."""
        return frozenset(str(ref) for ref in self._known)

    def has(self, ref: ClaimRef, name: str) -> bool:
        return name in self._known.get(ref, ())

    def note(self, ref: ClaimRef, name: str) -> None:
        """Remember that a copy of this name may exist."""
        self._known.setdefault(ref, set()).add(name)

    async def recover(self) -> Sequence[ClaimRef]:
        """Find the copies that an earlier process left; return their claims."""
        ours = {MANAGED_BY: names.MANAGER}
        try:
            found = [
                *await self._world.kube.list(objects.CONTENTS, labels=ours),
                *await self._world.kube.list(objects.SNAPSHOTS, labels=ours),
            ]
        except errors.NotServed:
            return ()
        for item in found:
            ref, name = self._named(item)
            if ref is not None and name.startswith(names.BACKUP):
                self.note(ref, name)
        return tuple(self._known)

    def _named(self, item: objects.Object) -> tuple[ClaimRef | None, str]:
        """Return the claim and the copy that an object says it is of.

        Labels can be forged: what lies in an app's namespace speaks for that namespace only.
        """
        try:
            ref = ClaimRef.parse(item.annotations.get(claims.CLAIM, ""))
        except ValueError:
            return None, ""
        foreign = item.metadata.namespace not in (None, ref.namespace, self._world.settings.namespace)
        return None if foreign else ref, item.labels.get(names.HASH, "")

    # Making

    async def make(self, name: str, claim: Claim, way: BySnapshot) -> Wait | Broken | Ready:
        """Bring the copy as far as the cluster lets it now; may be called again at any time."""
        self.note(claim.ref, name)
        for _ in range(ROUNDS):
            step = copying.next_step(
                await self._observe(name, claim.ref),
                requested_bytes=claim.requested_bytes,
                strays=self._strays(claim),
                now=self._world.now(),
            )
            match step:
                case Wait() | Broken() | Ready():
                    return step
                case Take():
                    await self._create(copies.taken(name, claim, way.snapshot_class))
                case SetPolicy(content=content, retain=retain):
                    await self._set_policy(name, claim.ref, content, retain=retain)
                case Offer(content=content):
                    home = self._world.settings.namespace
                    if content is not None:
                        await self._create(copies.second_content(name, home, claim, content))
                    await self._create(copies.offered(name, home, claim))
                case Request(size_bytes=size):
                    home = self._world.settings.namespace
                    modes = way.access_modes
                    await self._create(copies.temporary_claim(name, home, claim, access_modes=modes, size_bytes=size))
                case _:
                    assert_never(step)
        return Wait(detail="the cluster does not show what was made in it")

    async def _create(self, manifest: Mapping[str, Any]) -> None:
        with contextlib.suppress(errors.AlreadyExists):
            await self._world.kube.create(manifest)

    def _strays(self, claim: Claim) -> Sequence[str]:
        """Return the volumes of the claim's class that are free: binding a claim to one ignores its data source."""
        return sorted(
            each.metadata.name
            for each in self._world.informers.volumes.objects.values()
            if each.spec.claim_ref is None and (each.spec.storage_class_name or "") == claim.storage_class
        )

    def is_stray(self, name: str) -> bool:
        """Return whether the temporary claim got a volume that existed before: what was read is not the app's."""
        home = self._world.settings.namespace
        claim = self._world.informers.claims.get(home, name)
        volume = self._world.informers.volumes.get("", (claim.spec.volume_name if claim else None) or "")
        return volume is not None and not is_provisioned(volume)

    # Clearing

    async def clear(self, ref: ClaimRef, keep: str | None = None) -> timedelta | None:
        """Clear away every copy of the claim but one; return when to go on, None when none is left."""
        for name in sorted(self._known.get(ref, ())):
            if name != keep and not await self._clear(name, ref):
                return SOON
        return None

    async def _clear(self, name: str, ref: ClaimRef) -> bool:
        home, kube = self._world.settings.namespace, self._world.kube
        for _ in range(ROUNDS):
            step = copying.clearing(await self._observe(name, ref))
            match step:
                case Wait():
                    return False
                case Cleared():
                    self._forget(ref, name)
                    return True
                case DeleteWithClaim(volume=volume):
                    body = {"spec": {"persistentVolumeReclaimPolicy": "Delete"}}
                    await kube.patch(objects.VOLUMES, volume, None, body)
                    return False  # the cache shows it in a moment
                case SetPolicy(content=content, retain=retain):
                    await self._set_policy(name, ref, content, retain=retain)
                case DropContent(content=content):
                    await kube.delete(objects.CONTENTS, content)
                case Drop(part=part):
                    await self._drop(part, name, ref, home)
                case _:
                    assert_never(step)
        return False

    async def _drop(self, part: Part, name: str, ref: ClaimRef, home: str) -> None:
        match part:
            case Part.CLAIM:
                await self._world.kube.delete(objects.CLAIMS, name, home)
            case Part.TAKEN:
                await self._world.kube.delete(objects.SNAPSHOTS, name, ref.namespace)
            case Part.OFFERED:
                await self._world.kube.delete(objects.SNAPSHOTS, name, home)
            case Part.SECOND:
                await self._world.kube.delete(objects.CONTENTS, name)
            case _:
                assert_never(part)

    def _forget(self, ref: ClaimRef, name: str) -> None:
        left = self._known.get(ref, set())
        left.discard(name)
        if not left:
            self._known.pop(ref, None)

    async def _set_policy(self, name: str, ref: ClaimRef, content: str, *, retain: bool) -> None:
        await self._world.kube.patch(objects.CONTENTS, content, None, copies.policy(name, ref, retain=retain))

    # Facts

    async def _observe(self, name: str, ref: ClaimRef) -> CopyFacts:
        home = self._world.settings.namespace
        taken, listed, offered, claim = await asyncio.gather(
            self._find(objects.SNAPSHOTS, name, ref.namespace),
            self._world.kube.list(objects.CONTENTS, labels={names.HASH: name}),
            self._find(objects.SNAPSHOTS, name, home),
            self._find(objects.CLAIMS, name, home),
        )
        offered, claim = _of(offered, ref), _of(claim, ref)
        contents = {item.metadata.name: item for item in listed if _is_bound_in(item, name, (ref.namespace, home))}
        second = contents.pop(name, None)
        first = next(iter(contents.values()), None)
        if first is None and taken is not None:
            # Not marked yet: the snapshot controller names what it makes by the uid.
            first = await self._find(objects.CONTENTS, f"snapcontent-{taken.metadata.uid}")
        return CopyFacts(
            taken=self._snapshot(taken),
            first=_content(first, ref),
            second=_content(second, ref),
            offered=self._snapshot(offered),
            claim=claim.is_deleting if claim is not None else None,
            volume=await self._volume(name, claim),
        )

    def _snapshot(self, item: objects.VolumeSnapshot | None) -> SnapshotFacts | None:
        if item is None:
            return None
        status = item.status or objects.SnapshotStatus()
        return SnapshotFacts(
            since=self._world.met.since(item),
            deleting=item.is_deleting,
            ours=ownership.is_ours(item.labels),
            ready=status.ready_to_use is True,
            error=(status.error.message or "the driver gave no reason") if status.error is not None else None,
            restore_bytes=parse.quantity(status.restore_size) if status.restore_size is not None else None,
        )

    async def _find(self, kind: Kind[T], name: str, namespace: str | None = None) -> T | None:
        try:
            return await self._world.kube.get(kind, name, namespace)
        except errors.NotFound:
            return None

    async def _volume(self, name: str, claim: objects.PersistentVolumeClaim | None) -> TemporaryVolume | None:
        """Return the volume made for the temporary claim, which outlives it; one that existed before is not ours."""
        found = next(iter(self._world.informers.volumes.by("copy-of", name)), None)
        if found is None and claim is not None and claim.spec.volume_name:
            found = await self._find(objects.VOLUMES, claim.spec.volume_name)
        if found is None or not is_provisioned(found):
            return None
        retained = found.spec.persistent_volume_reclaim_policy == RETAIN
        return TemporaryVolume(name=found.metadata.name, retained=retained)


def _is_bound_in(content: objects.VolumeSnapshotContent, name: str, namespaces: Sequence[str]) -> bool:
    """Return whether the content is of a VolumeSnapshot of this name there.

    Its annotations do not tell: a driver's sidecar replaces all of them with those that it knew before it took the
    snapshot, ours among them.
    """
    snapshot = content.spec.volume_snapshot_ref
    return snapshot is not None and snapshot.name == name and snapshot.namespace in namespaces


def _is_of(item: objects.Object, ref: ClaimRef) -> bool:
    return item.annotations.get(claims.CLAIM) == str(ref)


def _of(item: T | None, ref: ClaimRef) -> T | None:
    """Return what belongs to the claim's copy; another claim's of the same name is none of its business."""
    return item if item is not None and _is_of(item, ref) else None


def _content(item: objects.VolumeSnapshotContent | None, ref: ClaimRef) -> ContentFacts | None:
    if item is None:
        return None
    return ContentFacts(
        name=item.metadata.name,
        deleting=item.is_deleting,
        ours=ownership.is_ours(item.labels) and _is_of(item, ref),  # else it is marked again
        retained=item.spec.deletion_policy == RETAIN,
        handle=item.status.snapshot_handle if item.status is not None else None,
        driver=item.spec.driver,
        snapshot_class=item.spec.volume_snapshot_class_name,
        mode=item.spec.source_volume_mode,
        secrets={k: v for k, v in item.annotations.items() if k.startswith(copies.DELETION_SECRET)},
    )
