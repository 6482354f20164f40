"""Backups run when they are due, count only when they are done, and outlive whatever becomes of the objects."""

import os
import signal
from dataclasses import replace
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

import pytest

from holdfast.controllers import status
from holdfast.decide import schedule
from holdfast.engines import storage
from holdfast.engines.directory import Directory
from holdfast.kube import objects
from holdfast.kube.objects import Key
from holdfast.model.claim import Identity
from holdfast.model.intent import Tier
from holdfast.model.snapshot import RecordedSnapshot
from holdfast.render import claims, names
from holdfast.sandbox.faults import Fault, FaultKind
from holdfast.sandbox.store.history import Change
from tests.support.town import APPS, MovableClock, Town

pytestmark = pytest.mark.anyio

READ = "cat f 2>/dev/null || echo empty"
PASSWORD = "correct horse"


async def history(town: Town, claim: str = "data") -> tuple[RecordedSnapshot, ...]:
    """Return what the storage says of a claim's backups."""
    place = Directory(town.repository)
    marker = await storage.read_marker(place, PASSWORD)
    record = await storage.read_record(place, marker, PASSWORD, Identity(namespace=APPS, claim=claim))
    return record.snapshots if record is not None else ()


async def backups(town: Town, count: int, claim: str = "data") -> None:
    """Wait until so many backups count, and none is at work."""

    async def counted() -> bool:
        memory = await town.backup(claim)
        made = await history(town, claim)
        return len(made) >= count and memory.get("lastID") == made[-1].id and memory.get("running") is None

    await town.until(f"{claim} has {count} backups", counted)
    await town.settled()


async def looked(town: Town, claim: str = "data") -> None:
    """Wait until the operator has looked at the claim's backups since the clock was set, and waits for later."""

    async def has_looked() -> bool:
        assert town.operator is not None
        loop = town.operator.backup
        due = loop.due(Key(APPS, claim))
        return loop.is_idle and due is not None and due > town.clock.now()

    await town.until(f"the operator has looked at {claim}", has_looked)


def created(town: Town, kind: str) -> list[Any]:
    """Return every object of this kind that is created from now on, as it comes."""
    found: list[Any] = []

    def note(change: Change) -> None:
        if change.new is not None and change.old is None and change.new["kind"] == kind:
            found.append(change.new)

    town.sandbox.store.listeners.add(note)
    return found


async def restarted(town: Town, **settings: Any) -> None:
    await town.stop()
    town.settings = replace(town.settings, **settings)
    await town.start()


async def test_the_clock_starts_backups_and_missed_slots_are_caught_up_once(town: Town) -> None:
    await town.claim("data")
    await town.run("data", "echo treasure > f")
    assert await history(town) == ()
    town.clock.jump(timedelta(hours=1))
    await backups(town, 1)
    town.clock.jump(timedelta(hours=5))
    await backups(town, 2)
    await looked(town)
    assert len(await history(town)) == 2
    following = datetime.fromisoformat((await town.protection("data"))["plan"]["nextRun"])
    assert timedelta() < following - town.clock.now() <= timedelta(hours=1)


async def test_a_blank_app_is_not_what_is_remembered_first(town: Town) -> None:
    await restarted(town, first_backup_after=timedelta(hours=2))
    for name in ("data", "wanted"):
        await town.claim(name)
        await town.run(name, "echo blank > f")
    await town.back_up("wanted")
    town.clock.jump(timedelta(minutes=118))
    await looked(town)
    assert await history(town) == ()
    town.clock.jump(timedelta(minutes=3))
    await backups(town, 1)


async def test_claims_that_cannot_be_read_hold_no_place_of_those_that_can(town: Town) -> None:
    await restarted(town, concurrent_backups=1)
    await town.claim("odd", annotations={"holdfast.dev/copy-method": "Snapshot", "holdfast.dev/backup-now": "1"})
    await town.run("odd", "echo treasure > f")
    await town.told("odd", "NoSnapshotClass")
    await town.claim("data")
    await town.run("data", "echo treasure > f")
    await town.back_up("data")


