"""Repository credentials stay in Holdfast's namespace, and apps' namespaces may be as strict as they like."""

import base64
import json
import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from tests.cluster import places, processes
from tests.cluster.kubectl import ask, kubectl
from tests.e2e.security import leaks
from tests.e2e.security.conftest import ENGINES
from tests.e2e.security.leaks import Secrets, Watch
from tests.e2e.test_cluster import claim, job
from tests.e2e.town import HOME, App
from tests.support.s3 import S3Server

pytestmark = [pytest.mark.programs, pytest.mark.timeout(300)]

RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}
ALLOWED_THERE = {
    "allowPrivilegeEscalation": False,
    "runAsNonRoot": True,
    "runAsUser": 1000,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}
OUR_SECRETS = ("repository-default", "repository-bucket", "reader")


@pytest.fixture
def app(cluster: S3Server) -> Iterator[App]:
    made = App(f"app-{os.urandom(3).hex()}")
    made.create()
    yield made
    kubectl("delete", "namespace", made.name, "--wait=false")


@pytest.fixture
def credentials(cluster: S3Server) -> Secrets:
    """Return all that opens a repository: passwords, storage keys, and the tokens of readers."""
    found: dict[str, str] = {}
    for item in json.loads(kubectl("get", "secrets", f"--namespace={HOME}", "--output=json"))["items"]:
        name = item["metadata"]["name"]
        found |= {f"{name}: {key}": base64.b64decode(value).decode() for key, value in item["data"].items()}
    assert len(found) == 6
    return Secrets(found)


def until(condition: Callable[[], bool], what: str) -> None:
    processes.until(condition, within=timedelta(seconds=90), what=what)


def protect(app: App, name: str, repository: str) -> None:
    made = claim(name)
    annotations = {"holdfast.dev/repository": repository}
    made["metadata"] |= {"labels": {"backup": "manual"}, "annotations": annotations}
    app.apply(made)


def restricted_job(name: str, command: str, on: str) -> dict[str, Any]:
    made = job(name, command, claim=on)
    made["spec"]["template"]["spec"]["containers"][0]["securityContext"] = ALLOWED_THERE
    return made


def back_up(app: App, *names: str) -> None:
    """Ask for a backup of each claim; whether it counts is seen in the Protection."""
    for name in names:
        kubectl("annotate", f"--namespace={app.name}", f"pvc/{name}", "holdfast.dev/backup-now=1", "--overwrite")


def is_backed_up(app: App, name: str) -> bool:
    return app.show(f"protection/{name}", ".status.backup.servedNow") == "1"


def search(credentials: Secrets, watch: Watch) -> None:
    """Fail where a credential is anywhere but in our Secrets and in our pods' processes."""
    everything = leaks.objects()
    ours = {item["metadata"]["uid"]: item for item in everything if leaks.named(item).startswith(f"Pod {HOME}/")}
    found = {leaks.named(item) for item in everything if credentials.within(json.dumps(item).encode())}
    strange = {each for each in found if not each.startswith(tuple(f"Secret {HOME}/{name}" for name in OUR_SECRETS))}
    assert not strange
    assert len(found) == len(ENGINES) * 2  # their own Secrets are seen, so others would be

    started = {pid: (leaks.pod_of(pid), program) for pid, program in leaks.environments(credentials)}
    assert set(watch.held) <= {pod for pod, _ in started.values()}  # the environment of movers is seen
    outside = {program.rpartition("/")[2] for pod, program in started.values() if pod not in ours}
    assert outside <= {"versitygw"}  # the storage itself

    assert not [each for each in watch.commands if credentials.within(each)]
    assert not [name for name, text in watch.logs().items() if credentials.within(text)]


def test_no_credential_is_anywhere_else_while_backups_and_restores_run(app: App, credentials: Secrets) -> None:
    names = tuple(ENGINES)
    with Watch() as watch:
        for name in names:
            protect(app, name, repository=name)
            app.run(f"first-{name}", "echo treasure > /data/file", on=name)
        watch.hold()
        back_up(app, *names)
        until(lambda: len(watch.held) == len(names), "both backups")
        search(credentials, watch)
        watch.let_go()
        until(lambda: all(is_backed_up(app, name) for name in names), "both backups' end")

        kubectl("delete", f"--namespace={app.name}", "jobs,pvc", "--all", "--timeout=60s")
        watch.hold()
        for name in names:
            protect(app, name, repository=name)
            app.apply(job(f"second-{name}", "cat /data/file", claim=name))
        until(lambda: len(watch.held) == len(names), "both restores")
        search(credentials, watch)
        watch.let_go()
        kubectl("wait", f"--namespace={app.name}", "--for=condition=Complete", "jobs", "--all", "--timeout=120s")
        assert [kubectl("logs", f"--namespace={app.name}", f"job/second-{name}") for name in names] == [
            "treasure\n" for _ in names
        ]
        search(credentials, watch)
        assert any("mover" in name for name in watch.logs())  # also of those that are gone


def test_a_namespace_that_allows_restricted_pods_alone_is_backed_up_and_restored(app: App) -> None:
    kubectl("label", "namespace", app.name, *(f"{key}={value}" for key, value in RESTRICTED.items()))
    refused = ask("run", "root", f"--namespace={app.name}", f"--image={places.TOOLBOX_IMAGE}", "--restart=Never")
    assert "violates PodSecurity" in refused.stderr

    protect(app, "data", repository="default")
    run(app, "first", "echo treasure > /data/file && chmod 600 /data/file")
    assert app.show("protection/data", ".status.plan.copyMethod") == "Snapshot"
    back_up(app, "data")
    until(lambda: is_backed_up(app, "data"), "the backup")
    kubectl("delete", f"--namespace={app.name}", "job/first", "pvc/data", "--timeout=60s")
    protect(app, "data", repository="default")
    assert run(app, "second", "stat -c %u:%a /data/file && cat /data/file") == "1000:600\ntreasure\n"

    pods = {"Pod", "Job"}
    told = json.loads(kubectl("get", "events", f"--namespace={app.name}", "--output=json"))["items"]
    run_there = {each["involvedObject"]["name"] for each in told if each["involvedObject"]["kind"] in pods}
    assert {name.partition("-")[0] for name in run_there} == {"first", "second"}


def run(app: App, name: str, command: str) -> str:
    app.apply(restricted_job(name, command, on="data"))
    kubectl("wait", f"--namespace={app.name}", "--for=condition=Complete", f"job/{name}", "--timeout=90s")
    return kubectl("logs", f"--namespace={app.name}", f"job/{name}")
