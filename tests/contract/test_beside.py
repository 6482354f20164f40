"""Marker, records and note: what is kept beside an engine can be believed, or says why not."""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.engines import storage
from holdfast.engines.protocol import EngineFailure
from holdfast.engines.storage import CLAIMS, MARKER, NOTE, DictStorage, Note
from holdfast.model.claim import Identity
from holdfast.model.failure import FailureKind
from holdfast.model.repository import EngineKind, Marker
from holdfast.model.snapshot import Flag, Loss, Record, RecordedSnapshot

pytestmark = pytest.mark.anyio

PASSWORD = "correct horse"
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
MARK = Marker(version=1, engine=EngineKind.KOPIA, repository_id="0a1b", salt="00ff" * 4, created=NOW)
CLAIM = Identity(namespace="media", claim="config")
SNAPSHOT = RecordedSnapshot(
    id="k1",
    time=NOW,
    run="run-1",
    claim_uid="uid",
    cluster_uid="cluster",
    files=3,
    bytes=4096,
    flags=(Flag.PARTIAL,),
    unreadable=("a/ü",),
    losses={Loss.XATTRS: 2},
)
RECORD = Record(identity=CLAIM, repository_id="0a1b", engine_id="0a1b", snapshots=(SNAPSHOT,))


async def _initialized() -> DictStorage:
    place = DictStorage()
    await storage.write_marker(place, PASSWORD, MARK)
    await storage.write_record(place, MARK, PASSWORD, RECORD)
    return place


async def _expect(kind: FailureKind, action: object) -> str:
    with pytest.raises(EngineFailure) as caught:
        await action  # type: ignore[misc]  # every action here is a coroutine
    assert caught.value.failure.kind is kind
    return caught.value.failure.detail


async def test_marker_record_and_note_are_read_back_as_written() -> None:
    place = await _initialized()
    note = Note(engine=EngineKind.RESTIC, run="run-1", began=NOW)
    await storage.write_note(place, PASSWORD, note, salt="abcd")

    assert await storage.read_marker(place, PASSWORD) == MARK
    assert await storage.read_record(place, MARK, PASSWORD, CLAIM) == RECORD
    assert await storage.read_note(place, PASSWORD) == note
    assert await storage.list_records(place) == {CLAIM}


async def test_what_was_never_written_is_absent_and_a_missing_marker_is_a_failure() -> None:
    place = DictStorage()

    assert "never initialised" in await _expect(FailureKind.NO_MARKER, storage.read_marker(place, PASSWORD))
    assert await storage.read_record(place, MARK, PASSWORD, CLAIM) is None
    assert await storage.read_note(place, PASSWORD) is None
    assert await storage.list_records(place) == frozenset()


async def test_what_was_deleted_is_absent() -> None:
    place = await _initialized()
    await storage.write_note(place, PASSWORD, Note(engine=EngineKind.KOPIA, run="r", began=NOW), salt="00")
    await storage.delete_record(place, CLAIM)
    await storage.delete_note(place)

    assert await storage.read_record(place, MARK, PASSWORD, CLAIM) is None
    assert await storage.list_records(place) == frozenset()
    assert await storage.read_note(place, PASSWORD) is None


async def test_another_password_is_told_from_damage() -> None:
    place = await _initialized()
    await storage.write_note(place, PASSWORD, Note(engine=EngineKind.KOPIA, run="r", began=NOW), salt="00")

    assert "password" in await _expect(FailureKind.WRONG_PASSWORD, storage.read_marker(place, "another"))
    await _expect(FailureKind.WRONG_PASSWORD, storage.read_note(place, "another"))


async def test_the_marker_is_written_once() -> None:
    place = await _initialized()
    await storage.write_marker(place, PASSWORD, MARK)

    await _expect(FailureKind.NOT_EMPTY, storage.write_marker(place, PASSWORD, replace(MARK, repository_id="other")))
    await _expect(FailureKind.NOT_EMPTY, storage.write_marker(place, "another", MARK))
    assert await storage.read_marker(place, PASSWORD) == MARK


@pytest.mark.parametrize("data", [b"", b"{}", b"<html></html>", b"\xff\x00", b"[" * 100_000, b'{"version":1}\n{}\n'])
async def test_what_is_no_marker_is_a_bad_marker(data: bytes) -> None:
    place = DictStorage()
    await place.put(MARKER, data)

    assert MARKER in await _expect(FailureKind.BAD_MARKER, storage.read_marker(place, PASSWORD))


async def test_a_marker_of_a_newer_format_says_what_to_do() -> None:
    place = await _initialized()
    data = await place.get(MARKER)
    assert data is not None
    await place.put(MARKER, data.replace(b'"version": 1', b'"version": 2', 1))

    assert "newer Holdfast" in await _expect(FailureKind.BAD_MARKER, storage.read_marker(place, PASSWORD))


