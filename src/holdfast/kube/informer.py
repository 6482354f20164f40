"""The current objects of one kind, kept up to date by one list and one watch, and how far they can be believed."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Final, Generic, assert_never

from holdfast.kube import errors
from holdfast.kube.client import Kube
from holdfast.kube.decode import Bookmark, Broken, Removed, Stored, Unreadable, WatchEvent
from holdfast.kube.objects import Key, Kind, T
from holdfast.kube.pace import Pace

log = logging.getLogger(__name__)

WATCH: Final = timedelta(seconds=290)
LIVED: Final = timedelta(seconds=1)  # a watch that lasted this long was a good one
PATIENCE: Final = 5  # refused watches in a row, after which the version itself is doubted (a restored etcd)
SLICE: Final = 500  # objects taken over before other tasks get their turn


class State(StrEnum):
    """What an informer is doing, or what keeps it from doing it."""

    LISTING = "Listing"
    WATCHING = "Watching"
    UNREACHABLE = "Unreachable"
    UNAUTHORIZED = "Unauthorized"
    FORBIDDEN = "Forbidden"
    NOT_SERVED = "NotServed"
    REFUSED = "Refused"  # any other answer: overload, server errors, answers that cannot be read


@dataclass(frozen=True, slots=True, kw_only=True)
class Change(Generic[T]):
    """An object appeared (`old` is None), changed, or disappeared (`new` is None).

    An object re-created under the same name is two changes.
    """

    key: Key
    old: T | None
    new: T | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AsOf:
    """The version that the objects show, and when the server last sent anything."""

    resource_version: str
    time: datetime


@dataclass(slots=True)
class _Index(Generic[T]):
    words: Callable[[T], Iterable[str]]
    keys: dict[str, set[Key]] = field(default_factory=dict)

    def swap(self, key: Key, old: T | None, new: T | None) -> None:
        for word in self.words(old) if old is not None else ():
            keys = self.keys.get(word, set())
            keys.discard(key)
            if not keys:
                self.keys.pop(word, None)
        for word in self.words(new) if new is not None else ():
            self.keys.setdefault(word, set()).add(key)


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Informer(Generic[T]):
    """Objects of one kind. `run()` keeps them; nothing may be decided from them before `complete`.

    An object that cannot be read is in `broken`; its last readable form, if any, stays in `objects`. Before anything
    irreversible the object is read again with `Kube.get`.
    """

    def __init__(
        self,
        kube: Kube,
        kind: Kind[T],
        namespace: str | None = None,
        *,
        labels: Mapping[str, str] | None = None,
        fields: str | None = None,
        pace: Pace = Pace(first=timedelta(seconds=0.5), longest=timedelta(seconds=30)),  # noqa: B008 # frozen
        now: Callable[[], datetime] = _utc_now,
    ) -> None:
        self.kind = kind
        self._kube = kube
        self._namespace = namespace
        self._labels = labels
        self._fields = fields
        self._pace = pace
        self._now = now
        self._objects: dict[Key, T] = {}
        self._broken: dict[Key, Broken] = {}
        self._indexes: dict[str, _Index[T]] = {}
        self._listeners: list[Callable[[Change[T]], None]] = []
        self._version: str | None = None  # None: list again
        self._last_byte: float | None = None
        self._as_of: AsOf | None = None
        self._completed = asyncio.Event()
        self._failures = 0
        self._refusals = 0
        self.state = State.LISTING
        self.last_error: errors.KubeError | None = None
        self.lists = 0

    # What is known

    @property
    def objects(self) -> Mapping[Key, T]:
        """All objects that are known; a live view."""
        return MappingProxyType(self._objects)

    @property
    def broken(self) -> Mapping[Key, Broken]:
        """The objects that the server has and we cannot read; a live view."""
        return MappingProxyType(self._broken)

    @property
    def complete(self) -> bool:
        """Whether a full list has been read once."""
        return self._completed.is_set()

    @property
    def as_of(self) -> AsOf | None:
        return self._as_of

    @property
    def stale_for(self) -> timedelta | None:
        """How long the server has sent nothing (about a minute is usual on a quiet kind); None before `complete`."""
        if self._last_byte is None or not self.complete:
            return None
        return timedelta(seconds=asyncio.get_running_loop().time() - self._last_byte)

    def get(self, namespace: str, name: str) -> T | None:
        """Return the object as far as it is known; the namespace of cluster-scoped kinds is ""."""
        return self._objects.get(Key(namespace, name))

    def by(self, index: str, word: str) -> Sequence[T]:
        """Return the objects that an index puts under `word`, by key."""
        return [self._objects[key] for key in sorted(self._indexes[index].keys.get(word, ()))]

    # Who wants to know

    def index(self, name: str, words: Callable[[T], Iterable[str]]) -> None:
        """Find objects by words that a pure function reads from them."""
        index = _Index(words)
        for key, item in self._objects.items():
            index.swap(key, None, item)
        self._indexes[name] = index

    def add_handler(self, handle: Callable[[Key], None]) -> None:
        """Call `handle` with the key of every change. It only enqueues, and never raises."""
        self.add_listener(lambda change: handle(change.key))

    def add_listener(self, listen: Callable[[Change[T]], None]) -> None:
        """Call `listen` with every change, in order. It only enqueues, and never raises."""
        self._listeners.append(listen)

    async def wait_complete(self, deadline: timedelta) -> None:
        """Return once a full list has been read; raise Unreachable, saying what is in the way, after `deadline`."""
        try:
            async with asyncio.timeout(deadline.total_seconds()):
                await self._completed.wait()
        except TimeoutError as error:
            why = self.last_error or "the list has not ended"
            raise errors.Unreachable(self.state.value, f"no complete list of {self.kind} yet: {why}") from error

    # Keeping up

    async def run(self) -> None:
        """Keep the objects up to date until cancelled; failures are states, never exceptions."""
        while True:
            try:
                if self._version is None:
                    await self._list()
                await self._watch(self._version or "")
            except errors.KubeError as error:
                await self._rest(error)

    async def _rest(self, error: errors.KubeError) -> None:
        self._note(error)
        self._failures += 1
        pause = self._pace.pause(self._failures)
        if error.retry_after is not None:
            pause = max(pause, self._pace.spread(error.retry_after))
        await asyncio.sleep(pause.total_seconds())

    def _note(self, error: errors.KubeError) -> None:
        self.last_error = error
        self._refusals = self._refusals + 1 if _doubts_version(error) else 0
        if isinstance(error, errors.Gone) or self._refusals >= PATIENCE:
            self._version = None
            self._refusals = 0
        state = _state(error)
        if state is not self.state:
            log.warning("informer.state", extra={"kind": str(self.kind), "state": state.value, "error": str(error)})
        self.state = state

    async def _list(self) -> None:
        self.state = State.LISTING
        found: dict[Key, T] = {}
        broken: dict[Key, Broken] = {}
        version = ""
        async with contextlib.aclosing(
            self._kube.pages(self.kind, self._namespace, self._labels, self._fields)
        ) as pages:
            async for page in pages:
                found.update((item.key, item) for item in page.items)
                broken.update((each.key or Key("", "?"), each) for each in page.broken)
                version = page.resource_version
        self.lists += 1
        await self._take_over(found, broken)
        self._version = version
        self._alive()
        self._completed.set()

    async def _take_over(self, found: Mapping[Key, T], broken: dict[Key, Broken]) -> None:
        for key in [key for key in self._objects if key not in found and not self._still_there(key, broken)]:
            self._drop(key)
        for count, item in enumerate(found.values(), start=1):
            self._put(item)
            if count % SLICE == 0:
                await asyncio.sleep(0)
        self._broken.clear()
        for each in broken.values():
            self._set_aside(each)

    def _still_there(self, key: Key, broken: Mapping[Key, Broken]) -> bool:
        return key in broken and broken[key].uid in (None, self._objects[key].metadata.uid)

    async def _watch(self, version: str) -> None:
        began = asyncio.get_running_loop().time()
        watch = self._kube.watch(
            self.kind,
            self._namespace,
            resource_version=version,
            duration=self._pace.spread(WATCH, 0.1),
            labels=self._labels,
            fields=self._fields,
            connected=self._connected,
        )
        try:
            async with contextlib.aclosing(watch) as events:
                async for event in events:
                    self._advance(event)
                    self._alive()
        finally:
            if asyncio.get_running_loop().time() - began >= LIVED.total_seconds():
                self._failures = 0
        await self._pause_after_short(began)

    async def _pause_after_short(self, began: float) -> None:
        """Keep a server that ends every watch at once from being asked in a tight circle."""
        if asyncio.get_running_loop().time() - began < LIVED.total_seconds():
            self._failures += 1
            await asyncio.sleep(self._pace.pause(self._failures).total_seconds())

    def _connected(self) -> None:
        self.state = State.WATCHING
        self._alive()

    def _alive(self) -> None:
        self._last_byte = asyncio.get_running_loop().time()
        if self._version is not None:
            self._as_of = AsOf(resource_version=self._version, time=self._now())

    def _advance(self, event: WatchEvent[T]) -> None:
        match event:
            case Stored(item):
                self._put(item)
                self._version = item.metadata.resource_version
            case Removed(item):
                self._drop(item.key)
                self._version = item.metadata.resource_version
            case Bookmark(version):
                self._version = version
            case Unreadable(broken, removed):
                self._advance_unreadable(broken, removed=removed)
            case _:
                assert_never(event)
        self._refusals = 0

    def _advance_unreadable(self, broken: Broken, *, removed: bool) -> None:
        if broken.key is None or broken.resource_version is None:
            raise errors.Undecodable("Undecodable", f"an object of {self.kind} has no metadata: {broken.detail}")
        if removed:
            self._drop(broken.key)
        else:
            self._set_aside(broken)
        self._version = broken.resource_version

    def _set_aside(self, broken: Broken) -> None:
        key = broken.key or Key("", "?")
        if key in self._objects and not self._still_there(key, {key: broken}):
            self._drop(key)
        self._broken[key] = broken
        log.error("informer.unreadable", extra={"kind": str(self.kind), "object": str(key), "error": broken.detail})

    def _put(self, item: T) -> None:
        key = item.key
        old = self._objects.get(key)
        self._broken.pop(key, None)
        if old is not None and old.metadata.uid != item.metadata.uid:
            self._drop(key)
            old = None
        if old is not None and old.metadata.resource_version == item.metadata.resource_version:
            return
        self._objects[key] = item
        self._tell(Change(key=key, old=old, new=item))

    def _drop(self, key: Key) -> None:
        self._broken.pop(key, None)
        old = self._objects.pop(key, None)
        if old is not None:
            self._tell(Change(key=key, old=old, new=None))

    def _tell(self, change: Change[T]) -> None:
        for index in self._indexes.values():
            index.swap(change.key, change.old, change.new)
        for listen in self._listeners:
            listen(change)


def _doubts_version(error: errors.KubeError) -> bool:
    """Return whether the refused version may be the reason; a busy or absent server says nothing about it."""
    return isinstance(error, errors.Undecodable) or error.status in (400, 500, 504)


def _state(error: errors.KubeError) -> State:
    match error:
        case errors.Unreachable():
            return State.UNREACHABLE
        case errors.Unauthorized():
            return State.UNAUTHORIZED
        case errors.Forbidden():
            return State.FORBIDDEN
        case errors.NotServed():
            return State.NOT_SERVED
        case errors.Gone():
            return State.LISTING
        case _:
            return State.REFUSED
