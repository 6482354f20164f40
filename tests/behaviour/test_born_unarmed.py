"""A claim that was created before the policies were there: flagged, not backed up, and its way back."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest

from holdfast.kube import objects
from tests.support.town import Town

pytestmark = pytest.mark.anyio

READ = "cat f 2>/dev/null || echo empty"


@contextmanager
def without_policies(town: Town) -> Iterator[None]:
    """Let claims be created as in a cluster that is not armed yet."""
    admit, town.cluster.store.admit = town.cluster.store.admit, None
    try:
        yield
    finally:
        town.cluster.store.admit = admit


async def born_unarmed(town: Town, claim: str = "data") -> str:
    """Create a claim that has a history while nothing holds it; return the snapshot that it missed."""
    await town.claim(claim)
    await town.run(claim, "echo treasure > f")
    snapshot = await town.back_up(claim)
    await town.remove(objects.CLAIMS, claim)
    with without_policies(town):
        await town.claim(claim)
    assert await town.run(claim, READ) == "empty"
    return snapshot


async def state(town: Town, wanted: str, claim: str = "data") -> str:
    """Wait for the ledger's word; return the message beside it."""

    async def told() -> str | None:
        found = await town.protection(claim)
        return f"{wanted}: {found.get('message')}" if found.get("state") == wanted else None

    return await town.until(f"{claim} is {wanted}", told)


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
    assert await town.back_up("data") != snapshot
    await state(town, "Protected")


async def test_a_claim_without_history_is_backed_up_as_it_is(town: Town) -> None:
    with without_policies(town):
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