@given(data=st.data())
def test_no_changed_byte_of_a_record_is_believed(data: st.DataObject) -> None:
    async def change_and_read() -> None:
        place = await _initialized()
        key = f"{CLAIMS}{CLAIM}"
        whole = await place.get(key)
        assert whole is not None
        position = data.draw(st.integers(0, len(whole) - 1))
        byte = data.draw(st.integers(0, 255).filter(lambda value: value != whole[position]))
        changed = whole[:position] + bytes([byte]) + whole[position + 1 :]
        await place.put(key, data.draw(st.sampled_from([changed, whole[:position], whole + bytes([byte])])))
        try:
            # A header may be written in other ways that mean the same.
            assert await storage.read_record(place, MARK, PASSWORD, CLAIM) == RECORD
        except EngineFailure as error:
            assert error.failure.kind is FailureKind.BAD_RECORD  # noqa: PT017  # either outcome is right

    asyncio.run(change_and_read())


async def test_one_claims_record_cannot_stand_in_for_anothers() -> None:
    place = await _initialized()
    other = Identity(namespace="media", claim="other")
    data = await place.get(f"{CLAIMS}{CLAIM}")
    assert data is not None
    await place.put(f"{CLAIMS}{other}", data)

    assert "media/other" in await _expect(FailureKind.BAD_RECORD, storage.read_record(place, MARK, PASSWORD, other))


async def test_a_record_that_names_another_identity_is_not_believed() -> None:
    place = DictStorage()
    key = f"{CLAIMS}media/other"
    await place.put(key, await storage._seal(RECORD, key, PASSWORD, MARK.salt))

    other = Identity(namespace="media", claim="other")
    assert str(CLAIM) in await _expect(FailureKind.BAD_RECORD, storage.read_record(place, MARK, PASSWORD, other))


async def test_a_record_of_another_repository_is_not_believed() -> None:
    place = await _initialized()
    elsewhere = replace(MARK, repository_id="ffff")
    resalted = replace(MARK, salt="1234")

    detail = await _expect(FailureKind.BAD_RECORD, storage.read_record(place, elsewhere, PASSWORD, CLAIM))
    assert "0a1b" in detail
    assert "ffff" in detail
    await _expect(FailureKind.BAD_RECORD, storage.read_record(place, resalted, PASSWORD, CLAIM))
    await _expect(FailureKind.BAD_RECORD, storage.write_record(place, elsewhere, PASSWORD, RECORD))


async def test_identities_with_and_without_a_cluster_are_listed() -> None:
    place = DictStorage()
    identities = {CLAIM, Identity(cluster="home", namespace="media", claim="config")}
    for each in identities:
        await storage.write_record(place, MARK, PASSWORD, replace(RECORD, identity=each))

    assert await storage.list_records(place) == identities


@pytest.mark.parametrize("name", [".DS_Store", "media/.nfs000012", ".snapshot/media/config", "media/@eaDir/config@x"])
async def test_what_file_systems_leave_is_no_record(name: str) -> None:
    place = await _initialized()
    await place.put(f"{CLAIMS}{name}", b"")

    assert await storage.list_records(place) == {CLAIM}


@pytest.mark.parametrize("name", ["media", "media%2Fconfig", "a/b/c/d", "media//config"])
async def test_a_key_that_may_be_a_renamed_record_stops_the_listing_by_name(name: str) -> None:
    place = await _initialized()
    await place.put(f"{CLAIMS}{name}", b"")

    assert f"{CLAIMS}{name}" in await _expect(FailureKind.BAD_RECORD, storage.list_records(place))


async def test_an_identity_that_a_listing_would_pass_over_gets_no_record() -> None:
    hidden = Identity(namespace="media", claim=".config")

    await _expect(
        FailureKind.BAD_ORDER,
        storage.write_record(DictStorage(), MARK, PASSWORD, replace(RECORD, identity=hidden)),
    )


class _Versioned(DictStorage):
    """Reads what was deleted as a versioned bucket does; `archived` keys are listed, and cannot be read."""

    def __init__(self, archived: Sequence[str] = ()) -> None:
        super().__init__()
        self._archived = archived

    async def get(self, key: str) -> bytes | None:
        found = await super().get(key)
        if found is None or key in self._archived:
            raise EngineFailure(FailureKind.DAMAGED, f"{key} can be brought back")
        return found


async def test_what_we_deleted_in_a_versioned_bucket_is_absent_but_a_deleted_marker_is_not() -> None:
    place = _Versioned()

    assert await storage.read_record(place, MARK, PASSWORD, CLAIM) is None
    assert await storage.read_note(place, PASSWORD) is None
    await _expect(FailureKind.DAMAGED, storage.read_marker(place, PASSWORD))


async def test_a_record_that_is_listed_and_cannot_be_read_is_not_absent() -> None:
    place = _Versioned(archived=[f"{CLAIMS}{CLAIM}"])
    await storage.write_record(place, MARK, PASSWORD, RECORD)

    await _expect(FailureKind.DAMAGED, storage.read_record(place, MARK, PASSWORD, CLAIM))


async def test_nothing_that_is_stored_shows_the_password() -> None:
    place = await _initialized()
    await storage.write_note(place, PASSWORD, Note(engine=EngineKind.KOPIA, run="r", began=NOW), salt="00")

    for key in (MARKER, NOTE, f"{CLAIMS}{CLAIM}"):
        data = await place.get(key)
        assert data is not None
        assert not re.search(PASSWORD.encode(), data)
