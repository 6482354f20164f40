"""Each thing that people get wrong has one clear state; nothing is lost by it, and nothing else stops."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from holdfast.kube import objects
from tests.support.town import APPS, PASSWORD_KEYS, Town

pytestmark = pytest.mark.anyio

READ = "cat f 2>/dev/null || echo empty"
ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small file system")


async def keep(town: Town, name: str = "data", content: str = "treasure", namespace: str = APPS, **claim: Any) -> str:
    """Create a claim, write to it and back it up; return the snapshot's id."""
    await town.claim(name, namespace=namespace, **claim)
    await town.run(name, f"echo {content} > f", name="writer", namespace=namespace)
    return await town.back_up(name, namespace)


async def read(town: Town, name: str, namespace: str = APPS) -> str:
    return await town.run(name, READ, name="reader", namespace=namespace)


async def state(town: Town, name: str, wanted: str) -> dict[str, Any]:
    """Wait until the ledger says this of the claim; return the Protection's status."""

    async def found() -> dict[str, Any] | None:
        status = dict(await town.protection(name))
        return status if status.get("state") == wanted else None

    return await town.until(f"{name} is {wanted}", found)


async def is_not_ready(town: Town, reason: str, part: str, name: str = "default") -> None:
    async def found() -> bool:
        condition = await town.condition(name)
        return condition.get("reason") == reason and part in condition["message"]

    await town.until(f"Repository {name} says {reason}: {part}", found)


async def pause_restores(town: Town, *, are_paused: bool) -> None:
    """Start the operator anew, so that volumes are made and movers into them wait, or do so no longer."""
    await town.stop()
    town.settings = replace(town.settings, concurrent_restores=0 if are_paused else 4)
    await town.start()


async def volume_of_the_fill(town: Town) -> objects.PersistentVolume:
    async def bound() -> objects.PersistentVolume | None:
        for prime in await town.kube.list(objects.CLAIMS, town.settings.namespace):
            if prime.metadata.name.startswith("fill-") and prime.spec.volume_name:
                found: objects.PersistentVolume | None = await town.find(objects.VOLUMES, prime.spec.volume_name, None)
                return found
        return None

    return await town.until("the fill has its volume", bound)


