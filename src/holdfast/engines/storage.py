"""What Holdfast keeps beside an engine's data: the marker, the records, and the note of a begun initialisation.

Each is two lines of JSON: a header with the format's version, the salt and the code that authenticates it, then the
value as `model.wire` writes it. The code is keyed by the repository's password and covers the object's own key, so
one claim's record cannot stand in for another's.
"""

import asyncio
import functools
import hashlib
import hmac
import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, Protocol, TypeVar, assert_never

from holdfast.engines import protocol
from holdfast.engines.directory import Directory
from holdfast.engines.protocol import EngineFailure, StoredObject
from holdfast.model import repository, wire
from holdfast.model.claim import Identity
from holdfast.model.failure import FailureKind
from holdfast.model.repository import DirectoryStorage, EngineKind, Marker, S3Storage
from holdfast.model.snapshot import Record

T = TypeVar("T")

OURS: Final = ".holdfast/"
MARKER: Final = f"{OURS}marker"
CLAIMS: Final = f"{OURS}claims/"
NOTE: Final = f"{OURS}initializing"
VERSION: Final = 1

# What file systems and their servers leave lying about (.nfs0001, .DS_Store, .snapshot, @eaDir). No name in
# Kubernetes starts like this, so no record does.
_LEFT_BY_FILE_SYSTEMS: Final = re.compile(r"(^|/)[.@]")


class OpenStorage(protocol.Storage, Protocol):
    """A storage that holds connections until it is closed."""

    async def aclose(self) -> None:
        """Close the connections."""


def open_storage(storage: repository.Storage, environment: Mapping[str, str]) -> OpenStorage:
    """Return the storage, unasked: an S3 one with the keys of the environment; raise FORBIDDEN when they are missing.

    A directory is used as it is written: paths inside a pod are resolved by the caller.
    """
    match storage:
        case DirectoryStorage():
            return Directory(Path(storage.path), called=str(storage))
        case S3Storage():
            # Its HTTP client takes longer to import than a directory to read.
            from holdfast.engines.s3 import Bucket, credentials_of

            return Bucket(storage, credentials_of(environment))
        case _:
            assert_never(storage)


