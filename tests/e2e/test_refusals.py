"""Quotas of a real cluster: what they refuse is quoted, and goes on by itself once they are lifted."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cluster.kubectl import kubectl
from tests.e2e.test_cluster import job
from tests.e2e.town import HOME, App, apply, holdfast, install, lose_holdfast, until

pytestmark = [
    pytest.mark.programs,
    pytest.mark.long,
    pytest.mark.timeout(400),
    pytest.mark.usefixtures("cluster"),
]

LABELS = {"backup": "manual"}


@pytest.fixture(scope="module")
def cluster(kubeconfig: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    install()
    repository = tmp_path_factory.mktemp("repository")
    apply(holdfast("render", "repository", "--engine", "restic", "--directory", str(repository)))
    kubectl("wait", "--for=condition=Ready", "repository/default", "--timeout=120s")
    yield
    lose_holdfast()


@contextmanager
def quota(hard: str) -> Iterator[None]:
    """Let nothing more of a kind into our namespace."""
    kubectl("create", "quota", "tight", f"--namespace={HOME}", f"--hard={hard}")
    used = ("get", "quota/tight", f"--namespace={HOME}", "--output=jsonpath={.status.hard}")
    until(lambda: bool(kubectl(*used)), "the quota to be in force")
    try:
        yield
    finally:
        kubectl("delete", "quota", "tight", f"--namespace={HOME}")


def test_a_claim_that_a_quota_holds_up_says_so_and_is_filled_when_it_is_lifted(app: App) -> None:
    with quota("persistentvolumeclaims=0"):
        app.claim_with("data", LABELS)
        app.apply(job("first", "ls -A /data", claim="data"))
        until(lambda: "exceeded quota: tight" in app.show("protection/data", ".status.restore.message"), "the quota")
        events = kubectl("get", "events", f"--namespace={app.name}", "--field-selector=reason=NotAdmitted", "-oname")
        assert events
        assert app.show("pvc/data", ".status.phase") == "Pending"
    kubectl("wait", f"--namespace={app.name}", "--for=condition=Complete", "job/first", "--timeout=120s")


def test_a_backup_whose_pod_a_quota_refuses_is_said_and_goes_on_when_it_is_lifted(app: App, kubeconfig: Path) -> None:
    app.claim_with("data", LABELS)
    app.run("first", "echo treasure > /data/f", on="data")
    command = [sys.executable, "-m", "holdfast", "backup", "--kubeconfig", str(kubeconfig), f"{app.name}/data"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as backup:
        try:
            with quota("pods=0"):
                said = next(line for line in backup.stderr or () if "starting: " in line)
                assert "FailedCreate" in said
                assert "exceeded quota: tight" in said
            out, err = backup.communicate(timeout=200)
        finally:
            backup.kill()
    assert backup.returncode == 0, err
    assert "backed up 1 file" in out
