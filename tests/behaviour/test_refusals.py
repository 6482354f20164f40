"""A cluster that refuses what a run takes (a quota, a policy) is quoted, and nothing has to be done once it stops."""

from datetime import timedelta

import pytest

from holdfast.kube import objects
from holdfast.render import names
from holdfast.sandbox.faults import Fault, FaultKind
from tests.support.town import APPS, Town

pytestmark = pytest.mark.anyio

READ = "cat f 2>/dev/null || echo empty"
CLAIMS, JOBS = "*/namespaces/holdfast/persistentvolumeclaims", "*/namespaces/holdfast/jobs"


def refuse(town: Town, path: str, method: str = "POST") -> None:
    town.cluster.faults.add("quota", Fault(kind=FaultKind.FORBIDDEN, method=method, path=path, count=None))


async def brought_back(town: Town, refused: str, script: str) -> None:
    """Lose a claim that has a backup, and create it again while the cluster refuses something."""
    await town.claim("data")
    await town.run("data", "echo treasure > f")
    await town.back_up("data")
    await town.settled()
    await town.remove(objects.CLAIMS, "data")
    refuse(town, refused)
    await town.claim("data")
    await town.app("data", script)


@pytest.mark.parametrize("path", [CLAIMS, JOBS])
async def test_a_restore_says_what_is_refused_and_goes_on_when_it_is_not(town: Town, path: str) -> None:
    await brought_back(town, path, f"({READ}) > g")
    assert "exceeded quota" in await town.waits("data", "NotAdmitted")
    assert "exceeded quota" in await town.told("data", "NotAdmitted")
    assert not await town.is_bound("data")
    town.cluster.faults.clear()
    town.clock.jump(timedelta(seconds=31))
    await town.app_ended("data")
    assert await town.run("data", "cat g", name="second") == "treasure"


async def test_a_restore_says_why_its_mover_does_not_start(town: Town) -> None:
    await brought_back(town, JOBS, READ)
    await town.waits("data", "NotAdmitted")
    (prime,) = await town.kube.list(objects.CLAIMS, town.settings.namespace, {names.COMPONENT: "fill"})
    place = town.bytes_of(await town.kube.get(objects.VOLUMES, prime.spec.volume_name or ""))
    away = place.rename(place.with_name("away"))
    town.cluster.faults.clear()
    town.clock.jump(timedelta(seconds=31))

    async def said() -> bool:
        found = await town.restore("data")
        return found["reason"] == "Restoring" and "and its mover does not start: FailedMount: " in found["message"]

    await town.until("the restore says what its mover waits for", said)
    away.rename(place)
    await town.app_ended("data")
    assert [line async for line in town.kube.logs(APPS, "data", follow=False)] == ["treasure"]


@pytest.mark.parametrize("path", ["*/persistentvolumes", JOBS])
async def test_a_backup_says_what_is_refused_and_is_tried_again(town: Town, path: str) -> None:
    await town.claim("data")
    await town.run("data", "echo treasure > f")
    refuse(town, path)
    await town.annotate("data", {"holdfast.dev/backup-now": "1"})
    assert "exceeded quota" in await town.told("data", "NotAdmitted: Backup failed")
    town.cluster.faults.clear()
    town.clock.jump(timedelta(minutes=11))

    async def served() -> bool:
        return (await town.backup("data")).get("servedNow") == "1"

    await town.until("the backup counts", served)
    assert (await town.backup("data")).get("failure") is None
    await town.settled()


async def test_a_repository_says_that_its_reader_is_refused(town: Town) -> None:
    refuse(town, "*/deployments/*", "PATCH")
    directory = town.directory / "second"
    directory.mkdir()
    await town.write_repository("second", path=directory)
    assert "exceeded quota" in await town.told("second", "NotAdmitted: Reader")
    town.cluster.faults.clear()
    town.clock.jump(timedelta(seconds=11))
    await town.ready("second")
    await town.remove(objects.REPOSITORIES, "second", "")


async def test_what_a_provisioner_complains_of_is_said_on_the_claim(town: Town) -> None:
    await town.kube.create(
        {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {"name": "broken"},
            "provisioner": "nobody.example.org",
            "volumeBindingMode": "Immediate",
        }
    )
    await town.claim("data", storage_class="broken")

    async def helper() -> objects.PersistentVolumeClaim | None:
        found = await town.kube.list(objects.CLAIMS, town.settings.namespace, {names.COMPONENT: "fill"})
        return found[0] if found else None

    prime = (await town.until("the helper claim is there", helper)).metadata
    about = {"kind": "PersistentVolumeClaim", "namespace": prime.namespace, "name": prime.name, "uid": prime.uid}
    await town.kube.create(
        {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": f"{prime.name}.1", "namespace": prime.namespace},
            "involvedObject": {"apiVersion": "v1", **about},
            "type": "Warning",
            "reason": "ProvisioningFailed",
            "message": "the pool is full",
        }
    )
    assert await town.waits("data", "Provisioning") == "waiting for the volume: ProvisioningFailed: the pool is full"
    await town.remove(objects.CLASSES, "broken", "")
