"""The Engine that runs kopia: argv and parse joined, every answer checked before it is believed."""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from holdfast.engines.kopia import argv, browse, failures, parse, prefetch, restore
from holdfast.engines.kopia.session import SHORT, Kopia, Session
from holdfast.engines.program import Limits
from holdfast.engines.protocol import EngineFailure, Proof, Report, Taken, saved
from holdfast.engines.together import both
from holdfast.model.claim import Identity
from holdfast.model.entry import Entry
from holdfast.model.failure import Failure, FailureKind
from holdfast.model.repository import DirectoryStorage, Storage
from holdfast.model.run import Progress
from holdfast.model.snapshot import Listing, Record, Snapshot

LONG: Final = Limits(total=timedelta(days=2), inactivity=timedelta(minutes=15))
PREFETCH_BYTES: Final = 1 << 30
_LISTING_TRIALS: Final = 3
_IDS_AT_ONCE: Final = 2000
_NAMED: Final = 10  # unreadable paths that are named


class KopiaEngine:
    """Implements `protocol.Engine` with kopia 0.23.1 on one shared repository below the storage's base.

    `environment` is where PATH, proxies and the AWS_* keys are taken from; `work` is a private scratch directory.
    `limits` bound every call, those that only list to SHORT at most. A restore from S3 fetches packs of small files
    ahead, and holds up to `prefetch_bytes` of them in `work`.
    """

    def __init__(
        self,
        storage: Storage,
        *,
        password: str,
        environment: Mapping[str, str],
        work: Path,
        program: str = "kopia",
        limits: Limits = LONG,
        prefetch_bytes: int = PREFETCH_BYTES,
    ) -> None:
        self._storage = storage
        # A listing tells nothing until its end: only the total says that it takes too long.
        short = SHORT.within(Limits(total=limits.total, inactivity=limits.total))
        self._kopia = Kopia(
            storage=storage, password=password, environment=environment, work=work, name=program, short=short
        )
        self._limits = limits
        self._prefetch_bytes = prefetch_bytes
        self._version: str | None = None

    async def version(self) -> str:
        if self._version is None:
            with self._kopia.session(readonly=True) as session:
                words = (await session.output(argv.version(), "asking for its version")).decode().split()
            found = words[0].removeprefix("v") if words else "no version"  # built from its Go module it says v0.23.1
            if found != argv.VERSION:
                raise EngineFailure(
                    FailureKind.NO_PROGRAM,
                    f"kopia {argv.VERSION} is needed, {found} is installed: put kopia {argv.VERSION} first on PATH",
                )
            self._version = found
        return self._version

    async def listings(self, identities: Collection[Identity]) -> Mapping[Identity, Listing | Failure]:
        engine_id, snapshots = await self._all()
        found: dict[Identity, list[Snapshot]] = {}
        for snapshot in snapshots:
            found.setdefault(snapshot.identity, []).append(snapshot)
        return {identity: _listing(engine_id, identity, found.get(identity, [])) for identity in identities}

    async def restore(self, identity: Identity, snapshot: str, target: Path, report: Report) -> None:
        await self.version()
        if isinstance(self._storage, DirectoryStorage):
            with self._kopia.session(readonly=True, cached=False) as session:
                await browse.manifest(session, identity, snapshot)
                await restore.restore(session, snapshot, target, report, self._limits)
            return
        content_cache = self._prefetch_bytes + argv.CONTENT_CACHE
        with self._kopia.session(readonly=True, content_cache=content_cache) as session:
            looking = browse.manifest(session, identity, snapshot)
            _, small = await both(looking, prefetch.small_files(session, snapshot, self._limits))
            if len(small) >= prefetch.WORTHWHILE:
                await prefetch.prefetch(session, small, self._limits, self._prefetch_bytes)
                await restore.restore(session, snapshot, target, report, self._limits)
                return
        # Large files are read once: a cache would only write all of them twice.
        with self._kopia.session(readonly=True, cached=False) as session:
            await restore.restore(session, snapshot, target, report, self._limits)

    async def ls(self, identity: Identity, snapshot: str, path: str) -> Sequence[Entry]:
        await self.version()
        with self._kopia.session(readonly=True) as session:
            return await browse.ls(session, await browse.manifest(session, identity, snapshot), path)

    async def cat(self, identity: Identity, snapshot: str, path: str) -> AsyncIterator[bytes]:
        await self.version()
        with self._kopia.session(readonly=True) as session:
            manifest = await browse.manifest(session, identity, snapshot)
            async with aclosing(browse.cat(session, manifest, path, self._limits)) as chunks:
                async for chunk in chunks:
                    yield chunk

    async def verify(self, identity: Identity, snapshots: Collection[str], percent: int, report: Report) -> Proof:
        ids = await self._known(identity, snapshots)
        if not ids:
            return Proof(snapshots=(), read_bytes=0)
        report(Progress(phase="checking", files_done=0, bytes_done=0))
        with self._kopia.session(readonly=True, cached=not isinstance(self._storage, DirectoryStorage)) as session:
            finished = await session.run(argv.verify(ids, percent), limits=self._limits)
        if finished.exit_code != 0:
            raise failures.verification(finished)
        try:
            verified = parse.verification(finished.stdout)
        except parse.ParseError as error:
            raise EngineFailure(FailureKind.UNKNOWN, str(error)) from error
        if verified.error_count:
            raise EngineFailure(FailureKind.DAMAGED, "; ".join(verified.error_strings[:_NAMED]))
        return Proof(snapshots=ids, read_bytes=verified.stats.read_bytes)

    async def initialize(self) -> str:
        await self.version()
        if isinstance(self._storage, DirectoryStorage) and not _is_directory(self._storage.path):
            raise EngineFailure(FailureKind.STORAGE_MISSING, f"the directory {self._storage} is not there")
        with self._kopia.session(readonly=False) as session:
            created = await session.run(argv.create(self._storage, session.folder / "cache"))
            if created.exit_code != 0:
                raise failures.failure("creating the repository", created.exit_code, created.stderr)
        with self._kopia.session(readonly=False) as session:  # `create` has written its own configuration
            await session.output(argv.set_parameters(), "setting the repository's parameters")
        with self._kopia.session(readonly=False) as session:
            await session.output(argv.set_global_policy(), "setting the global policy")
        engine_id, snapshots = await self._all()
        if snapshots:
            raise EngineFailure(FailureKind.NOT_EMPTY, f"the new repository {engine_id} holds snapshots already")
        return engine_id

    async def backup(
        self,
        identity: Identity,
        source: Path,
        tags: Mapping[str, str],
        exclude: Sequence[str],
        report: Report,
        *,
        history: Record | None,  # noqa: ARG002  one repository for all, which no backup creates
    ) -> Taken:
        await self.version()
        if not _is_directory(source):
            raise EngineFailure(FailureKind.SOURCE_UNREADABLE, f"{source} is not a directory that can be read")
        if exclude:
            await self._set_exclude(identity, exclude)
        made = await self._take(identity, source, tags, report)
        if not exclude and (made.manifest.stats.excluded_file_count or made.manifest.stats.excluded_dir_count):
            # An earlier run's patterns are still in the repository: that snapshot lacks what they leave out.
            await self._set_exclude(identity, ())
            made = await self._take(identity, source, tags, report)
        with self._kopia.session(readonly=True) as first, self._kopia.session(readonly=True) as second:
            # What a healthy repository shows is asked for too: its loss must be told at the next backup, not later.
            manifests, _ = await both(_snapshots(first, argv.list_source(identity)), _labels(second))
            engine_id = first.repository_id()
        return Taken(
            engine_id=engine_id,
            snapshot=saved(_ours(manifests), made.manifest.id),
            new_bytes=made.new_bytes,
            unreadable=made.unreadable[:_NAMED],
            unreadable_count=made.unreadable_count,
        )

    async def forget(self, identity: Identity, snapshots: Collection[str]) -> None:
        if snapshots:
            await self._delete(await self._known(identity, snapshots))

    async def delete(self, identity: Identity) -> None:
        await self._delete(await self._known(identity, ()))

    async def maintain(self, identity: Identity | None, *, full: bool) -> None:  # noqa: ARG002  one repository for all
        await self.version()
        before = await self._maintenance_runs()
        limits = Limits(total=self._limits.total, inactivity=self._limits.total)  # it works for hours without a word
        with self._kopia.session(readonly=False) as session:
            finished = await session.run(argv.maintain(full=full), limits=limits)
        if finished.exit_code != 0:
            raise failures.failure("maintenance", finished.exit_code, finished.stderr)
        new = await self._maintenance_runs() - before
        if not new:
            raise EngineFailure(FailureKind.LOCKED, "maintenance did nothing: another kopia is at it")
        failed = sorted(f"{task}: {run.error}" for task, run in new if not run.success)
        if failed:
            raise EngineFailure(FailureKind.UNKNOWN, f"maintenance failed in {'; '.join(failed)}")

    async def _maintenance_runs(self) -> frozenset[tuple[str, parse.MaintenanceRun]]:
        with self._kopia.session(readonly=True) as session:
            printed = await session.output(argv.maintenance_info(), "reading the maintenance log")
        try:
            return parse.maintenance(printed).runs()
        except parse.ParseError as error:
            raise EngineFailure(FailureKind.UNKNOWN, str(error)) from error

    async def _set_exclude(self, identity: Identity, exclude: Sequence[str]) -> None:
        with self._kopia.session(readonly=False) as session:
            document = session.folder / "policy.json"
            document.write_bytes(argv.source_policy(identity, exclude))
            await session.output(argv.import_policy(identity, document), "setting what the backup leaves out")

    async def _take(self, identity: Identity, source: Path, tags: Mapping[str, str], report: Report) -> "_Made":
        """Run one backup and return what kopia says of it: a hint, since it speaks before the last write."""
        meter = parse.Meter(report)
        arguments = argv.backup(identity, source, tags, parallel())
        with self._kopia.session(readonly=False) as session:
            finished = await session.run(arguments, limits=self._limits, on_stderr=meter.backup)
        saved = finished.exit_code == 0 or failures.is_partial_backup(finished.stderr)
        if not saved or not finished.stdout.strip():
            raise failures.backup(source, finished)
        try:
            manifest = parse.manifest(finished.stdout)
        except parse.ParseError as error:
            raise EngineFailure(FailureKind.UNKNOWN, str(error)) from error
        if manifest.incomplete or manifest.root_entry is None:
            raise EngineFailure(FailureKind.CANCELED, f"kopia saved an incomplete snapshot: {manifest.incomplete}")
        count, paths = manifest.root_entry.summ.unreadable()
        return _Made(manifest=manifest, new_bytes=meter.uploaded, unreadable=paths, unreadable_count=count)

    async def _delete(self, ids: Sequence[str]) -> None:
        for start in range(0, len(ids), _IDS_AT_ONCE):
            with self._kopia.session(readonly=False) as session:
                await session.output(argv.delete(ids[start : start + _IDS_AT_ONCE]), "deleting snapshots")

    async def _known(self, identity: Identity, ids: Collection[str]) -> tuple[str, ...]:
        """Return the ids, or all of the identity's when none are given; raise SNAPSHOT_MISSING for one it has not."""
        argv.source_of(identity)
        _, snapshots = await self._all()
        listed = [snapshot.id for snapshot in snapshots if snapshot.identity == identity]
        missing = sorted(set(ids) - set(listed))
        if missing:
            raise EngineFailure(
                FailureKind.SNAPSHOT_MISSING, f"{identity} has no snapshot {', '.join(missing[:_NAMED])}"
            )
        return tuple(each for each in listed if not ids or each in set(ids))

    async def _all(self) -> tuple[str, tuple[Snapshot, ...]]:
        """Return the repository's id and all snapshots of ours, oldest first, from a whole listing."""
        await self.version()
        for _ in range(_LISTING_TRIALS):
            with self._kopia.session(readonly=True) as first, self._kopia.session(readonly=True) as second:
                manifests, labels = await both(_snapshots(first, argv.list_snapshots()), _labels(second))
                engine_id = first.repository_id()
                if engine_id != second.repository_id():
                    raise EngineFailure(FailureKind.REPLACED, "the repository was replaced while it was listed")
            ids = {manifest.id for manifest in manifests}
            if ids == {label.id for label in labels if label.labels.get("type") == "snapshot"}:
                return engine_id, _ours(manifests)
            # A backup may have ended between the two: ask again.
        raise EngineFailure(FailureKind.PARTIAL_LISTING, "kopia's list of snapshots and its list of manifests disagree")


