"""Volumes that come too late: made for a helper claim of ours when that had gone already.

Where the class says Retain, nobody else would ever delete one, nor know what it was for.
"""

import logging
from typing import Final

from holdfast.controllers.clearing import is_provisioned
from holdfast.controllers.world import World
from holdfast.kube import errors, objects
from holdfast.kube.objects import Key
from holdfast.render import names

log = logging.getLogger(__name__)

RETAIN: Final = "Retain"


class Orphans:
    """Lets such volumes be deleted by those who made them."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def reconcile(self, key: Key) -> None:
        """Look at a volume that was made for a claim of our namespace."""
        volume = self._world.informers.volumes.get("", key.name)
        owner = volume.spec.claim_ref if volume is not None else None
        if volume is None or owner is None or not self._is_made_for_us(volume, owner) or await self._lives(owner):
            return
        log.info("orphan.deleted", extra={"volume": key.name, "claim": owner.name})
        # Only as it was seen: a volume that is a claim's by now is nobody's to delete.
        meta = {"uid": volume.metadata.uid, "resourceVersion": volume.metadata.resource_version}
        body = {"metadata": meta, "spec": {"persistentVolumeReclaimPolicy": "Delete"}}
        await self._world.kube.patch(objects.VOLUMES, key.name, None, body)

    def _is_made_for_us(self, volume: objects.PersistentVolume, owner: objects.ObjectReference) -> bool:
        """People may have claims in our namespace too; and what carries a mark of ours has served a claim of theirs."""
        is_helpers = owner.namespace == self._world.settings.namespace and names.is_helper(owner.name or "")
        is_marked = any(each.startswith(names.PREFIX) for each in volume.annotations)
        is_retained = volume.spec.persistent_volume_reclaim_policy == RETAIN
        return is_helpers and is_retained and is_provisioned(volume) and not is_marked

    async def _lives(self, owner: objects.ObjectReference) -> bool:
        try:
            claim = await self._world.kube.get(objects.CLAIMS, owner.name or "", owner.namespace)
        except errors.NotFound:
            return False
        return claim.metadata.uid == owner.uid
