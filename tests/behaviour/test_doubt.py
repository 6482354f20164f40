"""While nobody can tell what a claim's backups are, it waits, says why, and heals once the cause is mended."""

import asyncio
import os
import signal
from dataclasses import replace
from datetime import timedelta

import pytest

from holdfast.engines import storage
from holdfast.engines.directory import Directory
from holdfast.kube import objects
from holdfast.model.claim import Identity
from holdfast.model.snapshot import Flag, RecordedSnapshot
from holdfast.render import names
from holdfast.sandbox.faults import Fault, FaultKind
from tests.support.town import APPS, Town

pytestmark = pytest.mark.anyio

READ = "cat f 2>/dev/null || echo empty"
IDENTITY = Identity(namespace=APPS, claim="data")
PASSWORD = "correct horse"
CLOSED = "2020-01-01T00:00:00Z"  # the window for initialisation is over: as a cluster that was rebuilt from Git has it


async def lost(town: Town, *contents: str) -> list[str]:
    """Back up each content of claim `data`, then lose the cluster; return the snapshots' ids."""
    await town.claim("data")
    ids = []
    for content in contents or ("treasure",):
        await town.run("data", f"echo {content} > f")
        ids.append(await town.back_up("data"))
    await town.lose_everything()
    await town.write_repository(initializeUntil=CLOSED)
    return ids


async def asked(town: Town, reason: str, **claim: object) -> str:
    """Create `data` and an app on it; return why it waits. Neither it nor a newcomer is empty meanwhile."""
    await town.claim("data", **claim)  # type: ignore[arg-type]
    await town.app("data", READ)
    message = await town.waits("data", reason)
    assert not await town.is_bound("data")
    await town.told("data", f"{reason}: Waiting: ")
    return message


async def healed(town: Town, content: str = "treasure") -> None:
    """See the app of `data` start with its data; nothing of ours is left."""
    await town.app_ended("data")
    assert [line async for line in town.kube.logs(APPS, "data", follow=False)] == [content]
    await town.settled()
    told = await town.told("data", "Restored: The claim is bound: ")
    assert ("without their owners" in told) is (os.geteuid() != 0)


@pytest.mark.sandbox("a pod keeps a directory that is renamed on its host")
async def test_a_missing_directory_is_waited_for(town: Town) -> None:
    await lost(town)
    await town.ready()
    away = town.repository.rename(town.directory / "away")
    message = await asked(town, "StorageMissing")
    assert "repository" in message
    await town.claim("newcomer")
    await town.app("newcomer", READ)
    await town.waits("newcomer", "StorageMissing")
    away.rename(town.repository)
    await healed(town)
    await town.app_ended("newcomer")
    assert (await town.restore("newcomer"))["reason"] == "StartedEmpty"


async def test_a_directory_that_is_missing_from_the_start_is_named(town: Town) -> None:
    away = town.directory / "away"
    await town.claim("data")
    await town.run("data", "echo treasure > f")
    await town.back_up("data")
    town.repository.rename(away)
    await town.lose_everything()
    await asked(town, "ReaderDown")

    async def named() -> bool:
        return str(town.repository) in (await town.restore("data"))["message"]

    await town.until("the claim names the directory", named)
    away.rename(town.repository)
    await healed(town)


@pytest.mark.sandbox("a pod keeps a directory that is renamed on its host")
async def test_an_empty_mount_is_not_taken_for_a_new_repository(town: Town) -> None:
    await lost(town)
    identifier = (
        (await town.find(objects.REPOSITORIES, "default", None)).status["repositoryID"] if await town.ready() else ""
    )
    away = town.repository.rename(town.directory / "away")
    town.repository.mkdir()
    await town.write_repository()
    await asked(town, "NoMarker")

    async def said() -> bool:
        condition = await town.condition()
        return condition.get("reason") == "NoMarker" and f"{identifier} was here before" in condition["message"]

    await town.until("the Repository says what was here", said)
    assert list(town.repository.iterdir()) == []
    town.repository.rmdir()
    away.rename(town.repository)
    town.clock.jump(timedelta(minutes=1))
    await healed(town)


@pytest.mark.sandbox("a pod keeps a directory that is renamed on its host")
async def test_a_reader_that_began_before_its_directory_was_mounted_is_started_anew(town: Town) -> None:
    await lost(town)
    away = town.repository.rename(town.directory / "away")
    town.repository.mkdir()
    await asked(town, "NoMarker")
    (before,) = await readers(town)
    town.clock.jump(timedelta(minutes=1))

    async def anew() -> bool:
        found = await readers(town)
        return bool(found) and before not in found

    await town.until("another reader", anew)
    town.repository.rmdir()
    away.rename(town.repository)
    town.clock.jump(timedelta(minutes=1))
    await healed(town)


