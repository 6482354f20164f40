"""Each fault, as a client sees it: through the socket, and without one."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path

import httpx2
import pytest

from holdfast.sandbox.exchange import Exchange
from holdfast.sandbox.faults import Fault, FaultKind, Faults
from holdfast.sandbox.server import Server
from holdfast.sandbox.transport import StoreTransport
from tests.sandbox import objects
from tests.support import plain_http

pytestmark = pytest.mark.anyio

CONFIGMAPS = "/api/v1/namespaces/default/configmaps"
CONFIGMAP = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}
LOST = (httpx2.ReadError, httpx2.RemoteProtocolError)


@pytest.fixture
def exchange() -> Exchange:
    return Exchange(store=objects.store(), bookmark_seconds=0.05)


@pytest.fixture
def faults(exchange: Exchange) -> Faults:
    return exchange.faults


@pytest.fixture(params=["socket", "in process"])
async def client(request: pytest.FixtureRequest, exchange: Exchange) -> AsyncIterator[httpx2.AsyncClient]:
    if request.param == "in process":
        async with httpx2.AsyncClient(base_url="http://sandbox", transport=StoreTransport(exchange)) as connected:
            yield connected
        return
    server = Server(exchange, "token")
    url = f"http://127.0.0.1:{await server.start()}"
    async with plain_http.client(url, headers={"authorization": "Bearer token"}) as connected:
        yield connected
    await server.stop()


async def watched(client: httpx2.AsyncClient, **query: str) -> AsyncGenerator[str, None]:
    params = {"watch": "1", "timeoutSeconds": "1", **query}
    async with client.stream("GET", CONFIGMAPS, params=params) as answer:
        async for line in answer.aiter_lines():
            yield line


async def test_a_refused_connection_changes_nothing(client: httpx2.AsyncClient, faults: Faults) -> None:
    faults.add("down", Fault(kind=FaultKind.REFUSE, method="POST"))

    with pytest.raises(LOST):
        await client.post(CONFIGMAPS, json=CONFIGMAP)

    assert (await client.post(CONFIGMAPS, json=CONFIGMAP)).status_code == 201
    assert faults.struck["down"] == 1


async def test_a_lost_answer_leaves_its_write(client: httpx2.AsyncClient, faults: Faults) -> None:
    faults.add("lost", Fault(kind=FaultKind.ANSWER_LOST, method="POST", path="*/configmaps"))

    with pytest.raises(LOST):
        await client.post(CONFIGMAPS, json=CONFIGMAP)

    assert (await client.post(CONFIGMAPS, json=CONFIGMAP)).json()["reason"] == "AlreadyExists"


async def test_a_hanging_request_is_cut_in_the_end(client: httpx2.AsyncClient, faults: Faults) -> None:
    faults.add("hang", Fault(kind=FaultKind.HANG, seconds=0.05))

    with pytest.raises(LOST):
        await client.get(CONFIGMAPS)


async def test_a_slow_list_comes_late(client: httpx2.AsyncClient, faults: Faults) -> None:
    faults.add("slow", Fault(kind=FaultKind.SLOW, seconds=0.2))
    began = asyncio.get_running_loop().time()

    assert (await client.get(CONFIGMAPS)).status_code == 200
    assert asyncio.get_running_loop().time() - began >= 0.2


async def test_half_an_answer_is_an_error(client: httpx2.AsyncClient, faults: Faults) -> None:
    faults.add("cut", Fault(kind=FaultKind.CUT))

    with pytest.raises(LOST):
        await client.get(CONFIGMAPS)


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (FaultKind.FORBIDDEN, 403),
        (FaultKind.GONE, 410),
        (FaultKind.BUSY, 429),
        (FaultKind.BROKEN, 500),
        (FaultKind.TIMEOUT, 504),
    ],
)
async def test_statuses_on_request(client: httpx2.AsyncClient, faults: Faults, kind: FaultKind, code: int) -> None:
    faults.add("status", Fault(kind=kind, skip=1, count=2))

    statuses = [(await client.get(CONFIGMAPS)).status_code for _ in range(4)]

    assert statuses == [200, code, code, 200]


async def test_too_many_requests_says_when_to_come_back(client: httpx2.AsyncClient, faults: Faults) -> None:
    faults.add("busy", Fault(kind=FaultKind.BUSY))

    assert (await client.get(CONFIGMAPS)).headers["retry-after"] == "1"


async def test_the_second_write_conflicts(client: httpx2.AsyncClient, faults: Faults) -> None:
    faults.add("conflict", Fault(kind=FaultKind.CONFLICT, method="PATCH", skip=1))
    await client.post(CONFIGMAPS, json=CONFIGMAP)

    answers = [
        await client.patch(f"{CONFIGMAPS}/a", content=json.dumps({"data": {"n": str(n)}}), headers=objects.MERGE)
        for n in range(3)
    ]

    assert [answer.status_code for answer in answers] == [200, 409, 200]
    assert answers[2].json()["data"] == {"n": "2"}


async def test_the_next_page_expires(client: httpx2.AsyncClient, faults: Faults) -> None:
    faults.add("expired", Fault(kind=FaultKind.EXPIRED_CONTINUE))
    for name in "ab":
        await client.post(CONFIGMAPS, json={**CONFIGMAP, "metadata": {"name": name}})
    first = await client.get(CONFIGMAPS, params={"limit": "1"})
    query = {"limit": "1", "continue": first.json()["metadata"]["continue"]}

    assert (await client.get(CONFIGMAPS, params=query)).status_code == 410
    assert (await client.get(CONFIGMAPS, params=query)).status_code == 200


async def test_a_watch_is_cut_after_an_event(client: httpx2.AsyncClient, faults: Faults) -> None:
    faults.add("cut", Fault(kind=FaultKind.CUT, method="WATCH"))
    await client.post(CONFIGMAPS, json=CONFIGMAP)
    lines = []

    with pytest.raises(LOST):
        async for line in watched(client):
            lines.append(json.loads(line)["type"])

    assert lines == ["ADDED"]


async def test_a_watch_ends_in_half_a_line(client: httpx2.AsyncClient, faults: Faults) -> None:
    faults.add("half", Fault(kind=FaultKind.HALF_LINE))
    await client.post(CONFIGMAPS, json=CONFIGMAP)

    lines = [line async for line in watched(client)]

    assert len(lines) == 1
    with pytest.raises(json.JSONDecodeError):
        json.loads(lines[0])


async def test_a_silent_watch_says_nothing(client: httpx2.AsyncClient, faults: Faults) -> None:
    faults.add("silent", Fault(kind=FaultKind.SILENT))
    await client.post(CONFIGMAPS, json=CONFIGMAP)

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            async for line in watched(client, allowWatchBookmarks="true"):
                pytest.fail(line)


async def test_a_watch_expires_in_the_stream(client: httpx2.AsyncClient, faults: Faults) -> None:
    faults.add("gone", Fault(kind=FaultKind.GONE_IN_STREAM))

    events = [json.loads(line) async for line in watched(client)]

    assert [(event["type"], event["object"]["code"]) for event in events] == [("ERROR", 410)]


async def test_events_come_twice_or_late(client: httpx2.AsyncClient, faults: Faults) -> None:
    await client.post(CONFIGMAPS, json=CONFIGMAP)
    faults.add("twice", Fault(kind=FaultKind.DUPLICATE))
    assert [json.loads(line)["type"] async for line in watched(client)] == ["ADDED", "ADDED"]

    faults.add("late", Fault(kind=FaultKind.DELAY, seconds=0.2))
    began = asyncio.get_running_loop().time()
    async for _ in watched(client):
        assert asyncio.get_running_loop().time() - began >= 0.2
        break


async def test_bookmarks_move_a_quiet_watch_on(client: httpx2.AsyncClient, exchange: Exchange) -> None:
    await client.post(CONFIGMAPS, json=CONFIGMAP)
    version = exchange.store.version
    await client.post(objects.SECRETS, json={"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}})

    async for line in watched(client, resourceVersion=str(version), allowWatchBookmarks="true"):
        event = json.loads(line)
        break

    assert (event["type"], event["object"]["metadata"]["resourceVersion"]) == ("BOOKMARK", str(version + 1))


async def test_a_stream_in_process_delivers_before_it_ends(client: httpx2.AsyncClient) -> None:
    lines = watched(client, timeoutSeconds="60")
    reading = asyncio.ensure_future(anext(lines))
    await client.post(CONFIGMAPS, json=CONFIGMAP)

    async with asyncio.timeout(5):
        assert json.loads(await reading)["type"] == "ADDED"
    await lines.aclose()


async def test_without_the_token_nothing_is_answered(exchange: Exchange) -> None:
    server = Server(exchange, "token")
    url = f"http://127.0.0.1:{await server.start()}"
    async with plain_http.client(url) as stranger:
        assert (await stranger.get("/readyz")).status_code == 200
        assert (await stranger.get(CONFIGMAPS)).json()["reason"] == "Unauthorized"
    await server.stop()


async def test_a_stopped_server_refuses_and_comes_back_at_its_port(exchange: Exchange, tmp_path: Path) -> None:
    server = Server(exchange, "token")
    port = await server.start()
    async with plain_http.client(f"http://127.0.0.1:{port}") as client:
        await server.stop()
        with pytest.raises(httpx2.ConnectError):
            await client.get("/readyz")
        assert await server.start(port) == port
        assert (await client.get("/readyz")).status_code == 200
    await server.stop()