async def test_each_new_value_of_backup_now_runs_once(town: Town) -> None:
    await town.claim("data")
    await town.run("data", "echo treasure > f")
    first = await town.back_up("data")
    second = await town.back_up("data")
    assert first != second
    await restarted(town)
    await looked(town)
    await town.settled()
    assert [each.id for each in await history(town)] == [first, second]

    async def cleared() -> bool:
        return not [each for each in await town.kube.list(objects.VOLUMES) if each.metadata.name.startswith("backup-")]

    await town.until("no alias of the volume is left", cleared)


@pytest.mark.sandbox("its watches are made late, and every write to it is seen")
async def test_a_run_that_was_counted_is_not_begun_again_while_the_ledger_is_seen_late(town: Town) -> None:
    await town.claim("data")
    await town.run("data", "echo treasure > f")
    await town.stop()
    late = Fault(kind=FaultKind.DELAY, method="WATCH", path="*/protections", seconds=2, count=None)
    town.cluster.faults.add("late", late)
    begun = created(town, "Job")
    await town.start()
    snapshot = await town.back_up("data")

    async def seen() -> bool:
        assert town.operator is not None
        known = town.operator.world.informers.protections.get(APPS, "data")
        return known is not None and ((known.status or {}).get("backup") or {}).get("lastID") == snapshot

    await town.until("the operator sees what it wrote", seen)
    await looked(town)
    await town.settled()
    assert len(begun) == 1


@pytest.mark.sandbox("its watches are made late, and every write to it is seen")
async def test_the_cluster_knows_the_volume_that_a_mover_reads_before_a_claim_asks_for_it(town: Town) -> None:
    await town.claim("data")
    await town.run("data", "echo treasure > f")
    await town.stop()
    late = Fault(kind=FaultKind.DELAY, method="WATCH", path="*/persistentvolumes", seconds=1, count=None)
    town.cluster.faults.add("late", late)
    known: list[str | None] = []

    def note(change: Change) -> None:
        made = change.new
        if made is not None and change.old is None and made["kind"] == "PersistentVolumeClaim":
            assert town.operator is not None
            volume = town.operator.world.informers.volumes.get("", made["spec"]["volumeName"])
            known.append(volume.status.phase if volume is not None and volume.status is not None else None)

    town.sandbox.store.listeners.add(note)
    await town.start()
    await town.back_up("data")
    assert known == ["Available"]


@pytest.mark.sandbox("every write to it is seen")
async def test_a_clock_that_is_ahead_of_the_clusters_takes_nothing_from_a_run(town: Town) -> None:
    await town.claim("data")
    await town.run("data", "echo treasure > f")
    await town.stop()
    town.clock = MovableClock()
    town.clock.jump(timedelta(minutes=10))
    made = created(town, "PersistentVolume")
    await town.start()
    await town.back_up("data")
    await town.settled()
    assert len(made) == 1


async def test_what_a_crash_left_for_a_mover_is_cleared_away_after_a_while(town: Town) -> None:
    await town.claim("data")
    await town.run("data", "echo treasure > f")
    home, marks = town.settings.namespace, {claims.CLAIM: f"{APPS}/data"}
    shape: dict[str, Any] = {"access_modes": ["ReadWriteOnce"], "capacity": "1Gi", "annotations": marks}
    source = {"hostPath": {"path": "/nowhere"}}
    await town.kube.create(claims.alias_volume("backup-left", home, source, node_affinity=None, **shape))
    await town.kube.create(claims.alias_claim("backup-left", home, **shape))
    await town.back_up("data")
    assert await town.find(objects.VOLUMES, "backup-left", None) is not None
    town.clock.jump(timedelta(minutes=3))

    async def is_gone() -> bool:
        return await town.find(objects.VOLUMES, "backup-left", None) is None

    await town.until("what the crash left is gone", is_gone)
    await town.settled()


