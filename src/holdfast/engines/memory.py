"""The simplest engine that keeps the contract: for tests, the simulation and the sandbox.

A snapshot is a sealed list of nodes and one object of content; nothing is deduplicated or encrypted, and a snapshot
must fit in memory. It works on any `Storage`, across processes, and passes the same contract suite as kopia and restic.
"""

import asyncio
import errno
import hmac
import secrets
import stat
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Final

from holdfast.engines import place, tree
from holdfast.engines.protocol import EngineFailure, Proof, Report, Storage, Taken, saved
from holdfast.engines.tree import Captured, Node
from holdfast.model import wire
from holdfast.model.claim import Identity
from holdfast.model.entry import Entry, EntryKind
from holdfast.model.failure import Failure, FailureKind
from holdfast.model.run import Progress
from holdfast.model.snapshot import Listing, Record, Snapshot

_REPOSITORY: Final = "memory/repository"
_ORPHAN_SECONDS: Final = 86_400  # a younger content without its snapshot may belong to a running backup
_TYPES: Final = {stat.S_IFREG: EntryKind.FILE, stat.S_IFDIR: EntryKind.DIRECTORY, stat.S_IFLNK: EntryKind.LINK}
_SECRET_BYTES: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class _Root:
    """The object `memory/repository`: its id, and a proof that a password is the right one."""

    id: str
    check: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Manifest:
    identity: str
    time: datetime
    files: int
    bytes: int
    tags: Mapping[str, str]
    nodes: tuple[Node, ...]


def _now() -> datetime:
    return datetime.now(UTC)


def _new_id() -> str:
    return secrets.token_hex(_SECRET_BYTES)


