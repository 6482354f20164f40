"""A proxy in front of a healthy S3 server that misbehaves on demand.

A healthy request passes byte for byte, its Host header and signature with it, so real engines can be pointed here.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import parse_qs, urlsplit

_PIECE = 65536  # bytes that are passed on at once
HTML = b"<!doctype html><html><body><h1>Not what you look for</h1></body></html>"


class Misbehaviour(StrEnum):
    HEALTHY = "healthy"
    NOT_FOUND_PLAIN = "404 with text"
    NOT_FOUND_EMPTY = "404 without a body"
    NOT_FOUND_HTML = "404 with a web page"
    NO_SUCH_BUCKET = "404 NoSuchBucket"
    NO_SUCH_KEY = "404 NoSuchKey for everything"
    NO_SUCH_KEY_ON_GET = "404 NoSuchKey for objects that are listed"
    DELETE_MARKER = "404 NoSuchKey with a delete marker"
    ARCHIVED = "403 InvalidObjectState"
    ACCESS_DENIED = "403 AccessDenied"
    FORBIDDEN_PLAIN = "403 with text"
    UNKNOWN_KEY = "403 InvalidAccessKeyId"
    BAD_SIGNATURE = "403 SignatureDoesNotMatch"
    EXPIRED_TOKEN = "400 ExpiredToken"
    CLOCK_SKEW = "403 RequestTimeTooSkewed"
    UNAUTHORIZED = "401"
    MOVED = "301 to another region"
    OTHER_REGION = "400 AuthorizationHeaderMalformed"
    REDIRECTED = "307"
    SERVER_ERROR = "500"
    BAD_GATEWAY = "502 with a web page"
    SLOW_DOWN = "503 SlowDown"
    FULL = "507 XMinioStorageFull"
    OK_HTML = "200 with a web page"
    OK_EMPTY = "200 without a body"
    LIST_ENDS_IN_GARBAGE = "a list whose second page is garbage"
    LIST_ENDS_EARLY = "a list cut inside, with a length that fits"
    LIST_IN_CIRCLES = "a list whose continuation token repeats"
    LIST_WITHOUT_COUNT = "a list without KeyCount"
    LIST_WITHOUT_END = "a list without IsTruncated"
    LIST_MISCOUNTED = "a list with fewer keys than its KeyCount"
    LIST_OF_OTHER_PREFIX = "a list of another prefix"
    LIST_OF_OTHER_BUCKET = "a list of another bucket"
    CUT = "an answer cut in its middle"
    DROPPED = "the connection closes without an answer"
    SILENT = "accepts and stays silent"
    REFUSED = "connection refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    status: str
    body: bytes = b""
    type: str = "application/xml"
    headers: tuple[str, ...] = ()


# As servers word them: engines pass on the words, and not the code.
_MESSAGES = {
    "NoSuchBucket": "The specified bucket does not exist.",
    "NoSuchKey": "The specified key does not exist.",
    "InvalidObjectState": "The operation is not valid for the object's storage class",
    "AccessDenied": "Access Denied",
    "InvalidAccessKeyId": "The AWS Access Key Id you provided does not exist in our records.",
    "SignatureDoesNotMatch": "The request signature we calculated does not match the signature you provided. "
    "Check your key and signing method.",
    "ExpiredToken": "The provided token has expired.",
    "RequestTimeTooSkewed": "The difference between the request time and the current time is too large.",
    "PermanentRedirect": "The bucket you are attempting to access must be addressed using the specified endpoint. "
    "Please send all future requests to this endpoint.",
    "AuthorizationHeaderMalformed": "The authorization header is malformed; the region 'us-east-1' is wrong; "
    "expecting 'eu-central-1'",
    "InternalError": "We encountered an internal error. Please try again.",
    "SlowDown": "Please reduce your request rate.",
    "XMinioStorageFull": "Storage backend has reached its minimum free drive threshold. "
    "Please delete a few objects to proceed.",
}


def _error(status: str, code: str, *headers: str, more: str = "") -> _Answer:
    message = _MESSAGES.get(code, "as asked")
    text = (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{message}</Message>{more}</Error>'
    )
    return _Answer(status=status, body=text.encode(), headers=headers)


_ANSWERS = {
    Misbehaviour.NOT_FOUND_PLAIN: _Answer(status="404 Not Found", body=b"404 page not found", type="text/plain"),
    Misbehaviour.NOT_FOUND_EMPTY: _Answer(status="404 Not Found"),
    Misbehaviour.NOT_FOUND_HTML: _Answer(status="404 Not Found", body=HTML, type="text/html"),
    Misbehaviour.NO_SUCH_BUCKET: _error("404 Not Found", "NoSuchBucket"),
    Misbehaviour.NO_SUCH_KEY: _error("404 Not Found", "NoSuchKey"),
    Misbehaviour.NO_SUCH_KEY_ON_GET: _error("404 Not Found", "NoSuchKey"),
    Misbehaviour.DELETE_MARKER: _error("404 Not Found", "NoSuchKey", "x-amz-delete-marker: true"),
    Misbehaviour.ARCHIVED: _error("403 Forbidden", "InvalidObjectState"),
    Misbehaviour.ACCESS_DENIED: _error("403 Forbidden", "AccessDenied"),
    Misbehaviour.FORBIDDEN_PLAIN: _Answer(status="403 Forbidden", body=b"forbidden", type="text/plain"),
    Misbehaviour.UNKNOWN_KEY: _error("403 Forbidden", "InvalidAccessKeyId"),
    Misbehaviour.BAD_SIGNATURE: _error("403 Forbidden", "SignatureDoesNotMatch"),
    Misbehaviour.EXPIRED_TOKEN: _error("400 Bad Request", "ExpiredToken"),
    Misbehaviour.CLOCK_SKEW: _error("403 Forbidden", "RequestTimeTooSkewed"),
    Misbehaviour.UNAUTHORIZED: _Answer(status="401 Unauthorized", body=b"log in", type="text/plain"),
    Misbehaviour.MOVED: _error(
        "301 Moved Permanently", "PermanentRedirect", "x-amz-bucket-region: eu-central-1", "location: /elsewhere"
    ),
    Misbehaviour.OTHER_REGION: _error(
        "400 Bad Request", "AuthorizationHeaderMalformed", more="<Region>eu-central-1</Region>"
    ),
    Misbehaviour.REDIRECTED: _Answer(status="307 Temporary Redirect", headers=("location: http://127.0.0.1/login",)),
    Misbehaviour.SERVER_ERROR: _error("500 Internal Server Error", "InternalError"),
    Misbehaviour.BAD_GATEWAY: _Answer(status="502 Bad Gateway", body=HTML, type="text/html"),
    Misbehaviour.SLOW_DOWN: _error("503 Slow Down", "SlowDown"),
    Misbehaviour.FULL: _error("507 Insufficient Storage", "XMinioStorageFull"),
    Misbehaviour.OK_HTML: _Answer(status="200 OK", body=HTML, type="text/html", headers=('etag: "a-page-has-one"',)),
    Misbehaviour.OK_EMPTY: _Answer(status="200 OK"),
}

# What is wrong with objects only: listings pass.
_OF_OBJECTS = (Misbehaviour.NO_SUCH_KEY_ON_GET, Misbehaviour.DELETE_MARKER, Misbehaviour.ARCHIVED)


def every_request(_head: bytes) -> bool:
    """Tell that the request, whatever it is, is meant."""
    return True


class Proxy:
    """Listens on an address; `be` switches what it does with every request from then on, or with those that are meant.

    `pace` slows the answers to those that are meant down, also those under way.
    """

    def __init__(self, upstream: str, host: str = "127.0.0.1") -> None:
        self.requests: list[str] = []  # "GET /bucket/key?query", in order
        self._upstream = upstream
        self._host = host
        self._mode = Misbehaviour.HEALTHY
        self._is_meant: Callable[[bytes], bool] = every_request
        self._speed: int | None = None
        self._is_slow: Callable[[bytes], bool] = every_request
        self._server: asyncio.Server | None = None
        self._port = 0
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def endpoint(self) -> str:
        return f"{self._host}:{self._port}"

    async def be(self, mode: Misbehaviour, *, of: Callable[[bytes], bool] = every_request) -> None:
        """Misbehave; `of` tells by a request's head whether it is met by it, and REFUSED is of all."""
        self._mode = mode
        self._is_meant = of
        if mode is Misbehaviour.REFUSED:
            await self.stop()
        elif self._server is None:
            self._server = await asyncio.start_server(self._accept, self._host, self._port)
            self._port = self._server.sockets[0].getsockname()[1]

    def pace(self, bytes_per_second: int | None, *, of: Callable[[bytes], bool] = every_request) -> None:
        """Answer those that are meant as slowly as this, one by one; None: as fast as the server does."""
        self._speed = bytes_per_second
        self._is_slow = of

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._server is None:  # accepted just before the stop
            writer.transport.abort()
            return
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        # A task that is cancelled before its first step never reaches its own `finally`.
        task.add_done_callback(lambda _: writer.close())

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            try:
                head = await reader.readuntil(b"\r\n\r\n")
                await self._answer(head, reader, writer)
            except asyncio.CancelledError:
                writer.transport.abort()
                raise
            finally:
                await _close(writer)

    async def _answer(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        method, target, _ = head.split(b"\r\n", 1)[0].decode().split(" ", 2)
        self.requests.append(f"{method} {target}")
        query = parse_qs(urlsplit(target).query, keep_blank_values=True)
        is_list = "list-type" in query
        mode = self._mode if self._is_meant(head) else Misbehaviour.HEALTHY
        if mode is Misbehaviour.SILENT:
            await asyncio.Event().wait()
        elif mode is Misbehaviour.DROPPED:
            return
        elif mode in _ANSWERS and not (is_list and mode in _OF_OBJECTS):
            await _discard_body(head, reader)
            writer.write(_bytes(_ANSWERS[mode], method))
            await writer.drain()
        elif mode is Misbehaviour.CUT:
            whole = await self._ask(head, reader)
            start = whole.index(b"\r\n\r\n") + 4
            writer.write(whole[: start + (len(whole) - start) // 2])
            await writer.drain()
        elif is_list and mode.name.startswith("LIST_"):
            whole = await self._ask(head, reader)
            body = _spoil(mode, whole[whole.index(b"\r\n\r\n") + 4 :], "continuation-token" in query)
            writer.write(_bytes(_Answer(status="200 OK", body=body), method))
            await writer.drain()
        else:
            await self._forward(head, reader, writer)

    async def _forward(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await self._connect(head)
        sending = asyncio.create_task(_pump(reader, up_writer))
        try:
            await self._answer_on(head, up_reader, writer)
        finally:
            sending.cancel()
            up_writer.close()  # before any wait, in which we may be cancelled
            await asyncio.wait([sending])
            await _close(up_writer)

    async def _answer_on(self, head: bytes, up_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while chunk := await up_reader.read(_PIECE):
                writer.write(chunk)
                await writer.drain()
                if self._speed is not None and self._is_slow(head):
                    await asyncio.sleep(len(chunk) / self._speed)

    async def _ask(self, head: bytes, reader: asyncio.StreamReader) -> bytes:
        up_reader, up_writer = await self._connect(head)
        try:
            up_writer.write(await reader.readexactly(_length(head)))
            return await up_reader.read(-1)
        finally:
            await _close(up_writer)

    async def _connect(self, head: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        host, _, port = self._upstream.partition(":")
        up_reader, up_writer = await asyncio.open_connection(host, int(port))
        # Connection is never signed: one request a connection, so that a switch takes effect at once.
        lines = [line for line in head.split(b"\r\n")[:-2] if not line.lower().startswith(b"connection:")]
        up_writer.write(b"\r\n".join([*lines, b"Connection: close", b"", b""]))
        return up_reader, up_writer


@contextlib.asynccontextmanager
async def misbehaving(upstream: str, host: str = "127.0.0.1") -> AsyncIterator[Proxy]:
    """Run a proxy in front of the server at `upstream` (host:port), healthy at first; it listens on `host`."""
    proxy = Proxy(upstream, host)
    await proxy.be(Misbehaviour.HEALTHY)
    try:
        yield proxy
    finally:
        await proxy.stop()


def _spoil(mode: Misbehaviour, body: bytes, is_second: bool) -> bytes:
    more = b"<IsTruncated>true</IsTruncated><NextContinuationToken>again</NextContinuationToken>"
    match mode:
        case Misbehaviour.LIST_ENDS_IN_GARBAGE:
            return b"\x00garbage" if is_second else body.replace(b"<IsTruncated>false</IsTruncated>", more)
        case Misbehaviour.LIST_ENDS_EARLY:
            return body[: body.index(b"</ListBucketResult>") - 20]
        case Misbehaviour.LIST_IN_CIRCLES:
            return body.replace(b"<IsTruncated>false</IsTruncated>", more)
        case Misbehaviour.LIST_WITHOUT_COUNT:
            return _without(body, b"KeyCount")
        case Misbehaviour.LIST_WITHOUT_END:
            return _without(body, b"IsTruncated")
        case Misbehaviour.LIST_MISCOUNTED:
            return body.replace(b"<KeyCount>", b"<KeyCount>1")
        case Misbehaviour.LIST_OF_OTHER_PREFIX:
            return body.replace(b"</Prefix>", b"other</Prefix>", 1)
        case Misbehaviour.LIST_OF_OTHER_BUCKET:
            return body.replace(b"</Name>", b"-other</Name>")
        case _:
            raise ValueError(f"{mode} spoils no listing")


def _without(body: bytes, element: bytes) -> bytes:
    before, _, rest = body.partition(b"<" + element + b">")
    return before + rest.partition(b"</" + element + b">")[2]


def _bytes(answer: _Answer, method: str) -> bytes:
    lines = [
        f"HTTP/1.1 {answer.status}",
        f"content-type: {answer.type}",
        f"content-length: {len(answer.body)}",
        "date: Thu, 01 Jan 2026 00:00:00 GMT",
        "connection: close",
        *answer.headers,
    ]
    return "\r\n".join([*lines, "", ""]).encode() + (b"" if method == "HEAD" else answer.body)


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


async def _discard_body(head: bytes, reader: asyncio.StreamReader) -> None:
    await reader.readexactly(_length(head))


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while chunk := await reader.read(_PIECE):
            writer.write(chunk)
            await writer.drain()
