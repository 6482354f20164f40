"""Whoever owns one namespace cannot reach, or hold up, what belongs to another one."""

from typing import Any

import pytest

from holdfast.kube import objects
from tests.support.town import APPS, Town

pytestmark = pytest.mark.anyio

VICTIM = "victim"


async def dressed_as_a_fill(town: Town, name: str, of: str, volume: str = "", **annotations: str) -> None:
    """Create a tenant's claim that looks like the prime claim of another one."""
    spec: dict[str, Any] = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "64Mi"}},
        "storageClassName": "standard",
    }
    marks = {"app.kubernetes.io/managed-by": "holdfast", "app.kubernetes.io/component": "fill"}
    await town.kube.create(
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {
                "name": name,
                "namespace": APPS,
                "labels": marks,
                "annotations": {"holdfast.dev/claim": of, **annotations},
            },
            "spec": spec | ({"volumeName": volume} if volume else {}),
        }
    )


async def settle(town: Town, namespace: str) -> None:
    await town.kube.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})


async def policy_of(town: Town, volume: str) -> str | None:
    return (await town.kube.get(objects.VOLUMES, volume)).spec.persistent_volume_reclaim_policy


async def test_a_claim_dressed_as_a_fill_deletes_nobodys_volume(town: Town) -> None:
    await settle(town, VICTIM)
    await town.claim("data", namespace=VICTIM)
    await town.run("data", "echo treasure > f", namespace=VICTIM)
    volume = (await town.kube.get(objects.CLAIMS, "data", VICTIM)).spec.volume_name or ""
    await town.settled()
    retain = {"spec": {"persistentVolumeReclaimPolicy": "Retain"}}
    await town.kube.patch(objects.VOLUMES, volume, None, retain)
    await town.remove(objects.CLAIMS, "data", VICTIM)

    await dressed_as_a_fill(town, "forged", of=f"{APPS}/bait", volume=volume)
    await town.claim("bait")
    assert await town.run("bait", "ls -A") == ""

    assert await policy_of(town, volume) == "Retain"


async def test_a_claim_dressed_as_a_fill_holds_up_nobodys_restore(town: Town) -> None:
    await settle(town, VICTIM)
    limit = town.settings.concurrent_restores
    await town.claim("data", namespace=VICTIM)
    await town.run("data", "echo treasure > f", namespace=VICTIM)
    await town.back_up("data", VICTIM)
    for number in range(limit):  # older than any fill to come
        await dressed_as_a_fill(town, f"waits-{number}", of="nobody/none", **{"holdfast.dev/content": "1,1"})
    await dressed_as_a_fill(town, "broken", of=f"{VICTIM}/data", **{"holdfast.dev/attempt": "many"})
    await town.remove(objects.CLAIMS, "data", VICTIM)

    await town.claim("data", namespace=VICTIM)
    assert await town.run("data", "cat f", name="again", namespace=VICTIM) == "treasure"


async def test_a_claim_that_names_anothers_history_holds_up_nobodys_backup(town: Town) -> None:
    await settle(town, VICTIM)
    await town.claim("data", namespace=VICTIM)
    await town.run("data", "echo treasure > f", namespace=VICTIM)
    before_time = {"holdfast.dev/restore": "0001-01-01T00:00:00+14:00"}
    await town.claim("thief", annotations={"holdfast.dev/identity": f"{VICTIM}/data", **before_time})
    assert await town.back_up("data", VICTIM)
