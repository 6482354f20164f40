"""A claim that was created before the policies were there: flagged, not backed up, and its way back."""

from datetime import timedelta
from pathlib import Path

import pytest

from holdfast.cli.problems import ExitCode
from holdfast.kube import objects
from tests.behaviour.test_commands import Desk
from tests.support.town import APPS, Town

pytestmark = pytest.mark.anyio

SLEEP = "echo new > f; sleep 1000"
READ = "cat f 2>/dev/null || echo empty"


async def born_unarmed(town: Town, claim: str = "data") -> str:
    """Create a claim that has a history while nothing holds it; return the snapshot that it missed."""
    await town.claim(claim)
    await town.run(claim, "echo treasure > f")
    snapshot = await town.back_up(claim)
    await town.remove(objects.CLAIMS, claim)
    with town.unarmed():
        await town.claim(claim)
    assert await town.run(claim, READ) == "empty"
    return snapshot


async def state(town: Town, wanted: str, claim: str = "data") -> str:
    """Wait for the ledger's word; return the message beside it."""

    async def told() -> str | None:
        found = await town.protection(claim)
        return f"{wanted}: {found.get('message')}" if found.get("state") == wanted else None

    return await town.until(f"{claim} is {wanted}", told)


@pytest.fixture
def desk(town: Town, tmp_path: Path) -> Desk:
    home = tmp_path / "home"
    home.mkdir()
    return Desk(town=town, home=home)


async def test_it_is_told_everywhere_and_its_backups_are_held(town: Town) -> None:
    snapshot = await born_unarmed(town)
    message = await state(town, "BornUnarmed")
    assert snapshot[:16] in message
    assert "holdfast rearm apps/data" in message
    assert "holdfast rearm apps/data" in await town.told("data", "BornUnarmed")
    found = await town.protection("data")
    (condition,) = found["conditions"]
    assert (condition["type"], condition["status"], condition["reason"]) == ("Armed", "False", "BornUnarmed")
    town.clock.jump(timedelta(days=2))
    await town.told("data", "BornUnarmed: Not backed up")
    assert (await town.backup("data"))["lastID"] == snapshot


async def test_a_person_may_accept_the_new_data(town: Town) -> None:
    snapshot = await born_unarmed(town)
    await state(town, "BornUnarmed")
    await town.run("data", "echo another > f")
    assert await town.back_up("data") != snapshot
    await state(town, "Protected")


async def test_a_claim_without_history_is_backed_up_as_it_is(town: Town) -> None:
    with town.unarmed():
        await town.claim("data")
    await town.run("data", "echo treasure > f")
    await town.back_up("data")
    await state(town, "Protected")
    (condition,) = (await town.protection("data"))["conditions"]
    assert (condition["status"], condition["reason"]) == ("False", "NotHeld")


async def test_a_claim_that_was_held_says_so(town: Town) -> None:
    await town.claim("data")
    await town.run("data", "true")
    await state(town, "New")
    (condition,) = (await town.protection("data"))["conditions"]
    assert (condition["status"], condition["reason"]) == ("True", "Held")


async def test_what_a_person_does_not_want_is_not_missed(town: Town) -> None:
    await born_unarmed(town)
    await state(town, "BornUnarmed")
    await town.annotate("data", {"holdfast.dev/restore": "never", "holdfast.dev/restore-reason": "new schema"})

    async def accepted() -> bool:
        return (await town.protection("data")).get("state") in ("New", "Protected", "Late")

    await town.until("it is an ordinary claim", accepted)


async def test_a_class_that_ignores_the_hold_is_noticed_also_when_the_operator_comes_last(
    town: Town, desk: Desk
) -> None:
    await town.claim("data")
    await town.run("data", "echo treasure > f")
    await town.back_up("data")
    await town.remove(objects.CLAIMS, "data")
    await town.stop()
    await town.claim("data", storage_class="ignores-sources")
    assert await town.run("data", READ) == "empty"
    await town.start()
    message = await state(town, "BornUnarmed")
    assert "class ignores-sources ignores dataSourceRef" in message
    told = await desk.run("rearm", "apps/data")
    assert told.code == ExitCode.ATTENTION
    assert "--by-name" in told.out
    possible = await desk.run("rearm", "apps/data", "--by-name", "ignores-sources")
    assert possible.code == ExitCode.OK, possible.out


