"""The engine by itself in the cluster: what its pods are, and what runs in them."""

from pathlib import Path
from typing import Any, Final

from benchmarks.overhead import PASSWORD
from holdfast.model.intent import CopyMethod
from holdfast.model.repository import EngineKind
from tests.cluster import places
from tests.e2e.test_cluster import claim

NAME: Final = "bench"
SIZE: Final = {"resources": {"requests": {"storage": "2Gi"}}}


def volume_claim(name: str) -> dict[str, Any]:
    made = claim(name, **SIZE, storageClassName="csi")
    made["metadata"]["namespace"] = NAME
    return made


def labelled(name: str, method: CopyMethod) -> dict[str, Any]:
    made = volume_claim(name)
    annotations = {"holdfast.dev/copy-method": method.value}
    made["metadata"] |= {"labels": {"backup": "manual"}, "annotations": annotations}
    return made


def pod(
    name: str,
    claim_name: str,
    command: list[str],
    *,
    image: str = places.HOLDFAST_IMAGE,
    repository: Path | None = None,
) -> dict[str, Any]:
    """Return a pod with the claim at /data/volume, and the repository of the bare engine at /repository."""
    volumes: list[dict[str, Any]] = [{"name": "data", "persistentVolumeClaim": {"claimName": claim_name}}]
    mounts = [{"name": "data", "mountPath": "/data/volume"}]
    if repository is not None:
        volumes.append({"name": "repository", "hostPath": {"path": str(repository)}})
        mounts.append({"name": "repository", "mountPath": "/repository"})
    password = [{"name": f"{engine}_PASSWORD", "value": PASSWORD} for engine in ("KOPIA", "RESTIC")]
    place = {"name": "RESTIC_REPOSITORY", "value": "/repository"}
    container = {
        "name": "main",
        "image": image,
        "command": command,
        "env": [*password, place],
        "volumeMounts": mounts,
        "securityContext": {"runAsUser": 0},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": NAME},
        "spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": False,
            "containers": [container],
            "volumes": volumes,
        },
    }


CONNECT: Final = "kopia repository connect filesystem --path=/repository --override-hostname=bench --override-username="
CREATE: Final = {
    EngineKind.KOPIA: "kopia repository create filesystem --path=/repository"
    " && kopia policy set --global --compression=zstd-fastest",
    EngineKind.RESTIC: "restic init",
}


def backing_up(engine: EngineKind, name: str) -> str:
    if engine is EngineKind.RESTIC:
        return f"cd /data/volume && restic backup --quiet --host={name} --group-by=host ."
    return f"{CONNECT}{name} && kopia snapshot create --no-auto-maintenance --no-progress /data/volume"


def restoring(engine: EngineKind, name: str) -> str:
    """Restore the newest snapshot, and return once it is on the disk."""
    if engine is EngineKind.RESTIC:
        return f"restic restore latest --host={name} --sparse --quiet --target=/data/volume && sync -f /data/volume"
    latest = "--snapshot-time=latest --write-sparse-files --no-progress"
    return f"{CONNECT}{name} && kopia snapshot restore {latest} /data/volume /data/volume && sync -f /data/volume"
