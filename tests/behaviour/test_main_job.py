"""Label, back up, lose everything, get it back before the app starts."""

import asyncio

import pytest

from holdfast.kube import objects
from tests.support.town import Town

pytestmark = pytest.mark.anyio

SCRIPT = "cat f 2>/dev/null || { echo empty; echo treasure > f; }"


async def test_a_lost_claim_gets_its_data_back_before_its_app_starts(town: Town) -> None:
    await town.claim("data")
    assert await town.run("data", SCRIPT) == "empty"
    await town.back_up("data")
    await town.lose_everything()
    await town.claim("data")
    assert await town.run("data", SCRIPT) == "treasure"
    await town.settled()


async def test_a_claim_that_never_had_a_backup_starts_empty(town: Town) -> None:
    await town.claim("fresh")
    assert await town.run("fresh", SCRIPT) == "empty"
    assert (await town.restore("fresh"))["reason"] == "StartedEmpty"
    await town.settled()


async def test_an_unlabelled_claim_is_never_touched(town: Town) -> None:
    await town.stop()
    await town.claim("plain", labels={})
    assert await town.run("plain", SCRIPT) == "empty"
    await town.start()
    found = await town.find(objects.CLAIMS, "plain")
    assert found.spec.data_source_ref is None
    assert not [key for key in (found.metadata.annotations or {}) if key.startswith("holdfast.dev/")]
    assert await town.protection("plain") == {}


async def test_a_protected_claim_waits_while_the_operator_is_down(town: Town) -> None:
    await town.stop()
    await town.claim("data")
    await town.app("data", SCRIPT)
    assert not await town.is_bound("data")
    await town.start()
    await town.app_ended("data")


async def test_the_newest_backup_is_restored(town: Town) -> None:
    await town.claim("data")
    await town.run("data", "echo one > f")
    await town.back_up("data")
    await town.run("data", "echo two > f")
    second = await town.back_up("data")
    await town.remove(objects.CLAIMS, "data")
    await town.claim("data")
    assert await town.run("data", "cat f") == "two"
    assert (await town.restore("data"))["snapshot"] == second


async def test_a_wave_of_claims_is_answered_by_at_most_two_inventories(town: Town) -> None:
    names = [f"claim-{number:02}" for number in range(24)]
    await town.ready()
    # At once, however busy the machine is: all are there when the operator first looks.
    await town.stop()
    await asyncio.gather(*(town.claim(name) for name in names))
    await town.start()
    for name in names:
        await town.app(name, "true")
    for name in names:
        await town.app_ended(name)
    assert town.operator is not None
    assert town.operator.inventories.taken <= 2


async def test_a_claim_deleted_and_created_again_during_its_restore_is_filled_once(town: Town) -> None:
    await town.claim("data")
    await town.run("data", "head -c 3000000 /dev/urandom > f; sha256sum f")
    digest = await town.run("data", "sha256sum f")
    await town.back_up("data")
    await town.lose_everything()
    for _ in range(3):
        await town.claim("data")
        await town.app("data", "sha256sum f")

        async def begun() -> bool:
            return bool(await town.kube.list(objects.CLAIMS, town.settings.namespace))

        await town.until("the fill has begun", begun)
        await town.remove(objects.PODS, "data")
        await town.remove(objects.CLAIMS, "data")
    await town.claim("data")
    assert await town.run("data", "sha256sum f") == digest
    await town.settled()
    fills = [line for line in await town.events("data") if line.startswith("WillRestore")]
    assert len(fills) == 1


async def test_an_operator_that_starts_anew_goes_on_where_the_last_one_stopped(town: Town) -> None:
    await town.claim("data")
    await town.run("data", "echo treasure > f")
    await town.back_up("data")
    await town.lose_everything()
    await town.claim("data")
    await town.app("data", "cat f")
    for life in (0.1, 0.4, 0.8, 1.0, 1.2, 1.4):
        await asyncio.sleep(life)
        await town.stop()
        await town.start()
    await town.app_ended("data")
    assert [line async for line in town.kube.logs("apps", "data", follow=False)] == ["treasure"]
