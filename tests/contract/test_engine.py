"""What every engine must do: backups, listings, retention left alone, one identity never another's."""

from pathlib import Path

import anyio
import pytest

from holdfast.engines.protocol import EngineFailure
from holdfast.model.claim import Identity
from holdfast.model.failure import FailureKind
from holdfast.model.repository import EngineKind
from holdfast.model.snapshot import Listing
from tests.support import trees
from tests.support.bench import Bench, fresh_identity, unheard

pytestmark = pytest.mark.anyio


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


async def names_in(bench: Bench, identity: Identity, snapshot: str, path: str = "") -> set[str]:
    return {entry.name for entry in await bench.open().ls(identity, snapshot, path)}


async def test_an_identity_that_was_never_backed_up_has_an_empty_listing(bench: Bench) -> None:
    answer = await bench.answer(fresh_identity())
    assert isinstance(answer, Listing)
    assert answer.snapshots == ()


async def test_every_asked_identity_is_answered(bench: Bench, tmp_path: Path) -> None:
    known, *unknown = (fresh_identity() for _ in range(6))
    snapshot = await bench.backup(known, write(tmp_path, {"a": "1"}))
    answers = await bench.open().listings([known, *unknown])
    assert set(answers) == {known, *unknown}
    found = {who: [each.id for each in what.snapshots] for who, what in answers.items() if isinstance(what, Listing)}
    assert found == {known: [snapshot], **{each: [] for each in unknown}}


async def test_nothing_asked_is_nothing_answered(bench: Bench) -> None:
    assert dict(await bench.open().listings([])) == {}


async def test_a_backup_is_listed_with_its_counts_time_and_tags(bench: Bench, tmp_path: Path) -> None:
    identity = fresh_identity()
    source = write(tmp_path, {"a": "12345", "b/c": "1234567", "b/empty": ""})
    (source / "link").symlink_to("a")
    tags = {"run": "r-7f", "claim-uid": "1b4e28ba-2fa1-11d2", "note": "a=b, c%2C: d"}
    taken = await bench.engine.backup(identity, source, tags, (), unheard, history=None)
    answer = await bench.answer(identity)
    assert isinstance(answer, Listing)
    (listed,) = answer.snapshots
    assert (taken.engine_id, taken.snapshot) == (answer.engine_id, listed)
    assert listed.identity == identity
    assert (listed.files, listed.bytes) == (3, 12)
    assert listed.tags == tags
    assert listed.flags == frozenset()
    assert listed.time.tzinfo is not None


async def test_snapshots_are_listed_oldest_first_also_when_nothing_changed(bench: Bench, tmp_path: Path) -> None:
    identity = fresh_identity()
    source = write(tmp_path, {"a": "1"})
    taken = [await bench.backup(identity, source) for _ in range(3)]
    listed = await bench.listed(identity)
    assert [each.id for each in listed] == taken
    assert [each.time for each in listed] == sorted(each.time for each in listed)


async def test_every_answer_names_the_same_repository(bench: Bench, tmp_path: Path) -> None:
    identity = fresh_identity()
    await bench.backup(identity, write(tmp_path, {"a": "1"}))
    first, second = await bench.answer(identity), await bench.answer(identity)
    assert isinstance(first, Listing)
    assert isinstance(second, Listing)
    assert first.engine_id is not None
    assert first.engine_id == second.engine_id


async def test_identities_with_similar_names_never_see_each_other(bench: Bench, tmp_path: Path) -> None:
    identities = [
        Identity(namespace="prod", claim="data"),
        Identity(namespace="prod", claim="data2"),
        Identity(namespace="prod", claim="data.2"),
        Identity(namespace="data", claim="prod"),
        Identity(cluster="prod", namespace="data", claim="keys"),
        Identity(cluster="data", namespace="prod", claim="data"),
        Identity(cluster="data.x", namespace="prod", claim="data"),
        Identity(cluster="k" * 40, namespace="n" * 63, claim="c" * 253),
    ]
    taken = {}
    for number, identity in enumerate(identities):
        taken[identity] = await bench.backup(identity, write(tmp_path / str(number), {f"file{number}": ""}))
    answers = await bench.open().listings(identities)
    seen = {who: [each.id for each in what.snapshots] for who, what in answers.items() if isinstance(what, Listing)}
    assert seen == {identity: [snapshot] for identity, snapshot in taken.items()}
    await bench.engine.delete(identities[0])
    left = [identity for identity in identities if await bench.ids(identity)]
    assert left == identities[1:]
    assert await names_in(bench, identities[4], taken[identities[4]]) == {"file4"}


