"""What movers do, as real processes on every engine: done means done, and a failure says which."""

import json
import os
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from holdfast.engines import storage
from holdfast.engines.directory import Directory
from holdfast.model.failure import FailureKind
from holdfast.model.repository import EngineKind
from holdfast.model.run import Deleted, Initialized, Restored, Verified
from holdfast.model.snapshot import Flag, Loss
from holdfast.model.workorder import Delete, Initialize, Verify
from tests.support import pods, trees
from tests.support.pods import CLAIM, Pod
from tests.support.programs import find_program

pytestmark = [pytest.mark.anyio, pytest.mark.programs]


async def test_a_volume_is_backed_up_and_comes_back_the_same(pod: Pod) -> None:
    await pod.initialized()
    trees.build(pod.data)
    snapshot = await pod.backed_up()
    record = await pod.record()
    assert record is not None
    assert record.snapshots == (snapshot,)
    assert (snapshot.run, snapshot.claim_uid, snapshot.cluster_uid) == ("run-1", "claim-1", "cluster-1")

    ended = await pod.run(pods.restore(snapshot), "run-2")
    assert ended.code == 0, ended
    assert isinstance(ended.outcome, Restored)
    assert (ended.outcome.files, ended.outcome.bytes) == (snapshot.files, snapshot.bytes)
    assert ended.outcome.owners_kept == (os.geteuid() == 0)
    kept = trees.without_times(trees.manifest(pod.data), of=lambda each: each.kind != "f")
    assert trees.without_times(trees.manifest(pod.target), of=lambda each: each.kind != "f") == kept

    verified = await pod.run(Verify(identity=CLAIM), "run-3")
    assert isinstance(verified.outcome, Verified), verified
    assert verified.outcome.snapshots == (snapshot.id,)
    assert verified.outcome.read_bytes > 0

    assert list((pod.root / "tmp").iterdir()) == []
    assert [path for path in pod.target.iterdir() if "holdfast" in path.name] == []


async def test_initialising_again_answers_the_same_and_changes_nothing(pod: Pod) -> None:
    first = (await pod.run(Initialize())).outcome
    assert isinstance(first, Initialized)
    before = pods.stored(pod.repository)
    assert (await pod.run(Initialize(), "again")).outcome == first
    assert pods.stored(pod.repository) == before


async def test_nothing_is_created_over_a_repository_that_lost_its_marker(memory_pod: Pod) -> None:
    await memory_pod.initialized()
    (memory_pod.data / "file").write_text("precious")
    await memory_pod.backed_up()
    (memory_pod.repository / ".holdfast/marker").unlink()
    shutil.rmtree(memory_pod.repository / ".holdfast/claims")
    memory_pod.free_leases()
    before = pods.stored(memory_pod.repository)
    assert (await memory_pod.run(Initialize(), "again")).failure() == FailureKind.NOT_EMPTY
    assert pods.stored(memory_pod.repository) == before


async def test_an_initialisation_that_was_cut_short_is_finished(pod: Pod) -> None:
    await pod.initialized()
    note = pod.repository / ".holdfast/initializing"
    # As a crash before the marker leaves it: the note of that run is there, the marker is not.
    await _leave_note(pod)
    (pod.repository / ".holdfast/marker").unlink()
    pod.free_leases()
    ended = await pod.run(Initialize(), "again")
    assert isinstance(ended.outcome, Initialized), ended
    assert not note.exists()
    assert (await pod.marker()).repository_id == ended.outcome.repository_id
    (pod.data / "file").write_text("precious")
    await pod.backed_up()


async def test_a_note_of_a_begun_initialisation_excuses_no_data(pod: Pod) -> None:
    await pod.initialized()
    (pod.data / "file").write_text("precious")
    await pod.backed_up()
    await _leave_note(pod)
    (pod.repository / ".holdfast/marker").unlink()
    shutil.rmtree(pod.repository / ".holdfast/claims")
    pod.free_leases()
    before = pods.stored(pod.repository)
    assert (await pod.run(Initialize(), "again")).failure() == FailureKind.NOT_EMPTY
    assert pods.stored(pod.repository) == before


async def _leave_note(pod: Pod) -> None:
    note = storage.Note(engine=pod.engine, run="cut short", began=datetime(2026, 1, 1, tzinfo=UTC))
    await storage.write_note(Directory(pod.repository), pods.PASSWORD, note, salt="00" * 16)


