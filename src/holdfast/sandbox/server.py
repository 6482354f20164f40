"""The store over HTTP on loopback: what kubectl and the operator's client connect to."""

import asyncio
import contextlib
import hmac
import socket
from collections.abc import Iterator, Mapping
from typing import Any, Final

import uvicorn

from holdfast.sandbox.exchange import Exchange, Stream
from holdfast.sandbox.faults import Broken
from holdfast.sandbox.store import requests
from holdfast.sandbox.store.messages import Answer, Request
from holdfast.sandbox.store.refusal import Refusal

_OPEN_PATHS: Final = frozenset({"/healthz", "/livez", "/readyz"})
_STOP_SECONDS: Final = 5


class Server:
    """Serves an exchange on 127.0.0.1; whoever presents the token may do everything."""

    def __init__(self, exchange: Exchange, token: str) -> None:
        self._exchange: Final = exchange
        self._authorization: Final = f"Bearer {token}".encode()
        # kubectl sends no token over plain HTTP: for it, the address itself carries one.
        self._prefix: Final = f"/{token}"
        self._server: _Uvicorn | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self, port: int = 0) -> int:
        """Begin to serve and return the port; port 0 takes a free one."""
        # Named TCP, or asyncio leaves Nagle on and every answer waits 40 ms for an acknowledgement.
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        self._exchange.stopping.clear()
        config = uvicorn.Config(
            self._application,
            interface="asgi3",
            lifespan="off",
            proxy_headers=False,
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            timeout_graceful_shutdown=_STOP_SECONDS,
            timeout_keep_alive=300,
        )
        self._server = _Uvicorn(config)
        self._task = asyncio.create_task(self._server.serve(sockets=[listener]))
        while not self._server.started:
            if self._task.done():
                self._task.result()
            await asyncio.sleep(0.005)
        return int(listener.getsockname()[1])

    async def stop(self) -> None:
        """End every stream and close the port; connections are refused from then on."""
        if self._server is None or self._task is None:
            return
        self._exchange.stopping.set()
        self._server.should_exit = True
        await self._task
        self._server = self._task = None

    async def _application(self, scope: Any, receive: Any, send: Any) -> None:
        headers = {key.decode("latin-1"): value.decode("latin-1") for key, value in scope["headers"]}
        path, known = self._admitted(scope["raw_path"].decode("latin-1"), headers)
        target = path + "?" + scope["query_string"].decode("latin-1")
        request = Request.read(scope["method"], target, headers, await _body(receive))
        if request.path in _OPEN_PATHS:
            await _send(send, Answer(status=200, body=b"ok", content_type="text/plain"))
        elif not known:
            await _send(send, requests.refused(Refusal(401, "Unauthorized", "Unauthorized")))
        else:
            await self._exchanged(request, receive, send)

    def _admitted(self, path: str, headers: Mapping[str, str]) -> tuple[str, bool]:
        """Return the path without the token in it, and whether path or header carried the token."""
        start, rest = path[: len(self._prefix)], path[len(self._prefix) :]
        if hmac.compare_digest(start.encode(), self._prefix.encode()) and (not rest or rest.startswith("/")):
            return rest or "/", True
        return path, hmac.compare_digest(headers.get("authorization", "").encode(), self._authorization)

    async def _exchanged(self, request: Request, receive: Any, send: Any) -> None:
        try:
            answer = await self._exchange.respond(request)
            if isinstance(answer, Stream):
                await _stream(receive, send, answer)
            else:
                await _send(send, answer)
        except Broken:
            # uvicorn has no word for "drop the connection"; a test watches over this way to its transport.
            send.__self__.transport.abort()


class _Uvicorn(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the program around the server."""
        yield


async def _body(receive: Any) -> bytes:
    parts = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return b""
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)


async def _send(send: Any, answer: Answer) -> None:
    headers = [
        (b"content-type", answer.content_type.encode()),
        (b"content-length", str(len(answer.body)).encode()),
        *((b"warning", header.encode("latin-1", "replace")) for header in answer.warning_headers()),
    ]
    if answer.retry_after_seconds is not None:
        headers.append((b"retry-after", str(answer.retry_after_seconds).encode()))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})


async def _stream(receive: Any, send: Any, stream: Stream) -> None:
    """Send the parts as they come, until they end or the client is gone."""
    headers = [(b"content-type", stream.content_type.encode())]
    await send({"type": "http.response.start", "status": stream.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"", "more_body": True})

    async def forward() -> None:
        async for part in stream.parts:
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    forwarding = asyncio.create_task(forward())
    leaving = asyncio.create_task(_gone(receive))
    try:
        await asyncio.wait({forwarding, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if forwarding.done():
            forwarding.result()
    finally:
        for task in (forwarding, leaving):
            task.cancel()
        await asyncio.gather(forwarding, leaving, return_exceptions=True)


async def _gone(receive: Any) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
