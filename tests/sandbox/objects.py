"""Objects that the sandbox's tests create, and ways to wait for what becomes of them."""

import asyncio
import itertools
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx2

from holdfast.sandbox.store.ownership import Writer
from holdfast.sandbox.store.store import Admit, Store

INSIDE = "/api/v1/namespaces/default"
CLAIMS = f"{INSIDE}/persistentvolumeclaims"
PODS = f"{INSIDE}/pods"
SECRETS = f"{INSIDE}/secrets"
VOLUMES = "/api/v1/persistentvolumes"
JOBS = "/apis/batch/v1/namespaces/default/jobs"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
MERGE = {"content-type": "application/merge-patch+json"}
Json = dict[str, Any]


def claim(name: str, **spec: Any) -> Json:
    wanted: Json = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, **spec}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": wanted}


def pod_spec(script: str, *, claims: dict[str, str] | None = None, **more: Any) -> Json:
    """Return the spec of a pod that runs a shell script; `claims`: mount path → claim."""
    mounts = sorted((claims or {}).items())
    container: Json = {
        "name": "main",
        "image": "shell",
        "command": ["sh", "-c", script],
        "volumeMounts": [{"name": name, "mountPath": path} for path, name in mounts],
        **more.pop("container", {}),
    }
    volumes = [{"name": name, "persistentVolumeClaim": {"claimName": name}} for _, name in mounts]
    return {"restartPolicy": "Never", "containers": [container], "volumes": volumes, **more}


def pod(name: str, script: str, **more: Any) -> Json:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": pod_spec(script, **more)}


def job(name: str, script: str, **spec: Any) -> Json:
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {"template": {"spec": pod_spec(script)}, **spec},
    }


def store(admit: Admit | None = None, history_limit: int = 20_000) -> Store:
    """Return an empty store with the namespace `default`, whose uids count up and whose clock stands still."""
    numbers = itertools.count(1)
    found = Store(
        now=lambda: datetime(2026, 1, 1, tzinfo=UTC),
        new_uid=lambda: f"00000000-0000-0000-0000-{next(numbers):012d}",
        new_suffix=lambda: f"{next(numbers):05d}",
        history_limit=history_limit,
    )
    namespace: Json = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}}
    found.create(found.kind_named("Namespace"), "", namespace, Writer(manager="test"))
    found.admit = admit
    return found


async def created(client: httpx2.AsyncClient, path: str, body: Json) -> Json:
    answer = await client.post(path, json=body)
    assert answer.status_code == 201, answer.text
    found: Json = answer.json()
    return found


async def until(client: httpx2.AsyncClient, path: str, holds: Callable[[Json], object], *, seconds: float = 20) -> Json:
    """Return the object once `holds` is true of it; a missing one is {}."""
    async with asyncio.timeout(seconds):
        while True:
            answer = await client.get(path)
            found: Json = answer.json() if answer.status_code == 200 else {}
            if holds(found):
                return found
            await asyncio.sleep(0.02)


def has_phase(phase: str) -> Callable[[Json], object]:
    return lambda item: bool(item) and item["status"].get("phase") == phase


def is_gone(item: Json) -> object:
    return not item
