"""The main job where the provisioner ignores dataSourceRef: claims wait for a volume of a reserved name."""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster import nodes
from tests.cluster.kubectl import kubectl
from tests.e2e import town
from tests.e2e.test_cluster import claim, job
from tests.e2e.town import HOME, App, apply, end_namespace, holdfast, lose_holdfast
from tests.support import trees

pytestmark = [pytest.mark.programs, pytest.mark.timeout(400)]

LABELS = {"backup": "manual"}
CLASS = "local-path"
IMMEDIATE = "csi-immediate"
BY_NAME = ("--by-name", f"{CLASS},{IMMEDIATE}")


@pytest.fixture
def cluster(kubeconfig: Path) -> Iterator[None]:
    town.install(*BY_NAME)
    yield
    lose_holdfast()


class Town(App):
    """Claims of the class that is held by name."""

    storage_class = CLASS

    def claim(self, name: str, **labels: str) -> None:
        made = claim(name, storageClassName=self.storage_class)
        made["metadata"]["labels"] = labels
        self.apply(made)

    def volume(self, name: str) -> Path:
        volume = self.show(f"pvc/{name}", ".spec.volumeName")
        found = json.loads(kubectl("get", f"pv/{volume}", "--output=json"))["spec"]
        if "csi" in found:
            return super().volume(name)
        return Path((found.get("hostPath") or found["local"])["path"])


@pytest.fixture
def app() -> Iterator[Town]:
    made = Town(f"app-{os.urandom(3).hex()}")
    made.create()
    yield made
    end_namespace(made.name)


@pytest.fixture
def repository(tmp_path: Path) -> str:
    directory = tmp_path / "repository"
    directory.mkdir()
    return holdfast("render", "repository", "--engine", "kopia", "--directory", str(directory))


def helpers() -> str:
    """Return what is left of fills."""
    path = f"{{.items[?(@.spec.claimRef.namespace=='{HOME}')].metadata.name}}"
    left = kubectl("get", f"--namespace={HOME}", "pvc,jobs", "--output=name")
    return left + kubectl("get", "pv", f"--output=jsonpath={path}")


def volumes(storage_class: str = CLASS) -> set[str]:
    """Return the names of all volumes of the class."""
    path = f"{{.items[?(@.spec.storageClassName=='{storage_class}')].metadata.name}}"
    return set(kubectl("get", "pv", f"--output=jsonpath={path}").split())


def wait_until_cleared() -> None:
    deadline = time.monotonic() + 60
    while left := helpers():
        assert time.monotonic() < deadline, left
        time.sleep(0.5)


def test_what_was_lost_is_back_before_the_app_starts(cluster: None, app: Town, repository: str) -> None:
    before_all = volumes()
    apply(repository)
    kubectl("wait", "--for=condition=Ready", "repository/default", "--timeout=120s")
    app.claim("data", **LABELS)
    app.run("first", "touch /data/started", on="data")
    trees.build(app.volume("data"))
    before = trees.manifest(app.volume("data"))
    holdfast("backup", f"{app.name}/data")
    wait_until_cleared()
    directory = app.volume("data")
    assert volumes() - before_all == {f"holdfast.{app.name}.data"}

    app.lose()
    assert not directory.exists()
    lose_holdfast()
    town.install(*BY_NAME)
    apply(repository)
    app.create()
    app.claim("data", **LABELS)
    app.claim("newcomer", **LABELS)
    assert app.run("second", "test -e /data/started && echo here", on="data") == "here\n"
    after = trees.manifest(app.volume("data"))
    assert set(after) == set(before)
    for path, each in after.items():
        assert (each.digest, each.mode, each.owner) == (before[path].digest, before[path].mode, before[path].owner)
    assert app.run("third", "ls -A /data", on="newcomer") == ""

    wait_until_cleared()
    given = [app.volume(name) for name in ("data", "newcomer")]
    assert volumes() - before_all == {f"holdfast.{app.name}.{name}" for name in ("data", "newcomer")}
    kubectl("delete", f"--namespace={app.name}", "jobs", "--all", "--timeout=60s")
    kubectl("delete", f"--namespace={app.name}", "pvc", "--all", "--timeout=60s")
    for name in ("data", "newcomer"):
        kubectl("wait", "--for=delete", f"pv/holdfast.{app.name}.{name}", "--timeout=60s")
    assert not [each for each in given if each.exists()]
    assert volumes() <= before_all


@pytest.mark.long
def test_claims_of_one_pod_are_filled_where_it_runs_and_what_was_kept_stays(
    cluster: None, app: Town, repository: str
) -> None:
    before_all = volumes()
    apply(repository)
    kubectl("wait", "--for=condition=Ready", "repository/default", "--timeout=120s")
    here = kubectl("get", "nodes", "--output=jsonpath={.items[0].metadata.name}")
    for name in ("left", "right"):
        app.claim(name, **LABELS)
    with nodes.second_node():
        both = job("both", "touch /data/file", claim="left", nodeSelector={"kubernetes.io/hostname": here})
        spec = both["spec"]["template"]["spec"]
        spec["volumes"].append({"name": "right", "persistentVolumeClaim": {"claimName": "right"}})
        spec["containers"][0]["volumeMounts"].append({"name": "right", "mountPath": "/right"})
        app.apply(both)
        kubectl("wait", f"--namespace={app.name}", "--for=condition=Complete", "job/both", "--timeout=90s")
    wait_until_cleared()

    directory, reserved = app.volume("left"), f"holdfast.{app.name}.left"
    kubectl("patch", "pv", reserved, "--patch", json.dumps({"spec": {"persistentVolumeReclaimPolicy": "Retain"}}))
    kubectl("delete", f"--namespace={app.name}", "job/both", "pvc/left", "--timeout=60s")
    app.claim("left", **LABELS)
    assert app.run("again", "ls -A /data", on="left") == ""
    wait_until_cleared()
    (kept,) = volumes() - before_all - {reserved, f"holdfast.{app.name}.right"}
    assert kept.startswith(f"kept.{app.name}.left.")
    assert kubectl("get", f"pv/{kept}", "--output=jsonpath={.status.phase}") == "Released"
    assert (directory / "file").exists()
    assert app.volume("left") != directory

    # A person is done with it: the provisioner takes it away as any other.
    kubectl("patch", "pv", kept, "--patch", json.dumps({"spec": {"persistentVolumeReclaimPolicy": "Delete"}}))
    kubectl("wait", "--for=delete", f"pv/{kept}", "--timeout=60s")
    assert not directory.exists()


@pytest.mark.long
def test_a_driver_that_would_look_at_the_source_is_served_as_well(cluster: None, app: Town, repository: str) -> None:
    before_all = volumes(IMMEDIATE)
    apply(repository)
    kubectl("wait", "--for=condition=Ready", "repository/default", "--timeout=120s")
    app.storage_class = IMMEDIATE
    app.claim("data", **LABELS)
    assert app.run("first", "ls -A /data; touch /data/file", on="data") == ""
    wait_until_cleared()
    directory, reserved = app.volume("data"), f"holdfast.{app.name}.data"
    kubectl("wait", "--for=jsonpath={.spec.persistentVolumeReclaimPolicy}=Delete", f"pv/{reserved}", "--timeout=10s")
    assert volumes(IMMEDIATE) - before_all == {reserved}
    kubectl("delete", f"--namespace={app.name}", "job/first", "pvc/data", "--timeout=60s")
    kubectl("wait", "--for=delete", f"pv/{reserved}", "--timeout=60s")
    assert not directory.exists()
