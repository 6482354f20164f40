"""A repository in the volume of a claim: reader and movers mount it, and the data comes back from it."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.kubectl import kubectl
from tests.e2e.test_cluster import claim
from tests.e2e.town import HOME, App, apply, holdfast, install, lose_holdfast

pytestmark = [pytest.mark.long, pytest.mark.programs, pytest.mark.timeout(400)]

LABELS = {"backup": "manual"}


@pytest.fixture
def cluster(kubeconfig: Path) -> Iterator[None]:
    install()
    yield
    lose_holdfast()


def test_a_claim_is_restored_from_a_repository_in_another_claim(cluster: None, app: App) -> None:
    store = claim("backups")
    store["metadata"] |= {"namespace": HOME, "labels": LABELS}
    apply(json.dumps(store))
    apply(holdfast("render", "repository", "--claim", "backups"))
    kubectl("wait", "--for=condition=Ready", "repository/default", "--timeout=120s")

    app.claim("data", **LABELS)
    app.run("first", "echo treasure > /data/file", on="data")
    holdfast("backup", f"{app.name}/data")
    kubectl("delete", f"--namespace={app.name}", "job/first", "pvc/data", "--timeout=60s")
    app.claim("data", **LABELS)
    assert app.run("second", "cat /data/file", on="data") == "treasure\n"
    assert kubectl("get", "protections.holdfast.dev", f"--namespace={HOME}", "--output=name") == ""
