"""Every storage keeps the same promises: a directory, a dictionary, and a bucket of a real S3 server."""

import asyncio
import contextlib
import errno
import os
import threading
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.engines.directory import THREADS, Directory
from holdfast.engines.protocol import EngineFailure
from holdfast.engines.storage import DictStorage, OpenStorage, open_storage
from holdfast.model.failure import FailureKind
from holdfast.model.repository import DirectoryStorage, S3Storage
from tests.support.s3 import S3Server

pytestmark = pytest.mark.anyio

LONGEST = f".holdfast/claims/{'n' * 63}/{'c' * 253}"  # a claim's name may have 253 characters
AWKWARD = (
    "plain",
    "with space",
    "plus+plus",
    "til~de",
    "per%cent",
    "quest?ion",
    "hash#",
    "ü/é 語",
    "a&b=c",
    "'q'",
    LONGEST,
)


@pytest.fixture(params=["directory", "dictionary", pytest.param("bucket", marks=pytest.mark.storage)])
async def storage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[OpenStorage]:
    async with aclosing(_open(request, tmp_path)) as opened:
        yield opened


def _open(request: pytest.FixtureRequest, tmp_path: Path) -> OpenStorage:
    match request.param:
        case "directory":
            return open_storage(DirectoryStorage(path=str(tmp_path)), {})
        case "dictionary":
            return DictStorage()
        case _:
            server: S3Server = request.getfixturevalue("s3_server")
            return open_storage(server.storage(request.getfixturevalue("s3_prefix")), server.environment)