def _is_directory(path: str | Path) -> bool:
    return Path(path).is_dir()


def parallel() -> int:
    """Return how many files are read at once: 4 took 1.15 s for 20,000 small files on two cores, 2 took 1.3, 8 1.14.

    More than 4 costs memory (a 20 MB pack each) and gained nothing.
    """
    return 4


@dataclass(frozen=True, slots=True, kw_only=True)
class _Made:
    """What kopia says of a backup that it has made."""

    manifest: parse.Manifest
    new_bytes: int | None
    unreadable: tuple[str, ...]
    unreadable_count: int


async def _snapshots(session: Session, arguments: tuple[str, ...]) -> tuple[parse.Manifest, ...]:
    try:
        return parse.snapshots(await _clean(session, arguments, "listing snapshots"))
    except parse.ParseError as error:
        raise EngineFailure(FailureKind.PARTIAL_LISTING, str(error)) from error


async def _labels(session: Session) -> tuple[parse.Label, ...]:
    """Return all manifests; a repository that does not show its policy and maintenance has lost index blobs."""
    try:
        labels = parse.labels(await _clean(session, argv.list_manifests(), "listing manifests"))
    except parse.ParseError as error:
        raise EngineFailure(FailureKind.PARTIAL_LISTING, str(error)) from error
    kinds = {(label.labels.get("type"), label.labels.get("policyType")) for label in labels}
    if not {("policy", "global"), ("maintenance", None)} <= kinds:
        raise EngineFailure(
            FailureKind.PARTIAL_LISTING,
            "kopia shows no global policy or no maintenance manifest, as when index blobs are lost: "
            "run no maintenance, and have a person look at `kopia index recover`",
        )
    return labels


async def _clean(session: Session, arguments: tuple[str, ...], doing: str) -> bytes:
    """Return what a listing printed; raise EngineFailure when it failed or complained."""
    finished = await session.run(arguments)
    if finished.exit_code != 0:
        raise failures.failure(doing, finished.exit_code, finished.stderr)
    if finished.stderr:
        raise EngineFailure(FailureKind.PARTIAL_LISTING, f"{doing}: kopia complained: {finished.stderr[-1].strip()}")
    return finished.stdout


def _ours(manifests: Sequence[parse.Manifest]) -> tuple[Snapshot, ...]:
    try:
        snapshots = [snapshot for each in manifests if (snapshot := each.snapshot()) is not None]
    except parse.ParseError as error:
        raise EngineFailure(FailureKind.PARTIAL_LISTING, str(error)) from error
    return tuple(sorted(snapshots, key=lambda snapshot: (snapshot.time, snapshot.id)))


def _listing(engine_id: str, identity: Identity, snapshots: Sequence[Snapshot]) -> Listing | Failure:
    try:
        argv.source_of(identity)
    except EngineFailure as error:
        return error.failure
    return Listing(engine_id=engine_id, snapshots=tuple(snapshots))
