"""The reader's questions over HTTP: a bearer token in, sealed frames out."""

import asyncio
import hmac
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import timedelta
from typing import Final
from urllib.parse import parse_qs

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from holdfast.engines import answer
from holdfast.engines.protocol import EngineFailure
from holdfast.model.claim import Identity
from holdfast.model.failure import FailureKind
from holdfast.reader.service import Place, Service

BODY_LIMIT: Final = 16 << 20  # 50,000 identities of 300 characters
STALLED: Final = timedelta(minutes=5)  # how long a caller may take nothing
HEALTH: Final = "/healthz"


def application(service: Service, token: str) -> ASGIApp:
    """Return the reader's HTTP application."""

    async def inventory(request: Request) -> Response:
        body = await _body(request)
        if body is None:
            return PlainTextResponse(f"the question is longer than {BODY_LIMIT} bytes\n", 413)
        return _answer(request, token, service.inventory(body))

    async def ls(request: Request) -> Response:
        return _answer(request, token, _at_place(request, service, "ls"))

    async def cat(request: Request) -> Response:
        return _answer(request, token, _at_place(request, service, "cat"))

    async def statistics(request: Request) -> Response:
        return _answer(request, token, service.statistics())

    async def health(request: Request) -> Response:  # noqa: ARG001  # says only that the loop runs
        return PlainTextResponse("ok\n")

    routes = [
        Route("/inventory", inventory, methods=["POST"]),
        Route("/ls", ls, methods=["GET"]),
        Route("/cat", cat, methods=["GET"]),
        Route("/statistics", statistics, methods=["GET"]),
        Route(HEALTH, health, methods=["GET"]),
    ]
    return _Guard(Starlette(routes=routes), token)


class _Guard:
    """Lets only callers with the token through; whether the process lives may be asked by anybody."""

    def __init__(self, inner: ASGIApp, token: str) -> None:
        self._inner = inner
        self._expected = f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] != HEALTH:
            given = b"".join(value for name, value in scope["headers"] if name == b"authorization")
            if not hmac.compare_digest(given, self._expected):
                refusal = PlainTextResponse("a token is needed\n", 401, {"www-authenticate": "Bearer"})
                await refusal(scope, receive, send)
                return
        await self._inner(scope, receive, send)


class _Sealed(StreamingResponse):
    """Streams the frames; the generator is closed in every case, and with it the engine's program."""

    def __init__(self, frames: AsyncGenerator[bytes, None]) -> None:
        super().__init__(frames, media_type="application/octet-stream")
        self._frames = frames

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_or_give_up(message: Message) -> None:
            async with asyncio.timeout(STALLED.total_seconds()):
                await send(message)

        async with aclosing(self._frames):
            await super().__call__(scope, receive, send_or_give_up)


def _answer(request: Request, token: str, data: AsyncGenerator[bytes, None]) -> Response:
    nonce = request.headers.get(answer.NONCE_HEADER, "")
    if not answer.is_nonce(nonce):
        return PlainTextResponse(f"a header {answer.NONCE_HEADER} of 32 to 128 hex digits is needed\n", 400)
    return _Sealed(answer.encode(data, token=token, nonce=nonce))


async def _at_place(request: Request, service: Service, question: str) -> AsyncGenerator[bytes, None]:
    place = _place(request.scope["query_string"])
    data = service.ls(place) if question == "ls" else service.cat(place)
    async with aclosing(data):
        async for chunk in data:
            yield chunk


def _place(query: bytes) -> Place:
    """Return what was asked for; bytes of a path that are not UTF-8 become surrogate escapes."""
    try:
        found = parse_qs(query.decode("ascii"), keep_blank_values=True, strict_parsing=True, errors="surrogateescape")
        (identity,), (snapshot,), (path,) = found["identity"], found["snapshot"], found["path"]
        return Place(identity=Identity.parse(identity), snapshot=snapshot, path=path)
    except (ValueError, KeyError) as error:
        detail = f"a question names one identity, snapshot and path: {error}"
        raise EngineFailure(FailureKind.BAD_ORDER, detail) from error


async def _body(request: Request) -> bytes | None:
    """Return the request's body, None when it is longer than BODY_LIMIT."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_LIMIT:
            return None
    return bytes(body)
