"""Looking into a snapshot: its manifest, its directories, its files."""

from collections.abc import AsyncGenerator, Sequence

from holdfast.engines import program
from holdfast.engines.kopia import argv, failures, parse
from holdfast.engines.kopia.session import Session
from holdfast.engines.program import Limits
from holdfast.engines.protocol import EngineFailure
from holdfast.model.claim import Identity
from holdfast.model.entry import Entry
from holdfast.model.failure import FailureKind

_DIRECTORY = b'{"stream":"kopia:directory"'


async def manifest(session: Session, identity: Identity, snapshot: str) -> parse.Manifest:
    """Return a snapshot of the identity; raise SNAPSHOT_MISSING when it has none of this id."""
    argv.source_of(identity)
    missing = EngineFailure(FailureKind.SNAPSHOT_MISSING, f"{identity} has no snapshot {snapshot}")
    if not argv.is_snapshot_id(snapshot):
        raise missing
    try:
        printed = await session.output(argv.show_manifest(snapshot), f"looking for snapshot {snapshot}")
        found = parse.snapshot_shown(printed, snapshot)
        described = found.snapshot()
    except EngineFailure as error:
        raise missing if error.failure.kind is FailureKind.SNAPSHOT_MISSING else error from error
    except parse.ParseError as error:
        raise missing from error  # a manifest of another type
    if described is None or described.identity != identity:
        raise missing
    return found


async def ls(session: Session, snapshot: parse.Manifest, path: str) -> Sequence[Entry]:
    """Return the entries of a directory of the snapshot, by name."""
    names = _names(path)
    if names:
        found = await _find(session, snapshot, names)
        if found.type != "d":
            raise _no_such(path, "is not a directory")
        listed = await _directory(session, found.obj, path)
    else:
        listed = await _directory(session, _root(snapshot), path)
    return sorted((entry.entry() for entry in listed), key=lambda entry: entry.name)


async def cat(session: Session, snapshot: parse.Manifest, path: str, limits: Limits) -> AsyncGenerator[bytes, None]:
    """Yield the content of a file of the snapshot; raise EngineFailure when it ends short of the file's size."""
    names = _names(path)
    if not names:
        raise _no_such(path, "is a directory")
    found = await _find(session, snapshot, names)
    if found.type != "f":
        raise _no_such(path, "is not a file")
    done = 0
    async with program.started(session.program(argv.show_object(found.obj), limits)) as running:
        async for chunk in running.chunks():
            done += len(chunk)
            yield chunk
        finished = await running.finished()
    if finished.exit_code != 0:
        raise failures.failure(f"reading {path}", finished.exit_code, finished.stderr)
    if done != found.size:
        raise EngineFailure(FailureKind.DAMAGED, f"{path} has {found.size} bytes, and {done} could be read")


def _names(path: str) -> list[str]:
    return [name for name in path.split("/") if name]


def _root(snapshot: parse.Manifest) -> str:
    if snapshot.root_entry is None:
        raise EngineFailure(FailureKind.DAMAGED, f"snapshot {snapshot.id} has no content")
    return snapshot.root_entry.obj


async def _find(session: Session, snapshot: parse.Manifest, names: Sequence[str]) -> parse.DirectoryEntry:
    """Return the entry at a path, from the directory that holds it: only that tells a file from a directory."""
    path = "/".join(names)
    listed = await _directory(session, "/".join((_root(snapshot), *names[:-1])), path)
    for entry in listed:
        if entry.name == names[-1]:
            return entry
    raise _no_such(path, "is not there")


async def _directory(session: Session, object_id: str, path: str) -> tuple[parse.DirectoryEntry, ...]:
    """Return a directory's entries; PATH_MISSING when the object is a file (its content is not read to the end)."""
    content = bytearray()
    async with program.started(session.program(argv.show_object(object_id), session.short)) as running:
        async for chunk in running.chunks():
            content += chunk
            if len(content) >= len(_DIRECTORY) and not content.startswith(_DIRECTORY):
                raise _no_such(path, "is not there")
        finished = await running.finished()
    if finished.exit_code != 0:
        raise failures.failure(f"looking for {path}", finished.exit_code, finished.stderr)
    if not content.startswith(_DIRECTORY):
        raise _no_such(path, "is not there")
    try:
        return parse.directory(bytes(content))
    except parse.ParseError as error:
        raise EngineFailure(FailureKind.DAMAGED, str(error)) from error


def _no_such(path: str, why: str) -> EngineFailure:
    return EngineFailure(FailureKind.PATH_MISSING, f"{path or '/'} {why} in the snapshot")
