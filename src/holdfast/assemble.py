"""The only place that knows which engine, client and loop go together."""

import asyncio
import contextlib
import os
import signal
import socket
import uuid
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from holdfast.controllers import operator
from holdfast.controllers.loop import SystemClock
from holdfast.decide import admission
from holdfast.engines import log
from holdfast.kube.client import Kube
from holdfast.model.admission import Arm, Creation, LeaveAlone
from holdfast.model.claim import DataSource, Owner
from holdfast.model.request import GROUP, KIND
from holdfast.model.settings import Settings
from holdfast.render import crds, names
from holdfast.sandbox.cluster import Cluster

Json = dict[str, Any]

OPERATOR: Final = "holdfast-operator"


async def run_operator(kubeconfig: Path | None, context: str | None, settings: Settings) -> None:
    """Be the operator until SIGTERM or SIGINT; raise NotLeading when another one took over."""
    log.to_stderr(())
    kube = Kube.connect(kubeconfig, context, settings.namespace)
    identity = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    work = asyncio.create_task(operator.run(kube, settings, SystemClock(), identity))
    stop_on_signals(work)
    try:
        with contextlib.suppress(asyncio.CancelledError):
            await work
    finally:
        await kube.aclose()


def stop_on_signals(work: "asyncio.Task[Any]") -> None:
    """Cancel `work` on SIGTERM and SIGINT, so that it ends in order."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, work.cancel)


def sandbox(directory: Path, settings: Settings) -> Cluster:
    """Return a sandbox that has our kinds and whose admission is our rule; not started."""
    return Cluster(directory, crds.definitions(), admit=lambda *request: admit(settings, *request))


def operator_manifests(settings: Settings) -> tuple[Json, ...]:
    """Return Holdfast's namespace and the operator's Deployment, as the sandbox runs them."""
    labels = {names.COMPONENT: "operator"}
    container = {
        "name": "operator",
        "image": settings.image,
        "args": ["run"],
        "env": [{"name": name, "value": value} for name, value in environment(settings).items()],
    }
    return (
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": settings.namespace},
        },
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": names.metadata(OPERATOR, settings.namespace, "operator"),
            "spec": {
                "replicas": 1,
                "strategy": {"type": "Recreate"},
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
            },
        },
    )


def environment(settings: Settings) -> Mapping[str, str]:
    """Return the settings that differ from their defaults, as the operator's environment gives them."""
    plain = Settings()
    return {
        f"HOLDFAST_{name.upper()}": _written(getattr(settings, name))
        for name in settings.__slots__
        if getattr(settings, name) != getattr(plain, name)
    }


def _written(value: object) -> str:
    return f"{value.total_seconds():g}s" if isinstance(value, timedelta) else str(value)


def admit(settings: Settings, operation: str, item: Json, old: Json | None, namespace: Json | None) -> Json:
    """Apply the admission rule to what the sandbox is about to store."""
    if item.get("kind") != "PersistentVolumeClaim":
        return item
    spec = item["spec"]
    if operation == "UPDATE" and old is not None:
        decided = admission.on_update(_source(old["spec"].get("dataSourceRef")), _source(spec.get("dataSourceRef")))
    else:
        decided = admission.on_create(
            _creation(item, namespace), own_namespace=settings.namespace, label=settings.label
        )
    match decided:
        case LeaveAlone():
            return item
        case Arm(restore=name):
            reference = {"apiGroup": GROUP, "kind": KIND, "name": name}
            kept = {key: value for key, value in spec.items() if key != "dataSource"}
            return {**item, "spec": {**kept, "dataSourceRef": reference}}


def _creation(item: Json, namespace: Json | None) -> Creation:
    meta, spec = item["metadata"], item["spec"]
    return Creation(
        namespace=meta["namespace"],
        namespace_labels=((namespace or {}).get("metadata") or {}).get("labels") or {},
        labels=meta.get("labels") or {},
        annotations=meta.get("annotations") or {},
        owners=tuple(
            Owner(
                api_version=each["apiVersion"],
                kind=each["kind"],
                name=each["name"],
                uid=each["uid"],
                controller=bool(each.get("controller")),
            )
            for each in meta.get("ownerReferences") or ()
        ),
        source=_source(spec.get("dataSource")),
        source_ref=_source(spec.get("dataSourceRef")),
        volume_name=spec.get("volumeName") or "",
        storage_class=spec.get("storageClassName"),
        volume_mode=spec.get("volumeMode") or "Filesystem",
        has_selector=spec.get("selector") is not None,
    )


def _source(reference: Json | None) -> DataSource | None:
    if reference is None:
        return None
    return DataSource(group=reference.get("apiGroup") or "", kind=reference["kind"], name=reference["name"])
