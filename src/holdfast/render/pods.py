"""Movers' Jobs and readers' Deployments: the only places where a Secret is named for a pod."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, assert_never

from holdfast.model import wire
from holdfast.model.intent import MANAGED_BY, RunAs
from holdfast.model.repository import (
    ClaimStorage,
    DirectoryStorage,
    EngineKind,
    NfsStorage,
    Place,
    Repository,
    S3Storage,
    Storage,
)
from holdfast.model.workorder import RepositoryAccess, WorkOrder
from holdfast.render import chooser, names
from holdfast.render.place import where

REPOSITORY_PATH: Final = "/repository"
READER_PORT: Final = 8080
PASSWORD_KEYS: Final[Mapping[EngineKind, str]] = {
    EngineKind.KOPIA: "KOPIA_PASSWORD",
    EngineKind.RESTIC: "RESTIC_PASSWORD",
    EngineKind.MEMORY: "HOLDFAST_PASSWORD",
}
S3_KEYS: Final = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
SESSION_KEY: Final = "AWS_SESSION_TOKEN"
MOVER: Final = "mover"  # its container
# A mesh's proxy would come between operator and reader, and outlive the run that it was added to.
ALONE: Final[Mapping[str, str]] = {"sidecar.istio.io/inject": "false", "linkerd.io/inject": "disabled"}
# A run that is evicted begins anew.
UNDISTURBED: Final[Mapping[str, str]] = {
    "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
    "karpenter.sh/do-not-disrupt": "true",
}
# Owners and modes are read and written as root with only these (proven with both engines).
CAPABILITIES: Final = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "SETFCAP")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """A claim of our namespace mounted into a mover."""

    claim: str
    path: str
    read_only: bool


def secret_keys(repository: Repository) -> tuple[str, ...]:
    """Return the keys that the repository's Secret must have."""
    keys = (PASSWORD_KEYS[repository.engine],)
    return keys + S3_KEYS if isinstance(repository.storage, S3Storage) else keys


def access(repository: Repository) -> RepositoryAccess:
    """Return the repository as a pod reaches it: a directory is mounted at a fixed path."""
    expected = repository.pin or repository.known_id
    return RepositoryAccess(engine=repository.engine, storage=_inside(repository.storage), expected_id=expected)


def _inside(storage: Place) -> Storage:
    match storage:
        case S3Storage():
            return storage
        case DirectoryStorage() | NfsStorage() | ClaimStorage(path=""):
            return DirectoryStorage(path=REPOSITORY_PATH, called=where(storage))
        case ClaimStorage(path=path):
            # No subPath: kubelet would create a directory that is missing, where its absence must be noticed.
            return DirectoryStorage(path=f"{REPOSITORY_PATH}/{path}", called=where(storage))
        case _:
            assert_never(storage)


def _volume(storage: Place) -> dict[str, Any] | None:
    """Return the source of the pod's volume that the repository is in; None for one that is reached otherwise."""
    match storage:
        case S3Storage():
            return None
        case DirectoryStorage(path=path):
            return {"hostPath": {"path": path, "type": "Directory"}}
        case ClaimStorage(claim=claim):
            return {"persistentVolumeClaim": {"claimName": claim}}
        case NfsStorage(server=server, path=path):
            return {"nfs": {"server": server, "path": path}}
        case _:
            assert_never(storage)


def mover_job(
    name: str,
    namespace: str,
    image: str,
    repository: Repository,
    order: WorkOrder,
    *,
    mounts: Sequence[Mount] = (),
    node: str | None = None,
    tolerations: Sequence[Mapping[str, Any]] = (),
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    owner: Mapping[str, Any] | None = None,
    run_as: RunAs | None = None,
) -> dict[str, Any]:
    """Return the Job that carries out one work order. Retries are ours, by class of failure: backoffLimit 0."""
    parent = {"name": "restore", "emptyDir": {}}
    volumes: list[dict[str, Any]] = [{"name": "tmp", "emptyDir": {}}]
    volume_mounts: list[dict[str, Any]] = [{"name": "tmp", "mountPath": "/tmp"}]  # noqa: S108  # inside the pod
    for index, mount in enumerate(mounts):
        claim = {"claimName": mount.claim, "readOnly": mount.read_only}
        volumes.append({"name": f"claim-{index}", "persistentVolumeClaim": claim})
        if not mount.read_only:
            # The engines need a writable parent, or they lose the root's owner or fail at the end.
            volumes.append(parent)
            volume_mounts.append({"name": "restore", "mountPath": mount.path.rpartition("/")[0]})
        volume_mounts.append({"name": f"claim-{index}", "mountPath": mount.path, "readOnly": mount.read_only})
    environment = [{"name": "HOLDFAST_WORK_ORDER", "value": wire.encode(order).decode()}]
    pod = _pod(image, MOVER, repository, environment, volumes, volume_mounts, read_only_repository=False, run_as=run_as)
    pod["restartPolicy"] = "Never"
    if node is not None:
        pod["affinity"] = {"nodeAffinity": {chooser.REQUIRED: {"nodeSelectorTerms": chooser.on_node(node)}}}
    if tolerations:
        pod["tolerations"] = [dict(each) for each in tolerations]
    ours = {MANAGED_BY: names.MANAGER, names.COMPONENT: "mover", **(labels or {})}
    metadata = names.metadata(name, namespace, "mover", labels=labels, annotations=annotations)
    if owner is not None:
        metadata["ownerReferences"] = [dict(owner)]
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata,
        "spec": {
            "backoffLimit": 0,
            "activeDeadlineSeconds": order.total_seconds + 600,
            "template": {"metadata": {"labels": ours, "annotations": {**ALONE, **UNDISTURBED}}, "spec": pod},
        },
    }


