"""Whatever the API server does, the informer ends up with what is there, and says how far that can be believed."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import Any

import pytest

from holdfast.kube.errors import Unreachable
from holdfast.kube.informer import Change, Informer, State
from holdfast.kube.objects import CLAIMS, Key, PersistentVolumeClaim
from holdfast.kube.pace import Pace
from tests.support.chaos_api import (
    Answer,
    ChaosApi,
    End,
    Hangup,
    Reply,
    Script,
    Stream,
    bookmark,
    claim,
    error_event,
    event,
    eventually,
    listing,
    refusal,
    serving,
    throughout,
)

pytestmark = pytest.mark.anyio

FAST = Pace(first=timedelta(milliseconds=5), longest=timedelta(milliseconds=40))
HELD = Stream(end=End.HANG)


class Watched:
    """A running informer, what it told its listener, and the server's script."""

    def __init__(self, informer: Informer[PersistentVolumeClaim], script: Script, api: ChaosApi) -> None:
        self.informer = informer
        self.script = script
        self.api = api
        self.told: list[str] = []
        informer.add_listener(self._tell)

    def _tell(self, change: Change[PersistentVolumeClaim]) -> None:
        what = "add" if change.old is None else "delete" if change.new is None else "update"
        self.told.append(f"{what} {change.key.name}")

    @property
    def names(self) -> list[str]:
        return sorted(key.name for key in self.informer.objects)

    async def shows(self, *names: str) -> None:
        await eventually(lambda: self.names == sorted(names), lambda: f"{names}, but there is {self.names}")

    async def watching_from(self, version: int) -> None:
        await eventually(
            lambda: (
                self.script.versions[-1:] == [str(version)]
                and not self.script.watches
                and self.informer.state is State.WATCHING
            ),
            lambda: f"a watch from {version}, but they were {self.script.versions}",
        )


@asynccontextmanager
async def watched(lists: Sequence[Reply], watches: Sequence[Reply] = (), pace: Pace = FAST) -> AsyncIterator[Watched]:
    script = Script(lists, watches)
    async with serving(script) as (api, kube):
        informer = Informer(kube, CLAIMS, pace=pace)
        seen = Watched(informer, script, api)
        task = asyncio.create_task(informer.run())
        try:
            yield seen
            assert not task.done(), task
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def test_lists_all_pages_then_watches_from_the_lists_version() -> None:
    pages = [listing(10, claim("a", 1), proceed="next"), listing(10, claim("b", 2))]
    async with watched(pages) as seen:
        await seen.informer.wait_complete(timedelta(seconds=5))
        await seen.watching_from(10)
        assert seen.names == ["a", "b"]
        assert [request.query.get("continue") for request in seen.api.requests[:2]] == [None, "next"]
        first, watch = seen.api.requests[0], seen.api.requests[2]
        assert first.query["limit"] == "500"
        assert "resourceVersion" not in first.query
        assert watch.query["allowWatchBookmarks"] == "true"
        assert 261 <= int(watch.query["timeoutSeconds"]) <= 319


async def test_nothing_is_complete_before_the_last_page() -> None:
    hold = asyncio.Event()
    second = Stream(pieces=[hold, listing(10, claim("b", 2)).body])
    async with watched([listing(10, claim("a", 1), proceed="next"), second]) as seen:
        await eventually(lambda: len(seen.api.requests) == 2, "the second page is asked for")
        assert not seen.informer.complete
        assert seen.informer.stale_for is None
        assert seen.names == []
        with pytest.raises(Unreachable, match="no complete list"):
            await seen.informer.wait_complete(timedelta(milliseconds=20))
        hold.set()
        await seen.informer.wait_complete(timedelta(seconds=5))
        assert seen.names == ["a", "b"]


async def test_an_event_then_a_clean_close_goes_on_from_the_events_version() -> None:
    async with watched([listing(10, claim("a", 1))], [Stream(pieces=[event("ADDED", claim("b", 11))])]) as seen:
        await seen.watching_from(11)
        assert seen.names == ["a", "b"]
        assert seen.informer.lists == 1


