"""The image has what Holdfast needs, under the strictest rights that a pod can have."""

import json
from typing import Any

from tests.cluster import places
from tests.cluster.kubectl import kubectl

RESTRICTED: dict[str, Any] = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}


def test_holdfast_and_its_engines_run_without_any_right(namespace: str) -> None:
    kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
    commands = {
        "holdfast": {"args": ["--help"]},
        "kopia": {"command": ["kopia", "--version"]},
        "restic": {"command": ["restic", "version"]},
    }
    containers = [
        {"name": name, "image": places.HOLDFAST_IMAGE, "securityContext": RESTRICTED, **command}
        for name, command in commands.items()
    ]
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "asked"},
        "spec": {"restartPolicy": "Never", "containers": containers},
    }
    kubectl("apply", f"--namespace={namespace}", "--filename=-", text=json.dumps(pod))
    kubectl(
        "wait", f"--namespace={namespace}", "--for=jsonpath={.status.phase}=Succeeded", "pod/asked", "--timeout=60s"
    )
    for name, said in (("holdfast", "Usage: holdfast"), ("kopia", "0.23.1"), ("restic", "0.19.1")):
        assert said in kubectl("logs", f"--namespace={namespace}", "asked", f"--container={name}")