def reader_deployment(namespace: str, image: str, repository: Repository) -> dict[str, Any]:
    """Return the Deployment of the repository's reader: read-only, one replica, no service-account token."""
    name = names.reader(repository.name)
    labels = {MANAGED_BY: names.MANAGER, names.COMPONENT: "reader", names.HASH: names.digest(repository.name)}
    # A reader compares nothing itself; without the id a pin that changes does not restart it.
    inside = replace(access(repository), expected_id=None)
    environment: list[dict[str, Any]] = [
        {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "HOLDFAST_LISTEN", "value": f"$(POD_IP):{READER_PORT}"},
        {"name": "HOLDFAST_REPOSITORY", "value": wire.encode(inside).decode()},
        {"name": "HOLDFAST_TOKEN", "valueFrom": {"secretKeyRef": {"name": name, "key": "token"}}},
    ]
    volumes: list[dict[str, Any]] = [{"name": "tmp", "emptyDir": {}}]
    mounts: list[dict[str, Any]] = [{"name": "tmp", "mountPath": "/tmp"}]  # noqa: S108  # inside the pod
    pod = _pod(image, "reader", repository, environment, volumes, mounts, read_only_repository=True)
    pod["containers"][0]["readinessProbe"] = {
        "httpGet": {"path": "/healthz", "port": READER_PORT},
        "periodSeconds": 2,
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": names.metadata(name, namespace, "reader", labels={names.HASH: names.digest(repository.name)}),
        "spec": {
            "replicas": 1,
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels, "annotations": dict(ALONE)}, "spec": pod},
        },
    }


def reader_token(namespace: str, repository: str, token: str) -> dict[str, Any]:
    """Return the Secret that the reader and the operator share."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": names.metadata(names.reader(repository), namespace, "reader"),
        "type": "Opaque",
        "stringData": {"token": token},
    }


def _pod(
    image: str,
    command: str,
    repository: Repository,
    environment: Sequence[dict[str, Any]],
    volumes: list[dict[str, Any]],
    mounts: list[dict[str, Any]],
    *,
    read_only_repository: bool,
    run_as: RunAs | None = None,
) -> dict[str, Any]:
    if (source := _volume(repository.storage)) is not None:
        volumes.append({"name": "repository", **source})
        mounts.append({"name": "repository", "mountPath": REPOSITORY_PATH, "readOnly": read_only_repository})
    return {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 45,
        "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [
            {
                "name": command,
                "image": image,
                "args": [command],
                "env": [*environment, *_credentials(repository)],
                "volumeMounts": mounts,
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    **_user(run_as),
                },
            }
        ],
        "volumes": volumes,
    }


def _user(run_as: RunAs | None) -> dict[str, Any]:
    if run_as is None:
        return {"runAsUser": 0, "capabilities": {"drop": ["ALL"], "add": list(CAPABILITIES)}}
    user = {"runAsUser": run_as.uid, "runAsGroup": run_as.gid, "runAsNonRoot": True}
    return {**user, "capabilities": {"drop": ["ALL"]}}


def _credentials(repository: Repository) -> list[dict[str, Any]]:
    keys = {"HOLDFAST_PASSWORD": PASSWORD_KEYS[repository.engine]}
    optional: set[str] = set()
    if isinstance(repository.storage, S3Storage):
        keys |= {key: key for key in (*S3_KEYS, SESSION_KEY)}
        optional = {SESSION_KEY}
    return [
        {
            "name": name,
            "valueFrom": {
                "secretKeyRef": {
                    "name": repository.secret,
                    "key": key,
                    **({"optional": True} if key in optional else {}),
                }
            },
        }
        for name, key in keys.items()
    ]