@pytest.mark.sandbox("its watches are made late")
async def test_a_volume_that_was_just_cleared_away_is_given_to_no_run(town: Town) -> None:
    identity, cron = Identity(namespace=APPS, claim="data"), "*/4 * * * *"

    def slot() -> datetime:
        found = schedule.next_due(Tier.HOURLY, cron, str(identity), town.clock.now())
        assert found is not None
        return found

    town.clock.jump(slot() - town.clock.now() + timedelta(seconds=1))
    await town.claim("data", annotations={"holdfast.dev/schedule": cron})
    await town.run("data", "echo treasure > f")
    claim = await town.find(objects.CLAIMS, "data")
    name = names.backup_job("default", identity, f"{claim.metadata.uid}:{status.text(slot())}:0")
    shape: dict[str, Any] = {"access_modes": ["ReadOnlyMany"], "capacity": "1Gi", "node_affinity": None}
    source, marks = {"hostPath": {"path": "/nowhere"}}, {claims.CLAIM: str(identity)}
    await town.kube.create(claims.alias_volume(name, town.settings.namespace, source, annotations=marks, **shape))

    async def is_available() -> bool:
        left = await town.find(objects.VOLUMES, name, None)
        return left.status is not None and left.status.phase == "Available"

    await town.until("what was left is available", is_available)
    await town.stop()
    late = Fault(kind=FaultKind.DELAY, method="WATCH", path="*/persistentvolumes", seconds=2, count=None)
    town.cluster.faults.add("late", late)
    await town.start()
    await looked(town)
    town.clock.jump(timedelta(minutes=4))
    await backups(town, 1)


async def test_a_killed_mover_is_followed_by_another(town: Town) -> None:
    await town.claim("data")
    await town.run("data", "echo treasure > f")
    await town.annotate("data", {"holdfast.dev/backup-now": "1"})
    os.kill(await town.caught("backup-"), signal.SIGKILL)
    await backups(town, 1)
    memory = await town.backup("data")
    assert memory["servedNow"] == "1"
    assert memory["attempt"] == 0
    assert memory.get("failure") is None
    await town.told("data", "Canceled: Backup failed: the mover was killed")
    await town.lose_everything()
    await town.claim("data")
    await town.app("data", READ)
    os.kill(await town.caught("fill-"), signal.SIGKILL)
    await town.app_ended("data")
    assert [line async for line in town.kube.logs(APPS, "data", follow=False)] == ["treasure"]
    await town.settled()


async def test_a_failed_backup_is_said_and_tried_again_when_its_cause_may_have_passed(town: Town) -> None:
    await town.claim("data")
    await town.run("data", "echo treasure > f")
    await town.write_secret("wrong horse")
    await town.annotate("data", {"holdfast.dev/backup-now": "1"})

    async def failing() -> bool:
        found = await town.protection("data")
        return found["state"] == "Failing" and str(found["message"]).startswith("WrongPassword")

    await town.until("the failure is said", failing)
    await town.told("data", "WrongPassword: Backup failed")
    await town.write_secret(PASSWORD)
    town.clock.jump(timedelta(seconds=31))
    await backups(town, 1)
    assert (await town.backup("data"))["servedNow"] == "1"


async def test_a_backup_whose_claim_goes_meanwhile_counts_for_nobody(town: Town) -> None:
    await town.claim("data")
    await town.run("data", "echo treasure > f")
    first = await town.back_up("data")
    await town.annotate("data", {"holdfast.dev/backup-now": "again"})
    pid = await town.caught("backup-")
    await town.remove(objects.CLAIMS, "data")
    os.kill(pid, signal.SIGCONT)
    await town.settled()
    memory = await town.backup("data")
    assert memory["lastID"] == first
    assert memory.get("failure") is None
    assert memory.get("running") is None
    await town.claim("data")
    assert await town.run("data", READ) == "treasure"


