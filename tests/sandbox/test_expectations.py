"""The sandbox is asked what a real API server was asked."""

import pytest

from holdfast.sandbox.cluster import Cluster
from tests.expectations import runner
from tests.support import plain_http

pytestmark = pytest.mark.anyio


async def test_the_sandbox_answers_as_a_real_cluster_does(cluster: Cluster) -> None:
    headers = {"authorization": f"Bearer {cluster.token}"}
    async with plain_http.client(cluster.url, headers=headers, timeout=30) as client:
        results = [result async for result in runner.run(client, frozenset({"api", "controllers"}))]

    assert len(results) == len(runner.load())
    assert [(result.name, result.wrong) for result in results if result.wrong] == []
