"""What a mover did for one volume is never taken for another's."""

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from holdfast.kube import objects
from holdfast.render import claims, names
from holdfast.sandbox.actors.provisioner import DIRECTORY
from tests.support.fills import given_and_unfinished, lose_slowly, policy
from tests.support.town import APPS, SETTINGS, Opener, Town, founded

pytestmark = pytest.mark.anyio

READ = "cat f 2>/dev/null || echo empty"


async def caught_filling(town: Town) -> int:
    """Bring a claim's data back, and stop the mover where it is; return its process id."""
    await town.claim("data")
    await town.run("data", "echo treasure > f")
    await town.back_up("data")
    await town.remove(objects.CLAIMS, "data")
    await town.claim("data")
    await town.app("data", READ)
    return await town.caught("fill-")


async def being_filled(town: Town) -> objects.PersistentVolumeClaim:
    """Return the claim that is filled; those of backups may still be on their way out."""
    (prime,) = await town.kube.list(objects.CLAIMS, town.settings.namespace, {names.COMPONENT: "fill"})
    return prime


async def lose_the_claim(town: Town) -> objects.PersistentVolumeClaim:
    """Lose the claim that is filled, after its pod: it stays as long as a pod names it, also one that has ended."""
    namespace = town.settings.namespace
    prime = await being_filled(town)
    for pod in await town.kube.list(objects.PODS, namespace):
        if pod.metadata.name.startswith("fill-"):
            await town.remove(objects.PODS, pod.metadata.name, namespace)
    await town.remove(objects.CLAIMS, prime.metadata.name, namespace)
    return prime


async def test_a_job_that_filled_an_earlier_volume_does_not_stand_for_a_new_one(town: Town) -> None:
    mover = await caught_filling(town)
    await town.stop()
    os.kill(mover, signal.SIGCONT)
    namespace = town.settings.namespace

    async def done() -> bool:
        jobs = await town.kube.list(objects.JOBS, namespace)
        return any(job.status is not None and job.status.succeeded for job in jobs)

    await town.until("the mover has filled the volume", done)
    prime = await lose_the_claim(town)
    node = "volume.kubernetes.io/selected-node"
    kept = {key: value for key, value in prime.annotations.items() if key.startswith("holdfast.dev/") or key == node}
    await town.kube.create(
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {
                "name": prime.metadata.name,
                "namespace": namespace,
                "labels": dict(prime.labels),
                "annotations": kept,
            },
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": "64Mi"}},
                "storageClassName": "standard",
            },
        }
    )
    await town.start()
    await town.app_ended("data")
    assert [line async for line in town.kube.logs(APPS, "data", follow=False)] == ["treasure"]
    await town.settled()


async def test_a_claim_that_is_deleted_while_it_is_filled_is_held_up_by_no_job_of_ours(town: Town) -> None:
    mover = await caught_filling(town)
    await town.stop()
    os.kill(mover, signal.SIGKILL)
    prime = await being_filled(town)
    await town.kube.delete(objects.CLAIMS, prime.metadata.name, town.settings.namespace)
    await town.start()
    await town.app_ended("data")
    assert [line async for line in town.kube.logs(APPS, "data", follow=False)] == ["treasure"]
    await town.settled()


async def test_a_job_that_a_crash_left_of_an_earlier_attempt_holds_up_no_claim(town: Town) -> None:
    mover = await caught_filling(town)
    await town.stop()
    os.kill(mover, signal.SIGKILL)
    prime = await being_filled(town)  # the next attempt was counted, and its operator killed then
    await town.kube.patch(
        objects.CLAIMS,
        prime.metadata.name,
        prime.metadata.namespace,
        {"metadata": {"annotations": {claims.ATTEMPT: "1"}}},
    )
    await town.start()
    await town.app_ended("data")
    assert [line async for line in town.kube.logs(APPS, "data", follow=False)] == ["treasure"]
    await town.settled()


async def test_a_namespace_that_goes_takes_along_what_its_claims_were_just_given(town: Town) -> None:
    await town.kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "brief"}})
    volume = await given_and_unfinished(town, "brief")
    await lose_slowly(town, "brief")
    await town.start()
    await town.settled()
    assert await policy(town, volume) == "Delete"


async def test_a_claim_that_asks_for_another_history_too_late_keeps_what_it_was_given(town: Town) -> None:
    volume = await given_and_unfinished(town)
    await town.annotate("data", {"holdfast.dev/identity": f"{APPS}/other"})
    await town.start()
    await town.settled()
    assert await policy(town, volume) == "Delete"
    assert (await town.restore("data"))["phase"] == "Done"
    await town.back_up("data")


@pytest.mark.parametrize("storage_class", ["standard", "ignores-sources"])
async def test_a_claim_whose_repository_goes_at_the_last_moment_keeps_what_it_was_given(
    tmp_path: Path, opener: Opener, storage_class: str
) -> None:
    async with founded(tmp_path, settings=replace(SETTINGS, by_name=("ignores-sources",)), opener=opener) as town:
        volume = await given_and_unfinished(town, storage_class=storage_class)
        await town.remove(objects.REPOSITORIES, "default", None)  # type: ignore[arg-type]
        await town.start()
        await town.settled()
        assert await policy(town, volume) == "Delete"
        assert (await town.restore("data"))["phase"] == "Done"


@pytest.mark.sandbox("no provisioner of the cluster has made its volumes")
async def test_a_volume_that_is_made_for_a_helper_that_has_gone_is_deleted(town: Town) -> None:
    ours, theirs = f"fill-{'0' * 20}", "backups"
    for name in (ours, theirs):
        path = town.sandbox.volumes / name / "data"
        path.mkdir(parents=True)
        await town.kube.create(
            {
                "apiVersion": "v1",
                "kind": "PersistentVolume",
                "metadata": {"name": name, "annotations": {"pv.kubernetes.io/provisioned-by": DIRECTORY}},
                "spec": {
                    "capacity": {"storage": "64Mi"},
                    "accessModes": ["ReadWriteOnce"],
                    "persistentVolumeReclaimPolicy": "Retain",
                    "storageClassName": "standard",
                    "claimRef": {"namespace": town.settings.namespace, "name": name, "uid": "gone"},
                    "hostPath": {"path": str(path)},
                },
            }
        )

    async def gone() -> bool:
        return await town.find(objects.VOLUMES, ours, None) is None

    await town.until("the volume is deleted", gone)
    assert await policy(town, theirs) == "Retain"
