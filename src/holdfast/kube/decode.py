"""Bytes from the API server → objects. One object that does not decode is named and set aside: the rest go on."""

import functools
from dataclasses import dataclass
from typing import Any, Generic

import msgspec

from holdfast.kube import errors
from holdfast.kube.objects import Key, Kind, T


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """An object that we cannot read: what could still be learned of it, and why."""

    key: Key | None
    uid: str | None
    resource_version: str | None
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Generic[T]):
    """A part of a list; `proceed` is the token for the next part, None at the end."""

    items: list[T]
    broken: list[Broken]
    resource_version: str
    proceed: str | None


@dataclass(frozen=True, slots=True)
class Stored(Generic[T]):
    """The object is there, as it is now."""

    object: T


@dataclass(frozen=True, slots=True)
class Removed(Generic[T]):
    """The object is gone (or left the label selection)."""

    object: T


@dataclass(frozen=True, slots=True)
class Bookmark:
    """Everything up to this version has been told."""

    resource_version: str


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Something happened to an object that we cannot read."""

    broken: Broken
    removed: bool


WatchEvent = Stored[T] | Removed[T] | Bookmark | Unreadable


class _PageMeta(msgspec.Struct):
    resource_version: str = msgspec.field(name="resourceVersion")
    proceed: str | None = msgspec.field(name="continue", default=None)


class _RawPage(msgspec.Struct):
    metadata: _PageMeta
    items: list[msgspec.Raw] | None = None


class _Line(msgspec.Struct):
    type: str
    object: msgspec.Raw


class _Remains(msgspec.Struct):
    """The metadata of an object of which nothing else may be readable; also what a bookmark carries."""

    name: str | None = None
    namespace: str | None = None
    uid: str | None = None
    resource_version: str | None = msgspec.field(name="resourceVersion", default=None)


class _RemainsOnly(msgspec.Struct):
    metadata: _Remains


_RAW_PAGE = msgspec.json.Decoder(_RawPage)
_LINE = msgspec.json.Decoder(_Line)
_REMAINS = msgspec.json.Decoder(_RemainsOnly)
_STATUS = msgspec.json.Decoder(errors.Status)


@functools.cache
def _decoder(struct: type[Any]) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(struct)


@functools.cache
def _page_decoder(struct: type[Any]) -> msgspec.json.Decoder[Any]:
    page = msgspec.defstruct("Page", [("metadata", _PageMeta), ("items", list[struct] | None, None)])  # type: ignore[valid-type] # made at run time
    return msgspec.json.Decoder(page)


def one(kind: Kind[T], body: bytes) -> T:
    """Return the object in an answer; raise Undecodable."""
    try:
        item: T = _decoder(kind.struct).decode(body)
    except msgspec.DecodeError as error:
        broken = _broken(body, error)
        raise errors.Undecodable("Undecodable", f"{kind.kind} {broken.key or '?'}: {broken.detail}") from error
    return item


def page(kind: Kind[T], body: bytes) -> Page[T]:
    """Return a part of a list; raise Undecodable when it is not even a list."""
    try:
        whole = _page_decoder(kind.struct).decode(body)
    except msgspec.DecodeError:
        return _page_by_items(kind, body)
    return _page(whole.metadata, whole.items or [], [])


def _page_by_items(kind: Kind[T], body: bytes) -> Page[T]:
    try:
        raw = _RAW_PAGE.decode(body)
    except msgspec.DecodeError as error:
        raise errors.Undecodable("Undecodable", f"this is no list of {kind}: {error}") from error
    items: list[T] = []
    broken: list[Broken] = []
    for item in raw.items or []:
        try:
            items.append(_decoder(kind.struct).decode(item))
        except msgspec.DecodeError as error:
            broken.append(_broken(item, error))
    return _page(raw.metadata, items, broken)


def _page(meta: _PageMeta, items: list[T], broken: list[Broken]) -> Page[T]:
    return Page(items=items, broken=broken, resource_version=meta.resource_version, proceed=meta.proceed or None)


def event(kind: Kind[T], line: bytes) -> WatchEvent[T]:
    """Return what a line of a watch says.

    Raises the KubeError of an ERROR event (Gone for 410), and Unreachable for a line that is not whole.
    """
    try:
        envelope = _LINE.decode(line)
    except msgspec.DecodeError as error:
        raise errors.Unreachable("BrokenStream", f"a watch of {kind} sent half a line: {error}") from error
    match envelope.type:
        case "ADDED" | "MODIFIED":
            return _object_event(kind, envelope.object, removed=False)
        case "DELETED":
            return _object_event(kind, envelope.object, removed=True)
        case "BOOKMARK":
            return _bookmark(kind, envelope.object)
        case "ERROR":
            raise _refusal(envelope.object)
        case unknown:
            raise errors.Undecodable("Undecodable", f"a watch of {kind} sent an event of type {unknown!r}")


def _object_event(kind: Kind[T], body: msgspec.Raw, *, removed: bool) -> WatchEvent[T]:
    try:
        item: T = _decoder(kind.struct).decode(body)
    except msgspec.DecodeError as error:
        return Unreadable(_broken(body, error), removed)
    return Removed(item) if removed else Stored(item)


def _bookmark(kind: Kind[Any], body: msgspec.Raw) -> Bookmark:
    version = _remains(body).resource_version
    if not version:
        raise errors.Undecodable("Undecodable", f"a watch of {kind} sent a bookmark without a version")
    return Bookmark(version)


def _refusal(body: msgspec.Raw) -> errors.KubeError:
    try:
        return errors.from_status(_STATUS.decode(body))
    except msgspec.DecodeError as error:
        return errors.Undecodable("Undecodable", f"a watch sent an error that is no Status: {error}")


def _remains(body: msgspec.Raw | bytes) -> _Remains:
    try:
        return _REMAINS.decode(body).metadata
    except msgspec.DecodeError:
        return _Remains()


def _broken(body: msgspec.Raw | bytes, error: msgspec.DecodeError) -> Broken:
    remains = _remains(body)
    return Broken(
        key=Key(remains.namespace or "", remains.name) if remains.name else None,
        uid=remains.uid,
        resource_version=remains.resource_version,
        detail=str(error),
    )