async def readers(town: Town) -> list[str]:
    found = await town.kube.list(objects.PODS, town.settings.namespace)
    return [pod.metadata.name for pod in found if pod.metadata.name.startswith("reader-")]


async def test_a_rebuilt_cluster_that_looks_at_a_wrong_place_waits(town: Town) -> None:
    await lost(town)
    wrong = town.directory / "wrong"
    wrong.mkdir()
    await town.write_repository(path=wrong, initializeUntil=CLOSED)
    await asked(town, "NoMarker")
    assert list(wrong.iterdir()) == []
    await town.write_repository(initializeUntil=CLOSED)
    await healed(town)


async def test_a_wrong_password_is_told_from_everything_else(town: Town) -> None:
    await lost(town)
    await town.write_secret("wrong horse")
    message = await asked(town, "WrongPassword")
    assert "password" in message
    await town.write_secret(PASSWORD)
    await healed(town)


async def test_another_repository_in_its_place_is_refused(town: Town) -> None:
    await lost(town)
    await town.write_repository(initializeUntil=CLOSED, repositoryID="00" * 16)
    message = await asked(town, "AnotherRepository")
    assert "00" * 16 in message
    assert (await town.condition())["reason"] == "AnotherRepository"
    await town.write_repository(initializeUntil=CLOSED)
    await healed(town)


async def test_a_backup_that_only_the_protection_remembers_is_missed(town: Town) -> None:
    await town.claim("data")
    await town.run("data", "echo treasure > f")
    snapshot = await town.back_up("data")
    await town.remove(objects.CLAIMS, "data")
    record = town.repository / ".holdfast/claims" / APPS / "data"
    manifest = town.repository / "memory/snapshots" / APPS / "data" / snapshot
    kept = {path: path.read_bytes() for path in (record, manifest)}
    for path in kept:
        path.unlink()
    message = await asked(town, "BackupRemembered")
    assert snapshot in message
    for path, content in kept.items():
        path.write_bytes(content)
    town.clock.jump(timedelta(minutes=1))
    await healed(town)


async def test_a_missing_newest_backup_is_never_replaced_by_an_older_one_in_silence(town: Town) -> None:
    older, newest = await lost(town, "older", "newest")
    manifest = town.repository / "memory/snapshots" / APPS / "data" / newest
    manifest.unlink()
    message = await asked(town, "NewestBackupMissing")
    assert older in message
    assert newest in message
    await town.annotate("data", {"holdfast.dev/restore": older})
    await healed(town, "older")


async def test_a_reader_killed_while_it_is_asked_starts_again(town: Town) -> None:
    await lost(town)
    await town.ready()
    (reader,) = await readers(town)
    pid = town.cluster.pod_pid(town.settings.namespace, reader)
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    await town.claim("data")
    await town.app("data", READ)
    await asyncio.sleep(0.5)
    os.kill(pid, signal.SIGKILL)
    await town.waits("data", "ReaderDown")
    town.clock.jump(timedelta(seconds=10))
    await healed(town)


async def test_an_operator_that_starts_anew_goes_on_waiting_for_the_same_reason(town: Town) -> None:
    await lost(town)
    await town.write_secret("wrong horse")
    message = await asked(town, "WrongPassword")
    await town.stop()
    await town.start()
    assert await town.waits("data", "WrongPassword") == message
    await town.write_secret(PASSWORD)
    await healed(town)


async def test_restore_modes_choose_what_they_say(town: Town) -> None:
    first, second, third = await lost(town, "one", "two", "three")
    history = await record_of(town)
    between = history[1].time.isoformat()
    wishes = {
        "at-a-time": (between, "two"),
        "in-full": (first, "one"),
        "by-its-beginning": (second[:12], "two"),
        "automatic": ("auto", "three"),
        "demanded": ("required", "three"),
    }
    for name, (wish, _) in wishes.items():
        marks = {"holdfast.dev/restore": wish, "holdfast.dev/identity": f"{APPS}/data"}
        await town.claim(name, annotations=marks)
        await town.app(name, READ)
    for name, (_, content) in wishes.items():
        await town.app_ended(name)
        assert [line async for line in town.kube.logs(APPS, name, follow=False)] == [content], name
    assert third


