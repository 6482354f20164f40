"""A reader answers whole or fails by name, and leaves the repository as it was."""

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from holdfast.engines import answer
from holdfast.engines.protocol import EngineFailure
from holdfast.engines.remote import RemoteReader
from holdfast.model.claim import Identity
from holdfast.model.entry import EntryKind
from holdfast.model.evidence import Answer
from holdfast.model.failure import Failure, FailureKind
from holdfast.model.snapshot import Listing, Record
from tests.support import plain_http, pods
from tests.support.pods import CLAIM, TOKEN, Pod

pytestmark = pytest.mark.anyio

OTHER = Identity(namespace="web", claim="other")


@asynccontextmanager
async def _asked(pod: Pod, token: str = TOKEN) -> AsyncIterator[RemoteReader]:
    async with pod.reader() as (url, _), _client(url, token) as reader:
        yield reader


@asynccontextmanager
async def _client(url: str, token: str = TOKEN) -> AsyncIterator[RemoteReader]:
    reader = RemoteReader(url, token)
    try:
        yield reader
    finally:
        await reader.aclose()


async def _content(reader: RemoteReader, snapshot: str, path: str) -> bytes:
    return b"".join([chunk async for chunk in reader.cat(CLAIM, snapshot, path)])


@pytest.mark.programs
async def test_an_inventory_carries_both_witnesses_of_every_identity(pod: Pod) -> None:
    await pod.initialized()
    (pod.data / "file").write_text("precious")
    snapshot = await pod.backed_up()
    before = pods.stored(pod.repository)
    asked = datetime.now(UTC)
    async with _asked(pod) as reader:
        inventory = await reader.inventory([CLAIM, OTHER])
        statistics = await reader.statistics()
    assert asked <= inventory.began <= datetime.now(UTC)
    assert inventory.marker == await pod.marker()
    assert inventory.recorded == 1
    known = inventory.answers[CLAIM]
    assert isinstance(known.record, Record)
    assert known.record.snapshots == (snapshot,)
    assert isinstance(known.listing, Listing)
    assert [(each.id, each.files, each.bytes) for each in known.listing.snapshots] == [(snapshot.id, 1, 8)]
    unknown = inventory.answers[OTHER]
    assert unknown.record is None
    assert isinstance(unknown.listing, Listing)
    assert unknown.listing.snapshots == ()
    assert statistics.inventories == 1
    assert (statistics.programs_started == 0) == (pod.engine == "memory")
    assert list((pod.root / "tmp").glob("holdfast-reader-*/*")) == []
    assert pods.stored(pod.repository) == before


@pytest.mark.programs
async def test_files_are_listed_and_downloaded_whatever_their_names(pod: Pod) -> None:
    await pod.initialized()
    content = os.urandom(3 << 20)
    (pod.data / "a folder").mkdir()
    (pod.data / "a folder/big & bad=100%?+#").write_bytes(content)
    (pod.data / "empty").touch()
    snapshot = await pod.backed_up()
    async with _asked(pod) as reader:
        entries = {entry.name: entry.kind for entry in await reader.ls(CLAIM, snapshot.id, "")}
        assert entries == {"a folder": EntryKind.DIRECTORY, "empty": EntryKind.FILE}
        (below,) = await reader.ls(CLAIM, snapshot.id, "a folder")
        assert (below.name, below.size) == ("big & bad=100%?+#", len(content))
        assert await _content(reader, snapshot.id, f"a folder/{below.name}") == content
        assert await _content(reader, snapshot.id, "empty") == b""
        for path, missing in (("nothing", snapshot.id), ("empty", "0" * len(snapshot.id))):
            with pytest.raises(EngineFailure) as raised:
                await _content(reader, missing, path)
            expected = FailureKind.PATH_MISSING if path == "nothing" else FailureKind.SNAPSHOT_MISSING
            assert raised.value.failure.kind is expected
        assert list((pod.root / "tmp").glob("holdfast-reader-*/*")) == []


async def test_bytes_that_are_no_utf8_travel_in_names_and_paths(memory_pod: Pod) -> None:
    await memory_pod.initialized()
    name = os.fsdecode(b"lat\xe9")
    (memory_pod.data / name).write_bytes(b"content")
    snapshot = await memory_pod.backed_up()
    async with _asked(memory_pod) as reader:
        assert [entry.name for entry in await reader.ls(CLAIM, snapshot.id, "")] == [name]
        assert await _content(reader, snapshot.id, name) == b"content"


