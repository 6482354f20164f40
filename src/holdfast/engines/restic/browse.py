"""Looking into a snapshot: directories and files."""

from collections.abc import AsyncGenerator, Sequence

from holdfast.engines.program import Limits
from holdfast.engines.protocol import EngineFailure
from holdfast.engines.restic import argv, failures, parse
from holdfast.engines.restic.process import Restic
from holdfast.model.claim import Identity
from holdfast.model.entry import Entry, EntryKind
from holdfast.model.failure import FailureKind


async def ls(restic: Restic, identity: Identity, snapshot: str, path: str) -> Sequence[Entry]:
    """Return the entries of a directory by name; raise PATH_MISSING."""
    found = parse.entries(await restic.output(identity, argv.tree(snapshot, _cleaned(snapshot, path))))
    return [] if [entry.name for entry in found] == [argv.EMPTY_NAME] else found


async def cat(
    restic: Restic, identity: Identity, snapshot: str, path: str, limits: Limits
) -> AsyncGenerator[bytes, None]:
    """Yield a file's bytes, as many as its directory says; raise PATH_MISSING for what is no file."""
    cleaned = _cleaned(snapshot, path)
    folder, _, name = cleaned.rpartition("/")
    entry = next((each for each in await ls(restic, identity, snapshot, folder) if each.name == name), None)
    if entry is None or entry.kind is not EntryKind.FILE:  # of a directory, restic would print a tar archive
        raise _missing(snapshot, path)
    count = 0
    async with await restic.started(identity, argv.dump(snapshot, cleaned), limits) as running:
        async for chunk in running.chunks():
            count += len(chunk)
            yield chunk
        finished = await running.finished()
    if finished.exit_code != 0:
        raise failures.failure(finished.exit_code, finished.stderr, full=FailureKind.UNKNOWN)
    if count != entry.size:
        raise EngineFailure(FailureKind.DAMAGED, f"{path!r} has {entry.size} bytes, and restic gave {count}")


def _cleaned(snapshot: str, path: str) -> str:
    cleaned = path.strip("/")
    if cleaned and any(part in ("", ".", "..") for part in cleaned.split("/")):
        raise _missing(snapshot, path)
    return cleaned


def _missing(snapshot: str, path: str) -> EngineFailure:
    return EngineFailure(FailureKind.PATH_MISSING, f"there is no {path!r} in snapshot {snapshot}")
