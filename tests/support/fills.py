"""A fill that is given to its claim by an operator that dies before it has finished."""

from holdfast.kube import objects
from holdfast.sandbox.faults import Fault, FaultKind
from tests.support.town import APPS, Town


async def given_and_unfinished(town: Town, namespace: str = APPS, storage_class: str = "standard") -> str:
    """Restore a claim, and stop the operator once it is bound, before anything else is written; return the volume."""
    await town.claim("data", namespace=namespace, storage_class=storage_class)
    await town.run("data", "echo treasure > f", namespace=namespace)
    await town.back_up("data", namespace)
    await town.remove(objects.CLAIMS, "data", namespace)
    await town.settled()
    faults = town.cluster.faults
    faults.add("not given", Fault(kind=FaultKind.REFUSE, method="PATCH", path="*/persistentvolumes/*", count=None))
    await town.claim("data", namespace=namespace, storage_class=storage_class)
    await town.app("data", "cat f", namespace=namespace)

    async def filled() -> bool:
        return faults.struck["not given"] > 0

    await town.until("the volume is filled", filled)
    faults.add("not told", Fault(kind=FaultKind.REFUSE, method="PATCH", path="*/protections/*", count=None))
    faults.clear("not given")
    await town.app_ended("data", namespace=namespace)
    await town.stop()
    faults.clear()
    volume: str = (await town.find(objects.CLAIMS, "data", namespace)).spec.volume_name
    assert await policy(town, volume) == "Retain"
    return volume


async def policy(town: Town, volume: str) -> str | None:
    """Return what becomes of the volume's bytes when its claim is deleted."""
    found: objects.PersistentVolume = await town.find(objects.VOLUMES, volume, None)
    return found.spec.persistent_volume_reclaim_policy


async def lose_slowly(town: Town, namespace: str) -> None:
    """Delete a namespace whose claim is held in it for longer than all else."""
    hold = {"metadata": {"finalizers": ["example.com/not-yet"]}}
    await town.kube.patch(objects.CLAIMS, "data", namespace, hold)
    await town.kube.delete(objects.NAMESPACES, namespace)
