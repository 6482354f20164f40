"""Where the two witnesses disagree, or one changes while it is heard."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import pytest

from holdfast.engines import storage
from holdfast.engines.protocol import StoredObject
from holdfast.engines.storage import OpenStorage
from holdfast.model.evidence import Doubt, Exists, Remembered, Unknown
from holdfast.model.failure import FailureKind
from holdfast.model.repository import DirectoryStorage, EngineKind, S3Storage
from holdfast.model.snapshot import Flag
from holdfast.model.verdict import Restore, Wait
from tests.evidence.cases import EMPTY, KOPIA, Kind, Row, words
from tests.evidence.conftest import Copy, Note, Templates
from tests.evidence.damage import record
from tests.support import evidence
from tests.support.evidence import KEPT, Place
from tests.support.misbehaving import Misbehaviour, misbehaving
from tests.support.s3 import S3Server

pytestmark = [pytest.mark.anyio, pytest.mark.programs]

every_engine = pytest.mark.parametrize("engine", tuple(EngineKind), ids=str)


def snapshots_of(judged: evidence.Judged) -> Sequence[str]:
    found = judged.evidence[KEPT]
    assert isinstance(found, Exists), judged
    return [each.id for each in found.snapshots]


async def test_a_lost_index_blob_is_a_wait_that_names_both_snapshots(copy: Copy) -> None:
    place = copy(KOPIA, Kind.DIRECTORY)
    older, newest = snapshots_of(await evidence.judge(place))
    evidence.blobs(place, "x")[-1].unlink()
    judged = await evidence.judge(place)
    found, verdict = judged.evidence[KEPT], judged.verdicts[KEPT]
    assert isinstance(found, Unknown)
    assert (found.why, found.known, found.found) == (Doubt.NEWEST_MISSING, newest, older)
    assert isinstance(verdict, Wait)
    assert newest in verdict.detail
    assert older in verdict.detail


@every_engine
async def test_flags_survive_the_loss_of_the_control_plane(
    engine: EngineKind, copy: Copy, tmp_path: Path, note: Note
) -> None:
    """Only the storage is left: the empty and the partial snapshot are known for what they are."""
    place = copy(engine, Kind.DIRECTORY)
    _, good = snapshots_of(await evidence.judge(place))
    (tmp_path / "data").mkdir()
    empty = await place.back_up(KEPT, tmp_path, "empty")
    (tmp_path / "data" / "file").write_text("some of it")
    partial = await place.back_up(KEPT, tmp_path, "partial")
    await flag(place, partial, Flag.PARTIAL)
    judged = await evidence.judge(place)
    situation = "the newest backup is partial, the one before is empty"
    note(Row(engine=engine, kind=Kind.DIRECTORY, situation=situation, kept=words("Restore"), new=EMPTY), judged)
    verdict = judged.verdicts[KEPT]
    assert isinstance(verdict, Restore)
    assert verdict.snapshot.id == good
    assert [(each.id, each.flags) for each in verdict.skipped] == [
        (empty, frozenset({Flag.EMPTY})),
        (partial, frozenset({Flag.PARTIAL})),
    ]


async def flag(place: Place, snapshot: str, flag: Flag) -> None:
    """Write into the record that the snapshot is flagged: everybody may read everything here, so none is by itself."""
    async with place.opened() as repository:
        marker = await repository.marker()
        known = await repository.record(marker, KEPT)
        assert known is not None
        lines = tuple(replace(each, flags=(flag,)) if each.id == snapshot else each for each in known.snapshots)
        await storage.write_record(repository.storage, marker, place.password, replace(known, snapshots=lines))


@every_engine
async def test_what_the_control_plane_remembers_is_a_third_witness(engine: EngineKind, copy: Copy) -> None:
    place = copy(engine, Kind.DIRECTORY)
    _, newest = snapshots_of(await evidence.judge(place))
    remembered = Remembered(id=newest, time=datetime.now(UTC))
    record(place).unlink()
    judged = await evidence.judge(place, remembered=remembered)
    assert judged.words == (Doubt.NO_RECORD, "StartEmpty")
    async with place.opened() as repository:
        await repository.engine.delete(KEPT)
    assert (await evidence.judge(place, remembered=remembered)).words == (Doubt.REMEMBERED, "StartEmpty")


@every_engine
async def test_a_pin_that_names_another_repository_is_waited_for(engine: EngineKind, templates: Templates) -> None:
    judged = await evidence.judge(templates(engine, Kind.DIRECTORY, 0), pin="0123abcd" * 8)
    assert judged.words == (Doubt.PINNED_ELSEWHERE, Doubt.PINNED_ELSEWHERE)


class Unmounting:
    """A directory storage whose disk goes away before its n-th call: what is left is an empty mount point."""

    def __init__(self, inner: OpenStorage, files: Path, at: int) -> None:
        self.happened = False
        self._inner, self._files, self._at = inner, files, at
        self._calls = count(1)

    def _call(self) -> None:
        if next(self._calls) == self._at:
            self.happened = True
            self._files.rename(self._files.with_name("unmounted"))
            self._files.mkdir()

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def list(self, prefix: str) -> Sequence[StoredObject]:
        self._call()
        return await self._inner.list(prefix)

    async def folders(self, prefix: str) -> Sequence[str]:
        self._call()
        return await self._inner.folders(prefix)

    async def get(self, key: str) -> bytes | None:
        self._call()
        return await self._inner.get(key)

    async def put(self, key: str, data: bytes) -> None:
        raise AssertionError(f"reading wrote {key}")

    async def delete(self, key: str) -> None:
        raise AssertionError(f"reading deleted {key}")


@every_engine
async def test_a_disk_that_goes_away_at_any_moment_is_noticed(engine: EngineKind, copy: Copy) -> None:
    place = copy(engine, Kind.DIRECTORY)
    for at in count(1):
        made: list[Unmounting] = []

        def around(inner: OpenStorage, at: int = at, made: list[Unmounting] = made) -> OpenStorage:
            made.append(Unmounting(inner, place.files, at))
            return made[0]

        judged = await evidence.judge(replace(place, around=around))
        if not made[0].happened:
            assert judged.words == ("Restore", "StartEmpty")
            assert at > 3
            return
        assert all(isinstance(each, Wait) for each in judged.verdicts.values()), (at, judged)
        place.files.rmdir()
        place.files.with_name("unmounted").rename(place.files)


@pytest.mark.storage
@pytest.mark.parametrize("mode", [Misbehaviour.NO_SUCH_KEY, Misbehaviour.NO_SUCH_KEY_ON_GET, Misbehaviour.CUT], ids=str)
@every_engine
async def test_one_wrong_answer_among_right_ones_empties_nobody(
    engine: EngineKind, mode: Misbehaviour, templates: Templates, s3_server: S3Server
) -> None:
    template = templates(engine, Kind.S3, 0)
    assert isinstance(template.where, S3Storage)
    async with misbehaving(s3_server.endpoint) as proxy:
        place = replace(template, where=replace(template.where, endpoint=proxy.endpoint))
        assert (await evidence.judge(place)).words == ("Restore", "StartEmpty")
        asked = len(proxy.requests)
        for at in range(1, asked + 1, 6 if engine is KOPIA else 1):
            numbers = count(1)
            await proxy.be(mode, of=lambda _, at=at, numbers=numbers: next(numbers) == at)  # type: ignore[misc]
            judged = await evidence.judge(place)
            assert isinstance(judged.verdicts[KEPT], Restore | Wait), (at, judged)
            if isinstance(judged.evidence[KEPT], Exists):
                assert len(snapshots_of(judged)) == 2, (at, judged)


@pytest.mark.storage
@every_engine
async def test_a_bucket_that_is_not_there_is_not_created(
    engine: EngineKind, templates: Templates, s3_server: S3Server
) -> None:
    template = templates(engine, Kind.S3, 0)
    assert isinstance(template.where, S3Storage)
    typo = replace(template.where, bucket="holdfast-typo")
    before, asked = sorted(s3_server.data.parent.iterdir()), len(s3_server.requests())
    assert (await evidence.judge(replace(template, where=typo))).words == (FailureKind.MISDIRECTED,) * 2
    judged = await evidence.judge(replace(template, of_program=typo))
    program = "Restore" if engine is EngineKind.MEMORY else FailureKind.NO_REPOSITORY  # memory has no program
    assert judged.words == (program, FailureKind.NO_REPOSITORY if engine is KOPIA else "StartEmpty")
    assert sorted(s3_server.data.parent.iterdir()) == before
    assert {each.operation[:3] for each in s3_server.requests()[asked:]} <= {"Get", "Hea", "Lis"}


@pytest.mark.parametrize("closed", [".holdfast/claims", "the engine's"])
@every_engine
async def test_what_may_not_be_read_is_not_absent(engine: EngineKind, closed: str, copy: Copy) -> None:
    place = copy(engine, Kind.DIRECTORY)
    folder = place.files / (engine.value if closed == "the engine's" else closed)
    folder.chmod(0)
    try:
        told = asked_where_rights_bind(place)
    finally:
        folder.chmod(0o700)
    assert told == [FailureKind.FORBIDDEN, FailureKind.FORBIDDEN]
    assert (await evidence.judge(place)).words == ("Restore", "StartEmpty")


def asked_where_rights_bind(place: Place) -> list[str]:
    """Return the verdicts of a process without the rights to read what it may not; root's are taken from it."""
    assert isinstance(place.where, DirectoryStorage)
    unprivileged = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all"]
    script = Path(__file__).parent.parent / "support" / "judge_once.py"
    done = subprocess.run(
        [*(unprivileged if os.geteuid() == 0 else []), sys.executable, script, place.engine, place.where.path],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **place.environment},
    )
    found: list[str] = json.loads(done.stdout)
    return found
