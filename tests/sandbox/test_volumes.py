"""Claims, volumes and who makes them: the paths that filling a claim and backing it up go."""

import json
from pathlib import Path

import httpx2
import pytest

from holdfast.sandbox.cluster import Cluster
from tests.sandbox import objects
from tests.sandbox.objects import CLAIMS, MERGE, PODS, VOLUMES, created, has_phase, is_gone, until

pytestmark = pytest.mark.anyio

EVENTS = "/api/v1/events"
OURS = {"apiGroup": "holdfast.dev", "kind": "Restore", "name": "auto"}


def reasons(events: objects.Json, name: str) -> set[str]:
    return {each["reason"] for each in events["items"] if each["involvedObject"]["name"] == name}


async def patched(client: httpx2.AsyncClient, path: str, patch: objects.Json) -> objects.Json:
    answer = await client.patch(path, content=json.dumps(patch), headers=MERGE)
    assert answer.status_code == 200, answer.text
    found: objects.Json = answer.json()
    return found


async def test_a_claim_waits_for_its_pod_and_its_directory_goes_with_it(
    cluster: Cluster, client: httpx2.AsyncClient
) -> None:
    claim = await created(client, CLAIMS, objects.claim("c"))
    assert claim["spec"]["storageClassName"] == "standard"
    await until(client, EVENTS, lambda found: "WaitForFirstConsumer" in reasons(found, "c"))
    await created(client, PODS, objects.pod("p", "mkdir d; echo x > c/f; chmod 0 c/f; sleep 600", claims={"/c": "c"}))
    pod = await until(client, f"{PODS}/p", has_phase("Running"))

    claim = (await client.get(f"{CLAIMS}/c")).json()
    volume = (await client.get(f"{VOLUMES}/{claim['spec']['volumeName']}")).json()
    assert pod["spec"]["nodeName"] == claim["metadata"]["annotations"]["volume.kubernetes.io/selected-node"]
    assert claim["status"] == {"phase": "Bound", "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}}
    assert volume["metadata"]["annotations"]["pv.kubernetes.io/provisioned-by"] == "sandbox.holdfast.dev/directory"
    home = Path(volume["spec"]["hostPath"]["path"])
    assert (home.name, home.parent.parent) == ("data", cluster.volumes)

    await client.delete(f"{CLAIMS}/c")
    held = (await client.get(f"{CLAIMS}/c")).json()
    assert held["metadata"]["finalizers"] == ["kubernetes.io/pvc-protection"]
    await client.delete(f"{PODS}/p", params={"gracePeriodSeconds": "0"})
    await until(client, f"{CLAIMS}/c", is_gone)
    await until(client, f"{VOLUMES}/{volume['metadata']['name']}", is_gone)
    assert list(cluster.volumes.iterdir()) == []


async def test_a_claim_with_our_source_is_filled_through_another_and_handed_over(
    cluster: Cluster, client: httpx2.AsyncClient
) -> None:
    claim = await created(client, CLAIMS, objects.claim("c", dataSourceRef=OURS))
    await created(client, PODS, objects.pod("app", "cat c/file; sleep 600", claims={"/c": "c"}))
    held = await until(
        client,
        f"{CLAIMS}/c",
        lambda item: "volume.kubernetes.io/storage-provisioner" in item["metadata"]["annotations"],
    )
    node = held["metadata"]["annotations"]["volume.kubernetes.io/selected-node"]
    await until(client, EVENTS, lambda found: "ExternalProvisioning" in reasons(found, "c"))

    prime = objects.claim("prime")
    prime["metadata"]["annotations"] = {"volume.kubernetes.io/selected-node": node}
    await created(client, CLAIMS, prime)
    bound = await until(client, f"{CLAIMS}/prime", has_phase("Bound"))
    await created(client, PODS, objects.pod("filler", "echo filled > prime/file", claims={"/prime": "prime"}))
    await until(client, f"{PODS}/filler", has_phase("Succeeded"))
    assert (await client.get(f"{CLAIMS}/c")).json()["status"]["phase"] == "Pending"

    reference = {"namespace": "default", "name": "c", "uid": claim["metadata"]["uid"], "resourceVersion": None}
    volume = f"{VOLUMES}/{bound['spec']['volumeName']}"
    await patched(client, volume, {"spec": {"persistentVolumeReclaimPolicy": "Retain", "claimRef": reference}})
    await until(client, f"{PODS}/app", has_phase("Running"))
    async with client.stream("GET", f"{PODS}/app/log", params={"follow": "true"}) as log:
        async for line in log.aiter_lines():
            assert line == "filled"
            break

    await until(client, f"{CLAIMS}/prime", has_phase("Lost"))
    await client.delete(f"{CLAIMS}/prime")
    await client.delete(f"{PODS}/filler")
    await until(client, f"{CLAIMS}/prime", is_gone)
    assert (await client.get(volume)).json()["status"]["phase"] == "Bound"


async def test_a_class_that_ignores_sources_is_held_by_name(cluster: Cluster, client: httpx2.AsyncClient) -> None:
    by_name = objects.claim("c", storageClassName="ignores-sources", volumeName="holdfast.default.c")
    claim = await created(client, CLAIMS, by_name)
    await created(client, PODS, objects.pod("app", "sleep 600", claims={"/c": "c"}))
    pod = await until(client, f"{PODS}/app", lambda item: item["status"].get("conditions"))
    assert "unbound immediate" in pod["status"]["conditions"][0]["message"]

    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": "holdfast.default.c"},
        "spec": {
            "capacity": {"storage": "1Mi"},
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": "ignores-sources",
            "hostPath": {"path": str(cluster.volumes), "type": "Directory"},
            "claimRef": {"namespace": "default", "name": "c", "uid": claim["metadata"]["uid"]},
        },
    }
    await created(client, VOLUMES, volume)
    await patched(client, f"{CLAIMS}/c", {"metadata": {"annotations": {"example.com/touched": "now"}}})

    await until(client, f"{PODS}/app", has_phase("Running"))


