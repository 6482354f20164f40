"""Backups by volume snapshot on a real cluster: made while the app writes, and nothing is left of them anywhere."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.kubectl import ask, kubectl
from tests.e2e.remains import remains, wait_for_no_more_than
from tests.e2e.test_cluster import job
from tests.e2e.town import HOME, OURS, App, apply, holdfast, install, lose_holdfast, until
from tests.support import trees

pytestmark = [pytest.mark.programs, pytest.mark.timeout(400), pytest.mark.usefixtures("cluster")]

LABELS = {"backup": "manual"}
DRIVER = "directory.csi.holdfast.dev"
SECRET = "csi.storage.k8s.io/snapshotter-secret-"  # of no Secret that exists
WRITE = "while true; do n=$((n+1)); echo $n > /data/.new && mv /data/.new /data/count; sleep 0.05; done"


@pytest.fixture(scope="module")
def cluster(kubeconfig: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    install()
    repository = tmp_path_factory.mktemp("repository")
    apply(holdfast("render", "repository", "--engine", "kopia", "--directory", str(repository)))
    kubectl("wait", "--for=condition=Ready", "repository/default", "--timeout=120s")
    yield
    lose_holdfast()


def plan(app: App, claim: str) -> str:
    """Return by which method a claim is read, and why, as its Protection says once it is looked at again."""
    kubectl("annotate", f"--namespace={app.name}", f"pvc/{claim}", f"looked-at={os.urandom(3).hex()}", "--overwrite")
    return app.show(f"protection/{claim}", ".status.plan.copyMethod}: {.status.plan.copyMethodFrom")


def bind(app: App, claim: str, **spec: Any) -> None:
    """Make a protected claim whose volume exists."""
    app.claim_with(claim, LABELS, **spec)
    app.run(f"first-{claim}", "touch /data/started", on=claim)
    until(lambda: ask("get", f"--namespace={app.name}", f"protection/{claim}").returncode == 0, "the Protection")


def back_up_three_times(app: App, claim: str) -> None:
    """Back up, and wait until nothing is left of it but what was there."""
    before = remains()
    for _ in range(3):
        holdfast("backup", f"{app.name}/{claim}")
    wait_for_no_more_than(before)


def test_a_claim_that_was_backed_up_while_its_app_wrote_comes_back_identical(app: App) -> None:
    bind(app, "data")
    trees.build(app.volume("data") / "still")
    before = trees.manifest(app.volume("data") / "still")
    app.apply(job("writer", WRITE, claim="data"))
    kubectl("wait", f"--namespace={app.name}", "--for=jsonpath={.status.ready}=1", "job/writer", "--timeout=60s")
    assert plan(app, "data") == f"Snapshot: VolumeSnapshotClass csi is the default of driver {DRIVER}"

    back_up_three_times(app, "data")

    last = int((app.volume("data") / "count").read_text())
    app.lose()
    app.create()
    app.claim_with("data", LABELS)
    assert 0 < int(app.run("second", "cat /data/count", on="data")) < last
    after = trees.manifest(app.volume("data") / "still")
    assert {name: (each.digest, each.mode, each.owner) for name, each in after.items()} == {
        name: (each.digest, each.mode, each.owner) for name, each in before.items()
    }


@pytest.mark.long
def test_classes_that_retain_leave_nothing_either(app: App, own_class: Callable[..., None]) -> None:
    own_class(deletionPolicy="Retain")
    bind(app, "data", storageClassName="csi-retain")
    until(lambda: "VolumeSnapshotClass own" in plan(app, "data"), "the new default class")

    back_up_three_times(app, "data")

    volume = app.show("pvc/data", ".spec.volumeName")
    kubectl("patch", f"pv/{volume}", "--type=merge", '--patch={"spec":{"persistentVolumeReclaimPolicy":"Delete"}}')


@pytest.mark.long
@pytest.mark.parametrize("policy", ["Delete", "Retain"])
def test_a_namespace_that_goes_during_a_backup_leaves_nothing(
    app: App, own_class: Callable[..., None], policy: str
) -> None:
    own_class(deletionPolicy=policy)
    bind(app, "data")
    until(lambda: "VolumeSnapshotClass own" in plan(app, "data"), "the new default class")
    before = remains()
    kubectl("annotate", f"--namespace={app.name}", "pvc/data", "holdfast.dev/backup-now=1")
    until(lambda: bool(kubectl("get", "volumesnapshots", f"--namespace={app.name}", OURS, "-oname")), "the snapshot")
    kubectl("delete", "namespace", app.name, "--timeout=60s")
    wait_for_no_more_than(before)


@pytest.mark.long
def test_what_a_killed_operator_left_is_cleared_away_by_the_next(app: App) -> None:
    bind(app, "data")
    before = remains()
    kubectl("annotate", f"--namespace={app.name}", "pvc/data", "holdfast.dev/backup-now=1")
    until(lambda: bool(kubectl("get", "volumesnapshots", f"--namespace={app.name}", OURS, "-oname")), "the snapshot")
    operator = ("--selector=app.kubernetes.io/component=operator", "--force", "--grace-period=0")
    kubectl("delete", "pods", f"--namespace={HOME}", *operator)
    kubectl("label", f"--namespace={app.name}", "pvc/data", "backup=disabled", "--overwrite")
    assert not remains() <= before
    wait_for_no_more_than(before)


@pytest.mark.long
def test_what_the_driver_complains_of_is_told_and_leaves_nothing(app: App, own_class: Callable[..., None]) -> None:
    own_class(deletionPolicy="Delete", parameters={f"{SECRET}name": "nobody", f"{SECRET}namespace": "nowhere"})
    bind(app, "data")
    until(lambda: "VolumeSnapshotClass own" in plan(app, "data"), "the new default class")
    before = remains()
    kubectl("annotate", f"--namespace={app.name}", "pvc/data", "holdfast.dev/backup-now=1")
    until(lambda: "cannot get credentials" in app.show("protection/data", ".status.message"), "the driver's complaint")
    assert app.show("protection/data", ".status.state") == "Failing"
    kubectl("label", f"--namespace={app.name}", "pvc/data", "backup=disabled", "--overwrite")
    wait_for_no_more_than(before)


def test_a_driver_without_snapshots_is_read_beside_the_app(app: App) -> None:
    bind(app, "data", storageClassName="plain")
    assert plan(app, "data") == "Direct: driver plain.csi.holdfast.dev has no VolumeSnapshotClass"
    holdfast("backup", f"{app.name}/data")
    kubectl("annotate", f"--namespace={app.name}", "pvc/data", "holdfast.dev/copy-method=Snapshot")
    until(lambda: app.show("protection/data", ".status.state") == "NeedsReview", "the verdict")
    assert "has no VolumeSnapshotClass" in app.show("protection/data", ".status.message")


@pytest.mark.long
def test_a_class_may_say_how_its_snapshots_are_mounted(app: App) -> None:
    kubectl("annotate", "storageclass/csi", "holdfast.dev/access-modes=ReadOnlyMany", "--overwrite")
    try:
        bind(app, "data")
        before = remains()
        kubectl("annotate", f"--namespace={app.name}", "pvc/data", "holdfast.dev/backup-now=1")
        modes = ("pvc", f"--namespace={HOME}", OURS, "--output=jsonpath={.items[*].spec.accessModes}")
        until(lambda: kubectl("get", *modes) == '["ReadOnlyMany"]', "the temporary claim")
        until(lambda: app.show("protection/data", ".status.state") == "Protected", "the backup")
        wait_for_no_more_than(before)
    finally:
        kubectl("annotate", "storageclass/csi", "holdfast.dev/access-modes-")
