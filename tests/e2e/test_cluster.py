"""The cluster that all other tests here stand on does what clusters do."""

import json
from datetime import timedelta
from typing import Any

import pytest

from tests.cluster import nodes, places, processes
from tests.cluster.kubectl import ask, kubectl

pytestmark = pytest.mark.long

WRITE = "echo one > /data/file"


def claim(name: str, **spec: Any) -> dict[str, Any]:
    size = {"resources": {"requests": {"storage": "50Mi"}}}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name},
        "spec": {"accessModes": ["ReadWriteOnce"], **size, **spec},
    }


def job(name: str, command: str, *, claim: str | None = None, **pod: Any) -> dict[str, Any]:
    """Return a Job that runs a shell command, with a claim at /data."""
    container: dict[str, Any] = {"name": "main", "image": places.TOOLBOX_IMAGE, "command": ["sh", "-c", command]}
    volumes = []
    if claim is not None:
        container["volumeMounts"] = [{"name": "data", "mountPath": "/data"}]
        volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": claim}}]
    spec = {"restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "containers": [container], "volumes": volumes}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {"backoffLimit": 0, "template": {"spec": {**spec, **pod}}},
    }


class Namespace:
    """Makes objects in one namespace and waits for them."""

    def __init__(self, name: str) -> None:
        self._name = name

    def apply(self, *manifests: dict[str, Any]) -> None:
        for each in manifests:
            kubectl("apply", f"--namespace={self._name}", "--filename=-", text=json.dumps(each))

    def wait(self, what: str, condition: str) -> None:
        everything = ("--all",) if "/" not in what else ()
        kubectl("wait", f"--namespace={self._name}", f"--for={condition}", what, *everything, "--timeout=60s")

    def run(self, manifest: dict[str, Any]) -> str:
        """Run a Job to its end and return what it printed."""
        self.apply(manifest)
        name = f"job/{manifest['metadata']['name']}"
        self.wait(name, "condition=Complete")
        return kubectl("logs", f"--namespace={self._name}", name)

    def show(self, what: str, path: str) -> str:
        return kubectl("get", f"--namespace={self._name}", what, f"--output=jsonpath={{{path}}}")


@pytest.fixture
def here(namespace: str) -> Namespace:
    return Namespace(namespace)


def test_a_job_ends_with_its_own_exit_code(here: Namespace) -> None:
    assert here.run(job("good", "id -u", securityContext={"runAsUser": 1000})) == "1000\n"
    here.apply(job("bad", "exit 42"))
    here.wait("job/bad", "condition=Failed")
    code = here.show("pods", ".items[?(@.metadata.labels.job-name=='bad')].status.containerStatuses[0].state")
    assert '"exitCode":42' in code


@pytest.mark.parametrize("storage_class", ["csi", "csi-immediate", "csi-retain", "plain", "local-path"])
def test_a_claim_of_each_class_binds_and_keeps_what_a_pod_writes(here: Namespace, storage_class: str) -> None:
    here.apply(claim("data", storageClassName=storage_class))
    here.run(job("writer", WRITE, claim="data", securityContext={"runAsUser": 1000}))
    assert here.run(job("reader", "cat /data/file", claim="data")) == "one\n"
    assert here.show("pvc/data", ".status.phase") == "Bound"


def test_a_group_is_given_to_volumes_only_where_the_driver_says_so(here: Namespace) -> None:
    found = {}
    for storage_class in ("csi", "plain"):
        here.apply(claim(storage_class, storageClassName=storage_class))
        command = "stat -c %g /data"
        group = {"fsGroup": 2000}
        found[storage_class] = here.run(job(storage_class, command, claim=storage_class, securityContext=group))
    assert found == {"csi": "2000\n", "plain": "0\n"}


def test_a_snapshot_keeps_what_was_there_and_begins_a_new_claim(here: Namespace) -> None:
    here.apply(claim("source"))
    here.run(job("first", WRITE, claim="source"))
    here.apply(
        {
            "apiVersion": "snapshot.storage.k8s.io/v1",
            "kind": "VolumeSnapshot",
            "metadata": {"name": "taken"},
            "spec": {"source": {"persistentVolumeClaimName": "source"}},
        }
    )
    here.wait("volumesnapshot/taken", "jsonpath={.status.readyToUse}=true")
    here.run(job("second", "echo two > /data/file", claim="source"))
    snapshot = {"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": "taken"}
    here.apply(claim("restored", dataSource=snapshot))
    here.apply(claim("copied", dataSource={"kind": "PersistentVolumeClaim", "name": "source"}))
    assert here.run(job("of-snapshot", "cat /data/file", claim="restored")) == "one\n"
    assert here.run(job("of-copy", "cat /data/file", claim="copied")) == "two\n"


def test_a_claim_whose_source_nobody_fills_waits(here: Namespace) -> None:
    source = {"apiGroup": "holdfast.dev", "kind": "Restore", "name": "auto"}
    here.apply(claim("data", dataSourceRef=source, storageClassName="csi-immediate"))
    here.wait("pvc/data", "jsonpath={.status.phase}=Pending")
    assert here.show("pvc/data", ".spec.volumeName") == ""


def test_a_pod_reaches_the_api_server_by_its_service(here: Namespace) -> None:
    command = "nc -w 5 $KUBERNETES_SERVICE_HOST $KUBERNETES_SERVICE_PORT < /dev/null && echo reached"
    assert here.run(job("caller", command)) == "reached\n"


@pytest.mark.parametrize("name", ["apiserver", "kubelet", "driver-directory"])
def test_a_daemon_that_was_killed_goes_on_when_it_is_started_again(here: Namespace, name: str) -> None:
    processes.kill(name)
    assert name in processes.ended()
    processes.start_again(name)
    within = timedelta(seconds=60)
    processes.until(lambda: ask("get", "--raw", "/readyz").returncode == 0, within=within, what="the API server")
    if name == "driver-directory":
        # A sidecar ends when its driver does, some only when they next need it.
        for sidecar in ("provisioner-directory", "snapshotter-directory"):
            processes.kill(sidecar)
            processes.start_again(sidecar)
    here.apply(claim("data"))
    assert here.run(job("writer", f"{WRITE} && cat /data/file", claim="data")) == "one\n"


def test_a_second_node_is_chosen_and_its_loss_is_seen(here: Namespace) -> None:
    with nodes.second_node() as second:
        kubectl("wait", "--for=condition=Ready", f"node/{second.name}", "--timeout=30s")
        here.apply(claim("data"))
        here.apply(job("there", "true", claim="data", nodeSelector={"kubernetes.io/hostname": second.name}))
        here.wait("pvc/data", "jsonpath={.status.phase}=Bound")
        chosen = here.show("pvc/data", ".metadata.annotations.volume\\.kubernetes\\.io/selected-node")
        assert chosen == second.name
        here.wait("pods", f"jsonpath={{.spec.nodeName}}={second.name}")
        second.fall_silent()
        kubectl("wait", "--for=condition=Ready=Unknown", f"node/{second.name}", "--timeout=90s")


def test_a_user_without_rights_is_refused(namespace: str) -> None:
    answer = ask("get", "pods", f"--namespace={namespace}", "--as=somebody")
    assert answer.returncode == 1
    assert "forbidden" in answer.stderr
