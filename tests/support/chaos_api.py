"""An API server of raw sockets that answers as a script says: whole, late, broken, or not at all."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from holdfast.kube.client import Kube
from tests.support import plain_http

CREATED = "2026-11-25T03:00:00Z"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any

    @property
    def is_watch(self) -> bool:
        return self.query.get("watch") == "true"


class End(Enum):
    """How a stream ends after its last piece."""

    CLEAN = "clean"
    CUT = "cut"  # the connection is reset
    HANG = "hang"  # nothing more comes


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One whole answer; `body` is JSON unless it is bytes."""

    status: int = 200
    body: Any = b""
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """A chunked answer: bytes are sent as they are, anything else as one line of JSON; an Event is waited for."""

    pieces: Sequence[Any] = ()
    end: End = End.CLEAN


@dataclass(frozen=True, slots=True)
class Silence:
    """No answer at all until the connection is closed."""


@dataclass(frozen=True, slots=True)
class Hangup:
    """The connection is closed without an answer."""


Reply = Answer | Stream | Silence | Hangup


class ChaosApi:
    """Serves `respond` on a loopback port, which it keeps over `stop` and `start`."""

    def __init__(self, respond: Callable[[Request], Reply]) -> None:
        self.respond = respond
        self.requests: list[Request] = []
        self.port = 0
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Refuse new connections and cut those that are open."""
        assert self._server is not None
        self._server.close()
        for connection in list(self._connections):
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            while (request := await _read(reader)) is not None:
                self.requests.append(request)
                if not await _reply(self.respond(request), reader, writer):
                    break
        except (ConnectionError, asyncio.CancelledError):
            writer.transport.abort()
        finally:
            self._connections.discard(task)
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()


async def _read(reader: asyncio.StreamReader) -> Request | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        pairs = (line.partition(":") for line in head[1:] if line)
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
    except asyncio.IncompleteReadError:
        return None  # the client went away
    method, target, _ = head[0].split(" ")
    url = urlsplit(target)
    return Request(
        method=method,
        path=url.path,
        query=dict(parse_qsl(url.query)),
        headers=headers,
        body=json.loads(body) if body else None,
    )


async def _reply(reply: Reply, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """Send the reply; return whether the connection goes on."""
    match reply:
        case Answer():
            body = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
            lines = [f"HTTP/1.1 {reply.status} X", f"Content-Length: {len(body)}"]
            lines += [f"{name}: {value}" for name, value in reply.headers.items()]
            writer.write("\r\n".join([*lines, "", ""]).encode() + body)
            await writer.drain()
            return True
        case Stream():
            return await _stream(reply, reader, writer)
        case Silence():
            await reader.read()
            return False
        case Hangup():
            return False


async def _stream(stream: Stream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
    for piece in stream.pieces:
        if isinstance(piece, asyncio.Event):
            await piece.wait()
            continue
        data = piece if isinstance(piece, bytes) else json.dumps(piece).encode() + b"\n"
        writer.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        await writer.drain()
    match stream.end:
        case End.CLEAN:
            writer.write(b"0\r\n\r\n")
            await writer.drain()
            return True
        case End.CUT:
            # What was sent must arrive first: an abort at once would drop it.
            await asyncio.sleep(0.02)
            writer.transport.abort()
        case End.HANG:
            await reader.read()
    return False


@asynccontextmanager
async def serving(respond: Callable[[Request], Reply]) -> AsyncIterator[tuple[ChaosApi, Kube]]:
    """Run a scripted API server and a client for it."""
    api = ChaosApi(respond)
    await api.start()
    async with plain_http.client(api.url) as http:
        try:
            yield api, Kube(http=http, namespace="holdfast")
        finally:
            await api.stop()


class Script:
    """Lists and watches in the order given; afterwards the last list again, and silent watches."""

    def __init__(self, lists: Sequence[Reply], watches: Sequence[Reply] = ()) -> None:
        self.lists = list(lists)
        self.watches = list(watches)
        self.versions: list[str] = []  # that watches began from

    def __call__(self, request: Request) -> Reply:
        if request.is_watch:
            self.versions.append(request.query["resourceVersion"])
            return self.watches.pop(0) if self.watches else Stream(end=End.HANG)
        return self.lists.pop(0) if len(self.lists) > 1 else self.lists[0]


def meta(name: str, version: int, *, namespace: str = "app", uid: str = "", **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "namespace": namespace,
        "uid": uid or f"uid-{name}",
        "resourceVersion": str(version),
        "creationTimestamp": CREATED,
        **more,
    }


def claim(name: str, version: int, *, uid: str = "", phase: str = "Pending", **more: Any) -> dict[str, Any]:
    return {
        "metadata": meta(name, version, uid=uid, **more),
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
        "status": {"phase": phase},
    }


def listing(version: int, *items: dict[str, Any], proceed: str | None = None) -> Answer:
    metadata: dict[str, Any] = {"resourceVersion": str(version)}
    if proceed is not None:
        metadata["continue"] = proceed
    return Answer(body={"kind": "PersistentVolumeClaimList", "apiVersion": "v1", "metadata": metadata, "items": items})


def event(type_: str, item: dict[str, Any]) -> dict[str, Any]:
    return {"type": type_, "object": item}


def bookmark(version: int) -> dict[str, Any]:
    metadata = {"resourceVersion": str(version), "creationTimestamp": None}
    return {"type": "BOOKMARK", "object": {"kind": "PersistentVolumeClaim", "metadata": metadata}}


def status(code: int, reason: str, message: str = "scripted", **details: Any) -> dict[str, Any]:
    body: dict[str, Any] = {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "code": code,
        "reason": reason,
        "message": message,
    }
    return body | ({"details": details} if details else {})


def refusal(code: int, reason: str, *, headers: dict[str, str] | None = None, **details: Any) -> Answer:
    return Answer(status=code, body=status(code, reason, **details), headers=headers or {})


def error_event(code: int, reason: str, **details: Any) -> dict[str, Any]:
    return {"type": "ERROR", "object": status(code, reason, **details)}


async def eventually(condition: Callable[[], object], what: str | Callable[[], str], seconds: float = 5) -> None:
    """Return once the condition holds; fail, saying what was awaited, when it does not become true in time."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not condition():
        if asyncio.get_running_loop().time() >= deadline:
            raise AssertionError(f"not within {seconds:g} s: {what if isinstance(what, str) else what()}")
        await asyncio.sleep(0.002)