async def test_a_repeated_run_makes_no_second_snapshot(memory_pod: Pod) -> None:
    await memory_pod.initialized()
    (memory_pod.data / "file").write_text("one")
    first = await memory_pod.backed_up("run-1")
    assert await memory_pod.backed_up("run-1") == first
    second = await memory_pod.backed_up("run-2")
    record = await memory_pod.record()
    assert record is not None
    assert record.snapshots == (first, second)


async def test_an_emptied_volume_is_flagged(memory_pod: Pod) -> None:
    await memory_pod.initialized()
    (memory_pod.data / "file").write_text("precious")
    assert (await memory_pod.backed_up("run-1")).flags == ()
    (memory_pod.data / "file").unlink()
    assert (await memory_pod.backed_up("run-2")).flags == (Flag.EMPTY,)
    assert (await memory_pod.backed_up("run-3")).flags == (Flag.EMPTY,)
    (memory_pod.data / "file").write_text("precious again")
    assert (await memory_pod.backed_up("run-4")).flags == ()


async def test_a_wrong_password_is_named(pod: Pod) -> None:
    await pod.initialized()
    stranger = replace(pod, extra={"HOLDFAST_PASSWORD": "another phrase"})
    for work in (pods.backup(), Initialize(), Verify(identity=CLAIM)):
        ended = await stranger.run(work)
        assert (ended.code, ended.failure()) == (1, FailureKind.WRONG_PASSWORD)
        assert "another phrase" not in ended.stderr


async def test_a_restore_finds_its_snapshot_or_says_which_is_missing(memory_pod: Pod) -> None:
    await memory_pod.initialized()
    (memory_pod.data / "file").write_text("precious")
    snapshot = await memory_pod.backed_up()
    missing = replace(snapshot, id="0" * len(snapshot.id))
    ended = await memory_pod.run(pods.restore(missing))
    assert ended.failure() == FailureKind.SNAPSHOT_MISSING
    assert not memory_pod.target.exists()


async def test_a_restore_replaces_what_an_earlier_attempt_left(pod: Pod) -> None:
    await pod.initialized()
    (pod.data / "folder").mkdir()
    (pod.data / "folder/file").write_text("precious")
    snapshot = await pod.backed_up()
    (pod.target / "folder/extra").mkdir(parents=True)
    (pod.target / "folder/file").write_text("PRECIOUS")
    (pod.target / "f7752355231").write_text("a temporary file of kopia's")
    (pod.target / "lost+found").mkdir()
    ended = await pod.run(pods.restore(snapshot))
    assert ended.code == 0, ended
    shutil.rmtree(pod.target / "lost+found")
    assert {path.name for path in pod.target.rglob("*")} == {"folder", "file"}
    assert (pod.target / "folder/file").read_text() == "precious"


async def test_a_restore_of_nothing_is_resumed_over_what_stands_for_it(pod: Pod) -> None:
    await pod.initialized()
    snapshot = await pod.backed_up()
    (pod.target / "holdfast-empty-volume").mkdir(parents=True)
    ended = await pod.run(pods.restore(snapshot))
    assert ended.code == 0, ended
    assert list(pod.target.iterdir()) == []


async def test_a_restore_writes_over_nobody_elses_files(memory_pod: Pod) -> None:
    await memory_pod.initialized()
    (memory_pod.data / "file").write_text("precious")
    snapshot = await memory_pod.backed_up()
    memory_pod.target.mkdir()
    (memory_pod.target / "somebody's").write_text("work")
    ended = await memory_pod.run(pods.restore(snapshot))
    assert ended.failure() == FailureKind.NOT_EMPTY
    assert [path.name for path in memory_pod.target.iterdir()] == ["somebody's"]


async def test_a_restore_that_brings_other_counts_than_the_order_names_is_no_success(memory_pod: Pod) -> None:
    await memory_pod.initialized()
    (memory_pod.data / "file").write_text("precious")
    snapshot = await memory_pod.backed_up()
    ended = await memory_pod.run(pods.restore(replace(snapshot, files=2)))
    assert ended.failure() == FailureKind.MISMATCH


async def test_a_restore_writes_nothing_to_the_repository(pod: Pod) -> None:
    await pod.initialized()
    (pod.data / "file").write_text("precious")
    snapshot = await pod.backed_up()
    before = pods.stored(pod.repository)
    assert (await pod.run(pods.restore(snapshot))).code == 0
    assert (await pod.run(Verify(identity=CLAIM))).code == 0
    assert pods.stored(pod.repository) == before


