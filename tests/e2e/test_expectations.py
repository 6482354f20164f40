"""The expectations that the sandbox is held to are what a real API server does."""

import pytest

from holdfast.kube.client import Kube
from tests.expectations import runner

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]


async def test_a_real_cluster_answers_as_expected(kube: Kube) -> None:
    results = [result async for result in runner.run(kube.http, frozenset({"api", "controllers"}))]

    assert len(results) == len(runner.load())
    assert [(result.name, result.wrong) for result in results if result.wrong] == []
