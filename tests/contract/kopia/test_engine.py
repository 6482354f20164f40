"""The real kopia: what only it does, and what of it must never be believed."""

import asyncio
import base64
import contextlib
import json
import os
import shutil
import signal
import stat
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from holdfast.engines.kopia import argv
from holdfast.engines.kopia.engine import KopiaEngine
from holdfast.engines.kopia.session import Kopia
from holdfast.engines.protocol import EngineFailure
from holdfast.model.claim import Identity
from holdfast.model.failure import Failure, FailureKind
from holdfast.model.repository import DirectoryStorage, S3Storage, Storage
from holdfast.model.run import Progress
from holdfast.model.snapshot import Flag, Listing, Snapshot
from tests.support import trees
from tests.support.programs import find_program, path_with_tools
from tests.support.s3 import S3Server

pytestmark = [pytest.mark.anyio, pytest.mark.programs]

PASSWORD = "correct horse"
WEB = Identity(namespace="web", claim="data")


def unheard(_: Progress) -> None:
    """Take progress, and do nothing with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    storage: Storage
    environment: Mapping[str, str]
    work: Path

    def engine(self) -> KopiaEngine:
        return KopiaEngine(self.storage, password=PASSWORD, environment=self.environment, work=self.work)

    def kopia(self) -> Kopia:
        return Kopia(
            storage=self.storage, password=PASSWORD, environment=self.environment, work=self.work, name="kopia"
        )

    @property
    def repository(self) -> Path:
        assert isinstance(self.storage, DirectoryStorage)
        return Path(self.storage.path) / "kopia"

    def blobs(self, prefix: str) -> Sequence[Path]:
        """Return the files of the blobs whose id starts so, oldest first."""
        named = (path for path in self.repository.rglob("*.f"))
        found = (each for each in named if str(each.relative_to(self.repository)).replace("/", "").startswith(prefix))
        return sorted(found, key=lambda path: path.stat().st_mtime_ns)


@pytest.fixture(scope="module")
def initialized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An initialised repository, once a file: tests copy it."""
    find_program("kopia")
    root = tmp_path_factory.mktemp("kopia")
    (root / "storage").mkdir()
    (root / "work").mkdir()
    place = Place(
        storage=DirectoryStorage(path=str(root / "storage")),
        environment={"PATH": path_with_tools()},
        work=root / "work",
    )
    asyncio.run(place.engine().initialize())
    return root / "storage"


@pytest.fixture
def place(initialized: Path, tmp_path: Path) -> Place:
    shutil.copytree(initialized, tmp_path / "storage")
    (tmp_path / "work").mkdir()
    return Place(
        storage=DirectoryStorage(path=str(tmp_path / "storage")),
        environment={"PATH": path_with_tools()},
        work=tmp_path / "work",
    )


@pytest.fixture
def source(tmp_path: Path) -> Path:
    root = tmp_path / "source"
    root.mkdir()
    (root / "a").write_text("1")
    return root


async def listed(place: Place, identity: Identity = WEB) -> Sequence[Snapshot]:
    answer = (await place.engine().listings([identity]))[identity]
    assert isinstance(answer, Listing)
    return answer.snapshots


async def refused(place: Place) -> Failure:
    """Return why no listing is given."""
    with pytest.raises(EngineFailure) as caught:
        await place.engine().listings([WEB])
    return caught.value.failure


async def test_the_listing_names_the_repository_that_was_opened(place: Place) -> None:
    answer = (await place.engine().listings([WEB]))[WEB]
    assert isinstance(answer, Listing)
    written = json.loads((place.repository / "kopia.repository.f").read_bytes())["uniqueID"]
    assert answer.engine_id == base64.b64decode(written).hex()


async def test_nothing_stays_in_the_work_directory(place: Place, source: Path, tmp_path: Path) -> None:
    taken = await place.engine().backup(WEB, source, {}, (), unheard, history=None)
    await place.engine().restore(WEB, taken.snapshot.id, tmp_path / "target", unheard)
    await listed(place)
    assert list(place.work.iterdir()) == []