class MemoryEngine:
    """`protocol.Engine` over objects below `memory/` in a storage."""

    def __init__(
        self,
        storage: Storage,
        password: str,
        *,
        now: Callable[[], datetime] = _now,
        new_id: Callable[[], str] = _new_id,
    ) -> None:
        self._storage = storage
        self._password = password
        self._now = now
        self._new_id = new_id

    async def version(self) -> str:
        """Return the version of the objects' format."""
        return "1"

    async def initialize(self) -> str:
        """Create the repository and return its id; raise NOT_EMPTY when there is anything of one."""
        if await self._storage.list("memory/"):
            raise EngineFailure(FailureKind.NOT_EMPTY, "there is something below memory/ already")
        root = self._new_id()
        await self._storage.put(_REPOSITORY, wire.encode(_Root(id=root, check=self._mac(root.encode()))))
        return root

    async def listings(self, identities: Collection[Identity]) -> Mapping[Identity, Listing | Failure]:
        """Return what is stored of each identity; a snapshot that cannot be read is that identity's failure."""
        root = await self._open()
        answers: dict[Identity, Listing | Failure] = {}
        for identity in identities:
            try:
                answers[identity] = await self._listing(root, identity)
            except EngineFailure as error:
                if error.failure.kind not in (FailureKind.DAMAGED, FailureKind.BAD_ORDER):
                    raise
                answers[identity] = error.failure
        return answers

    async def backup(
        self,
        identity: Identity,
        source: Path,
        tags: Mapping[str, str],
        exclude: Sequence[str],
        report: Report,
        *,
        history: Record | None,  # noqa: ARG002  one repository for all
    ) -> Taken:
        """Store the content, then the list of nodes: a snapshot is there whole or not at all."""
        root = await self._open()
        captured = await self._capture(source, exclude, report)
        manifest = _Manifest(
            identity=str(identity),
            time=self._now(),
            files=captured.files,
            bytes=captured.bytes,
            tags=dict(tags),
            nodes=captured.nodes,
        )
        snapshot = self._new_id()
        await self._storage.put(self._content_key(identity, snapshot), captured.content)
        await self._storage.put(self._snapshot_key(identity, snapshot), self._sealed(wire.encode(manifest)))
        return Taken(
            engine_id=root,
            snapshot=saved((await self._listing(root, identity)).snapshots, snapshot),
            new_bytes=len(captured.content),
            unreadable=captured.unreadable[:10],
            unreadable_count=len(captured.unreadable),
        )

    async def restore(self, identity: Identity, snapshot: str, target: Path, report: Report) -> None:
        """Write every node, then check nothing more: the content's digests were compared before the first write."""
        manifest = await self._manifest(identity, snapshot)
        content = await self._content(identity, snapshot)
        for node in manifest.nodes:
            self._check(node, content)

        def advance(files: int, size: int) -> None:
            report(Progress(phase="copying", files_done=files, bytes_done=size, files_total=manifest.files))

        try:
            tree.fill(target, manifest.nodes, content, advance)
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            kind = FailureKind.TARGET_FULL if full else FailureKind.UNKNOWN
            raise EngineFailure(kind, f"could not write to {target}: {error}") from error

    async def ls(self, identity: Identity, snapshot: str, path: str) -> Sequence[Entry]:
        """Return the entries of one directory by name."""
        manifest = await self._manifest(identity, snapshot)
        wanted = path.strip("/")
        if not any(node.path == wanted and stat.S_ISDIR(node.mode) for node in manifest.nodes):
            raise EngineFailure(FailureKind.PATH_MISSING, f"there is no directory {path!r} in snapshot {snapshot}")
        below = [node for node in manifest.nodes if node.path and _parent(node.path) == wanted]
        return sorted((_entry(node) for node in below), key=lambda entry: entry.name)

    async def cat(self, identity: Identity, snapshot: str, path: str) -> AsyncIterator[bytes]:
        """Yield a file's bytes, its holes as zeros."""
        manifest = await self._manifest(identity, snapshot)
        files = {node.path: node for node in manifest.nodes if stat.S_ISREG(node.mode)}
        node = files.get(path.strip("/"))
        if node is None:
            raise EngineFailure(FailureKind.PATH_MISSING, f"there is no file {path!r} in snapshot {snapshot}")
        node = files[node.same_as] if node.same_as else node
        content = await self._content(identity, snapshot)
        self._check(node, content)
        for chunk in _chunks(node, content):
            yield chunk

    async def verify(self, identity: Identity, snapshots: Collection[str], percent: int, report: Report) -> Proof:
        """Compare the digests of so many of the snapshots' files."""
        read_bytes = 0
        for number, snapshot in enumerate(snapshots):
            manifest = await self._manifest(identity, snapshot)
            content = await self._content(identity, snapshot)
            for node in manifest.nodes:
                if node.digest and int(node.digest[:8], 16) % 100 < percent:
                    self._check(node, content)
                    read_bytes += sum(extent.length for extent in node.extents)
            report(Progress(phase="checking", files_done=number + 1, bytes_done=read_bytes))
        return Proof(snapshots=tuple(snapshots), read_bytes=read_bytes)

    async def forget(self, identity: Identity, snapshots: Collection[str]) -> None:
        """Delete the named snapshots, the list of nodes first."""
        await self._open()
        there = await self._ids(identity)
        missing = [snapshot for snapshot in snapshots if snapshot not in there]
        if missing:
            raise _missing(identity, missing[0])
        for snapshot in snapshots:
            await self._storage.delete(self._snapshot_key(identity, snapshot))
            await self._storage.delete(self._content_key(identity, snapshot))

    async def delete(self, identity: Identity) -> None:
        """Delete everything that is stored of the identity."""
        await self._open()
        for kind in ("snapshots", "content"):
            for stored in await self._storage.list(f"memory/{kind}/{place.folder_of(identity)}/"):
                await self._storage.delete(stored.key)

    async def maintain(self, identity: Identity | None, *, full: bool) -> None:  # noqa: ARG002  one way for all
        """Delete content that no snapshot names, once it is old enough to be nobody's."""
        await self._open()
        named = {each.key.removeprefix("memory/snapshots/") for each in await self._storage.list("memory/snapshots/")}
        for stored in await self._storage.list("memory/content/"):
            if stored.key.removeprefix("memory/content/") not in named and stored.age_seconds > _ORPHAN_SECONDS:
                await self._storage.delete(stored.key)

    async def _open(self) -> str:
        """Return the repository's id; raise NO_REPOSITORY, DAMAGED or WRONG_PASSWORD."""
        data = await self._storage.get(_REPOSITORY)
        if data is None:
            raise EngineFailure(FailureKind.NO_REPOSITORY, f"there is no {_REPOSITORY} in the storage")
        try:
            root = wire.decode(_Root, data)
        except wire.WireError as error:
            raise EngineFailure(FailureKind.DAMAGED, f"{_REPOSITORY} cannot be read: {error}") from error
        if not hmac.compare_digest(root.check, self._mac(root.id.encode())):
            raise EngineFailure(FailureKind.WRONG_PASSWORD, f"the password does not open repository {root.id}")
        return root.id

    async def _listing(self, root: str, identity: Identity) -> Listing:
        found = []
        for snapshot in await self._ids(identity):
            manifest = await self._read_manifest(identity, snapshot)
            if manifest is not None:  # else it was forgotten since the listing
                found.append(_snapshot(snapshot, identity, manifest))
        return Listing(engine_id=root, snapshots=tuple(sorted(found, key=lambda each: each.time)))

    async def _ids(self, identity: Identity) -> tuple[str, ...]:
        prefix = self._snapshot_key(identity, "")
        return tuple(stored.key.removeprefix(prefix) for stored in await self._storage.list(prefix))

    async def _capture(self, source: Path, exclude: Sequence[str], report: Report) -> Captured:
        def advance(files: int, size: int) -> None:
            report(Progress(phase="copying", files_done=files, bytes_done=size))

        try:
            captured = tree.capture(source, exclude, advance)
        except OSError as error:
            raise EngineFailure(FailureKind.SOURCE_UNREADABLE, f"could not read {source}: {error}") from error
        await asyncio.sleep(0)  # a cancellation that came meanwhile ends the backup here
        return captured

    async def _manifest(self, identity: Identity, snapshot: str) -> _Manifest:
        await self._open()
        there = snapshot in await self._ids(identity)
        manifest = await self._read_manifest(identity, snapshot) if there else None
        if manifest is None:
            raise _missing(identity, snapshot)
        return manifest

    async def _read_manifest(self, identity: Identity, snapshot: str) -> _Manifest | None:
        key = self._snapshot_key(identity, snapshot)
        data = await self._storage.get(key)
        if data is None:
            return None
        seal, _, body = data.partition(b"\n")
        if not hmac.compare_digest(seal, self._mac(body).encode()):
            raise EngineFailure(FailureKind.DAMAGED, f"{key} is damaged: its seal is broken")
        manifest = wire.decode(_Manifest, body)
        if manifest.identity != str(identity):
            raise EngineFailure(FailureKind.DAMAGED, f"{key} belongs to {manifest.identity}")
        return manifest

    async def _content(self, identity: Identity, snapshot: str) -> bytes:
        key = self._content_key(identity, snapshot)
        content = await self._storage.get(key)
        if content is None:
            raise EngineFailure(FailureKind.DAMAGED, f"{key} is missing")
        return content

    def _check(self, node: Node, content: bytes) -> None:
        if not stat.S_ISREG(node.mode) or node.same_as:
            return
        digest = sha256()
        for extent in node.extents:
            digest.update(content[extent.start : extent.start + extent.length])
        if digest.hexdigest() != node.digest:
            raise EngineFailure(FailureKind.DAMAGED, f"the content of {node.path!r} is damaged")

    def _mac(self, data: bytes) -> str:
        return hmac.digest(self._password.encode(), data, "sha256").hex()

    def _sealed(self, body: bytes) -> bytes:
        return self._mac(body).encode() + b"\n" + body

    def _snapshot_key(self, identity: Identity, snapshot: str) -> str:
        return f"memory/snapshots/{place.folder_of(identity)}/{snapshot}"

    def _content_key(self, identity: Identity, snapshot: str) -> str:
        return f"memory/content/{place.folder_of(identity)}/{snapshot}"


