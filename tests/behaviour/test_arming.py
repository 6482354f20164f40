"""The sandbox arms claims by the rule, and a claim held by name waits for its volume."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from holdfast.assemble import laptop
from holdfast.kube.client import Kube
from holdfast.model.settings import Settings
from tests.support import arming
from tests.support.arming import CREATES, UPDATES, Case, Update

pytestmark = [pytest.mark.anyio, pytest.mark.sandbox("tests/e2e/test_arming.py tries the same cases")]

SETTINGS = replace(Settings(), namespace=arming.OWN, by_name=arming.RULE.by_name)


@pytest.fixture(scope="module")
async def kube(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Kube]:
    directory: Path = tmp_path_factory.mktemp("arming")
    async with laptop.sandbox(directory / "cluster", SETTINGS) as cluster:
        connected = Kube.connect(cluster.kubeconfig)
        await arming.furnish(connected.http)
        yield connected
        await connected.aclose()


@pytest.mark.parametrize("case", CREATES, ids=lambda case: case.name)
async def test_a_claim_is_armed_or_left_alone(kube: Kube, case: Case) -> None:
    await arming.try_create(kube.http, case)


@pytest.mark.parametrize("update", UPDATES, ids=lambda update: update.name)
async def test_a_hold_outlives_every_update(kube: Kube, update: Update) -> None:
    await arming.try_update(kube.http, update, f"updated-{UPDATES.index(update)}")


@pytest.mark.parametrize("spec", [{}, arming.PATH], ids=["by reference", "by name"])
async def test_gitops_tools_see_no_drift(kube: Kube, spec: dict[str, Any]) -> None:
    await arming.try_apply(kube.http, f"applied-{len(spec)}", **spec)


async def test_claims_put_together_at_random_are_judged_as_the_pure_rule_does(kube: Kube) -> None:
    for case in arming.drawn(seed=1, count=600):
        await arming.try_create(kube.http, case)
