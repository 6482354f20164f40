"""The cluster as a whole: what it starts with, what it remembers, and how it is lost."""

import json
import stat
from pathlib import Path

import httpx2
import pytest

from holdfast.sandbox.cluster import Cluster, DirectoryInUse
from tests.sandbox import objects
from tests.sandbox.objects import CLAIMS, PODS, created, has_phase, until
from tests.support import plain_http

pytestmark = pytest.mark.anyio

DEFINITION = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "things.example.com"},
    "spec": {
        "group": "example.com",
        "scope": "Namespaced",
        "names": {"kind": "Thing", "plural": "things"},
        "versions": [{"name": "v1", "served": True, "storage": True, "subresources": {"status": {}}}],
    },
}
THINGS = "/apis/example.com/v1/namespaces/default/things"
THING = {"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "a"}}


def connected(cluster: Cluster) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(base_url="http://sandbox", transport=cluster.transport())


async def test_the_kubeconfig_is_private_and_opens_the_door(cluster: Cluster) -> None:
    config = json.loads(cluster.kubeconfig.read_text())

    assert stat.S_IMODE(cluster.kubeconfig.stat().st_mode) == 0o600
    url, token = config["clusters"][0]["cluster"]["server"], config["users"][0]["user"]["token"]
    async with plain_http.client(url) as client:
        answer = await client.get("/api/v1/nodes", headers={"authorization": f"Bearer {token}"})
    assert [node["metadata"]["name"] for node in answer.json()["items"]] == ["laptop"]


async def test_discovery_names_every_kind_with_its_short_names(client: httpx2.AsyncClient) -> None:
    core = (await client.get("/api/v1")).json()["resources"]
    groups = [group["name"] for group in (await client.get("/apis")).json()["groups"]]

    claims = next(each for each in core if each["name"] == "persistentvolumeclaims")
    assert (claims["shortNames"], claims["namespaced"]) == (["pvc"], True)
    assert {"pods/log", "pods/status"} <= {each["name"] for each in core}
    assert groups == ["apiextensions.k8s.io", "apps", "batch", "coordination.k8s.io", "storage.k8s.io"]


async def test_a_later_start_goes_on_where_the_last_ended(tmp_path: Path) -> None:
    async with Cluster(tmp_path, [DEFINITION]) as cluster, connected(cluster) as client:
        thing = await created(client, THINGS, THING)
        await created(client, CLAIMS, objects.claim("c"))
        await created(
            client, PODS, objects.pod("p", "echo x > c/f; sleep 600", claims={"/c": "c"}, restartPolicy="Always")
        )
        await until(client, f"{PODS}/p", has_phase("Running"))
        version = cluster.store.version

    async with Cluster(tmp_path, [DEFINITION]) as cluster, connected(cluster) as client:
        assert (await client.get(f"{THINGS}/a")).json() == thing
        watch = await client.get(THINGS, params={"watch": "1", "resourceVersion": str(version - 1)})
        assert json.loads(watch.text)["object"]["code"] == 410
        pod = await until(client, f"{PODS}/p", lambda item: item["status"]["containerStatuses"][0]["restartCount"])
        assert pod["status"]["containerStatuses"][0]["restartCount"] == 1


async def test_a_torn_last_line_costs_that_line_only(tmp_path: Path) -> None:
    async with Cluster(tmp_path) as cluster, connected(cluster) as client:
        await created(client, CLAIMS, objects.claim("c"))
    with (tmp_path / "journal").open("ab") as journal:
        journal.write(b'[99999,["","persistentvolumeclaims"],["def')

    async with Cluster(tmp_path) as cluster, connected(cluster) as client:
        assert (await client.get(f"{CLAIMS}/c")).status_code == 200


async def test_a_definition_that_changed_is_served_as_it_is_now(tmp_path: Path) -> None:
    async with Cluster(tmp_path, [DEFINITION]) as cluster, connected(cluster) as client:
        await created(client, THINGS, THING)
    schema = {"type": "object", "properties": {"spec": {"type": "object", "properties": {"x": {"type": "string"}}}}}
    version = {**DEFINITION["spec"]["versions"][0], "schema": {"openAPIV3Schema": schema}}  # type: ignore[index]
    changed = {**DEFINITION, "spec": {**DEFINITION["spec"], "versions": [version]}}  # type: ignore[dict-item]

    async with Cluster(tmp_path, [changed]) as cluster, connected(cluster) as client:
        body = {**THING, "metadata": {"name": "b"}, "spec": {"x": 1}}
        assert (await client.post(THINGS, json=body)).status_code == 422
        assert (await client.get(f"{THINGS}/a")).status_code == 200


async def test_two_sandboxes_do_not_share_a_directory(cluster: Cluster) -> None:
    with pytest.raises(DirectoryInUse):
        await Cluster(cluster.directory).start()


async def test_losing_everything_leaves_a_new_and_empty_cluster(tmp_path: Path) -> None:
    (tmp_path / "repository").mkdir()
    async with Cluster(tmp_path, [DEFINITION]) as cluster, connected(cluster) as client:
        await created(client, CLAIMS, objects.claim("c"))
        await created(client, PODS, objects.pod("p", "sleep 600", claims={"/c": "c"}))
        await until(client, f"{PODS}/p", has_phase("Running"))
        claims = await client.get(CLAIMS)
        uid = (await client.get("/api/v1/namespaces/kube-system")).json()["metadata"]["uid"]

        cluster.lose_everything()

        assert (await client.get(CLAIMS)).json()["items"] == []
        assert (await client.get(THINGS)).json()["items"] == []
        assert (await client.get("/api/v1/namespaces/kube-system")).json()["metadata"]["uid"] != uid
        assert list(cluster.volumes.iterdir()) == []
        assert (tmp_path / "repository").is_dir()
        query = {"watch": "1", "resourceVersion": claims.json()["metadata"]["resourceVersion"]}
        assert json.loads((await client.get(CLAIMS, params=query)).text)["object"]["code"] == 410
        await created(client, CLAIMS, objects.claim("c"))


async def test_an_outage_refuses_and_passes(cluster: Cluster, client: httpx2.AsyncClient) -> None:
    await cluster.outage(0.05)

    assert (await client.get("/readyz")).status_code == 200
