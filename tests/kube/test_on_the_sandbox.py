"""Client, informer, lease and events against a server that means what a Kubernetes API server means."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from holdfast.kube import objects
from holdfast.kube.client import Kube
from holdfast.kube.events import EventType, Recorder
from holdfast.kube.informer import Informer, State
from holdfast.kube.lease import Leadership
from holdfast.kube.objects import CLAIMS, EVENTS, LEASES, NAMESPACES, SECRETS
from holdfast.kube.pace import Pace
from holdfast.render import crds
from holdfast.sandbox.cluster import Cluster
from tests.kube import portable
from tests.support.chaos_api import eventually

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def sandbox(directory: Path) -> AsyncIterator[tuple[Cluster, Kube]]:
    async with Cluster(directory, crds.definitions()) as cluster:
        kube = Kube.connect(cluster.kubeconfig, strict=True)
        try:
            await kube.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "app"}})
            yield cluster, kube
        finally:
            await kube.aclose()


def secret(name: str, **metadata: Any) -> dict[str, Any]:
    return portable.secret("app", name, **metadata)


@pytest.mark.parametrize("what", portable.ALL, ids=lambda what: what.__name__)
async def test_the_client_means_what_it_says(what: portable.Portable, tmp_path: Path) -> None:
    async with sandbox(tmp_path) as (_, kube):
        await what(kube, "app")


async def test_an_informer_follows_over_an_outage(tmp_path: Path) -> None:
    async with sandbox(tmp_path) as (cluster, kube):
        pace = Pace(first=timedelta(milliseconds=20), longest=timedelta(milliseconds=100))
        informer = Informer(kube, SECRETS, "app", pace=pace)
        task = asyncio.create_task(informer.run())
        try:
            await informer.wait_complete(timedelta(seconds=5))
            await kube.create(secret("one"))
            await eventually(lambda: informer.get("app", "one"), "the new object")
            await eventually(lambda: informer.state is State.WATCHING, "a watch")
            await cluster.outage(0.3)
            await kube.create(secret("two"))
            await kube.delete(SECRETS, "one", "app")
            await eventually(lambda: [key.name for key in informer.objects] == ["two"], "what happened since")
            assert informer.lists == 1
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def test_a_lease_and_an_event_are_valid_objects(tmp_path: Path) -> None:
    async with sandbox(tmp_path) as (_, kube):
        leadership = Leadership(kube, name="operator", identity="one", namespace="app")
        await leadership.acquire()
        assert leadership.leads()
        await leadership.release()
        lease = await kube.get(LEASES, "operator", "app")
        assert lease.spec is not None
        assert not lease.spec.holder_identity
        recorder = Recorder(kube, spacing=timedelta())
        namespace = await kube.get(NAMESPACES, "app")
        one = await kube.create(secret("one"))
        recorder.record(SECRETS, one, EventType.NORMAL, "Seen", "it is there")
        recorder.record(NAMESPACES, namespace, EventType.WARNING, "Seen", "so is this")
        task = asyncio.create_task(recorder.run())
        found: list[objects.Event] = []
        try:
            async with asyncio.timeout(5):
                while len(found) < 2:  # the server has no event for it
                    found = [item for item in await kube.list(EVENTS) if item.reason == "Seen"]
                    await asyncio.sleep(0.01)
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        assert {(item.metadata.namespace, item.involved_object.name) for item in found} == {
            ("app", "one"),
            ("default", "app"),
        }


async def test_claims_decode(tmp_path: Path) -> None:
    async with sandbox(tmp_path) as (_, kube):
        spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
        meta = {"name": "data", "namespace": "app"}
        await kube.create({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": meta, "spec": spec})
        assert (await kube.get(CLAIMS, "data", "app")).spec.access_modes == ["ReadWriteOnce"]
