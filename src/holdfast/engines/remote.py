"""A repository seen through its reader, over HTTP: how the operator and the command line read one."""

import asyncio
import dataclasses
import secrets
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from urllib.parse import urlencode

import httpx2

from holdfast.engines import answer
from holdfast.engines.protocol import EngineFailure
from holdfast.model import wire
from holdfast.model.claim import Identity
from holdfast.model.entry import Entry
from holdfast.model.evidence import Inventory
from holdfast.model.failure import FailureKind

WHOLE_LIMIT: Final = 256 << 20  # an inventory of 10,000 claims with 100 snapshots each fits
CONNECT: Final = timedelta(seconds=10)
_AT_ONCE: Final = 1 << 17  # bytes decoded without leaving the loop: a few milliseconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Inquiry:
    """The identities that an inventory is asked about."""

    identities: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """What a reader says about itself; counts are since its start."""

    holdfast: str
    program: str  # the engine's version, or why it could not be told
    uptime_seconds: float
    inventories: int
    listings: int
    downloads: int
    programs_started: int


class RemoteReader:
    """Asks one reader. Every failure is an EngineFailure: READER_DOWN where the reader itself gave no whole answer.

    A deadline covers a whole answer, a download's `inactivity` the time between two of its pieces.
    """

    def __init__(self, url: str, token: str) -> None:
        self._url = url.rstrip("/")
        self._token = token
        # No connection is kept: a reader that was replaced would be answered for by a dead one. The context trusts no
        # authority: readers speak plain HTTP inside the cluster, and loading the authorities takes 20 ms of the loop.
        transport = httpx2.AsyncHTTPTransport(
            verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
            limits=httpx2.Limits(max_keepalive_connections=0),
            trust_env=False,
        )
        self._http = httpx2.AsyncClient(transport=transport, trust_env=False)

    async def aclose(self) -> None:
        """Close the client; no question may be under way."""
        await self._http.aclose()

    async def inventory(
        self, identities: Collection[Identity], *, deadline: timedelta = timedelta(minutes=15)
    ) -> Inventory:
        """Return one reading of the repository that began after this call.

        `began` is when we asked, by our clock: the reader began after that, and no clock of another node can make an
        inventory younger than it is, or hold a claim back.
        """
        asked = datetime.now(UTC)
        inquiry = Inquiry(identities=tuple(sorted(str(identity) for identity in identities)))
        data = await self._whole("POST", "/inventory", deadline, wire.encode(inquiry))
        inventory = await _read(Inventory, data)
        if missing := set(identities) - set(inventory.answers):
            raise answer.broken(f"says nothing about {min(map(str, missing))}")
        return dataclasses.replace(inventory, began=asked)

    async def ls(
        self, identity: Identity, snapshot: str, path: str, *, deadline: timedelta = timedelta(minutes=5)
    ) -> Sequence[Entry]:
        """Return the entries of a directory of a snapshot, as `Reader.ls`."""
        data = await self._whole("GET", _place("/ls", identity, snapshot, path), deadline)
        return await _read(tuple[Entry, ...], data)

    async def cat(
        self, identity: Identity, snapshot: str, path: str, *, inactivity: timedelta = timedelta(minutes=5)
    ) -> AsyncGenerator[bytes, None]:
        """Yield a file's content; only an end without exception says that it was whole."""
        asked = self._ask("GET", _place("/cat", identity, snapshot, path), inactivity)
        async with asked as data:
            async for chunk in data:
                yield chunk

    async def statistics(self, *, deadline: timedelta = timedelta(seconds=30)) -> Statistics:
        """Return what the reader says about itself."""
        return await _read(Statistics, await self._whole("GET", "/statistics", deadline))

    async def _whole(self, method: str, target: str, deadline: timedelta, body: bytes = b"") -> bytes:
        try:
            async with asyncio.timeout(deadline.total_seconds()), self._ask(method, target, deadline, body) as data:
                return await answer.collect(data, WHOLE_LIMIT)
        except TimeoutError as error:
            raise _silent(self._url, deadline) from error

    @asynccontextmanager
    async def _ask(
        self, method: str, target: str, inactivity: timedelta, body: bytes = b""
    ) -> AsyncGenerator[AsyncIterator[bytes], None]:
        """Yield the data of the answer; its end is checked when the data is read to the end."""
        nonce = secrets.token_hex(16)
        headers = {"authorization": f"Bearer {self._token}", "accept-encoding": "identity", answer.NONCE_HEADER: nonce}
        timeout = httpx2.Timeout(inactivity.total_seconds(), connect=CONNECT.total_seconds())
        try:
            async with self._http.stream(
                method, self._url + target, headers=headers, content=body, timeout=timeout
            ) as response:
                if response.status_code != 200:
                    raise await _refused(response)
                async with aclosing(answer.decode(response.aiter_raw(), token=self._token, nonce=nonce)) as data:
                    yield data
        except httpx2.ConnectTimeout as error:
            raise _silent(self._url, CONNECT) from error
        except httpx2.TimeoutException as error:
            raise _silent(self._url, inactivity) from error
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            what = f"The repository's reader at {self._url} cannot be asked: {str(error) or type(error).__name__}."
            raise EngineFailure(FailureKind.READER_DOWN, what) from error


def _place(endpoint: str, identity: Identity, snapshot: str, path: str) -> str:
    """Return the request target; a path's bytes that are not UTF-8 travel as they are."""
    query: Mapping[str, str] = {"identity": str(identity), "snapshot": snapshot, "path": path}
    return f"{endpoint}?{urlencode(query, errors='surrogateescape')}"


async def _read(expected: type[wire.T], data: bytes) -> wire.T:
    try:
        if len(data) <= _AT_ONCE:
            return wire.decode(expected, data)
        return await asyncio.to_thread(wire.decode, expected, data)
    except wire.WireError as error:
        raise answer.broken(f"cannot be read: {error}") from error


def _silent(url: str, deadline: timedelta) -> EngineFailure:
    seconds = deadline.total_seconds()
    return EngineFailure(FailureKind.READER_DOWN, f"The repository's reader at {url} gave no answer in {seconds:g} s.")


async def _refused(response: httpx2.Response) -> EngineFailure:
    """Return the failure for an answer without frames: nothing in it was authenticated."""
    async with aclosing(response.aiter_raw(200)) as body:
        text = (await anext(body, b"")).decode(errors="replace").strip()
    if response.status_code == 401:
        why = "refuses our token: it was started with another one"
    else:
        why = f"answered {response.status_code} {text}"
    return EngineFailure(FailureKind.READER_DOWN, f"The repository's reader at {response.url.host} {why}.")