@pytest.mark.programs
async def test_a_reader_outlives_a_storage_that_comes_and_goes(pod: Pod) -> None:
    await pod.initialized()
    (pod.data / "file").write_text("precious")
    snapshot = await pod.backed_up()
    away = pod.root / "away"
    async with _asked(pod) as reader:
        pod.repository.rename(away)
        for ask in (reader.inventory([CLAIM]), reader.ls(CLAIM, snapshot.id, "")):
            with pytest.raises(EngineFailure) as raised:
                await ask
            assert raised.value.failure.kind in (FailureKind.STORAGE_MISSING, FailureKind.NO_REPOSITORY)
        pod.repository.mkdir()
        with pytest.raises(EngineFailure) as raised:
            await reader.inventory([CLAIM])
        assert raised.value.failure.kind is FailureKind.NO_MARKER
        assert pods.stored(pod.repository) == {}
        pod.repository.rmdir()
        away.rename(pod.repository)
        assert (await reader.inventory([CLAIM])).recorded == 1


@pytest.mark.programs
async def test_a_wrong_password_fails_the_whole_inventory(pod: Pod) -> None:
    await pod.initialized()
    stranger = replace(pod, extra={"HOLDFAST_PASSWORD": "another phrase"})
    async with _asked(stranger) as reader:
        with pytest.raises(EngineFailure) as raised:
            await reader.inventory([CLAIM])
    assert raised.value.failure.kind is FailureKind.WRONG_PASSWORD


async def test_a_repository_that_lost_its_data_is_named(memory_pod: Pod) -> None:
    await memory_pod.initialized()
    shutil.rmtree(memory_pod.repository / "memory")
    async with _asked(memory_pod) as reader:
        with pytest.raises(EngineFailure) as raised:
            await reader.inventory([CLAIM])
    assert raised.value.failure.kind is FailureKind.NO_REPOSITORY


async def test_one_altered_record_is_that_identitys_failure_alone(memory_pod: Pod) -> None:
    await memory_pod.initialized()
    await memory_pod.backed_up()
    record = memory_pod.repository / ".holdfast/claims/web/data"
    record.write_bytes(record.read_bytes().replace(b"run-1", b"run-2"))
    async with _asked(memory_pod) as reader:
        answers = (await reader.inventory([CLAIM, OTHER])).answers
    altered = answers[CLAIM].record
    assert isinstance(altered, Failure)
    assert altered.kind is FailureKind.BAD_RECORD
    assert isinstance(answers[OTHER], Answer)
    assert answers[OTHER].record is None


async def test_only_the_token_opens_a_reader(memory_pod: Pod) -> None:
    await memory_pod.initialized()
    async with memory_pod.reader() as (url, _), _client(url, "stolen") as stranger, plain_http.client() as http:
        with pytest.raises(EngineFailure, match="refuses our token") as raised:
            await stranger.inventory([CLAIM])
        assert raised.value.failure.kind is FailureKind.READER_DOWN
        assert (await http.get(f"{url}/healthz")).status_code == 200
        for target in ("/inventory", "/ls", "/cat", "/statistics", "/nowhere"):
            assert (await http.get(url + target)).status_code == 401
        bearer = {"authorization": f"Bearer {TOKEN}"}
        assert (await http.get(f"{url}/statistics", headers=bearer)).status_code == 400
        nonce = {answer.NONCE_HEADER: "0" * 32}
        large = await http.post(f"{url}/inventory", content=bytes(17 << 20), headers=bearer | nonce)
        assert large.status_code == 413


@pytest.mark.parametrize("query", ["", "?identity=web/data", "?identity=a&snapshot=b&path=c", "?%ff=%ff"])
async def test_a_question_that_cannot_be_read_is_a_bad_order(memory_pod: Pod, query: str) -> None:
    await memory_pod.initialized()
    async with memory_pod.reader() as (url, _), plain_http.client() as http:
        headers = {"authorization": f"Bearer {TOKEN}", answer.NONCE_HEADER: "0" * 32}
        async with http.stream("GET", f"{url}/cat{query}", headers=headers) as response:
            with pytest.raises(EngineFailure) as raised:
                await answer.collect(answer.decode(response.aiter_raw(), token=TOKEN, nonce="0" * 32), 1000)
    assert raised.value.failure.kind is FailureKind.BAD_ORDER


