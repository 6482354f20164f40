"""People see each reason once, with a count; whatever happens to an Event, the work goes on."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from holdfast.kube import objects
from holdfast.kube.events import EventType, Recorder
from holdfast.kube.objects import CLAIMS, REPOSITORIES
from tests.support.chaos_api import (
    Reply,
    Request,
    Store,
    claim,
    eventually,
    meta,
    refusal,
    serving,
    throughout,
)

pytestmark = pytest.mark.anyio

CLAIM = msgspec.convert(claim("data", 3), objects.PersistentVolumeClaim)


class Told:
    """A running recorder, its clock, and the server that it writes to."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.now = datetime(2026, 11, 25, 4, tzinfo=UTC)
        self.writes: list[Request] = []
        self.recorder: Recorder

    def record(self, reason: str, message: str, type_: EventType = EventType.NORMAL) -> None:
        self.recorder.record(CLAIMS, CLAIM, type_, reason, message)

    @property
    def events(self) -> list[dict[str, Any]]:
        return list(self.store.objects.values())


@asynccontextmanager
async def recording(store: Store | None = None) -> AsyncIterator[Told]:
    told = Told(store or Store())
    async with serving(told.store) as (api, kube):
        told.writes = api.requests
        told.recorder = Recorder(kube, spacing=timedelta(), now=lambda: told.now)
        task = asyncio.create_task(told.recorder.run())
        try:
            yield told
            assert not task.done(), task
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def test_an_event_says_what_happened_to_which_object() -> None:
    async with recording() as told:
        told.record("Waiting", "nobody can tell", EventType.WARNING)
        await eventually(lambda: told.events, "an event")
        event = told.events[0]
    assert event["involvedObject"] == {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "name": "data",
        "namespace": "app",
        "uid": "uid-data",
    }
    assert event["metadata"]["namespace"] == "app"
    assert event["metadata"]["labels"] == {"app.kubernetes.io/managed-by": "holdfast"}
    assert (event["type"], event["reason"], event["message"]) == ("Warning", "Waiting", "nobody can tell")
    assert (event["count"], event["firstTimestamp"]) == (1, "2026-11-25T04:00:00Z")


async def test_an_event_of_a_cluster_scoped_object_is_in_default() -> None:
    metadata = meta("main", 2)
    del metadata["namespace"]
    repository = msgspec.convert({"metadata": metadata}, objects.Repository)
    async with recording() as told:
        told.recorder.record(REPOSITORIES, repository, EventType.NORMAL, "Ready", "it answers")
        await eventually(lambda: told.events, "an event")
        assert next(iter(told.store.objects)).startswith("/api/v1/namespaces/default/events/")
        assert "namespace" not in told.events[0]["involvedObject"]


async def test_the_same_sentence_is_counted_and_written_again_only_after_a_while() -> None:
    async with recording() as told:
        for _ in range(10):
            told.record("Waiting", "nobody can tell")
            await asyncio.sleep(0)
        await eventually(lambda: told.events, "an event")
        told.record("Waiting", "nobody can tell")
        await throughout(0.05, lambda: len(told.writes) == 1, "one write")
        told.now += timedelta(minutes=5)
        told.record("Waiting", "nobody can tell")
        await eventually(lambda: told.events[0]["count"] == 12, "the count")
        assert len(told.events) == 1
        assert told.events[0]["lastTimestamp"] == "2026-11-25T04:05:00Z"
        assert told.events[0]["firstTimestamp"] == "2026-11-25T04:00:00Z"


async def test_a_new_sentence_replaces_the_old_one_at_once() -> None:
    async with recording() as told:
        told.record("Waiting", "the repository is locked")
        await eventually(lambda: told.events, "an event")
        told.record("Waiting", "nobody can tell")
        await eventually(lambda: told.events[0]["message"] == "nobody can tell", "the new sentence")
        assert [event["count"] for event in told.events] == [2]


async def test_each_reason_and_type_has_its_own_event() -> None:
    async with recording() as told:
        told.record("Waiting", "x")
        told.record("Restored", "x")
        told.record("Restored", "x", EventType.WARNING)
        await eventually(lambda: len(told.events) == 3, "three events")


async def test_counting_goes_on_after_a_restart_and_after_the_server_forgot() -> None:
    store = Store()
    async with recording(store) as told:
        told.record("Waiting", "x")
        await eventually(lambda: told.events, "an event")
    async with recording(store) as told:
        told.record("Waiting", "x")
        await eventually(lambda: told.events[0]["count"] == 2, "the second count")
        store.objects.clear()
        told.record("Waiting", "y")
        await eventually(lambda: told.events and told.events[0]["count"] == 3, "an event with the whole count")


@pytest.mark.parametrize(
    "reply",
    [refusal(500, "InternalError"), refusal(403, "Forbidden", causes=[{"reason": "NamespaceTerminating"}])],
)
async def test_a_write_that_fails_stops_nothing(reply: Reply) -> None:
    store = Store()
    store.faults.append(lambda _: reply)
    async with recording(store) as told:
        told.record("Waiting", "x")
        await eventually(lambda: told.writes, "a try")
        store.faults.clear()
        told.record("Restored", "y")
        await eventually(lambda: [event["reason"] for event in told.events] == ["Restored"], "the next event")


async def test_a_failed_write_is_made_up_for_at_the_next_occurrence() -> None:
    store = Store()
    store.faults.append(lambda _: refusal(500, "InternalError"))
    async with recording(store) as told:
        told.record("Waiting", "x")
        await eventually(lambda: told.writes, "a try")
        await throughout(0.02, lambda: not told.events, "nothing is written")
        store.faults.clear()
        told.record("Waiting", "x")
        await eventually(lambda: [event["count"] for event in told.events] == [2], "the count of both")


async def test_long_sentences_are_cut_and_long_names_make_valid_event_names() -> None:
    named = msgspec.convert(claim(f"{'a' * 199}-{'b' * 40}", 3), objects.PersistentVolumeClaim)
    async with recording() as told:
        told.recorder.record(CLAIMS, named, EventType.NORMAL, "Waiting", "x" * 5000)
        await eventually(lambda: told.events, "an event")
        event = told.events[0]
    assert len(event["message"]) == 1024
    assert len(event["metadata"]["name"]) <= 253
    assert "-." not in event["metadata"]["name"]
