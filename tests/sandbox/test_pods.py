"""Pods as processes: what they are given, what becomes of them, and that nothing is left behind."""

import asyncio
import ipaddress
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import httpx2
import pytest

from holdfast.sandbox.cluster import Cluster
from tests.sandbox import objects
from tests.sandbox.objects import DEPLOYMENTS, JOBS, PODS, SECRETS, created, has_phase, is_gone, until

pytestmark = pytest.mark.anyio

SLEEP = "sleep 600 & exec sleep 600"


def terminated(pod: objects.Json) -> objects.Json:
    found: objects.Json = pod["status"]["containerStatuses"][0]["state"]["terminated"]
    return found


def processes_below(directory: Path) -> list[str]:
    """Return the command lines of all processes that stand in the directory."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            if (entry / "cwd").resolve().is_relative_to(directory):
                found.append((entry / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
    return found


async def test_a_pod_gets_its_environment_files_and_words(client: httpx2.AsyncClient) -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"key": "hidden"}}
    await created(client, SECRETS, secret)
    env = [
        {"name": "PLAIN", "value": "a"},
        {"name": "BUILT", "value": "$(PLAIN)-$(NAME)-$$(PLAIN)-$(UNKNOWN)"},
        {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "ADDRESS", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "SECRET", "valueFrom": {"secretKeyRef": {"name": "s", "key": "key"}}},
        {"name": "NONE", "valueFrom": {"secretKeyRef": {"name": "s", "key": "no", "optional": True}}},
    ]
    script = (
        'echo "$BUILT $ADDRESS $SECRET ${NONE-unset} $0"; cat secret/key; stat -c " %a" -L secret/key; '
        'echo inside > "$HOLDFAST_ROOT/dir/file"; cat dir/file; echo last > dev/termination-log; exit 3'
    )
    body = objects.pod("p", script, container={"env": env, "args": ["$(PLAIN)"]})
    body["spec"]["volumes"] = [{"name": "s", "secret": {"secretName": "s"}}, {"name": "e", "emptyDir": {}}]
    body["spec"]["containers"][0]["volumeMounts"] = [
        {"name": "s", "mountPath": "/secret"},
        {"name": "e", "mountPath": "/dir"},
    ]
    await created(client, PODS, body)

    pod = await until(client, f"{PODS}/p", has_phase("Failed"))

    address = pod["status"]["podIP"]
    assert ipaddress.ip_address(address) in ipaddress.ip_network("127.64.0.0/10")
    text = (await client.get(f"{PODS}/p/log")).text
    assert text == f"a-$(NAME)-$(PLAIN)-$(UNKNOWN) {address} hidden unset a\nhidden 400\ninside\n"
    assert (terminated(pod)["exitCode"], terminated(pod)["message"]) == (3, "last\n")


async def test_an_image_of_ours_needs_no_command(client: httpx2.AsyncClient) -> None:
    body = objects.pod("p", "")
    body["spec"]["containers"] = [{"name": "main", "image": "ghcr.io/x/holdfast:1", "args": ["--version"]}]
    await created(client, PODS, body)

    await until(client, f"{PODS}/p", lambda pod: pod["status"]["phase"] in ("Succeeded", "Failed"))


async def test_a_mount_below_an_empty_directory_leaves_a_writable_parent(
    cluster: Cluster, client: httpx2.AsyncClient
) -> None:
    await created(client, objects.CLAIMS, objects.claim("c", storageClassName="immediate"))
    body = objects.pod("p", 'cd -P restore/data; touch in; touch ../beside; stat -c %F "$HOLDFAST_ROOT/restore/data"')
    body["spec"]["volumes"] = [
        {"name": "e", "emptyDir": {}},
        {"name": "c", "persistentVolumeClaim": {"claimName": "c"}},
    ]
    body["spec"]["containers"][0]["volumeMounts"] = [
        {"name": "c", "mountPath": "/restore/data"},
        {"name": "e", "mountPath": "/restore"},
    ]
    await created(client, PODS, body)

    await until(client, f"{PODS}/p", has_phase("Succeeded"))

    [volume] = cluster.volumes.iterdir()
    assert sorted(path.relative_to(volume).as_posix() for path in volume.rglob("*")) == ["beside", "data", "data/in"]


async def test_a_pod_that_cannot_start_says_why_and_starts_once_it_can(
    client: httpx2.AsyncClient, tmp_path: Path
) -> None:
    there = tmp_path / "there"
    body = objects.pod("p", "true")
    body["spec"]["volumes"] = [{"name": "h", "hostPath": {"path": str(there), "type": "Directory"}}]
    body["spec"]["containers"][0]["volumeMounts"] = [{"name": "h", "mountPath": "/h"}]
    await created(client, PODS, body)

    pod = await until(client, f"{PODS}/p", lambda pod: pod["status"].get("containerStatuses"))
    assert pod["status"]["phase"] == "Pending"
    assert pod["status"]["containerStatuses"][0]["state"]["waiting"] == {"reason": "ContainerCreating"}
    events = (await client.get("/api/v1/namespaces/default/events?fieldSelector=reason=FailedMount")).json()["items"]
    assert [each["message"] for each in events] == [f"hostPath type check failed: {there} is not a directory"]

    there.mkdir()
    await until(client, f"{PODS}/p", has_phase("Succeeded"))


async def test_what_a_killed_pod_started_dies_with_it(cluster: Cluster, client: httpx2.AsyncClient) -> None:
    await created(client, PODS, objects.pod("p", "setsid sleep 600 & exec sleep 600"))
    await until(client, f"{PODS}/p", lambda _: len(processes_below(cluster.directory)) == 2)
    pid = cluster.pod_pid("default", "p")
    assert pid is not None

    os.kill(pid, 9)

    pod = await until(client, f"{PODS}/p", has_phase("Failed"))
    assert terminated(pod)["exitCode"] == 137
    assert processes_below(cluster.directory) == []


async def test_a_deleted_pod_is_asked_to_end_and_then_made_to(cluster: Cluster, client: httpx2.AsyncClient) -> None:
    script = "trap 'echo asked' TERM; echo ready; while true; do sleep 0.1; done"
    await created(client, PODS, objects.pod("p", script, terminationGracePeriodSeconds=1))
    await until(client, f"{PODS}/p", lambda _: cluster.pod_pid("default", "p"))
    logs = []
    async with client.stream("GET", f"{PODS}/p/log", params={"follow": "true"}) as answer:
        async for line in answer.aiter_lines():
            logs.append(line)
            if line == "ready":
                assert (await client.delete(f"{PODS}/p")).json()["metadata"]["deletionGracePeriodSeconds"] == 1

    await until(client, f"{PODS}/p", is_gone)
    assert (logs[0], logs[-1]) == ("ready", "asked")
    assert processes_below(cluster.directory) == []


async def test_a_pod_is_ready_when_its_probe_is_answered(cluster: Cluster, client: httpx2.AsyncClient) -> None:
    server = textwrap.dedent(
        """
        import http.server, os, pathlib, socketserver
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200 if pathlib.Path("tmp/open").exists() else 503)
                self.end_headers()
        socketserver.TCPServer((os.environ["IP"], 8080), Handler).serve_forever()
        """
    )
    container = {
        "command": [sys.executable, "-c", server],
        "env": [{"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
        "ports": [{"name": "http", "containerPort": 8080}],
        "readinessProbe": {"httpGet": {"path": "/ready", "port": "http"}, "periodSeconds": 1},
        "volumeMounts": [],
    }
    spec = objects.pod_spec("", container=container, restartPolicy="Always")
    labels = {"app": "server"}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "d"},
        "spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": spec}},
    }
    await created(client, DEPLOYMENTS, deployment)
    pods = await until(client, PODS, lambda found: [p for p in found["items"] if p["status"]["phase"] == "Running"])
    assert "readyReplicas" not in (await client.get(f"{DEPLOYMENTS}/d")).json()["status"]

    (cluster.directory / "pods" / pods["items"][0]["metadata"]["uid"] / "root/tmp/open").touch()

    await until(client, f"{DEPLOYMENTS}/d", lambda found: found["status"].get("readyReplicas") == 1)


async def test_a_deployment_replaces_its_pods_old_ones_first(client: httpx2.AsyncClient) -> None:
    labels = {"app": "d"}
    template = {"metadata": {"labels": labels}, "spec": objects.pod_spec(SLEEP, restartPolicy="Always")}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "d"},
        "spec": {"replicas": 2, "selector": {"matchLabels": labels}, "template": template},
    }
    await created(client, DEPLOYMENTS, deployment)
    await until(client, f"{DEPLOYMENTS}/d", lambda found: found["status"].get("readyReplicas") == 2)
    old = {pod["metadata"]["name"] for pod in (await client.get(PODS)).json()["items"]}

    patch = '{"spec": {"replicas": 1, "template": {"metadata": {"annotations": {"example.com/x": "y"}}}}}'
    await client.patch(f"{DEPLOYMENTS}/d", content=patch, headers=objects.MERGE)

    pods = await until(
        client, PODS, lambda found: not old & {pod["metadata"]["name"] for pod in found["items"]} and found["items"]
    )
    assert len(pods["items"]) == 1
    await client.delete(f"{DEPLOYMENTS}/d")
    await until(client, PODS, lambda found: not found["items"])


async def test_a_container_that_fails_is_started_again(client: httpx2.AsyncClient) -> None:
    script = "test -e tmp/second && exec sleep 600; touch tmp/second; exit 1"
    await created(client, PODS, objects.pod("p", script, restartPolicy="OnFailure"))

    pod = await until(
        client,
        f"{PODS}/p",
        lambda pod: any(
            each["restartCount"] == 1 and "running" in each["state"]
            for each in pod["status"].get("containerStatuses", ())
        ),
    )
    assert pod["status"]["containerStatuses"][0]["lastState"]["terminated"]["exitCode"] == 1


async def test_a_job_tries_again_and_gives_up(client: httpx2.AsyncClient) -> None:
    await created(client, JOBS, objects.job("j", "exit 1", backoffLimit=1))

    found = await until(client, f"{JOBS}/j", lambda job: job["status"].get("conditions"))

    assert [each["type"] for each in found["status"]["conditions"]] == ["FailureTarget", "Failed"]
    assert found["status"]["conditions"][1]["reason"] == "BackoffLimitExceeded"
    assert found["status"]["failed"] == 2


async def test_a_job_out_of_time_ends_its_pod(cluster: Cluster, client: httpx2.AsyncClient) -> None:
    await created(client, JOBS, objects.job("j", SLEEP, activeDeadlineSeconds=1))

    found = await until(client, f"{JOBS}/j", lambda job: job["status"].get("conditions"))

    assert found["status"]["conditions"][1]["reason"] == "DeadlineExceeded"
    await until(client, PODS, lambda pods: not pods["items"])
    assert processes_below(cluster.directory) == []


async def test_a_finished_job_goes_after_its_time_with_its_pods(client: httpx2.AsyncClient) -> None:
    await created(client, JOBS, objects.job("j", "true", ttlSecondsAfterFinished=0))

    await until(client, f"{JOBS}/j", is_gone)
    await until(client, PODS, lambda pods: not pods["items"])


async def test_pods_die_with_a_sandbox_that_is_killed(tmp_path: Path) -> None:
    script = textwrap.dedent(
        """
        import asyncio, pathlib, sys
        import httpx2
        from holdfast.sandbox.cluster import Cluster
        from tests.sandbox import objects

        async def main():
            async with Cluster(pathlib.Path(sys.argv[1])) as cluster:
                async with httpx2.AsyncClient(base_url="http://sandbox", transport=cluster.transport()) as client:
                    await objects.created(client, objects.PODS, objects.pod("p", "setsid sleep 600 & exec sleep 600"))
                    await objects.until(client, f"{objects.PODS}/p", lambda _: cluster.pod_pid("default", "p"))
                    print("running", flush=True)
                    await asyncio.sleep(600)

        asyncio.run(main())
        """
    )
    directory = tmp_path / "killed"
    argv = (sys.executable, "-c", script, str(directory))
    sandbox = await asyncio.create_subprocess_exec(*argv, stdout=subprocess.PIPE)
    assert sandbox.stdout is not None
    assert await sandbox.stdout.readline() == b"running\n"
    sandbox.kill()
    await sandbox.wait()

    async with (
        Cluster(directory) as cluster,
        httpx2.AsyncClient(base_url="http://sandbox", transport=cluster.transport()) as client,
    ):
        pod = await until(client, f"{PODS}/p", has_phase("Failed"))
        assert terminated(pod)["exitCode"] == 137
        await until(client, f"{PODS}/p", lambda _: not processes_below(directory))