def _names(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


async def test_an_empty_storage_lists_nothing(storage: OpenStorage) -> None:
    assert await storage.list("") == []
    assert await storage.folders("claims/") == []
    assert await storage.get("marker") is None


async def test_what_was_put_is_read_back_whole(storage: OpenStorage) -> None:
    content = bytes(range(256)) * 1000
    await storage.put("a/b/c", content)
    await storage.put("a/empty", b"")

    assert await storage.get("a/b/c") == content
    assert await storage.get("a/empty") == b""
    assert await storage.get("a/b") is None
    assert await storage.get("a/b/c/d") is None


async def test_a_second_put_replaces_the_first(storage: OpenStorage) -> None:
    await storage.put("key", b"long before")
    await storage.put("key", b"now")

    assert await storage.get("key") == b"now"
    assert [(each.key, each.size) for each in await storage.list("")] == [("key", 3)]


async def test_deleting_is_final_and_deleting_nothing_is_no_error(storage: OpenStorage) -> None:
    await storage.put("a/key", b"1")
    await storage.delete("a/key")
    await storage.delete("a/key")
    await storage.delete("never/was")

    assert await storage.get("a/key") is None
    assert await storage.list("") == []


async def test_a_listing_is_sorted_and_holds_what_starts_with_the_prefix(storage: OpenStorage) -> None:
    for key in ("b/2", "a-b", "a/y", "ab/x", "a/x/deep", "b/10"):
        await storage.put(key, b"1")

    async def keys(prefix: str) -> list[str]:
        return [each.key for each in await storage.list(prefix)]

    assert await keys("") == ["a-b", "a/x/deep", "a/y", "ab/x", "b/10", "b/2"]
    assert await keys("a") == ["a-b", "a/x/deep", "a/y", "ab/x"]
    assert await keys("a/") == ["a/x/deep", "a/y"]
    assert await keys("b/1") == ["b/10"]
    assert await keys("b/2") == ["b/2"]
    assert await keys("b/2/") == []
    assert await keys("nowhere/at/all") == []


async def test_folders_are_the_names_directly_below(storage: OpenStorage) -> None:
    for key in ("top", "a/x/1", "a/x/2", "a/y", "ab/z"):
        await storage.put(key, b"")

    assert await storage.folders("") == ["a/", "ab/", "top"]
    assert await storage.folders("a/") == ["x/", "y"]
    assert await storage.folders("nowhere/") == []


async def test_names_pass_unchanged(storage: OpenStorage) -> None:
    for key in AWKWARD:
        await storage.put(key, key.encode())

    assert [each.key for each in await storage.list("")] == sorted(AWKWARD)
    assert [await storage.get(key) for key in AWKWARD] == [key.encode() for key in AWKWARD]


async def test_a_new_object_is_young(storage: OpenStorage) -> None:
    await storage.put("key", b"1")

    (found,) = await storage.list("")

    assert 0 <= found.age_seconds < 5


async def test_many_writers_and_readers_never_see_half_an_object(storage: OpenStorage) -> None:
    contents = [bytes([number]) * 50_000 for number in range(6)]
    await storage.put("key", contents[0])

    async def read() -> bytes | None:
        return await storage.get("key")

    async with asyncio.TaskGroup() as group:
        reads = [group.create_task(read()) for _ in range(6)]
        for content in contents:
            group.create_task(storage.put("key", content))

    assert all(each.result() in contents for each in reads)
    assert [each.key for each in await storage.list("")] == ["key"]


# What only a directory can do wrong.


async def test_a_missing_base_is_never_created(tmp_path: Path) -> None:
    storage = Directory(tmp_path / "unmounted")

    for attempt in (
        storage.list(""),
        storage.folders(""),
        storage.get("k"),
        storage.put("k", b""),
        storage.delete("k"),
    ):
        with pytest.raises(EngineFailure) as caught:
            await attempt
        assert caught.value.failure.kind is FailureKind.STORAGE_MISSING
        assert str(tmp_path / "unmounted") in caught.value.failure.detail
        assert "mounted" in caught.value.failure.detail

    assert _names(tmp_path) == []


async def test_a_file_in_place_of_the_base_is_a_missing_base(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(EngineFailure) as caught:
        await Directory(tmp_path / "file").list("")

    assert caught.value.failure.kind is FailureKind.STORAGE_MISSING


async def test_the_base_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    await Directory(tmp_path / "link").put("a/b", b"1")

    assert (tmp_path / "disk/a/b").read_bytes() == b"1"


async def test_what_a_killed_writer_left_is_not_listed(tmp_path: Path) -> None:
    storage = Directory(tmp_path)
    await storage.put("a/key", b"1")
    (tmp_path / "a/.~0123456789ab").write_text("half")

    assert [each.key for each in await storage.list("")] == ["a/key"]
    assert await storage.folders("a/") == ["key"]


async def test_a_failed_write_leaves_the_old_object_and_nothing_else(tmp_path: Path) -> None:
    storage = Directory(tmp_path)
    (tmp_path / "key").mkdir()
    await storage.put("key/below", b"1")

    with pytest.raises(EngineFailure) as caught:
        await storage.put("key", b"2")

    assert caught.value.failure.kind is FailureKind.BAD_ORDER
    assert _names(tmp_path) == ["key"]
    assert _names(tmp_path / "key") == ["below"]


async def test_names_that_are_not_utf8_are_listed_and_read(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9")).write_bytes(b"1")
    storage = Directory(tmp_path)

    (found,) = await storage.list("")

    assert os.fsencode(found.key) == b"caf\xe9"
    assert await storage.get(found.key) == b"1"


async def test_a_link_that_leads_nowhere_fails_the_listing(tmp_path: Path) -> None:
    (tmp_path / "claims").symlink_to(tmp_path / "another-disk")

    with pytest.raises(EngineFailure):
        await Directory(tmp_path).list("")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
async def test_what_may_not_be_read_is_forbidden_not_absent(tmp_path: Path) -> None:
    storage = Directory(tmp_path)
    await storage.put("claims/key", b"1")
    (tmp_path / "claims").chmod(0)
    try:
        for attempt in (storage.list(""), storage.get("claims/key"), storage.put("claims/key", b"2")):
            with pytest.raises(EngineFailure) as caught:
                await attempt
            assert caught.value.failure.kind is FailureKind.FORBIDDEN
    finally:
        (tmp_path / "claims").chmod(0o700)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
async def test_a_full_disk_is_a_full_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.open

    # A full file system needs root to mount; /dev/full gives the kernel's own ENOSPC in place of the temporary file.
    def open_full(path: str | Path, flags: int, mode: int = 0o777) -> int:
        return real("/dev/full", os.O_WRONLY) if flags & os.O_CREAT else real(path, flags, mode)

    monkeypatch.setattr(os, "open", open_full)
    with pytest.raises(EngineFailure) as caught:
        await Directory(tmp_path).put("key", b"1")

    assert caught.value.failure.kind is FailureKind.REPOSITORY_FULL


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.EIO, FailureKind.UNREACHABLE),
        (errno.ESTALE, FailureKind.UNREACHABLE),
        (errno.ENOTCONN, FailureKind.UNREACHABLE),
        (errno.EHOSTDOWN, FailureKind.UNREACHABLE),
        (errno.EACCES, FailureKind.FORBIDDEN),
        (errno.EROFS, FailureKind.FORBIDDEN),
        (errno.EDQUOT, FailureKind.REPOSITORY_FULL),
        (errno.ENFILE, FailureKind.UNKNOWN),
    ],
)
async def test_a_failing_file_system_is_told_from_an_empty_one(
    number: int, kind: FailureKind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: object) -> None:
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(os, "scandir", fail)
    with pytest.raises(EngineFailure) as caught:
        await Directory(tmp_path).list("")

    assert caught.value.failure.kind is kind
    assert os.strerror(number) in caught.value.failure.detail