class DictStorage:
    """`protocol.Storage` over a dictionary; `now` is its clock, in seconds."""

    def __init__(self, *, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._objects: dict[str, tuple[bytes, float]] = {}

    async def aclose(self) -> None:
        """Release nothing."""

    async def list(self, prefix: str) -> Sequence[StoredObject]:
        """Return all keys that start with `prefix`, sorted."""
        now = self._now()
        return [
            StoredObject(key=key, size=len(data), age_seconds=now - written)
            for key, (data, written) in sorted(self._objects.items())
            if key.startswith(prefix)
        ]

    async def folders(self, prefix: str) -> Sequence[str]:
        """Return the names directly below `prefix`: folders with a trailing "/", keys without."""
        below = (key.removeprefix(prefix) for key in self._objects if key.startswith(prefix))
        return sorted({name + slash for name, slash, _ in (rest.partition("/") for rest in below)})

    async def get(self, key: str) -> bytes | None:
        """Return the bytes, or None."""
        found = self._objects.get(key)
        return None if found is None else found[0]

    async def put(self, key: str, data: bytes) -> None:
        """Keep the bytes."""
        self._objects[key] = (data, self._now())

    async def delete(self, key: str) -> None:
        """Forget the key."""
        self._objects.pop(key, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """What authenticates our objects: derived from the password and a salt (hex)."""

    salt: str
    secret: bytes

    @classmethod
    async def derive(cls, password: str, salt: str) -> "Keys":
        """Return the keys; the first time for this pair takes about 50 ms and 16 MiB (scrypt)."""
        return cls(salt=salt, secret=await asyncio.to_thread(_derive, password, salt))

    def code(self, key: str, payload: bytes) -> str:
        """Return the code (hex) that authenticates `payload` under the storage key `key`."""
        return hmac.new(self.secret, f"{VERSION}\0{key}\0".encode() + payload, hashlib.sha256).hexdigest()


@functools.lru_cache(maxsize=8)
def _derive(password: str, salt: str) -> bytes:
    return hashlib.scrypt(password.encode(), salt=bytes.fromhex(salt), n=2**14, r=8, p=1, dklen=32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """Says that `run` began to initialise: an engine's repository found beside it, without a marker, is ours."""

    engine: EngineKind
    run: str
    began: datetime


async def read_marker(storage: protocol.Storage, password: str) -> Marker:
    """Return the marker; raise NO_MARKER, BAD_MARKER, WRONG_PASSWORD, or what the storage says."""
    data = await storage.get(MARKER)
    if data is None:
        raise EngineFailure(
            FailureKind.NO_MARKER,
            f"{MARKER} is not in the storage: a wrong bucket, prefix or disk, or it was never initialised",
        )
    marker = await _open(Marker, MARKER, data, password, FailureKind.BAD_MARKER)
    if marker.version != VERSION:
        raise _newer(MARKER, marker.version, FailureKind.BAD_MARKER)
    return marker


async def write_marker(storage: protocol.Storage, password: str, marker: Marker) -> None:
    """Write the marker once; writing the same one again is no error, another one in its place is NOT_EMPTY.

    Two writers at once are kept apart by the caller's initialisation lease.
    """
    data = await _seal(marker, MARKER, password, marker.salt)
    found = await storage.get(MARKER)
    if found is None:
        await storage.put(MARKER, data)
        found = await storage.get(MARKER)
    if found != data:
        raise EngineFailure(
            FailureKind.NOT_EMPTY, f"another {MARKER} is in the storage already: it belongs to another repository"
        )


async def list_records(storage: protocol.Storage) -> frozenset[Identity]:
    """Return every identity that has a record, from one complete listing.

    A key that can be no record is BAD_RECORD, by name: it may be one that a copying tool renamed, and then its claim
    would look as if it had never been backed up. What file systems leave lying about is passed over.
    """
    names = [each.key.removeprefix(CLAIMS) for each in await storage.list(CLAIMS)]
    return frozenset(_identity_of(name) for name in names if name and not _LEFT_BY_FILE_SYSTEMS.search(name))


async def read_record(storage: protocol.Storage, marker: Marker, password: str, identity: Identity) -> Record | None:
    """Return the record of the identity, None when there is none; raise BAD_RECORD when it cannot be believed."""
    key = _record_key(identity)
    data = await _get_if_listed(storage, key)
    if data is None:
        return None
    record = await _open(Record, key, data, password, FailureKind.BAD_RECORD, salt=marker.salt)
    if record.identity != identity:
        raise EngineFailure(FailureKind.BAD_RECORD, f"{key} is the record of {record.identity}")
    if record.repository_id != marker.repository_id:
        raise EngineFailure(
            FailureKind.BAD_RECORD,
            f"{key} belongs to repository {record.repository_id}, the marker names {marker.repository_id}",
        )
    return record


async def write_record(storage: protocol.Storage, marker: Marker, password: str, record: Record) -> None:
    """Replace the record of its identity; the caller holds the identity's lease."""
    key = _record_key(record.identity)
    if record.repository_id != marker.repository_id:
        raise EngineFailure(
            FailureKind.BAD_RECORD,
            f"{key} would name repository {record.repository_id}, the marker names {marker.repository_id}",
        )
    await storage.put(key, await _seal(record, key, password, marker.salt))


async def delete_record(storage: protocol.Storage, identity: Identity) -> None:
    """Delete the record of the identity: only a person asks for this."""
    await storage.delete(_record_key(identity))


async def read_note(storage: protocol.Storage, password: str) -> Note | None:
    """Return the note of a begun initialisation; raise WRONG_PASSWORD when another password wrote it."""
    data = await _get_if_listed(storage, NOTE)
    return None if data is None else await _open(Note, NOTE, data, password, FailureKind.BAD_MARKER)


async def write_note(storage: protocol.Storage, password: str, note: Note, *, salt: str) -> None:
    """Write the note, under a salt (hex) of its own; the caller holds the initialisation lease."""
    await storage.put(NOTE, await _seal(note, NOTE, password, salt))


async def delete_note(storage: protocol.Storage) -> None:
    """Delete the note, once the marker is written."""
    await storage.delete(NOTE)


async def _get_if_listed(storage: protocol.Storage, key: str) -> bytes | None:
    """Return the object's bytes, None when it is neither there nor listed.

    In a versioned bucket a deleted object reads as damaged, for it can be brought back. What we delete ourselves, on
    purpose, must be absent there too: the listing tells it from an object that is there and cannot be read.
    """
    try:
        return await storage.get(key)
    except EngineFailure as error:
        if error.failure.kind is not FailureKind.DAMAGED or any(each.key == key for each in await storage.list(key)):
            raise
        return None


async def _seal(value: object, key: str, password: str, salt: str) -> bytes:
    payload = wire.encode(value)
    keys = await Keys.derive(password, salt)
    header = {"version": VERSION, "salt": salt, "code": keys.code(key, payload)}
    return json.dumps(header).encode() + b"\n" + payload + b"\n"


async def _open(
    expected: type[T], key: str, data: bytes, password: str, bad: FailureKind, *, salt: str | None = None
) -> T:
    """Return the authenticated value; raise `bad`, and WRONG_PASSWORD where `bad` is no record's."""
    header, payload = _split(key, data, bad)
    if header.version != VERSION:
        raise _newer(key, header.version, bad)
    if salt is not None and header.salt != salt:
        raise EngineFailure(bad, f"{key} was not written for this repository: its salt is not the marker's")
    keys = await Keys.derive(password, header.salt)
    if not hmac.compare_digest(keys.code(key, payload), header.code):
        if bad is FailureKind.BAD_RECORD:  # the marker has shown that the password fits
            raise EngineFailure(bad, f"{key} was altered since Holdfast wrote it, or copied from elsewhere")
        raise EngineFailure(
            FailureKind.WRONG_PASSWORD, f"the password does not fit this repository, or {key} was altered"
        )
    try:
        return wire.decode(expected, payload)
    except wire.WireError as error:
        raise EngineFailure(bad, f"{key} cannot be read: {error}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class _Header:
    version: int
    salt: str
    code: str


def _split(key: str, data: bytes, bad: FailureKind) -> tuple[_Header, bytes]:
    first, _, rest = data.partition(b"\n")
    try:
        header = wire.decode(_Header, first)
        bytes.fromhex(header.salt)
    except (ValueError, RecursionError) as error:
        raise EngineFailure(bad, f"{key} cannot be read: {error}") from error
    if not rest.endswith(b"\n"):
        raise EngineFailure(bad, f"{key} is cut short")
    return header, rest[:-1]


def _newer(key: str, version: int, bad: FailureKind) -> EngineFailure:
    return EngineFailure(bad, f"{key} is of format {version}, this Holdfast knows {VERSION}: use a newer Holdfast")


def _record_key(identity: Identity) -> str:
    if _LEFT_BY_FILE_SYSTEMS.search(str(identity)):
        raise EngineFailure(FailureKind.BAD_ORDER, f"{identity} can have no record: a part starts with . or @")
    return f"{CLAIMS}{identity}"


def _identity_of(name: str) -> Identity:
    try:
        return Identity.parse(name)
    except ValueError as error:
        raise EngineFailure(
            FailureKind.BAD_RECORD,
            f"{CLAIMS}{name} is no record, or one that was renamed: look at it, then move it elsewhere",
        ) from error
