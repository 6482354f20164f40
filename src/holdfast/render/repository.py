"""A Repository and its Secret as a person applies them."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, assert_never

import yaml

from holdfast.model.repository import ClaimStorage, DirectoryStorage, EngineKind, NfsStorage, Place, S3Storage
from holdfast.model.request import GROUP
from holdfast.render import crds, pods

PLACEHOLDER: Final = "WRITE-ME"
WARNING: Final = (
    "Keep the password of this Secret somewhere else too: without it nobody can ever read the backups, "
    "and nobody can make another one."
)


def manifests(
    name: str,
    namespace: str,
    engine: EngineKind,
    storage: Place,
    *,
    password: str,
    keys: Mapping[str, str],
    initialize_until: datetime,
    cluster: str,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the Secret and the Repository. `keys` are the storage's; those that are needed and not given stand out."""
    secret = f"repository-{name}"
    spec: dict[str, Any] = {"engine": engine.value, "storage": _storage(storage)}
    if cluster:
        spec["cluster"] = cluster
    spec["credentials"] = {"secretRef": {"name": secret}}
    spec["initializeUntil"] = initialize_until.isoformat(timespec="seconds").replace("+00:00", "Z")
    content = {pods.PASSWORD_KEYS[engine]: password}
    if isinstance(storage, S3Storage):
        content |= {key: keys.get(key, PLACEHOLDER) for key in pods.S3_KEYS}
        content |= {key: value for key, value in keys.items() if key == pods.SESSION_KEY}
    return (
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": secret, "namespace": namespace},
            "type": "Opaque",
            "stringData": content,
        },
        {
            "apiVersion": f"{GROUP}/{crds.VERSION}",
            "kind": "Repository",
            "metadata": {"name": name},
            "spec": spec,
        },
    )


def _storage(storage: Place) -> dict[str, Any]:
    match storage:
        case DirectoryStorage(path=path):
            return {"filesystem": {"hostPath": path}}
        case ClaimStorage(claim=claim, path=path):
            return {"filesystem": {"claim": {"name": claim, **({"path": path} if path else {})}}}
        case NfsStorage(server=server, path=path):
            return {"filesystem": {"nfs": {"server": server, "path": path}}}
        case S3Storage():
            place: dict[str, Any] = {"endpoint": storage.endpoint, "bucket": storage.bucket}
            if storage.prefix:
                place["prefix"] = storage.prefix
            place["region"] = storage.region
            if not storage.tls:
                place["insecure"] = True
            return {"s3": place}
        case _:
            assert_never(storage)


def to_yaml(objects: Sequence[Mapping[str, Any]]) -> str:
    """Return manifests as one YAML stream, in the order of their keys."""
    # Wide: a folded line of a password or a message is hard to copy.
    return "---\n".join(yaml.safe_dump(dict(each), sort_keys=False, width=1000, allow_unicode=True) for each in objects)