async def test_a_reader_that_is_gone_or_silent_is_down(memory_pod: Pod) -> None:
    await memory_pod.initialized()
    async with memory_pod.reader() as (url, process), _client(url) as reader:
        assert (await reader.inventory([])).recorded == 0
        process.send_signal(signal.SIGSTOP)
        with pytest.raises(EngineFailure, match="no answer in") as raised:
            await reader.inventory([], deadline=timedelta(seconds=0.2))
        assert raised.value.failure.kind is FailureKind.READER_DOWN
        process.send_signal(signal.SIGCONT)
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(pods.PATIENCE):
            assert await process.wait() == 0
        with pytest.raises(EngineFailure) as raised:
            await reader.inventory([])
        assert raised.value.failure.kind is FailureKind.READER_DOWN
    assert list((memory_pod.root / "tmp").iterdir()) == []


async def test_a_reader_that_dies_in_the_middle_gives_no_short_answer(memory_pod: Pod) -> None:
    await memory_pod.initialized()
    (memory_pod.data / "big").write_bytes(bytes(32 << 20))
    snapshot = await memory_pod.backed_up()
    async with memory_pod.reader() as (url, process), _client(url) as reader:
        received = 0
        with pytest.raises(EngineFailure) as raised:
            async for chunk in reader.cat(CLAIM, snapshot.id, "big"):
                received += len(chunk)
                if process.returncode is None:
                    process.kill()
        assert raised.value.failure.kind is FailureKind.READER_DOWN
        assert received < 32 << 20


@pytest.mark.programs
async def test_a_caller_that_goes_away_ends_the_program(pod: Pod) -> None:
    await pod.initialized()
    (pod.data / "big").write_bytes(os.urandom(48 << 20))
    snapshot = await pod.backed_up()
    async with pod.reader() as (url, process), _client(url) as reader:
        async with aclosing(reader.cat(CLAIM, snapshot.id, "big")) as content:
            await anext(content)
        async with asyncio.timeout(pods.PATIENCE):
            while _children(process.pid) or any((pod.root / "tmp").glob("holdfast-reader-*/*")):  # noqa: ASYNC110  # another process
                await asyncio.sleep(0.02)
        assert (await reader.inventory([CLAIM])).recorded == 1


async def test_callers_that_take_their_time_hold_up_downloads_alone(memory_pod: Pod) -> None:
    await memory_pod.initialized()
    (memory_pod.data / "big").write_bytes(bytes(24 << 20))
    snapshot = await memory_pod.backed_up()
    async with _asked(memory_pod) as reader, AsyncExitStack() as slow:
        downloads = [reader.cat(CLAIM, snapshot.id, "big") for _ in range(4)]
        for download in downloads:
            await slow.enter_async_context(aclosing(download))
            await anext(download)
        fifth = asyncio.create_task(_content(reader, snapshot.id, "big"))
        assert len(await reader.ls(CLAIM, snapshot.id, "")) == 1
        assert (await reader.inventory([CLAIM])).recorded == 1
        assert not fifth.done()
        await downloads[0].aclose()
        async with asyncio.timeout(pods.PATIENCE):
            assert len(await fifth) == 24 << 20


def _children(process: int) -> str:
    return "".join(each.read_text() for each in Path(f"/proc/{process}/task").glob("*/children"))


@pytest.mark.parametrize("missing", ["HOLDFAST_TOKEN", "HOLDFAST_LISTEN", "HOLDFAST_REPOSITORY"])
async def test_a_reader_does_not_start_without_what_it_needs(memory_pod: Pod, missing: str) -> None:
    given = {"HOLDFAST_TOKEN": TOKEN, "HOLDFAST_LISTEN": "127.0.0.1:0", "HOLDFAST_REPOSITORY": "{}", missing: ""}
    process = await memory_pod.start("reader", given)
    _, stderr = await process.communicate()
    assert process.returncode == 2
    assert b"reader.not_started" in stderr
