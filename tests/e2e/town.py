"""What tests of the whole product do in a real cluster: install it, play an app, lose it all."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from tests.cluster import places, processes
from tests.cluster.kubectl import ask, kubectl
from tests.e2e.test_cluster import claim, job

HOME = "holdfast"
OURS = "--selector=app.kubernetes.io/managed-by=holdfast"


def holdfast(*arguments: str, patience_seconds: float = 180, environment: Mapping[str, str] | None = None) -> str:
    """Return what the command line prints; its complaint is the test's."""
    given = {**os.environ, "KUBECONFIG": str(places.KUBECONFIG), **(environment or {})}
    argv = [sys.executable, "-m", "holdfast", *arguments]
    done = subprocess.run(argv, env=given, capture_output=True, text=True, check=False, timeout=patience_seconds)
    assert done.returncode == 0, done.stderr
    return done.stdout


def apply(text: str) -> None:
    kubectl("apply", "--server-side", "--filename=-", text=text)


def install(*rule: str) -> None:
    """Do what a person does: arm the cluster, then start the operator under its own rights and by the same rule."""
    arm(*rule)
    start_operator(*rule)
    kubectl("rollout", "status", f"--namespace={HOME}", "deployment/holdfast-operator", "--timeout=120s")


def arm(*rule: str) -> None:
    apply(holdfast("render", "arm", *rule))


def start_operator(*rule: str) -> None:
    apply(holdfast("render", "install", "--image", places.HOLDFAST_IMAGE, "--first-backup-after", "1s", *rule))


def lose_holdfast() -> None:
    """Remove every trace of Holdfast from the cluster."""
    for kind in ("protections", "restores", "repositories"):
        ask("delete", f"{kind}.holdfast.dev", "--all", "--all-namespaces", "--timeout=60s")
    end_namespace(HOME)
    ask("delete", "customresourcedefinitions", OURS, "--timeout=60s")
    for kind in ("mutating", "validating"):
        ask("delete", f"{kind}admissionpolicybindings,{kind}admissionpolicies", OURS)


def end_namespace(name: str) -> None:
    """Delete a namespace: its pods first, for which the deletion of a namespace would wait longer than they need."""
    ask("delete", "deployments,statefulsets,jobs", "--all", f"--namespace={name}", "--timeout=60s")
    ask("delete", "pods,pvc", "--all", f"--namespace={name}", "--grace-period=1", "--timeout=60s")
    ask("delete", "namespace", name, "--timeout=120s")


def until(condition: Callable[[], bool], what: str, seconds: float = 90) -> None:
    processes.until(condition, within=timedelta(seconds=seconds), what=what)


class App:
    """A namespace with claims; Jobs are its apps."""

    def __init__(self, name: str) -> None:
        self.name = name

    def create(self) -> None:
        kubectl("create", "namespace", self.name)

    def claim(self, name: str, **labels: str) -> None:
        self.claim_with(name, labels)

    def claim_with(
        self, name: str, labels: dict[str, str], *, annotations: dict[str, str] | None = None, **spec: Any
    ) -> None:
        made = claim(name, **spec)
        made["metadata"] |= {"labels": labels, "annotations": annotations or {}}
        self.apply(made)

    def apply(self, manifest: dict[str, Any]) -> None:
        kubectl("apply", f"--namespace={self.name}", "--filename=-", text=json.dumps(manifest))

    def run(self, name: str, command: str, on: str) -> str:
        """Run an app on a claim to its end; return what it printed."""
        self.apply(job(name, command, claim=on))
        kubectl("wait", f"--namespace={self.name}", "--for=condition=Complete", f"job/{name}", "--timeout=120s")
        return kubectl("logs", f"--namespace={self.name}", f"job/{name}")

    def volume(self, name: str) -> Path:
        """Return where a bound claim's bytes are on this machine."""
        volume = self.show(f"pvc/{name}", ".spec.volumeName")
        handle = kubectl("get", f"pv/{volume}", "--output=jsonpath={.spec.csi.volumeHandle}")
        return places.directory(handle)

    def show(self, what: str, path: str) -> str:
        return kubectl("get", f"--namespace={self.name}", what, f"--output=jsonpath={{{path}}}")

    def lose(self) -> None:
        """Delete the namespace; its volumes go with it."""
        end_namespace(self.name)
        volumes = f"--output=jsonpath={{.items[?(@.spec.claimRef.namespace=='{self.name}')].metadata.name}}"
        kubectl("wait", "--for=delete", "pv", "--all", "--timeout=60s") if kubectl("get", "pv", volumes) else None
