"""GitOps tools that apply the same files over and over find no difference, meet nobody, and disturb no restore.

`HOLDFAST_DRIFT_SECONDS=600` lets them go on so long, every 10 s; without it they are quicker and fewer.
"""

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest

from tests.cluster import places, processes
from tests.cluster.kubectl import ask, kubectl
from tests.e2e import store
from tests.e2e.store import Door
from tests.e2e.test_cluster import claim
from tests.e2e.town import App, apply, holdfast, install, lose_holdfast

SECONDS: Final = int(os.environ.get("HOLDFAST_DRIFT_SECONDS", "30"))
EVERY: Final = 10.0 if SECONDS >= 300 else 1.0
# Restored at the store's pace, this is under way for more than half of the time.
BYTES: Final = max(8 << 20, 2 * SECONDS * store.TRICKLE)
AFTERWARDS: Final = timedelta(seconds=400)  # a mover that gave up waits before it tries again
CLASSES: Final = ("csi", "local-path")  # held by reference, and by name
START: Final = (
    f"test -e /data/file || head -c {BYTES} /dev/urandom > /data/file; sha256sum /data/file; exec sleep 99999"
)

pytestmark = [pytest.mark.long, pytest.mark.programs, pytest.mark.storage, pytest.mark.timeout(1000 + SECONDS)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A way to bring what is in Git into the cluster, and whose claims it brings."""

    of: str
    verb: str = "apply"
    how: tuple[str, ...] = ()

    def sync(self, app: App) -> None:
        """Ask for the difference and apply, as often as such tools do; fail when there is one, or a conflict."""
        if self.verb == "apply":
            files = "\n---\n".join(json.dumps(each) for name in names(self.of) for each in manifests(name))
            # Kubernetes writes meanwhile too: a difference of our making is there at the second look as well.
            assert self._finds_nothing(app, files) or self._finds_nothing(app, files)
        for name in names(self.of):
            text, before = "\n---\n".join(map(json.dumps, manifests(name))), phases(app)[name]
            done = ask(self.verb, f"--namespace={app.name}", *self.how, "--filename=-", text=text)
            match self.verb, before, phases(app)[name]:
                case "replace", "Bound", _ if not name.endswith(CLASSES[1]):
                    # As Kubernetes treats every claim, also the plain one; by name, the hold gives the name back.
                    assert done.stderr.count("Forbidden: spec is immutable after creation") == 1, done.stderr
                case "replace", "Pending", "Bound":
                    pass
                case _:
                    assert done.returncode == 0, done.stderr

    def _finds_nothing(self, app: App, files: str) -> bool:
        asked = ask("diff", f"--namespace={app.name}", *self.how, "--filename=-", text=files)
        print(asked.stdout + asked.stderr, end="")
        return asked.returncode == 0


TOOLS: Final = (
    Tool(of="client"),
    Tool(of="server", how=("--server-side", "--field-manager=one")),
    Tool(of="server", how=("--server-side", "--field-manager=two")),
    Tool(of="replace", verb="replace"),
)
PLAIN: Final = "plain"  # a claim without our label, which is replaced as well
LABELLED: Final = tuple(f"{tool}-{each}" for tool in ("client", "server", "replace") for each in CLASSES)


def names(of: str) -> tuple[str, ...]:
    """Return the claims that a tool brings."""
    mine = tuple(f"{of}-{each}" for each in CLASSES)
    return (*mine, PLAIN) if of == "replace" else mine


def manifests(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a claim and its app, as they are in Git."""
    storage_class = name.partition("-")[2] or CLASSES[0]
    wanted = claim(name, storageClassName=storage_class)
    if name != PLAIN:
        wanted["metadata"]["labels"] = {"backup": "manual"}
    container = {
        "name": "main",
        "image": places.TOOLBOX_IMAGE,
        "command": ["sh", "-c", START],
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    }
    volume = {"name": "data", "persistentVolumeClaim": {"claimName": name}}
    pod = {"terminationGracePeriodSeconds": 1, "containers": [container], "volumes": [volume]}
    spec = {
        "strategy": {"type": "Recreate"},
        "selector": {"matchLabels": {"app": name}},
        "template": {"metadata": {"labels": {"app": name}}, "spec": pod},
    }
    return wanted, {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}


@pytest.fixture
def door(kubeconfig: Path, tmp_path: Path) -> Iterator[Door]:
    """Return the way to the store in which the cluster's Repository is."""
    install("--by-name", "local-path")
    with store.opened(tmp_path) as (server, (way,)):
        where = ("--s3", f"{way.endpoint}/{server.bucket}/backups", "--insecure")
        apply(holdfast("render", "repository", *where, environment=server.environment))
        kubectl("wait", "--for=condition=Ready", "repository/default", "--timeout=110s")
        yield way
    lose_holdfast()


def bring(app: App) -> None:
    """Bring everything for the first time."""
    for tool in TOOLS:
        text = "\n---\n".join(json.dumps(each) for name in names(tool.of) for each in manifests(name))
        verb = "create" if tool.verb == "replace" else tool.verb
        kubectl(verb, f"--namespace={app.name}", *tool.how, "--filename=-", text=text)


def started(app: App) -> dict[str, str]:
    """Return what each app printed at its start, once all have."""
    printed: dict[str, str] = {}

    def all_told() -> bool:
        for name in (*LABELLED, PLAIN):
            printed[name] = ask("logs", f"--namespace={app.name}", f"deployment/{name}").stdout
        return all(printed.values())

    processes.until(all_told, within=AFTERWARDS, what="all apps")
    return printed


def phases(app: App) -> dict[str, str]:
    found = json.loads(kubectl("get", "pvc", f"--namespace={app.name}", "--output=json"))["items"]
    return {each["metadata"]["name"]: each["status"]["phase"] for each in found}


def restoring(app: App) -> int:
    """Return how many claims are being filled."""
    return app.show("protections", ".items[*].status.restore.phase").split().count("Restoring")


def expect_nothing_of_ours(app: App) -> None:
    """No field of what a person made is ours, and no app was changed but by `replace`, which takes annotations away."""
    listed = kubectl("get", "pvc,deployments,pods", f"--namespace={app.name}", "--show-managed-fields", "--output=json")
    for each in json.loads(listed)["items"]:
        managers = {field["manager"] for field in each["metadata"]["managedFields"]}
        assert managers
        assert not [manager for manager in managers if "holdfast" in manager], (each["metadata"]["name"], managers)
        if each["kind"] == "Deployment" and each["metadata"]["name"] not in names("replace"):
            assert each["metadata"]["generation"] == 1, each["metadata"]["name"]


def go_on(app: App, seconds: float) -> int:
    """Let all tools apply, again and again; return how often."""
    ends, rounds = time.monotonic() + seconds, 0
    while time.monotonic() < ends or rounds < 3:
        next_round = time.monotonic() + EVERY
        for tool in TOOLS:
            tool.sync(app)
        expect_nothing_of_ours(app)
        rounds += 1
        time.sleep(max(0.0, next_round - time.monotonic()))
    return rounds


def test_files_that_are_applied_over_and_over_change_nothing(door: Door, app: App) -> None:
    bring(app)
    written = started(app)
    holdfast("backup", *(f"{app.name}/{name}" for name in LABELLED))
    app.lose()
    app.create()

    door.pace(store.TRICKLE, of=store.is_of_a_pack)
    bring(app)
    processes.until(lambda: restoring(app) >= 4, within=timedelta(seconds=60), what="restores")
    during = go_on(app, SECONDS / 2)
    assert phases(app) == {PLAIN: "Bound"} | dict.fromkeys(LABELLED, "Pending")
    door.pace(None)

    restored = started(app)
    assert {name: restored[name] for name in LABELLED} == {name: written[name] for name in LABELLED}
    after = go_on(app, SECONDS / 2)
    assert set(phases(app).values()) == {"Bound"}
    print(f"\n  every {EVERY:g} s: {during} times during the restores, {after} times after; no difference, no conflict")