async def test_a_bookmark_moves_the_version_on() -> None:
    async with watched([listing(10)], [Stream(pieces=[bookmark(40)])]) as seen:
        await seen.watching_from(40)
        as_of = seen.informer.as_of
        assert as_of is not None
        assert as_of.resource_version == "40"
        assert seen.informer.stale_for is not None
        assert seen.informer.stale_for < timedelta(seconds=5)


async def test_events_add_change_and_delete() -> None:
    changes = [
        event("ADDED", claim("b", 11)),
        event("MODIFIED", claim("b", 12, phase="Bound")),
        event("DELETED", claim("a", 13)),
    ]
    async with watched([listing(10, claim("a", 1))], [Stream(pieces=changes, end=End.HANG)]) as seen:
        await seen.shows("b")
        assert seen.told == ["add a", "add b", "update b", "delete a"]


async def test_a_deletion_missed_before_a_410_in_the_stream_is_found_by_the_new_list() -> None:
    expired = Stream(pieces=[error_event(410, "Expired")])
    async with watched([listing(10, claim("a", 1), claim("b", 2)), listing(30, claim("b", 2))], [expired]) as seen:
        await seen.watching_from(30)
        assert seen.names == ["b"]
        assert seen.told == ["add a", "add b", "delete a"]


async def test_a_410_as_status_lists_again() -> None:
    async with watched([listing(10, claim("a", 1)), listing(30)], [refusal(410, "Expired")]) as seen:
        await seen.watching_from(30)
        assert seen.names == []
        assert seen.informer.lists == 2


@pytest.mark.parametrize(
    "failure",
    [
        pytest.param(Stream(pieces=[error_event(500, "InternalError")]), id="500 in the stream"),
        pytest.param(refusal(500, "InternalError"), id="500 as status"),
        pytest.param(refusal(429, "TooManyRequests"), id="429"),
        pytest.param(Answer(status=503, body=b"upstream is away"), id="503 of a proxy"),
        pytest.param(Stream(end=End.CUT), id="cut"),
        pytest.param(Stream(pieces=[b'{"type":"ADDED","object":{"metad'], end=End.CUT), id="half a line, cut"),
        pytest.param(Stream(pieces=[b'{"type":"ADDED","object":{"metad']), id="half a line, clean close"),
        pytest.param(Hangup(), id="closed without an answer"),
        pytest.param(
            Stream(pieces=[error_event(504, "Timeout", causes=[{"reason": "ResourceVersionTooLarge"}])]),
            id="504 too large resource version",
        ),
    ],
)
async def test_a_failure_of_the_watch_goes_on_from_the_same_version_without_a_list(failure: Reply) -> None:
    then = Stream(pieces=[event("ADDED", claim("b", 11))], end=End.HANG)
    async with watched([listing(10, claim("a", 1))], [failure, then]) as seen:
        await seen.shows("a", "b")
        assert seen.script.versions == ["10", "10"]
        assert seen.informer.lists == 1
        assert seen.told == ["add a", "add b"]


async def test_a_connection_cut_after_an_event_goes_on_from_its_version() -> None:
    cut = Stream(pieces=[event("ADDED", claim("b", 11))], end=End.CUT)
    async with watched([listing(10, claim("a", 1))], [cut]) as seen:
        await seen.watching_from(11)
        assert seen.names == ["a", "b"]
        assert seen.informer.lists == 1


async def test_a_401_on_the_list_is_a_state_and_is_tried_again() -> None:
    async with watched([refusal(401, "Unauthorized"), listing(10)]) as seen:
        await eventually(lambda: seen.informer.complete, "a complete list")


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        (refusal(401, "Unauthorized"), State.UNAUTHORIZED),
        (refusal(403, "Forbidden"), State.FORBIDDEN),
        (Answer(status=404, body=b"404 page not found\n"), State.NOT_SERVED),
        (Answer(status=500, body=b"oops"), State.REFUSED),
        (Answer(body=b"<html>welcome</html>"), State.REFUSED),
        (Hangup(), State.UNREACHABLE),
    ],
)
async def test_what_keeps_the_list_away_is_named(answer: Reply, state: State) -> None:
    async with watched([answer]) as seen:
        await eventually(lambda: seen.informer.state is state, lambda: f"{state}, but it is {seen.informer.state}")
        assert not seen.informer.complete
        assert seen.informer.last_error is not None
        with pytest.raises(Unreachable, match="no complete list of persistentvolumeclaims") as caught:
            await seen.informer.wait_complete(timedelta(milliseconds=20))
        assert caught.value.reason in (state.value, State.LISTING.value)


