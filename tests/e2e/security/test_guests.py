"""Movers in an app's own namespace, under the rights that an administrator gives, and movers that are not root."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.cluster import places
from tests.cluster.kubectl import ask, kubectl
from tests.e2e.security.test_credentials import ALLOWED_THERE, RESTRICTED
from tests.e2e.test_cluster import job
from tests.e2e.town import HOME, App, apply, holdfast, until
from tests.support.s3 import S3Server

pytestmark = [pytest.mark.programs, pytest.mark.timeout(400)]

CLASS = "read-beside-the-app"
OPERATOR = f"system:serviceaccount:{HOME}:holdfast-operator"
USER = 1000


@pytest.fixture(scope="module", autouse=True)
def storage_class(cluster: S3Server) -> Iterator[None]:
    """Make a class that says that its volumes have no alias."""
    annotations = {"holdfast.dev/copy-method": "Direct", "holdfast.dev/alias": "false"}
    kind = {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "provisioner": places.DRIVER}
    apply(json.dumps({**kind, "metadata": {"name": CLASS, "annotations": annotations}}))
    yield
    kubectl("delete", f"storageclass/{CLASS}")


@pytest.fixture
def own(cluster: S3Server, app: App) -> Iterator[App]:
    """Return an app's namespace with a Repository of its own."""
    place = f"http://{cluster.endpoint}/{cluster.bucket}/{app.name}"
    written = holdfast("render", "repository", app.name, "--engine", "restic", "--s3", place, "--insecure")
    secret, repository = yaml.safe_load_all(written)
    secret["stringData"] |= cluster.environment
    repository["spec"]["namespaces"] = [app.name]
    apply(yaml.safe_dump_all([secret, repository]))
    kubectl("wait", "--for=condition=Ready", f"repository/{app.name}", "--timeout=120s")
    yield app
    kubectl("delete", f"repository/{app.name}")
    kubectl("delete", f"secret/{secret['metadata']['name']}", f"--namespace={HOME}")


def protect(app: App, **annotations: str) -> None:
    named = {"holdfast.dev/repository": app.name, **annotations}
    app.claim_with("data", {"backup": "manual"}, annotations=named, storageClassName=CLASS)


def run_as_user(app: App, name: str, command: str) -> str:
    """Run an app that a `restricted` namespace lets in; return what it printed."""
    made: dict[str, Any] = job(name, command, claim="data")
    made["spec"]["template"]["spec"]["containers"][0]["securityContext"] = ALLOWED_THERE | {"runAsUser": USER}
    app.apply(made)
    kubectl("wait", f"--namespace={app.name}", "--for=condition=Complete", f"job/{name}", "--timeout=120s")
    return kubectl("logs", f"--namespace={app.name}", f"job/{name}")


def told(app: App) -> list[str]:
    found = json.loads(kubectl("get", "events", f"--namespace={app.name}", "--output=json"))["items"]
    return [f"{each['reason']}: {each['message']}" for each in found if each["involvedObject"]["name"] == "data"]


def test_a_mover_works_beside_its_app_and_leaves_nothing_there(own: App) -> None:
    apply(holdfast("render", "guest", own.name))
    protect(own)
    own.run("first", "echo treasure > /data/file && chmod 640 /data/file && chown 7:8 /data/file", on="data")
    holdfast("backup", f"{own.name}/data")

    def is_clean() -> bool:
        ours = "--selector=app.kubernetes.io/managed-by=holdfast"
        return not ask("get", "jobs,pods,secrets", f"--namespace={own.name}", ours, "--output=name").stdout

    until(is_clean, "the end of all that the run needed")
    read = ask("auth", "can-i", "get", "secrets", f"--namespace={own.name}", f"--as={OPERATOR}")
    assert read.stdout.strip() == "no"
    kubectl("delete", f"--namespace={own.name}", "job/first", "pvc/data", "--timeout=60s")
    protect(own)
    assert own.run("second", "stat -c %u:%g:%a /data/file; cat /data/file", on="data") == "7:8:640\ntreasure\n"


@pytest.mark.long
def test_a_label_without_rights_is_told_with_what_to_apply(own: App) -> None:
    kubectl("label", "namespace", own.name, "holdfast.dev/guest-movers=true")
    protect(own, **{"holdfast.dev/backup-now": "1"})
    own.run("first", "echo treasure > /data/file", on="data")
    until(lambda: any(each.startswith("NotAdmitted: ") for each in told(own)), "the refusal")
    assert not ask("get", "jobs", f"--namespace={own.name}", "--selector=holdfast.dev/run-kind").stdout
    apply(holdfast("render", "guest", own.name))
    until(lambda: own.show("protection/data", ".status.backup.servedNow") == "1", "the backup once that is let")


def test_movers_of_a_user_work_where_only_restricted_pods_are_let_in(own: App) -> None:
    kubectl("label", "namespace", own.name, *(f"{key}={value}" for key, value in RESTRICTED.items()))
    apply(holdfast("render", "guest", own.name))
    protect(own, **{"holdfast.dev/run-as": f"{USER}"})
    run_as_user(own, "first", "echo treasure > /data/file && chmod 600 /data/file")
    holdfast("backup", f"{own.name}/data")
    kubectl("delete", f"--namespace={own.name}", "job/first", "pvc/data", "--timeout=60s")
    protect(own, **{"holdfast.dev/run-as": f"{USER}"})
    assert run_as_user(own, "second", "stat -c %u:%a /data/file; cat /data/file") == f"{USER}:600\ntreasure\n"
