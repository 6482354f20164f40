"""A repository in the volume of a claim of Holdfast's namespace."""

import pytest

from holdfast.kube import objects
from tests.support.town import Town

pytestmark = pytest.mark.anyio

HOME = {"filesystem": {"claim": {"name": "store"}}}
DEEP = {"filesystem": {"claim": {"name": "store", "path": "not/there"}}}


async def test_backups_in_a_claim_bring_the_data_back(town: Town) -> None:
    await town.claim("store", namespace=town.settings.namespace)
    await town.write_repository("on-a-claim", storage=HOME)
    await town.ready("on-a-claim")
    named = {"holdfast.dev/repository": "on-a-claim"}
    await town.claim("data", annotations=named)
    await town.run("data", "echo treasure > f")
    await town.back_up("data")
    await town.remove(objects.CLAIMS, "data")
    await town.claim("data", annotations=named)
    assert await town.run("data", "cat f") == "treasure"


async def test_the_claim_of_a_repository_is_neither_held_nor_backed_up_by_its_label(town: Town) -> None:
    await town.claim("store", namespace=town.settings.namespace, labels={"backup": "hourly"})
    await town.write_repository("on-a-claim", storage=HOME)
    await town.ready("on-a-claim")
    assert await town.protection("store", town.settings.namespace) == {}


async def test_a_path_that_is_not_in_the_claim_is_missing_storage(town: Town) -> None:
    await town.claim("store", namespace=town.settings.namespace)
    await town.write_repository("on-a-claim", storage=DEEP)

    async def told() -> str | None:
        found = await town.condition("on-a-claim")
        return found["message"] if found.get("reason") == "StorageMissing" else None

    assert "directory not/there of claim store is not there" in await town.until("the missing path is told", told)


async def test_a_claim_that_is_not_there_is_named(town: Town) -> None:
    await town.write_repository("on-a-claim", storage=HOME)

    async def told() -> bool:
        found = await town.condition("on-a-claim")
        return found.get("reason") == "ReaderDown" and "store" in found["message"]

    await town.until("the missing claim is named", told)