async def test_retry_after_is_waited_for() -> None:
    busy = refusal(429, "TooManyRequests", headers={"Retry-After": "1"})
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with watched([listing(10)], [busy]) as seen:
        await seen.watching_from(10)
        assert loop.time() - began >= 0.8


async def test_retry_after_inside_the_stream_is_waited_for() -> None:
    too_large = error_event(504, "Timeout", retryAfterSeconds=1, causes=[{"reason": "ResourceVersionTooLarge"}])
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with watched([listing(10)], [Stream(pieces=[too_large])]) as seen:
        await eventually(lambda: seen.script.versions == ["10", "10"], lambda: f"{seen.script.versions}")
        assert seen.informer.lists == 1
        assert loop.time() - began >= 0.8


async def test_a_server_that_is_down_for_a_while_is_resumed_without_a_list() -> None:
    stream = Stream(pieces=[event("ADDED", claim("a", 11))], end=End.HANG)
    async with watched([listing(10)], [stream]) as seen:
        await seen.shows("a")
        await seen.api.stop()
        await eventually(lambda: seen.informer.state is State.UNREACHABLE, "the outage is noticed")
        await throughout(1.5, lambda: seen.names == ["a"], "what is known stays known")
        assert seen.informer.stale_for is not None
        assert seen.informer.stale_for >= timedelta(seconds=1.5)
        await seen.api.start()
        await seen.watching_from(11)
        assert seen.informer.lists == 1


async def test_an_outage_is_tried_at_a_bounded_pace() -> None:
    async with watched([Hangup()], pace=Pace(first=timedelta(milliseconds=20), longest=timedelta(seconds=1))) as seen:
        await throughout(0.5, lambda: len(seen.api.requests) <= 8, "few requests")
        assert len(seen.api.requests) >= 2


async def test_a_server_that_ends_every_watch_at_once_is_not_asked_in_a_tight_circle() -> None:
    async with watched(
        [listing(10)], [Stream()] * 1000, Pace(first=timedelta(milliseconds=20), longest=timedelta(seconds=1))
    ) as seen:
        await throughout(0.5, lambda: len(seen.api.requests) <= 8, "few requests")


async def test_a_recreated_object_found_by_a_list_is_a_deletion_and_an_addition() -> None:
    lists = [listing(10, claim("a", 1, uid="old")), listing(30, claim("a", 25, uid="new"))]
    async with watched(lists, [refusal(410, "Expired")]) as seen:
        await seen.watching_from(30)
        assert seen.told == ["add a", "delete a", "add a"]


async def test_a_recreated_object_seen_by_the_watch_is_a_deletion_and_an_addition() -> None:
    stream = Stream(pieces=[event("MODIFIED", claim("a", 25, uid="new"))], end=End.HANG)
    async with watched([listing(10, claim("a", 1, uid="old"))], [stream]) as seen:
        await eventually(lambda: len(seen.told) == 3, "three changes")
        assert seen.told == ["add a", "delete a", "add a"]


BAD = {"metadata": {**claim("bad", 12)["metadata"], "labels": ["not", "a", "map"]}, "spec": {}}


async def test_an_undecodable_item_of_a_list_is_named_and_the_rest_go_on() -> None:
    async with watched([listing(10, claim("a", 1), BAD, claim("b", 2))]) as seen:
        await seen.informer.wait_complete(timedelta(seconds=5))
        assert seen.names == ["a", "b"]
        assert list(seen.informer.broken) == [Key("app", "bad")]
        assert "labels" in seen.informer.broken[Key("app", "bad")].detail


async def test_an_undecodable_event_is_named_and_the_watch_goes_on() -> None:
    stream = Stream(pieces=[event("ADDED", BAD), event("ADDED", claim("b", 13))])
    async with watched([listing(10, claim("a", 1))], [stream]) as seen:
        await seen.watching_from(13)
        assert seen.names == ["a", "b"]
        assert list(seen.informer.broken) == [Key("app", "bad")]


