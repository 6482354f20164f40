from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import httpx2
import pytest

from holdfast.sandbox.cluster import Cluster, Pace
from tests.support import plain_http

QUICK = Pace(job_retry=timedelta(seconds=0.1), restart=timedelta(seconds=0.1), resync=timedelta(seconds=1))


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    async with Cluster(tmp_path / "cluster", pace=QUICK) as running:
        yield running


@pytest.fixture
async def client(cluster: Cluster) -> AsyncIterator[httpx2.AsyncClient]:
    async with plain_http.client(cluster.url, headers={"authorization": f"Bearer {cluster.token}"}) as connected:
        yield connected
