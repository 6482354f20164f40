"""An installer that times out and begins again: what was begun for its claim is carried on, and nothing twice."""

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.cluster import processes
from tests.cluster.kubectl import kubectl
from tests.e2e import store
from tests.e2e.store import Door
from tests.e2e.test_cluster import job
from tests.e2e.town import HOME, App, apply, holdfast, install, lose_holdfast

pytestmark = [pytest.mark.long, pytest.mark.programs, pytest.mark.storage, pytest.mark.timeout(300)]

LABELS = {"backup": "manual"}
AGAIN = 3
WRITE = "head -c 8388608 /dev/urandom > /data/file && sha256sum /data/file"
READ = "sha256sum /data/file"


@pytest.fixture(scope="module")
def door(kubeconfig: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """Return the way to the store in which the cluster's Repository is."""
    install("--by-name", "local-path")
    with store.opened(tmp_path_factory.mktemp("store")) as (server, (way,)):
        where = ("--s3", f"{way.endpoint}/{server.bucket}/backups", "--insecure")
        apply(holdfast("render", "repository", *where, environment=server.environment))
        kubectl("wait", "--for=condition=Ready", "repository/default", "--timeout=110s")
        yield way
    lose_holdfast()


def of_fills(kind: str, reason: str) -> list[dict[str, Any]]:
    """Return what the cluster's controllers noted of our fills' objects; that outlives the objects."""
    selected = f"--field-selector=involvedObject.kind={kind},reason={reason}"
    events = json.loads(kubectl("get", "events", f"--namespace={HOME}", selected, "--output=json"))["items"]
    return [each for each in events if each["involvedObject"]["name"].startswith("fill-")]


def is_under_way(app: App, door: Door, asked: int) -> bool:
    """Say whether the claim that is there now waits for files that are on their way."""
    uid = app.show("pvc/data", ".metadata.uid")
    told = app.show("protection/data", ".status.restore.claimUID} {.status.restore.phase")
    return told == f"{uid} Restoring" and any("/kopia/p" in each for each in door.proxy.requests[asked:])


@pytest.mark.parametrize("storage_class", ["csi", "local-path"])
def test_a_claim_that_is_made_again_and_again_is_filled_once(door: Door, app: App, storage_class: str) -> None:
    app.claim_with("data", LABELS, storageClassName=storage_class)
    written = app.run("first", WRITE, on="data")
    holdfast("backup", f"{app.name}/data")
    app.lose()
    before = len(of_fills("Job", "SuccessfulCreate")), len(of_fills("PersistentVolumeClaim", "ProvisioningSucceeded"))

    door.pace(store.TRICKLE, of=store.is_of_a_pack)
    asked = len(door.proxy.requests)
    app.create()
    for number in range(AGAIN + 1):
        app.claim_with("data", LABELS, storageClassName=storage_class)
        app.apply(job("second", READ, claim="data"))
        processes.until(lambda: is_under_way(app, door, asked), within=timedelta(seconds=60), what="the restore")
        if number < AGAIN:
            kubectl("delete", f"--namespace={app.name}", "job/second", "pvc/data", "--timeout=60s")
    door.pace(None)

    kubectl("wait", f"--namespace={app.name}", "--for=condition=Complete", "job/second", "--timeout=110s")
    assert kubectl("logs", f"--namespace={app.name}", "job/second") == written
    jobs, volumes = of_fills("Job", "SuccessfulCreate"), of_fills("PersistentVolumeClaim", "ProvisioningSucceeded")
    assert (len(jobs) - before[0], len(volumes) - before[1]) == (1, 1)
    assert {each.get("count", 1) for each in (*jobs, *volumes)} == {1}