async def test_an_object_that_becomes_undecodable_keeps_its_last_form_until_it_is_deleted() -> None:
    broken = Stream(pieces=[event("MODIFIED", BAD)])
    gone = Stream(pieces=[event("DELETED", {**BAD, "metadata": {**BAD["metadata"], "resourceVersion": "14"}})])
    async with watched([listing(10, claim("bad", 1))], [broken, HELD]) as seen:
        await seen.watching_from(12)
        assert seen.names == ["bad"]
        assert list(seen.informer.broken) == [Key("app", "bad")]
    async with watched([listing(10, claim("bad", 1))], [broken, gone]) as seen:
        await seen.watching_from(14)
        assert seen.names == []
        assert not seen.informer.broken


async def test_an_undecodable_successor_removes_its_predecessor() -> None:
    successor = {**BAD, "metadata": {**BAD["metadata"], "uid": "other"}}
    async with watched([listing(10, claim("bad", 1))], [Stream(pieces=[event("MODIFIED", successor)])]) as seen:
        await seen.watching_from(12)
        assert seen.told == ["add bad", "delete bad"]
        assert list(seen.informer.broken) == [Key("app", "bad")]


async def test_an_object_that_can_be_read_again_is_broken_no_more() -> None:
    stream = Stream(pieces=[event("MODIFIED", BAD), event("MODIFIED", claim("bad", 13))], end=End.HANG)
    async with watched([listing(10)], [stream]) as seen:
        await seen.shows("bad")
        assert not seen.informer.broken


async def test_an_event_without_readable_metadata_leads_to_a_list_in_the_end() -> None:
    nameless = Stream(pieces=[event("ADDED", {"metadata": []})])
    async with watched([listing(10), listing(30, claim("a", 20))], [nameless] * 5) as seen:
        await seen.watching_from(30)
        assert seen.names == ["a"]


async def test_an_expired_continue_token_drops_what_was_seen_and_starts_again() -> None:
    lists = [listing(10, claim("old", 1), proceed="next"), refusal(410, "Expired"), listing(30, claim("a", 20))]
    async with watched(lists) as seen:
        await seen.watching_from(30)
        assert seen.names == ["a"]
        assert seen.told == ["add a"]
        assert seen.api.requests[2].query.get("continue") is None


async def test_a_version_that_the_server_refuses_for_long_is_given_up() -> None:
    future = Stream(pieces=[error_event(504, "Timeout", causes=[{"reason": "ResourceVersionTooLarge"}])])
    async with watched([listing(900, claim("a", 1)), listing(10, claim("a", 1))], [future] * 5) as seen:
        await seen.watching_from(10)
        assert seen.informer.lists == 2
        assert seen.told == ["add a"]


@pytest.mark.parametrize("busy", [refusal(429, "TooManyRequests"), Answer(status=503, body=b"away"), Hangup()])
async def test_a_busy_or_absent_server_is_not_asked_for_a_new_list(busy: Reply) -> None:
    async with watched([listing(10, claim("a", 1))], [busy] * 7) as seen:
        await seen.watching_from(10)
        assert seen.informer.lists == 1


async def test_indexes_follow_every_change() -> None:
    def by_phase(item: PersistentVolumeClaim) -> Iterable[str]:
        return [item.status.phase] if item.status and item.status.phase else []

    def names(informer: Informer[PersistentVolumeClaim], word: str) -> list[str]:
        return [item.metadata.name for item in informer.by("phase", word)]

    go = asyncio.Event()
    pieces: list[Any] = [go, event("MODIFIED", claim("a", 11, phase="Bound")), event("DELETED", claim("b", 12))]
    stream = Stream(pieces=pieces, end=End.HANG)
    async with watched([listing(10, claim("b", 2), claim("a", 1))], [stream]) as seen:
        seen.informer.index("phase", by_phase)
        await seen.shows("a", "b")
        assert names(seen.informer, "Pending") == ["a", "b"]
        go.set()
        await seen.shows("a")
        assert names(seen.informer, "Pending") == []
        assert names(seen.informer, "Bound") == ["a"]


async def test_a_list_that_changes_nothing_tells_nothing() -> None:
    lists = [listing(10, claim("a", 1)), listing(30, claim("a", 1))]
    async with watched(lists, [refusal(410, "Expired")]) as seen:
        await seen.watching_from(30)
        assert seen.told == ["add a"]
