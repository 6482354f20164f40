"""Looking into a snapshot: a file appears whole or not at all, and no name steers a terminal."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from holdfast.cli import browse
from holdfast.cli.problems import ExitCode, Problem
from holdfast.engines.protocol import EngineFailure
from holdfast.model.entry import Entry, EntryKind
from holdfast.model.failure import FailureKind
from holdfast.model.intent import AsOf, Auto, ById
from tests.builders import NOW

pytestmark = pytest.mark.anyio


async def pieces(*chunks: bytes, cut: bool = False) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk
    if cut:
        raise EngineFailure(FailureKind.READER_DOWN, "the answer was cut short")


def files(directory: Path) -> list[tuple[str, bytes]]:
    return [(each.name, each.read_bytes()) for each in directory.iterdir()]


async def test_a_whole_answer_becomes_a_file(tmp_path: Path) -> None:
    assert await browse.save(pieces(b"one", b"two"), tmp_path / "f") == 6
    assert files(tmp_path) == [("f", b"onetwo")]


async def test_a_cut_answer_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(EngineFailure):
        await browse.save(pieces(b"one", cut=True), tmp_path / "f")
    assert files(tmp_path) == []


async def test_a_cut_answer_leaves_the_file_that_was_there(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"old")
    with pytest.raises(EngineFailure):
        await browse.save(pieces(b"one", cut=True), tmp_path / "f")
    assert files(tmp_path) == [("f", b"old")]


async def test_a_long_name_has_room_for_its_temporary_one(tmp_path: Path) -> None:
    assert await browse.save(pieces(b"x"), tmp_path / ("雪" * 80)) == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("apps/data", ("apps/data", Auto())),
        ("data@0123456789ab", ("data", ById(snapshot="0123456789ab"))),
        ("data@2026-03-01T12:00:00Z", ("data", AsOf(time=NOW))),
    ],
)
def test_a_claim_and_a_point_are_told_apart(text: str, expected: tuple[str, object]) -> None:
    assert browse.split(text) == expected


@pytest.mark.parametrize("text", ["data@", "data@zz", "data@2026-03-01"])
def test_a_point_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(Problem) as refused:
        browse.split(text)
    assert refused.value.code is ExitCode.USAGE


def test_paths_begin_at_the_volumes_root() -> None:
    assert [browse.inside(path) for path in ("", "/", "./a//b/", "/a")] == ["", "", "a/b", "a"]
    with pytest.raises(Problem):
        browse.inside("../etc")


def test_names_are_shown_harmless() -> None:
    names = ("plain", "red\x1b[31m", b"bad\xff".decode("utf-8", "surrogateescape"))
    entries = [Entry(name=name, kind=EntryKind.FILE, size=1, mode=0o4755, modified=NOW, uid=0, gid=0) for name in names]
    shown = [line.plain for line in browse.listing(entries, 80)]
    assert [line.split()[-1] for line in shown[1:]] == ["plain", "red\\x1b[31m", "bad\\xff"]
    assert shown[1].startswith("-rwsr-xr-x")