async def test_a_snapshot_is_not_found_under_another_identity(bench: Bench, tmp_path: Path) -> None:
    owner, other = fresh_identity(), fresh_identity()
    snapshot = await bench.backup(owner, write(tmp_path, {"a": "1"}))
    await bench.backup(other, tmp_path)
    with pytest.raises(EngineFailure) as caught:
        await bench.open().restore(other, snapshot, tmp_path / "target", unheard)
    assert caught.value.failure.kind is FailureKind.SNAPSHOT_MISSING
    assert not (tmp_path / "target").exists()


async def test_an_empty_directory_is_backed_up_as_empty(bench: Bench, tmp_path: Path) -> None:
    identity = fresh_identity()
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir(mode=0o751)
    snapshot = await bench.backup(identity, source)
    (listed,) = await bench.listed(identity)
    assert (listed.id, listed.files, listed.bytes, listed.tags) == (snapshot, 0, 0, {"run": "r1"})
    assert await bench.open().ls(identity, snapshot, "") == []
    await bench.open().restore(identity, snapshot, target, unheard)
    assert trees.manifest(target) == trees.manifest(source)


async def test_the_source_may_be_another_path_each_time(bench: Bench, tmp_path: Path) -> None:
    identity = fresh_identity()
    first, second = tmp_path / "one" / "data", tmp_path / "pvc-0001"
    write(first, {"a": "x" * 500_000})
    trees.copy(first, second)
    before = await bench.engine.backup(identity, first, {}, (), unheard, history=None)
    after = await bench.engine.backup(identity, second, {}, (), unheard, history=None)
    assert await bench.ids(identity) == (before.snapshot.id, after.snapshot.id)
    if after.new_bytes is not None and bench.kind is not EngineKind.MEMORY:
        assert after.new_bytes < 10_000


async def test_excluded_names_are_left_out(bench: Bench, tmp_path: Path) -> None:
    identity = fresh_identity()
    files = ("a.tmp", "keep", "cache/x", "deep/cache/y", "deep/a.tmp", "deep/skip/z", "other/deep/skip/z", "[x]", "x")
    source = write(tmp_path / "so[u]rce*", dict.fromkeys(files, ""))
    snapshot = await bench.backup(identity, source, exclude=("*.tmp", "/cache", "deep/skip", "[x]"))
    found = {path.decode() for path in await restored(bench, identity, snapshot, tmp_path / "target")}
    kept = {"keep", "deep", "deep/cache", "deep/cache/y", "other", "other/deep", "other/deep/skip", "[x]"}
    assert found == {"", *kept, "other/deep/skip/z"}


async def restored(bench: Bench, identity: Identity, snapshot: str, target: Path) -> set[bytes]:
    await bench.open().restore(identity, snapshot, target, unheard)
    return set(trees.manifest(target))


async def test_the_engines_own_ignore_files_are_off(bench: Bench, tmp_path: Path) -> None:
    identity = fresh_identity()
    source = write(tmp_path / "source", {"keep": "", "cache/kept": "", ".nobackup": ""})
    for name in (".kopiaignore", ".resticignore", ".gitignore", ".ignore"):
        (source / name).write_text("*\nkeep\n")
    (source / "cache/CACHEDIR.TAG").write_text("Signature: 8a477f597d28d172789f06886806bc55\n")
    snapshot = await bench.backup(identity, source)
    assert await restored(bench, identity, snapshot, tmp_path / "target") == set(trees.manifest(source))


