"""The Engine that runs restic: a repository for every identity, so that none can harm or read another's."""

import os
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import aclosing
from datetime import timedelta
from pathlib import Path
from typing import Final, assert_never

from holdfast.engines import protocol
from holdfast.engines.program import Finished, Limits
from holdfast.engines.protocol import EngineFailure, Proof, Report, Taken
from holdfast.engines.restic import argv, browse, failures, listing, objects, parse, root
from holdfast.engines.restic.objects import Broken, Nothing, Ready, Unfinished
from holdfast.engines.restic.process import SHORT, Restic, status_to, steps_to
from holdfast.engines.together import both
from holdfast.model.claim import Identity
from holdfast.model.entry import Entry
from holdfast.model.failure import Failure, FailureKind
from holdfast.model.repository import Storage
from holdfast.model.run import Progress
from holdfast.model.snapshot import Listing, Record, Snapshot

LONG: Final = Limits(total=timedelta(days=2), inactivity=timedelta(minutes=15))
_NAMED: Final = 10  # unreadable paths that are named
_ID_BYTES: Final = 32


class ResticEngine:
    """`protocol.Engine` with restic 0.19.1, at `<base>/restic/<namespace>[.<cluster>]/<claim>`.

    `beside` is the same storage, open: only its listings can prove that there is no repository. `environment` is where
    PATH, proxies and the AWS_* keys are taken from; `work` is a private scratch directory. `limits` bound every
    call, those that only ask to SHORT at most.
    """

    def __init__(
        self,
        storage: Storage,
        *,
        beside: protocol.Storage,
        password: str,
        environment: Mapping[str, str],
        work: Path,
        program: str = "restic",
        limits: Limits = LONG,
    ) -> None:
        self._beside = beside
        self._restic = Restic(
            storage, password=password, environment=environment, work=work, name=program, limits=limits
        )
        self._limits = limits

    async def version(self) -> str:
        """Return restic's version; raise NO_PROGRAM unless it is the one that we know."""
        return await self._restic.version()

    async def listings(self, identities: Collection[Identity]) -> Mapping[Identity, Listing | Failure]:
        """Return each identity's snapshots; no process is started for one that the storage proves to have none."""
        return await listing.listings(self._restic, self._beside, identities)

    async def restore(self, identity: Identity, snapshot: str, target: Path, report: Report) -> None:
        """Fill `target`: success is exit code 0, a summary, and not one complaint (restic prints a summary anyway)."""
        await self._known(identity, [snapshot])
        noted, _ = await both(self._notes(identity, snapshot), self._fill(identity, snapshot, target, report))
        if noted.empty:
            (target / argv.EMPTY_NAME).rmdir()
        if noted.root is not None:
            _apply(root.parse(noted.root), target)

    async def ls(self, identity: Identity, snapshot: str, path: str) -> Sequence[Entry]:
        """Return the entries of one directory by name."""
        await self._known(identity, [snapshot])
        return await browse.ls(self._restic, identity, snapshot, path)

    async def cat(self, identity: Identity, snapshot: str, path: str) -> AsyncIterator[bytes]:
        """Yield a file's bytes as restic prints them."""
        await self._known(identity, [snapshot])
        async with aclosing(browse.cat(self._restic, identity, snapshot, path, self._limits)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def verify(self, identity: Identity, snapshots: Collection[str], percent: int, report: Report) -> Proof:
        """Check the whole repository, for restic cannot check single snapshots; below 100 % the bytes are estimated."""
        await self._known(identity, snapshots)
        if not snapshots:
            return Proof(snapshots=(), read_bytes=0)
        stored = await objects.content_bytes(self._beside, argv.folder_of(identity))
        await self._check(identity, percent, report)
        return Proof(snapshots=tuple(snapshots), read_bytes=stored * min(max(percent, 0), 100) // 100)

    async def initialize(self) -> str:
        """Create nothing, for every identity gets its repository at its first backup; return a new id of ours."""
        await self.version()
        if await self._beside.list("restic/"):
            raise EngineFailure(FailureKind.NOT_EMPTY, "there are objects below restic/ already")
        return os.urandom(_ID_BYTES).hex()

    async def backup(
        self,
        identity: Identity,
        source: Path,
        tags: Mapping[str, str],
        exclude: Sequence[str],
        report: Report,
        *,
        history: Record | None,
    ) -> Taken:
        """Back up `source`; the caller holds the identity's lease, so that nobody else creates its repository."""
        source, attributes = _root_of(source)
        noted = {**tags, argv.ROOT_TAG: root.render(attributes)}
        await self._prepare(identity, history)
        with self._restic.folder() as cache:
            finished = await self._backup(identity, source, noted, exclude, cache, report)
            unreadable = failures.unreadable(finished.stderr, source)
            if failures.found_nothing(finished.exit_code, finished.stderr):
                finished = await self._backup_nothing(identity, noted, cache)
            made = parse.made(finished.stdout)
            if finished.exit_code not in (0, failures.UNREADABLE) or made is None:
                raise failures.failure(finished.exit_code, finished.stderr, full=FailureKind.REPOSITORY_FULL)
            engine_id = listing.engine_id_in(cache)
        if any(failures.lost_lock(line) for line in finished.stderr):
            # Someone removed our lock, so a prune may have run beside us and taken what this snapshot needs.
            await self._check(identity, 0, report)
        await objects.expect_saved(self._beside, argv.folder_of(identity), made.id)
        return Taken(
            engine_id=engine_id,
            snapshot=Snapshot(
                id=made.id, identity=identity, time=made.time, files=made.files, bytes=made.bytes, tags=tags
            ),
            new_bytes=made.added_bytes,
            unreadable=unreadable[:_NAMED],
            unreadable_count=len(unreadable),
        )

    async def forget(self, identity: Identity, snapshots: Collection[str]) -> None:
        """Delete the named snapshots and see that they are gone: restic exits 0 for one that it could not delete."""
        await self._known(identity, snapshots)
        if not snapshots:
            return
        folder = argv.folder_of(identity)
        await objects.release_stale_locks(self._beside, folder)
        await self._restic.output(identity, argv.forget(snapshots))
        left = sorted(await objects.snapshot_ids(self._beside, folder) & set(snapshots))
        if left:
            raise EngineFailure(FailureKind.UNKNOWN, f"restic did not delete {', '.join(left)} from {folder}")

    async def delete(self, identity: Identity) -> None:
        """Delete the identity's whole repository."""
        await objects.delete(self._beside, argv.folder_of(identity))

    async def maintain(self, identity: Identity | None, *, full: bool) -> None:
        """Delete what no snapshot of the identity needs; one without a repository needs nothing."""
        if identity is None:
            raise EngineFailure(FailureKind.BAD_ORDER, "restic has a repository for every claim: name the claim")
        folder = argv.folder_of(identity)
        match await objects.inspect(self._beside, folder):
            case Nothing() | Unfinished():
                return
            case Broken(why=why):
                raise EngineFailure(FailureKind.DAMAGED, why)
            case Ready():
                await objects.release_stale_locks(self._beside, folder)
        finished = await self._restic.run(
            identity, argv.prune(full=full), limits=self._limits, on_stdout=steps_to(unheard)
        )
        if finished.exit_code != 0:
            raise failures.failure(finished.exit_code, finished.stderr, full=FailureKind.REPOSITORY_FULL)

    async def _notes(self, identity: Identity, snapshot: str) -> parse.Notes:
        # A cache of its own: of two processes that make the same one, the second may read what the first has half made.
        with self._restic.folder() as cache:
            return parse.notes(await self._restic.output(identity, argv.snapshot(snapshot), cache=cache))

    async def _fill(self, identity: Identity, snapshot: str, target: Path, report: Report) -> None:
        _make_directory(target)
        finished = await self._restic.run(
            identity, argv.restore(snapshot, target), limits=self._limits, on_stdout=status_to(report)
        )
        if finished.exit_code != 0 or finished.stderr or not parse.has_summary(finished.stdout):
            raise failures.failure(finished.exit_code, finished.stderr, full=FailureKind.TARGET_FULL)

    async def _backup(
        self,
        identity: Identity,
        source: Path,
        tags: Mapping[str, str],
        exclude: Sequence[str],
        cache: Path,
        report: Report,
    ) -> Finished:
        return await self._restic.run(
            identity,
            argv.backup(identity, source, tags, exclude),
            limits=self._limits,
            directory=source,
            cache=cache,
            on_stdout=status_to(report),
        )

    async def _backup_nothing(self, identity: Identity, tags: Mapping[str, str], cache: Path) -> Finished:
        """Save the snapshot of a volume that holds nothing, by a stand-in."""
        with self._restic.folder() as folder:
            (folder / argv.EMPTY_NAME).mkdir()
            return await self._backup(identity, folder, {**tags, argv.EMPTY_TAG: ""}, (), cache, unheard)

    async def _prepare(self, identity: Identity, history: Record | None) -> None:
        """Make the identity's repository, once; what a killed attempt left is put aside first.

        An identity that has a history has lost its repository: a new life must not stand in the place of the old one.
        """
        folder = argv.folder_of(identity)
        state = await objects.inspect(self._beside, folder)
        match state:
            case Ready(snapshots=there):
                if history is not None and there.isdisjoint(each.id for each in history.snapshots):
                    await self._expect_own(identity, history)
                return
            case Broken(why=why):
                raise EngineFailure(FailureKind.DAMAGED, f"{why}: nothing is created over it")
            case Nothing() | Unfinished() if history is not None and history.snapshots:
                raise EngineFailure(
                    FailureKind.NO_REPOSITORY,
                    f"{identity} has backups, but {folder} is gone: nothing is written in its place",
                )
            case Unfinished():
                await objects.set_aside(self._beside, folder, state)
            case Nothing():
                pass
            case _:
                assert_never(state)
        finished = await self._restic.run(identity, argv.init(), limits=SHORT)
        if finished.exit_code != 0:
            raise failures.failure(finished.exit_code, finished.stderr, full=FailureKind.REPOSITORY_FULL)

    async def _expect_own(self, identity: Identity, history: Record) -> None:
        """Raise REPLACED unless the repository is the one of the history, though none of its snapshots is left."""
        listed = (await self.listings([identity]))[identity]
        if isinstance(listed, Failure):
            raise EngineFailure(listed.kind, listed.detail)
        protocol.expect_engine(history, listed.engine_id)

    async def _known(self, identity: Identity, snapshots: Collection[str]) -> None:
        """Raise SNAPSHOT_MISSING unless the storage holds every one of the snapshots."""
        state = await objects.inspect(self._beside, argv.folder_of(identity))
        if isinstance(state, Broken):
            raise EngineFailure(FailureKind.DAMAGED, state.why)
        there = state.snapshots if isinstance(state, Ready) else frozenset[str]()
        for snapshot in snapshots:
            if snapshot not in there:
                raise EngineFailure(FailureKind.SNAPSHOT_MISSING, f"{identity} has no snapshot {snapshot!r}")

    async def _check(self, identity: Identity, percent: int, report: Report) -> None:
        finished = await self._restic.run(
            identity, argv.check(percent), limits=self._limits, on_stdout=steps_to(report)
        )
        if finished.exit_code != 0:
            raise failures.verification(finished.exit_code, finished.stderr)


def _root_of(source: Path) -> tuple[Path, root.RootAttributes]:
    """Return the path as restic itself will name it, links resolved, and the directory's attributes."""
    try:
        attributes = root.read(source)
        with os.scandir(source):
            return source.resolve(), attributes
    except OSError as error:
        raise EngineFailure(FailureKind.SOURCE_UNREADABLE, f"{source} cannot be read: {error.strerror}") from error


def _make_directory(target: Path) -> None:
    try:
        target.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise EngineFailure(FailureKind.UNKNOWN, f"{target} cannot be made: {error.strerror}") from error


def _apply(attributes: root.RootAttributes, target: Path) -> None:
    try:
        root.apply(attributes, target)
    except OSError as error:
        raise EngineFailure(
            FailureKind.UNKNOWN, f"{target} cannot be given its owner, mode, time and attributes: {error.strerror}"
        ) from error


def unheard(_: Progress) -> None:
    """Tell nobody; what is printed puts off the deadline all the same."""