# The way back


async def uid(town: Town, claim: str = "data") -> str:
    return str((await town.kube.get(objects.CLAIMS, claim, APPS)).metadata.uid)


async def volume(town: Town, claim: str = "data") -> str:
    return str((await town.kube.get(objects.CLAIMS, claim, APPS)).spec.volume_name)


async def test_it_is_explained_first_and_then_done(town: Town, desk: Desk) -> None:
    snapshot = await born_unarmed(town)
    await town.run("data", "echo unsaved > g")
    await state(town, "BornUnarmed")
    before, kept = await uid(town), await volume(town)

    told = await desk.run("rearm", "apps/data")
    assert told.code == ExitCode.OK, told.err + told.out
    assert "can get its data back" in told.out
    assert snapshot[:16] in told.out
    assert await uid(town) == before

    done = await desk.run("rearm", "apps/data", "--yes", "-o", "json")
    assert done.code == ExitCode.OK, done.err + done.out
    assert done.json["done"]
    assert done.json["snapshot"] == snapshot
    assert await uid(town) != before
    assert await town.run("data", READ) == "treasure"
    await state(town, "Protected")
    left = await town.kube.get(objects.VOLUMES, kept)
    assert left.spec.persistent_volume_reclaim_policy == "Retain"
    assert (town.bytes_of(left) / "g").read_text() == "unsaved\n"


async def test_the_volume_goes_only_when_a_person_says_so(town: Town, desk: Desk) -> None:
    await born_unarmed(town)
    await state(town, "BornUnarmed")
    kept = await volume(town)
    done = await desk.run("rearm", "apps/data", "--yes", "--discard-volume")
    assert done.code == ExitCode.OK, done.err + done.out

    async def gone() -> bool:
        return await town.find(objects.VOLUMES, kept, None) is None

    await town.until("the volume is gone", gone)
    assert await town.run("data", READ) == "treasure"


async def test_a_claim_in_use_is_never_deleted(town: Town, desk: Desk) -> None:
    await born_unarmed(town)
    before = await uid(town)
    await town.app("data", SLEEP, name="web")
    await state(town, "BornUnarmed")
    refused = await desk.run("rearm", "apps/data", "--yes")
    assert refused.code == ExitCode.FAILED
    assert "in use by pod web" in refused.out
    assert await uid(town) == before
    assert (await desk.run("rearm", "apps/data")).code == ExitCode.ATTENTION


async def test_a_claim_without_backups_is_never_deleted(town: Town, desk: Desk) -> None:
    with town.unarmed():
        await town.claim("data")
    await town.run("data", "echo treasure > f")
    before = await uid(town)
    refused = await desk.run("rearm", "apps/data", "--yes")
    assert refused.code == ExitCode.FAILED
    assert "there is no backup that could come back" in refused.out
    assert await uid(town) == before


async def test_a_claim_is_never_deleted_while_nobody_can_tell(town: Town, desk: Desk) -> None:
    await born_unarmed(town)
    await state(town, "BornUnarmed")
    before = await uid(town)
    (town.repository / ".holdfast" / "marker").rename(town.directory / "marker")
    refused = await desk.run("rearm", "apps/data", "--yes")
    assert refused.code == ExitCode.FAILED
    assert "nobody can tell" in refused.out
    assert await uid(town) == before


async def test_it_is_held_even_where_no_policy_is(town: Town, desk: Desk) -> None:
    await born_unarmed(town)
    await state(town, "BornUnarmed")
    with town.unarmed():
        done = await desk.run("rearm", "apps/data", "--yes")
        assert done.code == ExitCode.OK, done.err + done.out
    assert "The policies do not hold this claim" in done.out
    assert await town.run("data", READ) == "treasure"


async def test_there_is_nothing_to_do_for_a_held_claim(town: Town, desk: Desk) -> None:
    await town.claim("data")
    await town.run("data", "echo treasure > f")
    before = await uid(town)
    answer = await desk.run("rearm", "apps/data", "--yes")
    assert answer.code == ExitCode.OK
    assert "nothing to do" in answer.out
    assert await uid(town) == before
