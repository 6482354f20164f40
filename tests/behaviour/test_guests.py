"""Volumes that no second volume can name: read in their app's own namespace, where an administrator lets it."""

import os
import signal
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from holdfast.kube import objects
from holdfast.kube.objects import Kind
from tests.support.town import APPS, AT_ONCE, Opener, Town, founded

pytestmark = [pytest.mark.anyio, pytest.mark.programs]

CLASS = "no-alias"


@pytest.fixture
async def town(tmp_path: Path, opener: Opener) -> AsyncIterator[Town]:
    """Yield a town with a Repository of the apps' own, and a class whose volumes have no alias."""
    async with founded(tmp_path, engine="restic", opener=opener) as found:
        await found.write_repository(namespaces=[APPS])
        await classed(found)
        yield found
        await found.kube.delete(objects.CLASSES, CLASS)


async def classed(town: Town) -> None:
    """Create the class: that of the other claims, which says of itself that an alias does not work."""
    plain = await town.kube.get(objects.CLASSES, "standard")
    await town.kube.apply(
        {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {"name": CLASS, "annotations": {"holdfast.dev/alias": "false"}},
            "provisioner": plain.provisioner,
            "volumeBindingMode": plain.volume_binding_mode,
        }
    )


async def filled(town: Town) -> None:
    await town.claim("data", storage_class=CLASS)
    await town.run("data", "echo treasure > f; chmod 640 f")


async def left(town: Town) -> list[str]:
    """Return what of a run is in the apps' namespace."""
    found: list[objects.Object] = []
    kinds: tuple[Kind[Any], ...] = (objects.JOBS, objects.PODS, objects.SECRETS)
    for kind in kinds:
        found += await town.kube.list(kind, APPS)
    return [str(each.key) for each in found if each.labels.get("app.kubernetes.io/managed-by") == "holdfast"]


async def nothing_is_left(town: Town) -> None:
    async def clean() -> bool:
        return not await left(town)

    await town.until("nothing of the run is left in the apps' namespace", clean)
    assert not [each for each in await town.kube.list(objects.VOLUMES) if each.metadata.name.startswith("backup-")]


async def forge(town: Town, annotations: dict[str, str] | None = None) -> None:
    """Create a Job that has our labels, and waits for a Secret of its own name: whoever may create Jobs can."""
    labels = {"app.kubernetes.io/managed-by": "holdfast", "holdfast.dev/run-kind": "backup"}
    wanted = {"secretKeyRef": {"name": "forged", "key": "RESTIC_PASSWORD"}}
    container = {"name": "mover", "image": town.image, "command": ["true"], "env": [{"name": "P", "valueFrom": wanted}]}
    await town.kube.create(
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": "forged", "namespace": APPS, "labels": labels, "annotations": annotations or {}},
            "spec": {"template": {"spec": {**AT_ONCE, "restartPolicy": "Never", "containers": [container]}}},
        }
    )


async def test_it_is_backed_up_beside_its_app_and_comes_back(town: Town) -> None:
    await town.let_guests()
    await filled(town)
    await town.annotate("data", {"holdfast.dev/backup-now": "1"})
    pid = await town.caught("backup-", APPS)
    try:
        secrets = [
            each for each in await town.kube.list(objects.SECRETS, APPS) if each.metadata.name.startswith("backup-")
        ]
        assert [sorted(each.data or {}) for each in secrets] == [["RESTIC_PASSWORD"]]
        assert not await town.kube.list(objects.JOBS, town.settings.namespace)
    finally:
        os.kill(pid, signal.SIGCONT)
    snapshot = await town.back_up("data")
    told = (await town.protection("data"))["plan"]
    assert told["copyMethod"] == "Direct"
    assert "in namespace apps" in told["copyMethodFrom"]
    await nothing_is_left(town)

    await town.lose_everything()
    await classed(town)
    await town.write_repository(namespaces=[APPS])
    await town.claim("data", storage_class=CLASS)
    assert await town.run("data", "stat -c %a f; cat f") == "640\ntreasure"
    assert snapshot[:16] in str((await town.restore("data")).get("message"))


async def test_without_the_administrators_word_it_is_not_and_says_whom_to_ask(town: Town) -> None:
    await filled(town)
    await town.annotate("data", {"holdfast.dev/backup-now": "1"})
    assert "holdfast render guest apps" in await town.told("data", "NoAlias")
    assert not await left(town)

    async def is_told() -> bool:
        found = await town.protection("data")
        return found.get("state") == "NeedsReview" and "holdfast render guest apps" in str(found.get("message"))

    await town.until("its Protection says so", is_told)
    await town.let_guests()

    async def is_served() -> bool:
        return (await town.backup("data")).get("servedNow") == "1"

    await town.until("it is backed up once that is let", is_served)
    await nothing_is_left(town)


async def test_a_credential_that_opens_more_than_the_namespaces_own_never_goes_there(town: Town) -> None:
    await town.let_guests()
    await town.write_repository(namespaces=[APPS, "others"])
    await filled(town)
    await town.annotate("data", {"holdfast.dev/backup-now": "1"})
    assert "a Repository of its own" in await town.told("data", "NoAlias")
    assert not await left(town)


async def test_a_new_operator_finds_the_run_and_counts_it_once(town: Town) -> None:
    await town.let_guests()
    await filled(town)
    await town.annotate("data", {"holdfast.dev/backup-now": "1"})
    pid = await town.caught("backup-", APPS)
    await town.stop()
    await forge(town)
    os.kill(pid, signal.SIGCONT)
    await town.start()

    async def is_served() -> str | None:
        memory = await town.backup("data")
        return memory.get("lastID") if memory.get("servedNow") == "1" else None

    first = await town.until("the run counts", is_served)
    await town.remove(objects.JOBS, "forged")
    await nothing_is_left(town)
    assert (await town.backup("data"))["attempt"] == 0
    assert await town.back_up("data") != first


async def test_a_forged_run_is_lent_nothing_that_opens_more_than_the_namespaces_own(town: Town) -> None:
    await town.let_guests()
    await filled(town)
    await town.write_repository(namespaces=[APPS, "others"])
    await town.stop()
    await forge(town, {"holdfast.dev/claim": f"{APPS}/data"})
    await town.start()

    async def is_seen() -> bool:
        return (await town.backup("data")).get("running") == "forged"

    await town.until("the run is found", is_seen)
    assert await town.find(objects.SECRETS, "forged") is None


async def test_guests_hold_no_place_of_other_namespaces(town: Town) -> None:
    await town.stop()
    town.settings = replace(town.settings, concurrent_backups=1)
    await town.start()
    await town.let_guests()
    await filled(town)
    await town.claim("plain")
    await town.run("plain", "echo plain > f")
    await town.annotate("data", {"holdfast.dev/backup-now": "1"})
    pid = await town.caught("backup-", APPS)
    try:
        await town.back_up("plain")
    finally:
        os.kill(pid, signal.SIGCONT)