async def test_reading_writes_nothing(place: Place, source: Path, tmp_path: Path) -> None:
    taken = await place.engine().backup(WEB, source, {}, (), unheard, history=None)
    before = trees.manifest(place.repository)
    await listed(place)
    await place.engine().restore(WEB, taken.snapshot.id, tmp_path / "target", unheard)
    await place.engine().ls(WEB, taken.snapshot.id, "")
    await place.engine().verify(WEB, [taken.snapshot.id], 100, unheard)
    assert trees.manifest(place.repository) == before


async def test_a_repository_that_lost_all_index_blobs_is_no_whole_listing(place: Place, source: Path) -> None:
    await place.engine().backup(WEB, source, {}, (), unheard, history=None)
    for blob in place.blobs("x"):
        blob.unlink()
    failure = await refused(place)
    assert failure.kind is FailureKind.PARTIAL_LISTING
    assert "index" in failure.detail


async def test_a_backup_into_a_repository_that_lost_its_index_blobs_does_not_count(place: Place, source: Path) -> None:
    await place.engine().backup(WEB, source, {}, (), unheard, history=None)
    for blob in place.blobs("x"):
        blob.unlink()
    with pytest.raises(EngineFailure, match="index") as caught:
        await place.engine().backup(WEB, source, {}, (), unheard, history=None)
    assert caught.value.failure.kind is FailureKind.PARTIAL_LISTING


async def test_a_snapshot_whose_index_blob_is_lost_is_missing_from_the_list(place: Place, source: Path) -> None:
    """kopia says nothing: only the record beside it can tell, which is why there is one."""
    first = await place.engine().backup(WEB, source, {}, (), unheard, history=None)
    before = set(place.blobs("x"))
    await place.engine().backup(WEB, source, {}, (), unheard, history=None)
    for blob in set(place.blobs("x")) - before:
        blob.unlink()
    assert [each.id for each in await listed(place)] == [first.snapshot.id]


