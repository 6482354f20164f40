"""Names and labels of what we make: fixed functions of what it is for, so that a repeated write finds its object."""

import hashlib
import re
from collections.abc import Mapping
from typing import Any, Final

from holdfast.model.claim import ClaimRef, Identity
from holdfast.model.intent import MANAGED_BY

MANAGER: Final = "holdfast"
COMPONENT: Final = "app.kubernetes.io/component"
HASH: Final = "holdfast.dev/hash"
KIND: Final = "holdfast.dev/run-kind"
PREFIX: Final = "holdfast.dev/"
BACKUP: Final = "backup-"
_HELPER: Final = re.compile(r"fill-[0-9a-f]{20}|backup-[0-9a-f]{20}-[0-9a-f]{8}")


def digest(*parts: str) -> str:
    """Return 20 hexadecimal characters that stand for the parts: short enough for any name or label."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:20]


def prime(ref: ClaimRef, repository: str, identity: Identity, storage_class: str, mode: str) -> str:
    """Return the prime claim's name: a claim that is created again under its name finds it, whatever its uid.

    Other claims that read the same history have fills of their own.
    """
    return f"fill-{digest(str(ref), repository, str(identity), storage_class, mode)}"


def kept(ref: ClaimRef, volume_uid: str) -> str:
    """Return the name under which a volume of an earlier claim is kept; never one that another claim waits for."""
    return f"kept.{ref.namespace}.{ref.name}.{digest(volume_uid)[:8]}"


def chooser(pod_uid: str) -> str:
    """Return the name of the Job that stands for a pod: all claims of the pod learn their node from it."""
    return f"place-{digest(pod_uid)}"


def restore_job(prime_name: str, attempt: int) -> str:
    return f"{prime_name}-{attempt}"


def backup_job(repository: str, identity: Identity, run: str) -> str:
    """Return the name of a run's Job, and of all objects through which it reads the claim: alias, snapshots, claim.

    Never shared with another run: an alias that outlived its run may lead to a volume that is no longer the claim's.
    """
    return f"{BACKUP}{digest(repository, str(identity))}-{digest(run)[:8]}"


def reader(repository: str) -> str:
    return f"reader-{digest(repository)}"


def initialize_job(repository: str) -> str:
    return f"initialize-{digest(repository)}"


def is_helper(claim: str) -> bool:
    """Return whether a claim of our namespace has a name that only we give."""
    return _HELPER.fullmatch(claim) is not None


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
