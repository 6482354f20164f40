"""What a reader does for its callers: each question opens the repository anew, and leaves nothing behind."""

import asyncio
import shutil
import tempfile
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

import holdfast
from holdfast.engines import choose, program
from holdfast.engines.choose import Opened
from holdfast.engines.program import Limits
from holdfast.engines.protocol import EngineFailure, Reader
from holdfast.engines.remote import Inquiry, Statistics
from holdfast.model import wire
from holdfast.model.claim import Identity
from holdfast.model.failure import FailureKind
from holdfast.model.workorder import RepositoryAccess
from holdfast.reader import inventory

INVENTORIES: Final = 2
LISTINGS: Final = 4
DOWNLOADS: Final = 4
PATIENCE: Final = timedelta(minutes=2)
WHOLE: Final = Limits(total=timedelta(minutes=10), inactivity=timedelta(minutes=5))
DOWNLOAD: Final = Limits(total=timedelta(hours=12), inactivity=timedelta(minutes=5))


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A path in a snapshot of an identity, as a caller asks for it."""

    identity: Identity
    snapshot: str
    path: str


class Service:
    """One repository, asked by many. Every method yields an answer's data and raises EngineFailure."""

    def __init__(self, access: RepositoryAccess, root: Path, environment: Mapping[str, str], scratch: Path) -> None:
        self._access = access
        self._root = root
        self._environment = environment
        self._scratch = scratch
        self._started = time.monotonic()
        self._slots = {
            "inventories": asyncio.Semaphore(INVENTORIES),
            "listings": asyncio.Semaphore(LISTINGS),
            "downloads": asyncio.Semaphore(DOWNLOADS),
        }
        self._asked = dict.fromkeys(self._slots, 0)

    async def inventory(self, body: bytes) -> AsyncGenerator[bytes, None]:
        """Yield an `Inventory` of the identities in the body."""
        identities = _identities(body)
        async with _within(WHOLE.total), self._slot("inventories"), self._open(WHOLE) as repository:
            data = await asyncio.to_thread(wire.encode, await inventory.take(repository, identities))
        yield data

    async def ls(self, place: Place) -> AsyncGenerator[bytes, None]:
        """Yield the entries of a directory."""
        async with _within(WHOLE.total), self._slot("listings"), self._open(WHOLE) as repository:
            entries = await repository.engine.ls(place.identity, place.snapshot, place.path)
            data = await asyncio.to_thread(wire.encode, tuple(entries))
        yield data

    async def cat(self, place: Place) -> AsyncGenerator[bytes, None]:
        """Yield a file's content as fast as the caller takes it; closing the generator ends the engine."""
        async with self._slot("downloads"), self._open(DOWNLOAD) as repository:
            content = repository.engine.cat(place.identity, place.snapshot, place.path)
            async with _closing(content):
                async for chunk in content:
                    yield chunk

    async def statistics(self) -> AsyncGenerator[bytes, None]:
        """Yield the `Statistics`."""
        async with _within(WHOLE.total), self._open(WHOLE) as repository:
            try:
                version = await repository.engine.version()
            except EngineFailure as error:
                version = str(error.failure)
        told = Statistics(
            holdfast=holdfast.__version__,
            program=version,
            uptime_seconds=time.monotonic() - self._started,
            programs_started=program.number_started(),
            **self._asked,
        )
        yield wire.encode(told)

    @asynccontextmanager
    async def _slot(self, kind: str) -> AsyncGenerator[None, None]:
        """Hold one of the few places for this kind of question; raise TIMEOUT when none becomes free."""
        self._asked[kind] += 1
        slots = self._slots[kind]
        try:
            async with asyncio.timeout(PATIENCE.total_seconds()):
                await slots.acquire()
        except TimeoutError as error:
            detail = f"the reader is busy: no place for one of its {kind} became free in {PATIENCE.seconds} s"
            raise EngineFailure(FailureKind.TIMEOUT, detail) from error
        try:
            yield
        finally:
            slots.release()

    @asynccontextmanager
    async def _open(self, limits: Limits) -> AsyncGenerator[Opened[Reader], None]:
        """Hold the repository open, with a work directory of its own that is removed afterwards."""
        work = Path(tempfile.mkdtemp(dir=self._scratch))
        try:
            async with choose.opened(self._access, self._root, self._environment, work, limits) as repository:
                yield repository
        finally:
            shutil.rmtree(work, ignore_errors=True)


@asynccontextmanager
async def _within(deadline: timedelta) -> AsyncGenerator[None, None]:
    try:
        async with asyncio.timeout(deadline.total_seconds()):
            yield
    except TimeoutError as error:
        raise EngineFailure(FailureKind.TIMEOUT, f"no answer within {deadline.total_seconds():g} s") from error


@asynccontextmanager
async def _closing(content: AsyncIterator[bytes]) -> AsyncGenerator[None, None]:
    try:
        yield
    finally:
        if isinstance(content, AsyncGenerator):
            await content.aclose()


def _identities(body: bytes) -> tuple[Identity, ...]:
    try:
        return tuple(Identity.parse(each) for each in wire.decode(Inquiry, body).identities)
    except ValueError as error:
        raise EngineFailure(FailureKind.BAD_ORDER, f"the question cannot be read: {error}") from error