def empty(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


async def test_a_wiped_repository_is_seen_at_once(place: Place, source: Path) -> None:
    engine = place.engine()
    await engine.backup(WEB, source, {}, (), unheard, history=None)
    await engine.listings([WEB])
    empty(place.repository)
    with pytest.raises(EngineFailure) as caught:
        await engine.listings([WEB])
    assert caught.value.failure.kind is FailureKind.NO_REPOSITORY


async def test_a_lost_manifest_pack_is_damage(place: Place, source: Path) -> None:
    await place.engine().backup(WEB, source, {}, (), unheard, history=None)
    for blob in place.blobs("q"):
        blob.unlink()
    assert (await refused(place)).kind is FailureKind.DAMAGED


async def test_a_complaint_makes_a_listing_partial(place: Place, tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    wrapper = tools / "kopia"
    real = find_program("kopia")
    wrapper.write_text(
        f'#!/bin/sh\n[ "$1" = snapshot ] && echo "unable to parse snapshot manifest x" >&2\nexec {real} "$@"\n'
    )
    wrapper.chmod(0o755)
    engine = KopiaEngine(
        place.storage,
        password=PASSWORD,
        environment={"PATH": f"{tools}{os.pathsep}{path_with_tools()}"},
        work=place.work,
    )
    with pytest.raises(EngineFailure, match="complained: unable to parse snapshot manifest x") as caught:
        await engine.listings([WEB])
    assert caught.value.failure.kind is FailureKind.PARTIAL_LISTING


async def test_another_version_is_refused_with_what_to_do(place: Place, tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "kopia").write_text("#!/bin/sh\necho '0.24.0 build: x from: y'\n")
    (tools / "kopia").chmod(0o755)
    engine = KopiaEngine(place.storage, password=PASSWORD, environment={"PATH": str(tools)}, work=place.work)
    with pytest.raises(EngineFailure, match=r"kopia 0\.23\.1 is needed, 0\.24\.0 is installed") as caught:
        await engine.listings([WEB])
    assert caught.value.failure.kind is FailureKind.NO_PROGRAM


async def test_snapshots_of_others_are_not_ours(place: Place, source: Path) -> None:
    with place.kopia().session(readonly=False) as session:
        arguments = ("snapshot", "create", "--no-auto-maintenance", "--override-source=me@laptop:/srv/me", str(source))
        await session.output(arguments, "backing up a laptop")
    assert await listed(place) == ()


async def test_patterns_of_an_earlier_run_do_not_leak_into_the_next(place: Place, source: Path) -> None:
    (source / "b.tmp").write_text("12")
    (source / "cache").mkdir()
    (source / "cache" / "c").write_text("123")
    await place.engine().backup(WEB, source, {}, ("*.tmp", "/cache"), unheard, history=None)
    await place.engine().backup(WEB, source, {}, ("*.tmp",), unheard, history=None)
    last = await place.engine().backup(WEB, source, {}, (), unheard, history=None)
    found = {snapshot.id: snapshot.files for snapshot in await listed(place)}
    assert list(found.values())[:2] == [1, 2]
    assert found[last.snapshot.id] == 3


async def test_an_incomplete_snapshot_is_listed_and_flagged(place: Place, source: Path) -> None:
    for number in range(3):
        (source / f"big{number}").write_bytes(os.urandom(3_000_000))
    with place.kopia().session(readonly=False) as session:
        arguments = argv.backup(WEB, source, {}, 1)
        await session.output((*arguments[:2], "--upload-limit-mb=2", *arguments[2:]), "backing up a part")
    assert [each.flags for each in await listed(place)] == [{Flag.INCOMPLETE}]


async def test_a_backup_that_was_not_saved_is_no_backup_whatever_kopia_prints(place: Place, source: Path) -> None:
    """kopia prints the snapshot as JSON before its last write fails."""
    with place.kopia().session(readonly=True) as session:
        finished = await session.run(argv.backup(WEB, source, {}, 2))
    assert finished.exit_code == 1
    assert b'"id"' in finished.stdout
    assert await listed(place) == ()


async def test_maintenance_leaves_its_owner_as_it_was(place: Place, source: Path) -> None:
    await place.engine().backup(WEB, source, {}, (), unheard, history=None)
    await place.engine().maintain(None, full=True)
    with place.kopia().session(readonly=True) as session:
        printed = await session.output(argv.maintenance_info(), "asking")
    assert json.loads(printed)["owner"] == "holdfast@holdfast"


async def test_the_password_is_in_no_process_list_and_no_file(place: Place, source: Path) -> None:
    engine = place.engine()
    for number in range(20):
        (source / f"big{number}").write_bytes(os.urandom(1 << 20))
    seen: list[str] = []
    task = asyncio.create_task(engine.backup(WEB, source, {}, (), unheard, history=None))
    while not task.done():
        seen += command_lines_of_children()
        assert not files_with_the_password(place.work)
        await asyncio.wait([task], timeout=0.01)
    await task
    assert any("snapshot" in line for line in seen)
    assert not any(PASSWORD in line for line in seen)


def command_lines_of_children() -> list[str]:
    lines = []
    for child in Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split():
        with contextlib.suppress(OSError):  # it has ended
            lines.append(Path(f"/proc/{child}/cmdline").read_text())
    return lines


def files_with_the_password(folder: Path) -> list[Path]:
    found = []
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):  # it is gone, or a directory
            if PASSWORD.encode() in path.read_bytes():
                found.append(path)
    return found


KILLED = """
import asyncio, os, sys
from pathlib import Path
from holdfast.engines.kopia.engine import KopiaEngine
from holdfast.model.claim import Identity
from holdfast.model.repository import DirectoryStorage
storage, work, snapshot, target = sys.argv[1:]
engine = KopiaEngine(DirectoryStorage(path=storage), password="correct horse", environment=os.environ, work=Path(work))
asyncio.run(engine.restore(Identity(namespace="web", claim="data"), snapshot, Path(target), lambda _: None))
"""


def entries_in(folder: Path) -> int:
    return len(list(folder.iterdir())) if folder.is_dir() else 0


def fill_with_read_only_files(root: Path) -> None:
    for number in range(400):
        (root / f"file{number}").write_bytes(os.urandom(20_000))
        (root / f"file{number}").chmod(0o444)
    (root / "big").write_bytes(os.urandom(20 << 20))
    root.chmod(0o2751)


async def test_a_restore_after_a_killed_one_is_identical(place: Place, source: Path, tmp_path: Path) -> None:
    fill_with_read_only_files(source)
    taken = await place.engine().backup(WEB, source, {}, (), unheard, history=None)
    target = tmp_path / "target"
    where = (str(tmp_path / "storage"), str(place.work), taken.snapshot.id, str(target))
    environment = {**os.environ, "PATH": path_with_tools()}
    for goal in (5, 100, 300):
        mover = await asyncio.create_subprocess_exec(sys.executable, "-c", KILLED, *where, env=environment)
        while mover.returncode is None and entries_in(target) < goal:
            await asyncio.wait([asyncio.ensure_future(mover.wait())], timeout=0.002)
        if mover.returncode is None:
            mover.send_signal(signal.SIGKILL)
        await mover.wait()
    await place.engine().restore(WEB, taken.snapshot.id, target, unheard)
    expected = trees.without_times(trees.manifest(source), of=lambda each: each.kind == "d")
    assert trees.without_times(trees.manifest(target), of=lambda each: each.kind == "d") == expected
    assert stat.S_IMODE(target.stat().st_mode) == 0o2751


@pytest.fixture
def bucket(s3_server: S3Server, s3_prefix: str, tmp_path: Path) -> Place:
    find_program("kopia")
    (tmp_path / "work").mkdir()
    return Place(
        storage=s3_server.storage(s3_prefix),
        environment={**s3_server.environment, "PATH": path_with_tools()},
        work=tmp_path / "work",
    )


def digests(root: Path) -> Mapping[bytes, str]:
    return {path: each.digest for path, each in trees.manifest(root).items()}


@pytest.mark.storage
async def test_small_files_are_restored_from_s3_by_the_pack(
    bucket: Place, s3_server: S3Server, source: Path, tmp_path: Path
) -> None:
    for number in range(600):
        (source / f"file{number}").write_bytes(os.urandom(2000))
    await bucket.engine().initialize()
    taken = await bucket.engine().backup(WEB, source, {}, (), unheard, history=None)
    before = len(s3_server.requests())
    await bucket.engine().restore(WEB, taken.snapshot.id, tmp_path / "target", unheard)
    asked = s3_server.requests()[before:]
    assert len(asked) < 100
    assert {each.operation for each in asked} == {"GetObject", "ListObjectsV2"}
    assert digests(tmp_path / "target") == digests(source)
    assert list(bucket.work.iterdir()) == []


@pytest.mark.storage
async def test_a_restore_that_may_hold_no_packs_is_slow_and_right(
    bucket: Place, s3_server: S3Server, source: Path, tmp_path: Path
) -> None:
    for number in range(150):
        (source / f"file{number}").write_bytes(os.urandom(2000))
    await bucket.engine().initialize()
    taken = await bucket.engine().backup(WEB, source, {}, (), unheard, history=None)
    assert isinstance(bucket.storage, S3Storage)
    bounded = KopiaEngine(
        bucket.storage, password=PASSWORD, environment=bucket.environment, work=bucket.work, prefetch_bytes=0
    )
    before = len(s3_server.requests())
    await bounded.restore(WEB, taken.snapshot.id, tmp_path / "target", unheard)
    assert len(s3_server.requests()) - before > 150
    assert digests(tmp_path / "target") == digests(source)