async def test_restore_modes_that_cannot_be_served_wait_and_say_what_is_missing(town: Town) -> None:
    await lost(town)
    waits = {
        "demanded": ({"holdfast.dev/restore": "required"}, "BackupRequired", "no backup yet"),
        "unreasoned": ({"holdfast.dev/restore": "never"}, "RestoreReasonMissing", "restore-reason"),
        "unreadable": ({"holdfast.dev/restore": "yesterday"}, "RestoreAnnotationUnreadable", "yesterday"),
        "early": (
            {"holdfast.dev/restore": "2020-01-01T00:00:00Z", "holdfast.dev/identity": f"{APPS}/data"},
            "SnapshotNotFound",
            "2020-01-01",
        ),
        "unknown": (
            {"holdfast.dev/restore": "0123456789abcdef", "holdfast.dev/identity": f"{APPS}/data"},
            "SnapshotNotFound",
            "0123456789abcdef",
        ),
    }
    for name, (annotations, _, _) in waits.items():
        await town.claim(name, annotations=annotations)
        await town.app(name, READ)
    for name, (_, reason, part) in waits.items():
        assert part in await town.waits(name, reason)
        assert not await town.is_bound(name)
    # The others go on working meanwhile, and each of these heals by an annotation put right.
    await town.claim("data")
    assert await town.run("data", READ) == "treasure"
    await town.annotate("unreasoned", {"holdfast.dev/restore-reason": "a rehearsal"})
    for name in ("demanded", "unreadable"):
        await town.annotate(name, {"holdfast.dev/restore": None})
    for name in ("early", "unknown"):
        await town.annotate(name, {"holdfast.dev/restore": "auto"})
    for name in waits:
        await town.app_ended(name)
    assert (await town.restore("unreasoned"))["reason"] == "StartedEmpty"
    assert "a rehearsal" in await town.told("unreasoned", "WillStartEmpty")
    assert (await town.restore("early"))["reason"] == "Restored"


async def test_a_flagged_backup_is_passed_over_and_named(town: Town) -> None:
    good, partial = await lost(town, "good", "partial")
    await flag(town, partial, Flag.PARTIAL)
    await town.claim("data")
    assert await town.run("data", READ) == "good"
    found = await town.restore("data")
    assert found["snapshot"] == good
    assert [each.split()[0] for each in found["skipped"]] == [partial]
    assert f"set annotation holdfast.dev/restore to {partial}" in await town.told("data", "WillRestore")


async def test_partial_backups_alone_wait_for_a_person_who_accepts_them(town: Town) -> None:
    (partial,) = await lost(town)
    await flag(town, partial, Flag.PARTIAL)
    message = await asked(town, "OnlyFlaggedBackups")
    assert partial in message
    await town.annotate("data", {"holdfast.dev/accept-partial": "the socket is not needed"})
    await healed(town)


async def record_of(town: Town) -> tuple[RecordedSnapshot, ...]:
    place = Directory(town.repository)
    marker = await storage.read_marker(place, PASSWORD)
    record = await storage.read_record(place, marker, PASSWORD, IDENTITY)
    assert record is not None
    return record.snapshots


async def flag(town: Town, snapshot: str, mark: Flag) -> None:
    """Write into the record what a mover that met unreadable files would have written."""
    place = Directory(town.repository)
    marker = await storage.read_marker(place, PASSWORD)
    record = await storage.read_record(place, marker, PASSWORD, IDENTITY)
    assert record is not None
    changed = tuple(replace(each, flags=(mark,)) if each.id == snapshot else each for each in record.snapshots)
    await storage.write_record(place, marker, PASSWORD, replace(record, snapshots=changed))


async def test_a_damaged_newest_backup_is_said_and_an_older_one_taken_when_a_person_names_it(town: Town) -> None:
    older, newest = await lost(town, "older", "newest")
    (town.repository / "memory/content" / APPS / "data" / newest).write_bytes(b"rubbish")
    await asked(town, "Damaged")
    await town.annotate("data", {"holdfast.dev/restore": older})
    await healed(town, "older")


async def test_a_claim_that_was_decided_before_its_ledger_row_was_there_says_why_it_waits(town: Town) -> None:
    await town.ready()
    town.cluster.faults.add("late", Fault(kind=FaultKind.CONFLICT, method="POST", path="*/protections", count=5))
    await town.claim("data")

    async def says() -> bool:
        return (await town.restore("data")).get("reason") == "WaitForFirstConsumer"

    await town.until("the reason to be there", says, seconds=20)
    assert town.cluster.faults.struck["late"] == 5


async def test_a_reader_whose_token_was_deleted_gets_another_one(town: Town) -> None:
    namespace = town.settings.namespace
    await town.remove(objects.SECRETS, names.reader("default"), namespace)
    await town.claim("fresh")
    await town.app("fresh", "true")
    await town.app_ended("fresh")