async def throughout(seconds: float, condition: Callable[[], object], what: str) -> None:
    """Return after `seconds` during which the condition held whenever it was looked at."""
    end = asyncio.get_running_loop().time() + seconds
    while asyncio.get_running_loop().time() < end:
        if not condition():
            raise AssertionError(f"not all the time: {what}")
        await asyncio.sleep(0.01)


class Store:
    """Objects by path, with versions, uids, merge patches and their preconditions; `faults` answer in its place."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.version = 100
        self.faults: list[Callable[[Request], Reply | None]] = []

    def __call__(self, request: Request) -> Reply:
        for fault in list(self.faults):
            if (reply := fault(request)) is not None:
                return reply
        return self.serve(request)

    def serve(self, request: Request) -> Reply:
        match request.method:
            case "POST":
                return self._create(f"{request.path}/{request.body['metadata']['name']}", request.body)
            case _ if request.path not in self.objects:
                return refusal(404, "NotFound")
            case "GET":
                return Answer(body=self.objects[request.path])
            case "PATCH":
                return self._patch(request.path, request.body)
            case _:
                del self.objects[request.path]
                return Answer(body=status(200, "Success"))

    def _create(self, path: str, body: dict[str, Any]) -> Reply:
        if path in self.objects:
            return refusal(409, "AlreadyExists")
        self.version += 1
        made = meta(body["metadata"]["name"], self.version, uid=f"uid-{self.version}")
        self.objects[path] = body | {"metadata": made | body["metadata"]}
        return Answer(status=201, body=self.objects[path])

    def _patch(self, path: str, body: dict[str, Any]) -> Reply:
        stored = self.objects[path]
        wanted = body.get("metadata", {})
        if (
            wanted.get("resourceVersion", stored["metadata"]["resourceVersion"])
            != stored["metadata"]["resourceVersion"]
        ):
            return refusal(409, "Conflict")
        if wanted.get("uid", stored["metadata"]["uid"]) != stored["metadata"]["uid"]:
            return refusal(422, "Invalid")
        self.version += 1
        merged = _merge(stored, body)
        merged["metadata"]["resourceVersion"] = str(self.version)
        self.objects[path] = merged
        return Answer(body=merged)


def _merge(old: Any, new: Any) -> Any:
    if not isinstance(new, dict):
        return new
    merged = dict(old) if isinstance(old, dict) else {}
    for key, value in new.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = _merge(merged.get(key), value)
    return merged
