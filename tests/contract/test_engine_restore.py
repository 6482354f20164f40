"""What every engine brings back, what it is known to lose, and that it loses nothing else."""

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import anyio
import pytest

from holdfast.engines.protocol import EngineFailure, Reader
from holdfast.model.claim import Identity
from holdfast.model.entry import EntryKind
from holdfast.model.failure import FailureKind
from holdfast.model.repository import EngineKind
from holdfast.model.snapshot import Loss
from tests.support import trees
from tests.support.bench import LOST_BY, Bench, fresh_identity, unheard
from tests.support.trees import Described

pytestmark = pytest.mark.anyio


def comparable(kind: EngineKind, root: Path) -> Mapping[bytes, Described]:
    """Describe a tree without the times that an engine is known to lose: kopia's of directories and of links."""
    described = trees.manifest(root)
    match kind:
        case EngineKind.KOPIA:
            return trees.without_times(described, of=lambda each: each.kind in "dl")
        case EngineKind.RESTIC | EngineKind.MEMORY:
            return described


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """A backed up tree."""

    identity: Identity
    source: Path
    snapshot: str


BIG = 12 << 20


@pytest.fixture(scope="module")
async def saved(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> Saved:
    """The standard tree and one big file, backed up once for this file."""
    source, identity = tmp_path_factory.mktemp("saved") / "source", fresh_identity()
    trees.build(source, big=BIG)
    return Saved(identity=identity, source=source, snapshot=await bench.backup(identity, source))


async def test_a_restore_is_identical(bench: Bench, saved: Saved, tmp_path: Path) -> None:
    target = tmp_path / "data"
    await bench.open().restore(saved.identity, saved.snapshot, target, unheard)
    assert comparable(bench.kind, target) == comparable(bench.kind, saved.source)
    assert (target / "sparse").stat().st_blocks * 512 < 1 << 20


async def test_a_target_that_is_there_takes_the_roots_attributes(bench: Bench, saved: Saved, tmp_path: Path) -> None:
    target = tmp_path / "data"
    target.mkdir(mode=0o777)
    await bench.open().restore(saved.identity, saved.snapshot, target, unheard)
    assert trees.manifest(target)[b""] == trees.manifest(saved.source)[b""]


async def test_a_restore_over_what_a_killed_one_left_is_identical(bench: Bench, saved: Saved, tmp_path: Path) -> None:
    target = tmp_path / "data"
    with anyio.move_on_after(0.7):
        await bench.open().restore(saved.identity, saved.snapshot, target, unheard)
    await bench.open().restore(saved.identity, saved.snapshot, target, unheard)
    (target / "notes.txt").write_bytes(b"half")
    (target / "deep/er/below.bin").chmod(0o600)
    (target / "deep/er/below.bin").write_bytes(b"x" * 5000)
    os.truncate(target / "sparse", 1000)
    (target / "link").unlink()
    (target / "link").write_bytes(b"a file in a link's place")
    (target / "tool").chmod(0o600)
    (target / "empty").unlink()
    target.chmod(0o700)
    await bench.open().restore(saved.identity, saved.snapshot, target, unheard)
    assert comparable(bench.kind, target) == comparable(bench.kind, saved.source)


async def test_an_older_snapshot_is_restored_as_it_was(bench: Bench, tmp_path: Path) -> None:
    identity = fresh_identity()
    source = tmp_path / "source"
    source.mkdir()
    (source / "a").write_text("old")
    old = await bench.backup(identity, source)
    (source / "a").write_text("new")
    (source / "b").write_text("new")
    await bench.backup(identity, source)
    await bench.open().restore(identity, old, tmp_path / "target", unheard)
    assert {path: path.read_text() for path in (tmp_path / "target").iterdir()} == {tmp_path / "target/a": "old"}


async def test_a_missing_snapshot_leaves_the_target_untouched(bench: Bench, saved: Saved, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("untouched")
    before = trees.manifest(tmp_path)
    for who in (saved.identity, fresh_identity()):
        for missing in ("0" * 64, "f" * 32, "latest", "", "../x", "--delete", saved.snapshot[:8]):
            with pytest.raises(EngineFailure) as caught:
                await bench.open().restore(who, missing, tmp_path, unheard)
            assert caught.value.failure.kind is FailureKind.SNAPSHOT_MISSING, missing
    assert trees.manifest(tmp_path) == before


async def test_an_engine_loses_exactly_what_is_declared(bench: Bench, tmp_path: Path) -> None:
    identity = fresh_identity()
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    held = {loss for loss in Loss if trees.add_lossy(source, loss)}
    assert held >= {Loss.HARD_LINKS, Loss.FIFOS, Loss.SOCKETS}
    snapshot = await bench.backup(identity, source)
    await bench.open().restore(identity, snapshot, target, unheard)
    assert {loss for loss in held if not trees.has_lossy(target, loss)} == held & LOST_BY[bench.kind]


async def test_a_directory_is_listed_by_name_with_kind_size_mode_and_owner(bench: Bench, saved: Saved) -> None:
    reader, source = bench.open(), saved.source
    entries = {entry.name: entry for entry in await reader.ls(saved.identity, saved.snapshot, "")}
    assert list(entries) == sorted(path.name for path in source.iterdir())
    for name, entry in entries.items():
        status = (source / name).lstat()
        assert (entry.uid, entry.gid) == (status.st_uid, status.st_gid), name
        if not stat.S_ISLNK(status.st_mode):
            assert oct(entry.mode) == oct(stat.S_IMODE(status.st_mode)), name
        if stat.S_ISREG(status.st_mode):
            assert entry.size == status.st_size, name
            assert entry.modified is not None
            assert int(entry.modified.timestamp() * 1e6) == status.st_mtime_ns // 1000, name
    kinds = {name: entries[name].kind for name in ("notes.txt", "deep", "dangling")}
    assert kinds == {"notes.txt": EntryKind.FILE, "deep": EntryKind.DIRECTORY, "dangling": EntryKind.LINK}
    below = await reader.ls(saved.identity, saved.snapshot, "deep/er")
    assert [(entry.name, entry.size) for entry in below] == [("below.bin", 1 << 20)]
    assert await reader.ls(saved.identity, saved.snapshot, "empty directory") == []
    assert [entry.name for entry in await reader.ls(saved.identity, saved.snapshot, "naïve – 名前")] == ["ÿ"]


async def test_what_is_no_directory_is_a_missing_path(bench: Bench, saved: Saved) -> None:
    reader = bench.open()
    for path in ("absent", "notes.txt", "notes.txt/below", "absent/below", "../etc"):
        with pytest.raises(EngineFailure) as caught:
            await reader.ls(saved.identity, saved.snapshot, path)
        assert caught.value.failure.kind is FailureKind.PATH_MISSING, path
    with pytest.raises(EngineFailure) as caught:
        await reader.ls(saved.identity, "0" * len(saved.snapshot), "")
    assert caught.value.failure.kind is FailureKind.SNAPSHOT_MISSING


async def content(reader: Reader, saved: Saved, path: str) -> bytes:
    return b"".join([chunk async for chunk in reader.cat(saved.identity, saved.snapshot, path)])


async def test_a_files_content_is_streamed(bench: Bench, saved: Saved) -> None:
    reader = bench.open()
    chunks = [chunk async for chunk in reader.cat(saved.identity, saved.snapshot, "big")]
    assert len(chunks) > 1
    assert b"".join(chunks) == (saved.source / "big").read_bytes()
    for name in ("two\nlines", "back\\slash*?[x]", "-dash", "100%d %3D", "deep/er/below.bin", "empty", "sparse"):
        assert await content(reader, saved, name) == (saved.source / name).read_bytes(), name


async def test_what_is_no_file_is_a_missing_path(bench: Bench, saved: Saved) -> None:
    reader = bench.open()
    for path in ("absent", "deep", "", "deep/absent", "absent/below", "notes.txt/below"):
        with pytest.raises(EngineFailure) as caught:
            await content(reader, saved, path)
        assert caught.value.failure.kind is FailureKind.PATH_MISSING, path
    missing = Saved(identity=saved.identity, source=saved.source, snapshot="0" * len(saved.snapshot))
    with pytest.raises(EngineFailure) as caught:
        await content(reader, missing, "notes.txt")
    assert caught.value.failure.kind is FailureKind.SNAPSHOT_MISSING
