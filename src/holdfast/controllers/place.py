"""Where the volume of a claim that is held by name is made: on the node where the pod that uses it can run."""

import logging
from collections.abc import Sequence

from holdfast.controllers.world import World, used_claims
from holdfast.decide import ownership
from holdfast.kube import errors, objects, obstacles, parse
from holdfast.model.claim import Claim, ClaimRef
from holdfast.model.population import ByName, EarlierVolume
from holdfast.render import chooser, claims, names

log = logging.getLogger(__name__)


def facts(world: World, claim: Claim, earlier: objects.PersistentVolume | None) -> ByName:
    """Return what is known; `earlier` is a volume of the reserved name that is not from the claim's fill."""
    pod = consumer(world, claim)
    name = names.chooser(pod.metadata.uid) if pod is not None else ""
    standing = world.informers.pods.by("job", name)
    job = world.informers.jobs.get(world.settings.namespace, name)
    return ByName(
        expected=claim.storage_class in world.settings.by_name,
        has_consumer=pod is not None,
        node=next((each.spec.node_name for each in standing if each.spec.node_name), None),
        choosing=job is not None,
        obstacle=obstacles.of_job(job, standing, world.warnings(job, *standing)) if job is not None else None,
        earlier=_earlier(earlier) if earlier is not None else None,
    )


def consumer(world: World, claim: Claim) -> objects.Pod | None:
    """Return the pod that uses the claim and has no node yet; of several the oldest."""
    pods = [pod for pod in world.informers.consumers.by("uses", str(claim.ref)) if not pod.is_deleting]
    return min(pods, key=lambda pod: (pod.metadata.creation_timestamp, pod.metadata.name), default=None)


async def choose(world: World, claim: Claim) -> None:
    """Create the Job that stands for the claim's pod."""
    pod = consumer(world, claim)
    if pod is None:
        return
    manifest = chooser.job(
        names.chooser(pod.metadata.uid),
        world.settings.namespace,
        world.settings.image,
        parse.consumer(pod),
        _pins(world, pod, claim.ref),
        {claims.CLAIM: str(claim.ref)},
    )
    try:
        await world.kube.create(manifest)
    except errors.AlreadyExists:
        log.info("place.job_exists", extra={"claim": str(claim.ref)})


def _pins(world: World, pod: objects.Pod, own: ClaimRef) -> Sequence[chooser.Terms]:
    """The pod's other claims must be reachable too: where they are, or are being filled."""
    pins: list[chooser.Terms] = []
    for text in used_claims(pod):
        ref = ClaimRef.parse(text)
        if ref == own:
            continue
        item = world.informers.claims.get(ref.namespace, ref.name)
        volume = world.informers.volumes.get("", (item.spec.volume_name if item is not None else None) or "")
        if volume is not None:
            required = (volume.spec.node_affinity or {}).get("required") or {}
            pins.append(required.get("nodeSelectorTerms") or ())
            continue
        for prime in world.informers.claims.by("filled-for", text):
            node = prime.annotations.get(claims.SELECTED_NODE)
            if node is not None and not prime.is_deleting:
                pins.append(chooser.on_node(node))
    return pins


def _earlier(volume: objects.PersistentVolume) -> EarlierVolume:
    return EarlierVolume(
        name=volume.metadata.name,
        ours=ownership.is_ours(volume.labels),
        retained=volume.spec.persistent_volume_reclaim_policy == "Retain" and not volume.is_deleting,
    )