async def test_the_engines_own_retention_is_off(bench: Bench, tmp_path: Path) -> None:
    identity = fresh_identity()
    taken = [await bench.backup(identity, write(tmp_path, {"a": str(number)})) for number in range(15)]
    assert await bench.ids(identity) == tuple(taken)


async def test_a_source_that_is_not_there_is_unreadable(bench: Bench, tmp_path: Path) -> None:
    identity = fresh_identity()
    (tmp_path / "file").write_text("no directory")
    for source in (tmp_path / "absent", tmp_path / "file"):
        with pytest.raises(EngineFailure) as caught:
            await bench.backup(identity, source)
        assert caught.value.failure.kind is FailureKind.SOURCE_UNREADABLE, source
    assert await bench.listed(identity) == ()


async def test_backups_of_two_identities_at_once_both_succeed(bench: Bench, tmp_path: Path) -> None:
    identities = (fresh_identity(), fresh_identity())
    source = write(tmp_path, {str(number): "x" * number for number in range(50)})
    async with anyio.create_task_group() as group:
        for identity in identities:
            group.start_soon(bench.backup, identity, source)
    assert [len(await bench.listed(identity)) for identity in identities] == [1, 1]


async def test_exactly_the_named_snapshots_are_forgotten(bench: Bench, tmp_path: Path) -> None:
    identity = fresh_identity()
    taken = [await bench.backup(identity, write(tmp_path, {"a": str(number)})) for number in range(4)]
    await bench.engine.forget(identity, [taken[0], taken[2]])
    assert await bench.ids(identity) == (taken[1], taken[3])
    assert await restored(bench, identity, taken[1], tmp_path / "target") == {b"", b"a"}


async def test_forgetting_an_unknown_snapshot_forgets_none(bench: Bench, tmp_path: Path) -> None:
    identity, other = fresh_identity(), fresh_identity()
    kept = await bench.backup(identity, write(tmp_path, {"a": "1"}))
    foreign = await bench.backup(other, tmp_path)
    for missing in ("0" * len(kept), foreign, kept[:8]):
        with pytest.raises(EngineFailure) as caught:
            await bench.engine.forget(identity, [kept, missing])
        assert caught.value.failure.kind is FailureKind.SNAPSHOT_MISSING
    assert await bench.ids(identity) == (kept,)
    assert await bench.ids(other) == (foreign,)


async def test_deleting_one_history_leaves_the_others(bench: Bench, tmp_path: Path) -> None:
    identity, other = fresh_identity(), fresh_identity()
    source = write(tmp_path / "source", {"a": "shared content"})
    for _ in range(2):
        await bench.backup(identity, source)
    kept = await bench.backup(other, source)
    await bench.engine.delete(identity)
    assert await bench.listed(identity) == ()
    await bench.engine.delete(identity)
    assert await restored(bench, other, kept, tmp_path / "target") == {b"", b"a"}
    again = await bench.backup(identity, source)
    assert await bench.ids(identity) == (again,)


@pytest.mark.parametrize("full", [False, True])
async def test_maintenance_keeps_what_is_listed(bench: Bench, tmp_path: Path, full: bool) -> None:
    identity = fresh_identity()
    source = write(tmp_path / "source", {"a": "1" * 5000, "b": "2" * 5000})
    first = await bench.backup(identity, source)
    second = await bench.backup(identity, write(source, {"a": "3"}))
    await bench.engine.forget(identity, [first])
    await bench.engine.maintain(identity, full=full)
    assert await bench.ids(identity) == (second,)
    assert await restored(bench, identity, second, tmp_path / "target") == {b"", b"a", b"b"}


async def test_initialising_twice_is_refused(own_bench: Bench) -> None:
    if own_bench.kind is EngineKind.RESTIC:
        pytest.skip("restic has a repository per identity, and none of its own")
    with pytest.raises(EngineFailure) as caught:
        await own_bench.open().initialize()
    assert caught.value.failure.kind is FailureKind.NOT_EMPTY
