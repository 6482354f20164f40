"""Classes whose provisioner ignores dataSourceRef: their claims wait for a volume of a name that only we make."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from holdfast.kube import objects
from holdfast.sandbox.faults import Fault, FaultKind
from tests.support.fills import given_and_unfinished, lose_slowly, policy
from tests.support.town import APPS, SETTINGS, Opener, Town, founded

pytestmark = pytest.mark.anyio

CLASS = "ignores-sources"
IMMEDIATE = "immediate"
READ = "cat f 2>/dev/null || echo empty"
WRITE = "echo treasure > f"


@pytest.fixture
async def town(tmp_path: Path, opener: Opener) -> AsyncIterator[Town]:
    settings = replace(SETTINGS, by_name=(CLASS, IMMEDIATE))
    async with founded(tmp_path, settings=settings, opener=opener) as found:
        hurry = asyncio.create_task(resync_soon(found))
        yield found
        hurry.cancel()


async def resync_soon(town: Town) -> None:
    """Nobody looks at a claim whose volume appears before the next resync: let time run faster."""
    while True:
        await asyncio.sleep(0.5)
        town.clock.jump(timedelta(seconds=5))


async def claim(town: Town, name: str, storage_class: str = CLASS) -> None:
    await town.claim(name, storage_class=storage_class)


async def volumes(town: Town) -> list[str]:
    return [each.metadata.name for each in await town.kube.list(objects.VOLUMES)]


async def directory(town: Town, volume: str) -> Path:
    found: objects.PersistentVolume = await town.find(objects.VOLUMES, volume, None)
    return town.bytes_of(found)


async def settled_in(town: Town, names: list[str]) -> None:
    """Wait until these are the only volumes: the first object of one goes when its prime has gone."""

    async def so() -> bool:
        return sorted(await volumes(town)) == names

    await town.until(f"only {names} are left", so)


async def test_a_lost_claim_gets_its_data_back_before_its_app_starts(town: Town) -> None:
    await claim(town, "data")
    assert await town.run("data", f"{READ}; {WRITE}") == "empty"
    await town.back_up("data")
    await town.lose_everything()
    await claim(town, "data")
    assert await town.run("data", READ) == "treasure"
    await town.settled()
    await settled_in(town, ["holdfast.apps.data"])


async def test_a_claim_that_never_had_a_backup_starts_empty(town: Town) -> None:
    await claim(town, "fresh")
    assert (await town.find(objects.CLAIMS, "fresh")).spec.volume_name == "holdfast.apps.fresh"
    assert await town.run("fresh", READ) == "empty"
    assert (await town.restore("fresh"))["reason"] == "StartedEmpty"
    await town.settled()


async def test_a_claim_without_a_pod_waits_for_one(town: Town) -> None:
    await claim(town, "data")

    async def told() -> bool:
        return (await town.restore("data")).get("reason") == "WaitForFirstConsumer"

    await town.until("the claim waits for a pod", told)
    assert not [line for line in await town.events("data") if line.startswith("WaitForFirstConsumer: Waiting")]
    assert await town.run("data", READ) == "empty"


async def test_a_class_that_binds_at_once_needs_no_pod(town: Town) -> None:
    await claim(town, "data", IMMEDIATE)

    async def bound() -> bool:
        return await town.is_bound("data")

    await town.until("the claim is bound", bound)
    await town.settled()
    await settled_in(town, ["holdfast.apps.data"])
    assert await town.run("data", READ) == "empty"


@pytest.mark.sandbox("a pod keeps a directory that is renamed on its host")
async def test_nothing_binds_while_the_storage_is_away(town: Town) -> None:
    await claim(town, "data")
    await town.run("data", WRITE)
    await town.back_up("data")
    await town.remove(objects.CLAIMS, "data")
    away = town.repository.rename(town.directory / "away")
    await claim(town, "data")
    await town.app("data", READ)
    await town.waits("data", "StorageMissing")
    assert not await town.is_bound("data")
    away.rename(town.repository)
    await town.app_ended("data")
    assert [line async for line in town.kube.logs(APPS, "data", follow=False)] == ["treasure"]


async def test_a_deleted_claim_takes_its_volume_and_directory_along(town: Town) -> None:
    await claim(town, "data")
    await town.run("data", WRITE)
    await town.settled()
    place = await directory(town, "holdfast.apps.data")
    assert (place / "f").exists()
    await town.remove(objects.CLAIMS, "data")

    async def gone() -> bool:
        return not await volumes(town) and not place.exists()

    await town.until("volume and directory are gone", gone)


async def test_a_claim_created_again_midway_takes_the_fill_over(town: Town) -> None:
    await claim(town, "data")
    await town.run("data", WRITE)
    await town.back_up("data")
    await town.lose_everything()
    for stage in ("prime", "offer", "bound"):
        await claim(town, "data")
        await town.app("data", READ)

        async def reached(stage: str = stage) -> bool:
            match stage:
                case "prime":
                    return bool(await town.kube.list(objects.CLAIMS, town.settings.namespace))
                case "offer":
                    return "holdfast.apps.data" in await volumes(town)
                case _:
                    return await town.is_bound("data")

        await town.until(f"the fill has come to: {stage}", reached)
        await town.remove(objects.PODS, "data")
        await town.remove(objects.CLAIMS, "data")
    await claim(town, "data")
    assert await town.run("data", READ) == "treasure"
    await town.settled()


async def test_an_operator_that_starts_anew_goes_on_where_the_last_one_stopped(town: Town) -> None:
    await claim(town, "data")
    await town.run("data", WRITE)
    await town.back_up("data")
    await town.lose_everything()
    await claim(town, "data")
    await town.app("data", READ)
    for life in (0.1, 0.3, 0.5, 0.7, 0.9, 1.1, 1.3, 1.5):
        await asyncio.sleep(life)
        await town.stop()
        await town.start()
    await town.app_ended("data")
    assert [line async for line in town.kube.logs(APPS, "data", follow=False)] == ["treasure"]
    await town.settled()
    await settled_in(town, ["holdfast.apps.data"])


async def test_a_fill_that_was_given_away_is_never_given_again(town: Town) -> None:
    """The operator dies before it clears the prime; the claim is deleted, and its directory with it."""
    await claim(town, "data")
    await town.run("data", WRITE)
    await town.back_up("data")
    await town.lose_everything()
    primes = f"*/namespaces/{town.settings.namespace}/persistentvolumeclaims/*"
    town.cluster.faults.add("primes stay", Fault(kind=FaultKind.REFUSE, method="DELETE", path=primes, count=None))
    await claim(town, "data")
    await town.app("data", READ)

    async def tried() -> bool:
        return town.cluster.faults.struck["primes stay"] > 0

    await town.until("the fill is finished but for its prime", tried)
    await town.stop()
    await town.remove(objects.PODS, "data")
    await town.remove(objects.CLAIMS, "data")
    await claim(town, "data")
    town.cluster.faults.clear()
    await town.start()
    assert await town.run("data", READ) == "treasure"
    await town.settled()
    await settled_in(town, ["holdfast.apps.data"])


async def test_a_namespace_that_goes_takes_along_what_its_claims_were_just_given(town: Town) -> None:
    await town.kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "brief"}})
    volume = await given_and_unfinished(town, "brief", CLASS)
    await lose_slowly(town, "brief")
    await town.start()
    await town.settled()
    await settled_in(town, [volume])
    assert await policy(town, volume) == "Delete"


async def test_two_claims_of_one_pod_are_placed_by_one_choice(town: Town) -> None:
    for name in ("left", "right"):
        await claim(town, name)
    mounts = [{"name": name, "mountPath": f"/{name}"} for name in ("left", "right")]
    container = {"name": "app", "image": town.image, "command": ["sh", "-ec", "ls left right"], "volumeMounts": mounts}
    used = [{"name": name, "persistentVolumeClaim": {"claimName": name}} for name in ("left", "right")]
    spec: dict[str, Any] = {"restartPolicy": "Never", "containers": [container], "volumes": used}
    await town.create_pod("both", spec)
    await town.app_ended("both")
    for name in ("left", "right"):
        assert (await town.restore(name))["reason"] == "StartedEmpty"
    await town.settled()
    said = [
        each for each in await town.kube.list(objects.EVENTS) if (each.involved_object.name or "").startswith("place-")
    ]
    assert len({each.involved_object.name for each in said if each.involved_object.kind == "Job"}) == 1


async def test_a_volume_that_a_claim_of_earlier_left_is_kept_under_another_name(town: Town) -> None:
    await claim(town, "data")
    await town.run("data", WRITE)
    await town.settled()
    keep = {"spec": {"persistentVolumeReclaimPolicy": "Retain"}}
    await town.kube.patch(objects.VOLUMES, "holdfast.apps.data", None, keep)
    await town.remove(objects.CLAIMS, "data")
    await claim(town, "data")
    assert await town.run("data", READ) == "empty"
    await town.settled()
    await town.told("data", "VolumeKept")
    (kept,) = [name for name in await volumes(town) if name.startswith("kept.apps.data.")]
    await settled_in(town, ["holdfast.apps.data", kept])
    found = await town.find(objects.VOLUMES, kept, None)
    assert (found.status.phase, found.spec.persistent_volume_reclaim_policy) == ("Released", "Retain")
    assert (await directory(town, kept) / "f").read_text() == "treasure\n"


async def test_a_volume_of_others_that_has_the_name_is_left_alone(town: Town) -> None:
    await claim(town, "other", "standard")
    await town.run("other", WRITE)
    spec = {
        "accessModes": ["ReadWriteOnce"],
        "capacity": {"storage": "64Mi"},
        "persistentVolumeReclaimPolicy": "Retain",
        "storageClassName": CLASS,
        "hostPath": {"path": str(town.directory)},
        "claimRef": {"namespace": APPS, "name": "data", "uid": "00000000-0000-0000-0000-000000000000"},
    }
    meta = {"name": "holdfast.apps.data"}
    await town.kube.create({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": meta, "spec": spec})
    await claim(town, "data")
    await town.app("data", READ)
    await town.waits("data", "NameTaken")
    assert not await town.is_bound("data")
    await town.kube.delete(objects.VOLUMES, "holdfast.apps.data")  # ours follows it at once
    await town.app_ended("data")