def _missing(identity: Identity, snapshot: str) -> EngineFailure:
    return EngineFailure(FailureKind.SNAPSHOT_MISSING, f"{identity} has no snapshot {snapshot}")


def _snapshot(snapshot: str, identity: Identity, manifest: _Manifest) -> Snapshot:
    return Snapshot(
        id=snapshot,
        identity=identity,
        time=manifest.time,
        files=manifest.files,
        bytes=manifest.bytes,
        tags=manifest.tags,
    )


def _parent(path: str) -> str:
    return path.rpartition("/")[0]


def _entry(node: Node) -> Entry:
    seconds, nanoseconds = divmod(node.mtime_ns, 1_000_000_000)
    return Entry(
        name=node.path.rpartition("/")[2],
        kind=_TYPES.get(stat.S_IFMT(node.mode), EntryKind.OTHER),
        size=node.size,
        mode=stat.S_IMODE(node.mode),
        modified=datetime.fromtimestamp(seconds, UTC).replace(microsecond=nanoseconds // 1000),
        uid=node.uid,
        gid=node.gid,
    )


def _chunks(node: Node, content: bytes) -> list[bytes]:
    whole = bytearray(node.size)
    for extent in node.extents:
        whole[extent.offset : extent.offset + extent.length] = content[extent.start : extent.start + extent.length]
    return [bytes(whole[start : start + tree.CHUNK]) for start in range(0, len(whole), tree.CHUNK)]
