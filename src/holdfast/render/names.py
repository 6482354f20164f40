"""Names and labels of what we make: fixed functions of what it is for, so that a repeated write finds its object."""

import hashlib
from collections.abc import Mapping
from typing import Any, Final

from holdfast.model.claim import Identity

MANAGED_BY: Final = "app.kubernetes.io/managed-by"
MANAGER: Final = "holdfast"
COMPONENT: Final = "app.kubernetes.io/component"
HASH: Final = "holdfast.dev/hash"
KIND: Final = "holdfast.dev/run-kind"
PREFIX: Final = "holdfast.dev/"


def digest(*parts: str) -> str:
    """Return 20 hexadecimal characters that stand for the parts: short enough for any name or label."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:20]


def prime(repository: str, identity: Identity, storage_class: str, mode: str) -> str:
    """Return the prime claim's name: a fill belongs to the identity, class and mode, not to one claim's uid."""
    return f"fill-{digest(repository, str(identity), storage_class, mode)}"


def restore_job(prime_name: str, attempt: int) -> str:
    return f"{prime_name}-{attempt}"


def alias(repository: str, identity: Identity) -> str:
    """Return the name of the alias volume and claim through which a mover reads a claim's volume."""
    return f"backup-{digest(repository, str(identity))}"


def backup_job(repository: str, identity: Identity, run: str) -> str:
    return f"{alias(repository, identity)}-{digest(run)[:8]}"


def reader(repository: str) -> str:
    return f"reader-{digest(repository)}"


def initialize_job(repository: str) -> str:
    return f"initialize-{digest(repository)}"


def metadata(
    name: str,
    namespace: str | None,
    component: str,
    *,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return an object's metadata with our labels only (P8)."""
    made: dict[str, Any] = {"name": name, "labels": {MANAGED_BY: MANAGER, COMPONENT: component, **(labels or {})}}
    if namespace is not None:
        made["namespace"] = namespace
    if annotations:
        made["annotations"] = dict(annotations)
    return made