async def test_a_hung_mount_ends_at_the_deadline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = threading.Event()

    def hang(path: object) -> None:
        answers.wait(60)

    monkeypatch.setattr(os, "scandir", hang)
    storage = Directory(tmp_path, deadline=timedelta(seconds=0.1))
    try:
        for _ in range(THREADS + 2):
            with pytest.raises(EngineFailure) as caught:
                await storage.list("")
            assert caught.value.failure.kind is FailureKind.TIMEOUT
            assert "hang" in caught.value.failure.detail
        assert sum(each.name == "aside" for each in threading.enumerate()) == THREADS
    finally:
        answers.set()


async def test_a_write_that_was_given_up_never_replaces_a_newer_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = threading.Event()
    real = os.fsync
    hung: list[threading.Thread] = []

    def hang_once(handle: int) -> None:
        if not hung:
            hung.append(threading.current_thread())
            answers.wait(60)
        real(handle)

    monkeypatch.setattr(os, "fsync", hang_once)
    with pytest.raises(EngineFailure):
        await Directory(tmp_path, deadline=timedelta(seconds=0.1)).put("key", b"older")
    await Directory(tmp_path).put("key", b"newer")
    answers.set()
    hung[0].join(30)

    assert await Directory(tmp_path).get("key") == b"newer"
    assert _names(tmp_path) == ["key"]


async def test_what_is_no_regular_file_is_not_absent(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "key")

    with pytest.raises(EngineFailure) as caught:
        await Directory(tmp_path).get("key")

    assert caught.value.failure.kind is FailureKind.DAMAGED


async def test_another_disk_mounted_meanwhile_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = tmp_path / "base"
    base.mkdir()
    (tmp_path / "other").mkdir()
    real = os.scandir

    def scan_after_a_change(path: str | Path) -> object:
        base.rename(tmp_path / "gone")
        (tmp_path / "other").rename(base)
        return real(path)

    monkeypatch.setattr(os, "scandir", scan_after_a_change)
    with pytest.raises(EngineFailure) as caught:
        await Directory(base).list("")

    assert caught.value.failure.kind is FailureKind.UNREACHABLE


@given(key=st.lists(st.sampled_from(["..", ".", "a", ""]), min_size=1, max_size=4).map("/".join))
def test_no_key_leads_out_of_the_base(key: str) -> None:
    base = Path("/base/of/the/storage")
    with contextlib.suppress(EngineFailure):
        assert Path(os.path.normpath(Directory(base)._path(key))).is_relative_to(base)


def test_a_bucket_without_keys_names_the_missing_variable() -> None:
    with pytest.raises(EngineFailure) as caught:
        open_storage(S3Storage(endpoint="127.0.0.1:1", bucket="bucket"), {"AWS_ACCESS_KEY_ID": "k"})

    assert caught.value.failure.kind is FailureKind.FORBIDDEN
    assert "AWS_SECRET_ACCESS_KEY" in caught.value.failure.detail