async def test_nothing_is_backed_up_before_a_claim_has_its_data(town: Town) -> None:
    await town.claim("data")
    await town.run("data", "echo treasure > f")
    first = await town.back_up("data")
    await town.remove(objects.CLAIMS, "data")
    await restarted(town, concurrent_restores=0)
    await town.claim("data", annotations={"holdfast.dev/backup-now": "early"})
    await town.app("data", READ)
    town.clock.jump(timedelta(hours=2))
    await looked(town)
    assert [each.id for each in await history(town)] == [first]
    await restarted(town, concurrent_restores=4)
    await town.app_ended("data")
    await backups(town, 2)
    assert (await history(town))[-1].files == 1


async def test_a_restore_object_brings_any_point_of_a_history_into_a_new_claim(town: Town) -> None:
    await town.claim("data")
    ids = []
    for content in ("one", "two", "three"):
        await town.run("data", f"echo {content} > f")
        ids.append(await town.back_up("data"))
    known = await history(town)
    wishes = {
        "by-id": ({"snapshot": ids[0]}, "one"),
        "at-a-time": ({"time": (known[1].time + timedelta(microseconds=1)).isoformat()}, "two"),
        "newest": ({}, "three"),
    }
    for name, (spec, _) in wishes.items():
        await town.kube.apply(
            {
                "apiVersion": "holdfast.dev/v1alpha1",
                "kind": "Restore",
                "metadata": {"name": name, "namespace": APPS},
                "spec": {"identity": f"{APPS}/data", **spec},
            }
        )
        await town.claim(name, labels={}, restore=name)
        await town.app(name, READ)
    for name, (_, content) in wishes.items():
        await town.app_ended(name)
        assert [line async for line in town.kube.logs(APPS, name, follow=False)] == [content], name
        assert (await town.find(objects.RESTORES, name)).status["phase"] == "Done"
    assert await town.run("data", READ) == "three"


async def test_history_outlives_every_object(town: Town) -> None:
    await town.kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "brief"}})
    await town.claim("data", namespace="brief")
    await town.run("data", "echo treasure > f", namespace="brief")
    await town.back_up("data", "brief")
    await town.settled()
    before = contents(town)
    await town.kube.patch(objects.CLAIMS, "data", "brief", {"metadata": {"labels": {"backup": None}}})
    await town.remove(objects.CLAIMS, "data", "brief")
    await town.remove(objects.PROTECTIONS, "data", "brief")
    await town.remove(objects.NAMESPACES, "brief", None)  # type: ignore[arg-type]
    await town.remove(objects.REPOSITORIES, "default", None)  # type: ignore[arg-type]

    async def no_reader() -> bool:
        return not await town.kube.list(objects.DEPLOYMENTS, town.settings.namespace)

    await town.until("the reader is gone", no_reader)
    assert contents(town) == before
    await town.write_repository(initializeUntil="2020-01-01T00:00:00Z")
    await town.kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "brief"}})
    await town.claim("data", namespace="brief")
    assert await town.run("data", READ, namespace="brief") == "treasure"


def contents(town: Town) -> dict[str, str]:
    """Return the digest of every file in the repository but leases, which end by themselves."""
    return {
        str(path.relative_to(town.repository)): sha256(path.read_bytes()).hexdigest()
        for path in town.repository.rglob("*")
        if path.is_file() and "leases" not in path.parts
    }


async def test_an_object_that_somebody_else_made_is_left_as_it_is(town: Town) -> None:
    foreign = {
        "apiVersion": "holdfast.dev/v1alpha1",
        "kind": "Protection",
        "metadata": {"name": "data", "namespace": APPS, "labels": {"made-by": "hand"}},
    }
    await town.kube.apply(foreign)
    before = await town.find(objects.PROTECTIONS, "data")
    await town.claim("data")
    assert await town.run("data", READ) == "empty"

    await town.told("data", f"NotOurs: Protection {APPS}/data was not made by Holdfast")
    await town.settled()
    assert await town.find(objects.PROTECTIONS, "data") == before
    await town.remove(objects.PROTECTIONS, "data")
    await town.back_up("data")
