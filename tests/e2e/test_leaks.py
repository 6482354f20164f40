"""After many backups and restores nothing of ours is left, in the cluster or in the storage of its volumes.

HOLDFAST_LEAKS=50,20 asks for as many backups and restores under each policy; without it, fewer.
"""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.cluster.kubectl import kubectl
from tests.e2e.remains import in_drivers, remains, wait_for_no_more_than
from tests.e2e.test_cluster import claim, job
from tests.e2e.test_snapshot_movers import plan
from tests.e2e.town import App, apply, end_namespace, holdfast, install, lose_holdfast, until

BACKUPS, RESTORES = (int(each) for each in os.environ.get("HOLDFAST_LEAKS", "6,2").split(","))
METHODS: Final = ("Snapshot", "Direct")
CLASSES: Final = {"Delete": "csi", "Retain": "csi-retain"}

pytestmark = [pytest.mark.long, pytest.mark.programs, pytest.mark.timeout(120 + 15 * (BACKUPS + RESTORES))]


@pytest.fixture(scope="module")
def cluster(kubeconfig: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    install()
    repository = tmp_path_factory.mktemp("repository")
    apply(holdfast("render", "repository", "--engine", "kopia", "--directory", str(repository)))
    kubectl("wait", "--for=condition=Ready", "repository/default", "--timeout=120s")
    yield
    lose_holdfast()


class Town(App):
    """One claim for each copy method."""

    def __init__(self, policy: str) -> None:
        super().__init__(f"app-{os.urandom(3).hex()}")
        self.policy = policy
        self.count = 0

    def begin(self) -> None:
        """Create the claims, and let the app say what it finds."""
        for method in METHODS:
            made = claim(method.lower(), storageClassName=CLASSES[self.policy])
            made["metadata"] |= {"labels": {"backup": "manual"}, "annotations": {"holdfast.dev/copy-method": method}}
            self.apply(made)
            self.apply(job(method.lower(), "test ! -e /data/count || cat /data/count", claim=method.lower()))
        for method in METHODS:
            name = f"job/{method.lower()}"
            kubectl("wait", f"--namespace={self.name}", "--for=condition=Complete", name, "--timeout=120s")
            assert kubectl("logs", f"--namespace={self.name}", name) == (str(self.count) if self.count else "")

    def end(self) -> None:
        """Delete the claims; where the class says Retain, their volumes are a person's to delete, and are deleted."""
        until(lambda: self.policies() == {self.policy}, "the policy of the class on every volume")
        kubectl("delete", f"--namespace={self.name}", "jobs,pvc", "--all", "--timeout=60s")
        for volume in self.volumes() if self.policy == "Retain" else ():
            body = {"spec": {"persistentVolumeReclaimPolicy": "Delete"}}
            kubectl("patch", f"pv/{volume}", "--type=merge", f"--patch={json.dumps(body)}")
        until(lambda: not self.volumes(), "the end of the volumes")

    def change(self) -> None:
        self.count += 1
        for method in METHODS:
            (self.volume(method.lower()) / "count").write_text(str(self.count))

    def volumes(self) -> set[str]:
        return self._of_volumes("metadata.name")

    def policies(self) -> set[str]:
        return self._of_volumes("spec.persistentVolumeReclaimPolicy")

    def _of_volumes(self, path: str) -> set[str]:
        chosen = f".items[?(@.spec.claimRef.namespace=='{self.name}')].{path}"
        return set(kubectl("get", "pv", f"--output=jsonpath={{{chosen}}}").split())


@pytest.mark.parametrize("policy", CLASSES)
def test_nothing_is_left_of_backups_and_restores(cluster: None, own_class: Callable[..., None], policy: str) -> None:
    own_class(deletionPolicy=policy)
    remained, stored = remains(), in_drivers()
    app = Town(policy)
    app.create()
    app.begin()
    until(lambda: "VolumeSnapshotClass own" in plan(app, "snapshot"), "the class of the test")
    for _ in range(BACKUPS // len(METHODS)):
        app.change()
        holdfast("backup", *(f"{app.name}/{method.lower()}" for method in METHODS))
    for _ in range(RESTORES // len(METHODS)):
        app.end()
        app.begin()
    wait_for_no_more_than(remained)
    app.end()
    end_namespace(app.name)
    wait_for_no_more_than(remained)
    assert in_drivers() <= stored
