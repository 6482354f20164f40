"""The store for an httpx2 client in the same process: no socket, and watches that stream."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

import httpx2

from holdfast.sandbox.exchange import Exchange, Stream
from holdfast.sandbox.faults import Broken
from holdfast.sandbox.store.messages import Request


class StoreTransport(httpx2.AsyncBaseTransport):
    """Answers an httpx2 client's requests from an exchange. Every client is trusted."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange: Final = exchange

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        headers = {key.lower(): value for key, value in request.headers.items()}
        target = request.url.raw_path.decode("ascii")
        body = await request.aread()
        await asyncio.sleep(0)  # a network would let others run here
        try:
            answer = await self._exchange.respond(Request.read(request.method, target, headers, body))
        except Broken as error:
            raise httpx2.ReadError("the connection was closed without an answer", request=request) from error
        if isinstance(answer, Stream):
            return httpx2.Response(
                answer.status,
                headers={"content-type": answer.content_type},
                stream=_Parts(answer.parts, request),
                request=request,
            )
        warnings = [("warning", header) for header in answer.warning_headers()]
        more = [] if answer.retry_after_seconds is None else [("retry-after", str(answer.retry_after_seconds))]
        return httpx2.Response(
            answer.status,
            headers=[("content-type", answer.content_type), *warnings, *more],
            content=answer.body,
            request=request,
        )


class _Parts(httpx2.AsyncByteStream):
    def __init__(self, parts: AsyncIterator[bytes], request: httpx2.Request) -> None:
        self._parts: Final = parts
        self._request: Final = request

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for part in self._parts:
                yield part
        except Broken as error:
            message = "the connection was closed in the middle of an answer"
            raise httpx2.RemoteProtocolError(message, request=self._request) from error

    async def aclose(self) -> None:
        close = getattr(self._parts, "aclose", None)
        if close is not None:
            await close()
