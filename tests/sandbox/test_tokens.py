"""Who may ask: the token stands in a header, or, for kubectl, which sends none over plain HTTP, in the address."""

import json

import pytest

from holdfast.sandbox.cluster import Cluster
from tests.support import plain_http

pytestmark = pytest.mark.anyio


async def test_the_address_in_the_kubeconfig_is_enough(cluster: Cluster) -> None:
    server = json.loads(cluster.kubeconfig.read_text())["clusters"][0]["cluster"]["server"]
    async with plain_http.client() as http:
        assert (await http.get(f"{server}/api/v1/namespaces/default")).json()["metadata"]["name"] == "default"


@pytest.mark.parametrize("prefix", ["", "/wrong", "/wrong-but-as-long-as-the-token-is-0000000"])
async def test_without_the_token_nothing_is_told(cluster: Cluster, prefix: str) -> None:
    async with plain_http.client() as http:
        assert (await http.get(f"{cluster.url}{prefix}/api/v1/namespaces/default")).status_code == 401


async def test_the_token_is_no_beginning_of_a_name(cluster: Cluster) -> None:
    async with plain_http.client() as http:
        assert (await http.get(f"{cluster.url}/{cluster.token}api/v1/namespaces/default")).status_code == 401