async def test_a_class_that_ignores_sources_provisions_an_empty_volume(client: httpx2.AsyncClient) -> None:
    await created(client, CLAIMS, objects.claim("c", storageClassName="ignores-sources", dataSourceRef=OURS))
    await created(client, PODS, objects.pod("app", "ls c | wc -l", claims={"/c": "c"}))

    await until(client, f"{PODS}/app", has_phase("Succeeded"))
    assert (await client.get(f"{PODS}/app/log")).text.strip() == "0"


async def test_a_waiting_claim_takes_a_stray_volume_of_its_class(cluster: Cluster, client: httpx2.AsyncClient) -> None:
    stray = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": "stray"},
        "spec": {
            "capacity": {"storage": "2Gi"},
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": "standard",
            "hostPath": {"path": str(cluster.volumes), "type": "Directory"},
        },
    }
    await created(client, VOLUMES, stray)
    await until(client, f"{VOLUMES}/stray", has_phase("Available"))
    await created(client, CLAIMS, objects.claim("c", dataSourceRef=OURS))
    await created(client, PODS, objects.pod("app", "sleep 600", claims={"/c": "c"}))

    claim = await until(client, f"{CLAIMS}/c", has_phase("Bound"))

    assert claim["spec"]["volumeName"] == "stray"
    volume = (await client.get(f"{VOLUMES}/stray")).json()
    assert volume["metadata"]["annotations"] == {"pv.kubernetes.io/bound-by-controller": "yes"}


async def test_an_alias_reads_the_same_directory_and_leaves_it(cluster: Cluster, client: httpx2.AsyncClient) -> None:
    await created(client, CLAIMS, objects.claim("c", storageClassName="immediate"))
    claim = await until(client, f"{CLAIMS}/c", has_phase("Bound"))
    source = (await client.get(f"{VOLUMES}/{claim['spec']['volumeName']}")).json()["spec"]["hostPath"]
    (Path(source["path"]) / "file").write_text("content")
    alias = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": "alias"},
        "spec": {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadOnlyMany"],
            "storageClassName": "",
            "hostPath": source,
            "claimRef": {"namespace": "default", "name": "alias"},
        },
    }
    await created(client, VOLUMES, alias)
    wanted = objects.claim("alias", accessModes=["ReadOnlyMany"], storageClassName="", volumeName="alias")
    await created(client, CLAIMS, wanted)
    await created(client, PODS, objects.pod("reader", "cat alias/file", claims={"/alias": "alias"}))
    await until(client, f"{PODS}/reader", has_phase("Succeeded"))
    assert (await client.get(f"{PODS}/reader/log")).text == "content"

    await client.delete(f"{CLAIMS}/alias")
    await client.delete(f"{PODS}/reader")
    await until(client, f"{VOLUMES}/alias", has_phase("Released"))
    await client.delete(f"{VOLUMES}/alias")
    await until(client, f"{VOLUMES}/alias", is_gone)
    assert (Path(source["path"]) / "file").read_text() == "content"


async def test_a_node_that_is_gone_is_chosen_anew(client: httpx2.AsyncClient) -> None:
    claim = objects.claim("c")
    claim["metadata"]["annotations"] = {"volume.kubernetes.io/selected-node": "ghost"}
    await created(client, CLAIMS, claim)

    await until(
        client,
        f"{CLAIMS}/c",
        lambda item: "volume.kubernetes.io/selected-node" not in item["metadata"]["annotations"],
    )
    await until(client, EVENTS, lambda found: "ProvisioningFailed" in reasons(found, "c"))


async def test_the_provisioner_deletes_no_directory_but_its_own(
    cluster: Cluster, client: httpx2.AsyncClient, tmp_path: Path
) -> None:
    foreign = tmp_path / "foreign" / "data"
    foreign.mkdir(parents=True)
    reference = {"namespace": "default", "name": "gone", "uid": "00000000-0000-0000-0000-000000000000"}
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {
            "name": "v",
            "annotations": {"pv.kubernetes.io/provisioned-by": "sandbox.holdfast.dev/directory"},
        },
        "spec": {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Delete",
            "hostPath": {"path": str(foreign)},
            "claimRef": reference,
        },
    }
    await created(client, VOLUMES, volume)

    await until(client, EVENTS, lambda found: "VolumeFailedDelete" in reasons(found, "v"))
    assert foreign.is_dir()