async def test_deleted_snapshots_leave_repository_and_record(pod: Pod) -> None:
    await pod.initialized()
    (pod.data / "file").write_text("precious")
    first, second = await pod.backed_up("run-1"), await pod.backed_up("run-2")
    ended = await pod.run(Delete(identity=CLAIM, snapshots=(first.id,)), "delete")
    assert ended.outcome == Deleted(snapshots=(first.id,)), ended
    again = await pod.run(Delete(identity=CLAIM, snapshots=(first.id,)), "delete")
    assert again.outcome == Deleted(snapshots=()), again
    record = await pod.record()
    assert record is not None
    assert record.snapshots == (second,)
    assert (await pod.run(pods.restore(second))).code == 0
    everything = await pod.run(Delete(identity=CLAIM, everything=True), "delete-all")
    assert everything.outcome == Deleted(snapshots=(second.id,)), everything
    assert await pod.record() is None
    assert (await pod.run(Delete(identity=CLAIM, everything=True), "delete-all")).outcome == Deleted(snapshots=())


async def test_a_verification_misses_a_recorded_snapshot_that_is_gone(memory_pod: Pod) -> None:
    await memory_pod.initialized()
    (memory_pod.data / "file").write_text("precious")
    await memory_pod.backed_up("run-1")
    engine_files = pods.stored(memory_pod.repository / memory_pod.engine.value)
    await memory_pod.backed_up("run-2")
    shutil.rmtree(memory_pod.repository / memory_pod.engine.value)
    for name, content in engine_files.items():
        path = memory_pod.repository / memory_pod.engine.value / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    assert (await memory_pod.run(Verify(identity=CLAIM))).failure() == FailureKind.SNAPSHOT_MISSING


async def test_a_history_that_was_lost_is_not_begun_anew(pod: Pod) -> None:
    await pod.initialized()
    (pod.data / "file").write_text("precious")
    await pod.backed_up()
    shutil.rmtree(pod.repository / pod.engine.value)
    ended = await pod.run(pods.backup(), "run-2")
    assert ended.failure() in (FailureKind.NO_REPOSITORY, FailureKind.STORAGE_MISSING)
    assert pods.stored(pod.repository / pod.engine.value) == {}


async def test_nothing_is_written_into_another_repository_in_the_place_of_the_own(tmp_path: Path) -> None:
    """restic has a repository for every claim: a copy that put one in another's place would mix two histories."""
    find_program("restic")
    own, other = tmp_path / "own", tmp_path / "other"
    for root in (own, other):
        root.mkdir()
        pod = await Pod.create(root, EngineKind.RESTIC).initialized()
        (pod.data / "file").write_text(root.name)
        await pod.backed_up()
    pod = Pod(root=own, engine=EngineKind.RESTIC)
    shutil.rmtree(pod.repository / "restic")
    shutil.copytree(other / "repository/restic", pod.repository / "restic")
    before = pods.stored(pod.repository / "restic")
    ended = await pod.run(pods.backup(), "run-2")
    assert ended.failure() == FailureKind.REPLACED
    assert pods.stored(pod.repository / "restic") == before


async def test_progress_is_told_as_json_lines(memory_pod: Pod) -> None:
    await memory_pod.initialized()
    (memory_pod.data / "file").write_bytes(os.urandom(1 << 20))
    ended = await memory_pod.run(pods.backup())
    lines = [json.loads(line) for line in ended.stdout.splitlines()]
    assert lines
    assert all(line["type"] == "Progress" for line in lines)


async def test_names_that_an_engine_merges_are_recorded_and_explain_the_missing_files(pod: Pod) -> None:
    await pod.initialized()
    for name in (b"lat\xe9", b"lat\xe8", b"plain"):
        (pod.data / os.fsdecode(name)).write_bytes(b"content")
    snapshot = await pod.backed_up()
    ended = await pod.run(pods.restore(snapshot))
    assert isinstance(ended.outcome, Restored), ended
    if pod.engine is EngineKind.KOPIA:
        assert snapshot.losses == {Loss.NOT_UTF8: 2}
        assert 1 <= ended.outcome.files < snapshot.files
    else:
        assert snapshot.losses == {}
        assert trees.manifest(pod.target).keys() == trees.manifest(pod.data).keys()