@contextmanager
def small(directory: Path, size: str) -> Iterator[None]:
    """Hold a small file system mounted there."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=0777", "tmpfs", directory], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", directory], check=True)


def enlarge(directory: Path, size: str) -> None:
    subprocess.run(["mount", "-o", f"remount,size={size}", directory], check=True)


# Values on a claim


async def test_values_that_cannot_be_read_are_said_and_the_claim_is_protected_all_the_same(town: Town) -> None:
    await keep(town, labels={"backup": "hourlyy"})
    await town.claim("odd", annotations={"holdfast.dev/shedule": "daily", "holdfast.dev/schedule": "61 * * * *"})
    status = await state(town, "data", "NeedsReview")
    assert status["plan"]["schedule"] == "daily"
    assert "'hourlyy' is none of hourly, daily" in status["problems"][0]
    assert "hourlyy" in await town.told("data", "NeedsReview")
    status = await state(town, "odd", "NeedsReview")
    assert status["plan"]["schedule"] == "hourly"
    assert any("61 * * * *" in problem for problem in status["problems"])
    assert any("holdfast.dev/shedule" in problem and "unknown" in problem for problem in status["problems"])
    await town.lose_everything()
    await town.claim("data", labels={"backup": "hourlyy"})
    assert await read(town, "data") == "treasure"
    await town.kube.patch(objects.CLAIMS, "data", APPS, {"metadata": {"labels": {"backup": "hourly"}}})
    assert (await state(town, "data", "Protected"))["problems"] == []


async def test_labels_that_come_and_go_start_and_stop_backups_and_touch_no_history(town: Town) -> None:
    snapshot = await keep(town)
    await town.kube.patch(objects.CLAIMS, "data", APPS, {"metadata": {"labels": {"backup": "disabled"}}})
    status = await state(town, "data", "SwitchedOff")
    assert status["plan"].get("nextRun") is None
    assert status["backup"]["lastID"] == snapshot
    await town.annotate("data", {"holdfast.dev/backup-now": "while off"})
    await town.kube.patch(objects.CLAIMS, "data", APPS, {"metadata": {"labels": {"backup": None}}})
    await state(town, "data", "NotAsked")
    assert (await town.backup("data"))["lastID"] == snapshot
    await town.claim("plain", labels={})
    await town.run("plain", "echo plain > f")
    assert await town.protection("plain") == {}
    await town.kube.patch(objects.CLAIMS, "plain", APPS, {"metadata": {"labels": {"backup": "daily"}}})
    await town.back_up("plain")
    await town.kube.patch(objects.CLAIMS, "data", APPS, {"metadata": {"labels": {"backup": "hourly"}}})
    for name, content in (("plain", "plain"), ("data", "treasure")):
        await town.remove(objects.CLAIMS, name)
        await town.claim(name)
        assert await read(town, name) == content


async def test_claims_that_cannot_be_held_are_not_armed(town: Town) -> None:
    await town.claim("static", storage_class="")
    block = objects_claim("block", volumeMode="Block")
    await town.kube.create(block)
    for name in ("static", "block"):
        found = await town.find(objects.CLAIMS, name)
        assert found.spec.data_source_ref is None
        await state(town, name, "New" if name == "static" else "NeedsReview")
    assert "volumeMode" in (await town.protection("block"))["message"]


def objects_claim(name: str, **spec: Any) -> dict[str, Any]:
    plain = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "64Mi"}},
        "storageClassName": "standard",
    }
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "namespace": APPS, "labels": {"backup": "hourly"}},
        "spec": plain | spec,
    }


async def test_a_name_of_253_characters_is_backed_up_and_restored(town: Town) -> None:
    name = ".".join(["n" * 62] * 4) + "n"
    assert len(name) == 252
    name += "n"
    await keep(town, name)
    assert (await town.told(name, "BackedUp")).startswith("BackedUp: Backed up 1 files")
    await town.lose_everything()
    await town.claim(name)
    assert await read(town, name) == "treasure"
    await town.settled()


# Repositories


async def test_a_missing_secret_or_key_is_named_and_heals_when_it_appears(town: Town) -> None:
    await keep(town)
    await town.lose_everything()
    await town.write_repository(credentials={"secretRef": {"name": "elsewhere"}})
    await is_not_ready(town, "RepositoryNotReady", "Secret holdfast/elsewhere does not exist")
    await town.claim("data")
    await town.app("data", READ)
    assert "elsewhere does not exist" in await town.waits("data", "RepositoryNotReady")
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "elsewhere", "namespace": "holdfast"}}
    key = PASSWORD_KEYS[town.engine]
    await town.kube.apply(secret | {"stringData": {"password": "correct horse"}})
    await is_not_ready(town, "RepositoryNotReady", f"lacks {key}")
    await town.kube.apply(secret | {"stringData": {key: "correct horse"}})
    await town.app_ended("data")
    assert [line async for line in town.kube.logs(APPS, "data", follow=False)] == ["treasure"]


async def test_repositories_that_cannot_be_used_say_why_and_stop_nothing_else(town: Town) -> None:
    await town.write_repository("odd", engine="tar")
    await is_not_ready(town, "RepositoryNotReady", "spec.engine: 'tar' is not known; write kopia or restic", "odd")
    await town.write_repository("relative", storage={"filesystem": {"hostPath": "backups"}})
    await is_not_ready(town, "RepositoryNotReady", "'backups' is no directory of its own", "relative")
    s3 = {"endpoint": "127.0.0.1:9", "bucket": "backups", "insecure": True}
    await town.kube.patch(
        objects.SECRETS,
        "default-repository",
        town.settings.namespace,
        {"stringData": {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "key"}},
    )
    await town.write_repository("bucket", storage={"s3": s3})
    await town.write_repository("closed", path=town.directory / "missing", namespaces=["media"])
    wishes = {
        "odd": ("RepositoryNotReady", "write kopia or restic"),
        "relative": ("RepositoryNotReady", "spec.storage.filesystem.hostPath"),
        "bucket": ("Unreachable", "127.0.0.1:9"),
        "closed": ("NoRepositoryChosen", f"does not admit namespace {APPS}"),
        "absent": ("NoRepositoryChosen", "there is no Repository absent"),
    }
    for name in wishes:
        await town.claim(name, annotations={"holdfast.dev/repository": name})
        await town.app(name, READ)
    for name, (reason, part) in wishes.items():
        assert part in await town.waits(name, reason)
    await keep(town)
    for name in wishes:
        assert not await town.is_bound(name)
        await town.annotate(name, {"holdfast.dev/repository": None})
    for name in wishes:
        await town.app_ended(name)


async def test_several_repositories_and_no_default_ask_for_a_name(town: Town) -> None:
    await town.remove(objects.REPOSITORIES, "default", None)  # type: ignore[arg-type]
    for name in ("one", "two"):
        (town.directory / name).mkdir()
        await town.write_repository(name, path=town.directory / name)
    await town.ready("two")
    await town.claim("data")
    await town.app("data", READ)
    assert "(one, two)" in await town.waits("data", "NoRepositoryChosen")
    await town.annotate("data", {"holdfast.dev/repository": "two"})
    await town.app_ended("data")
    assert (await town.protection("data"))["plan"]["repository"] == "two"


# Identities


async def test_of_two_claims_with_one_identity_its_namesake_writes(town: Town) -> None:
    marks = {"holdfast.dev/identity": f"{APPS}/data", "holdfast.dev/restore": "never"}
    snapshot = await keep(town, "twin", "first", annotations=marks | {"holdfast.dev/restore-reason": "a new life"})
    await town.claim("data")
    assert await read(town, "data") == "first"
    status = await state(town, "twin", "NeedsReview")
    assert f"claim {APPS}/data writes the history {APPS}/data" in status["message"]
    await town.annotate("twin", {"holdfast.dev/backup-now": "again"})
    assert f"{APPS}/data writes" in await town.told("twin", "IdentityClash")
    second = await town.back_up("data")
    assert second != snapshot
    assert (await town.backup("twin"))["lastID"] == snapshot
    await town.stop()
    await town.start()
    await town.back_up("data")
    assert (await town.backup("twin"))["lastID"] == snapshot
    await town.remove(objects.CLAIMS, "data")

    async def served() -> bool:
        return (await town.backup("twin")).get("servedNow") == "again"

    await town.until("the twin writes once it is alone", served)


async def test_the_history_of_another_namespace_needs_a_grant(town: Town) -> None:
    await town.kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "old-home"}})
    await keep(town, namespace="old-home")
    await town.claim("moved", annotations={"holdfast.dev/identity": "old-home/data"})
    await town.app("moved", READ)
    message = await town.waits("moved", "IdentityNotGranted")
    assert f"{{from: {APPS}, to: old-home}}" in message
    assert not await town.is_bound("moved")
    await town.write_repository(grants=[{"from": APPS, "to": "old-home"}])
    await town.app_ended("moved")
    assert [line async for line in town.kube.logs(APPS, "moved", follow=False)] == ["treasure"]


async def test_a_claim_that_has_its_volume_is_told_that_it_may_not_write_anothers_history(town: Town) -> None:
    await keep(town, "mine")
    await town.annotate("mine", {"holdfast.dev/identity": "old-home/data"})
    assert "spec.grants" in await town.told("mine", "IdentityNotGranted: Not backed up")


async def test_a_restore_object_that_is_missing_or_unreadable_is_waited_for(town: Town) -> None:
    await keep(town)
    await town.claim("copy", restore="mine")
    await town.app("copy", READ)
    assert f"there is no Restore {APPS}/mine" in await town.waits("copy", "RestoreUnusable")
    wish = {
        "apiVersion": "holdfast.dev/v1alpha1",
        "kind": "Restore",
        "metadata": {"name": "mine", "namespace": APPS},
    }
    await town.kube.apply(wish | {"spec": {"identity": "data"}})

    async def said() -> bool:
        return "is not of the form" in str((await town.restore("copy")).get("message"))

    await town.until("the unreadable field is said", said)
    await town.kube.apply(wish | {"spec": {"identity": f"{APPS}/data"}})
    await town.app_ended("copy")
    assert [line async for line in town.kube.logs(APPS, "copy", follow=False)] == ["treasure"]
    item = await town.find(objects.RESTORES, "mine")
    assert item.status["phase"] == "Done"


# Filling


async def test_a_missing_storage_class_is_waited_for(town: Town) -> None:
    await town.claim("data", storage_class="fast")
    await town.app("data", READ)
    assert "there is no StorageClass fast" in await town.waits("data", "StorageClassMissing")
    standard = await town.find(objects.CLASSES, "standard", None)
    await town.kube.create(
        {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {"name": "fast"},
            "provisioner": standard.provisioner,
            "reclaimPolicy": "Delete",
            "volumeBindingMode": "WaitForFirstConsumer",
        }
    )
    await town.app_ended("data")
    assert (await town.restore("data"))["reason"] == "StartedEmpty"
    await town.remove(objects.CLASSES, "fast", "")


async def test_a_namespace_that_goes_during_a_fill_leaves_no_helper(town: Town) -> None:
    await town.kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "brief"}})
    await keep(town, namespace="brief")
    await town.remove(objects.CLAIMS, "data", "brief")
    await pause_restores(town, are_paused=True)
    await town.claim("data", namespace="brief")
    await town.app("data", READ, namespace="brief")
    volume = await volume_of_the_fill(town)
    await town.kube.delete(objects.NAMESPACES, "brief")
    await town.settled()

    async def gone() -> bool:
        return await town.find(objects.VOLUMES, volume.metadata.name, None) is None

    await town.until("the half-filled volume is gone", gone)

    async def has_ended() -> bool:
        return await town.find(objects.NAMESPACES, "brief", None) is None

    await town.until("the namespace has gone", has_ended)
    await pause_restores(town, are_paused=False)
    await town.kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "brief"}})
    await town.claim("data", namespace="brief")
    assert await read(town, "data", "brief") == "treasure"


@pytest.mark.parametrize("has_repository", [True, False])
async def test_a_volume_that_somebody_else_binds_is_kept_said_and_not_backed_up(
    town: Town, *, has_repository: bool
) -> None:
    snapshot = await keep(town)
    await town.remove(objects.CLAIMS, "data")
    await pause_restores(town, are_paused=True)
    await town.claim("data")
    await town.app("data", READ)
    await volume_of_the_fill(town)
    place = town.directory / "foreign"
    place.mkdir()
    (place / "f").write_text("foreign\n")
    claim = await town.find(objects.CLAIMS, "data")
    if not has_repository:
        await town.remove(objects.REPOSITORIES, "default", None)  # type: ignore[arg-type]
    await town.kube.create(
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": "foreign"},
            "spec": {
                "capacity": {"storage": "64Mi"},
                "accessModes": ["ReadWriteOnce"],
                "persistentVolumeReclaimPolicy": "Retain",
                "storageClassName": "standard",
                "claimRef": {"namespace": APPS, "name": "data", "uid": claim.metadata.uid},
                "hostPath": {"path": str(place)},
            },
        }
    )
    await town.app_ended("data")
    assert "bound to volume foreign by somebody else" in await town.told("data", "BoundByOther: bound")
    await town.settled()
    if not has_repository:
        await town.write_repository()
        await town.ready()
    town.clock.jump(timedelta(hours=2))
    await town.annotate("data", {"poke": "1"})
    await town.told("data", "BoundByOther: Not backed up")
    assert (await town.backup("data"))["lastID"] == snapshot
    assert await town.back_up("data") != snapshot


# Full disks


@ROOT
async def test_a_full_repository_fails_a_backup_and_harms_no_other(town: Town) -> None:
    place = town.directory / "small"
    place.mkdir()
    with small(place, "1m"):
        await town.write_repository("small", path=place)
        await town.ready("small")
        mark = {"holdfast.dev/repository": "small"}
        await keep(town, annotations=mark)
        await town.run("data", "head -c 3000000 /dev/urandom > large; echo newer > f")
        await town.annotate("data", {"holdfast.dev/backup-now": "large"})
        await town.told("data", "RepositoryFull: Backup failed")
        status = await state(town, "data", "Failing")
        assert status["message"].startswith("RepositoryFull")
        await town.claim("copy", annotations=mark | {"holdfast.dev/identity": f"{APPS}/data"})
        assert await read(town, "copy") == "treasure"
        enlarge(place, "64m")
        await town.back_up("data")
        await state(town, "data", "Protected")
        await town.remove(objects.CLAIMS, "data")
        await town.claim("data", annotations=mark)
        assert await read(town, "data") == "newer"
        await town.settled()


@ROOT
@pytest.mark.sandbox("volumes of the test drivers have no size of their own")
async def test_a_volume_that_is_too_small_is_said_and_filled_once_there_is_room(town: Town) -> None:
    await town.claim("data")
    await town.run("data", "head -c 3000000 /dev/urandom > large; echo treasure > f")
    await town.back_up("data")
    await town.lose_everything()
    await pause_restores(town, are_paused=True)
    await town.claim("data")
    await town.app("data", READ)
    volume = await volume_of_the_fill(town)
    assert volume.spec.host_path is not None
    place = Path(volume.spec.host_path["path"])
    with small(place, "1m"):
        await pause_restores(town, are_paused=False)
        await town.waits("data", "TargetFull")
        assert not await town.is_bound("data")
        enlarge(place, "64m")
        town.clock.jump(timedelta(minutes=1))
        await town.app_ended("data")
        assert [line async for line in town.kube.logs(APPS, "data", follow=False)] == ["treasure"]
        await town.settled()
