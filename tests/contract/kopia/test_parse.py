"""What kopia prints, read."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from holdfast.engines.kopia import parse
from holdfast.engines.program import Heard
from holdfast.model.entry import EntryKind
from holdfast.model.run import Progress
from holdfast.model.snapshot import Flag

SNAPSHOT: dict[str, Any] = {
    "id": "29535be75893ccfe40405515697c0ee2",
    "source": {"host": "web", "userName": "data", "path": "/data"},
    "description": "",
    "startTime": "2026-11-25T01:29:53.651859896Z",
    "endTime": "2026-11-25T01:29:54Z",
    "rootEntry": {
        "name": "src",
        "type": "d",
        "mode": "0755",
        "mtime": "2026-11-25T01:29:53Z",
        "obj": "k50848f7333c4d3f36b5b6a9b1ac8a8a1",
        "summ": {"size": 3000005, "files": 3, "symlinks": 1, "dirs": 3, "numFailed": 0},
    },
    "tags": {"tag:run": "r1", "tag:note": "a:b"},
}


def summary(**changes: object) -> dict[str, Any]:
    root = SNAPSHOT["rootEntry"]
    return {**SNAPSHOT, "rootEntry": {**root, "summ": {**root["summ"], **changes}}}


def read(plain: dict[str, Any]) -> parse.Manifest:
    return parse.manifest(msgspec.json.encode(plain))


def test_a_snapshot_is_read_with_its_time_cut_to_microseconds() -> None:
    snapshot = read(SNAPSHOT).snapshot()
    assert snapshot is not None
    assert snapshot.time == datetime(2026, 11, 25, 1, 29, 53, 651859, tzinfo=UTC)
    assert (snapshot.files, snapshot.bytes, snapshot.flags) == (3, 3000005, frozenset())
    assert snapshot.tags == {"run": "r1", "note": "a:b"}


@pytest.mark.parametrize("reason", ["canceled", "checkpoint", "limit reached"])
def test_a_snapshot_that_was_cut_short_is_flagged(reason: str) -> None:
    snapshot = read({**SNAPSHOT, "incomplete": reason}).snapshot()
    assert snapshot is not None
    assert snapshot.flags == {Flag.INCOMPLETE}


def test_a_snapshot_without_content_is_flagged() -> None:
    snapshot = read({key: value for key, value in SNAPSHOT.items() if key != "rootEntry"}).snapshot()
    assert snapshot is not None
    assert (snapshot.files, snapshot.flags) == (0, frozenset({Flag.INCOMPLETE}))


DENIED = {"path": "b", "error": "unable to open file: open /v/b: permission denied"}
GONE = {"path": "c", "error": "unable to open file: open /v/c: no such file or directory"}


@pytest.mark.parametrize(
    ("changes", "is_partial"),
    [
        ({"numFailed": 1, "errors": [DENIED]}, True),
        ({"numFailed": 1, "errors": [GONE]}, False),
        ({"numFailed": 2, "errors": [DENIED, GONE]}, True),
        ({"numFailed": 3, "errors": [GONE, GONE]}, True),
        ({"numFailed": 1}, True),
    ],
)
def test_only_what_could_not_be_read_makes_a_snapshot_partial(changes: dict[str, Any], is_partial: bool) -> None:
    snapshot = read(summary(**changes)).snapshot()
    assert snapshot is not None
    assert (Flag.PARTIAL in snapshot.flags) is is_partial


def test_a_source_of_others_is_no_snapshot_of_ours() -> None:
    assert read({**SNAPSHOT, "source": {"host": "laptop", "userName": "me", "path": "/srv/me"}}).snapshot() is None


@pytest.mark.parametrize(
    "printed",
    [b"", b"[", b"{}", b'[{"id":"x"}]', b"null", b"[null]", b'[{"id":1,"labels":{}}]', b"\xff"],
)
def test_an_answer_of_another_form_is_an_error(printed: bytes) -> None:
    with pytest.raises(parse.ParseError):
        parse.snapshots(printed)
    with pytest.raises(parse.ParseError):
        parse.labels(printed)


def test_an_empty_list_is_empty() -> None:
    assert parse.snapshots(b"[\n]\n") == ()


def test_a_manifest_is_read_from_below_its_comments() -> None:
    body = msgspec.json.format(msgspec.json.encode({**SNAPSHOT, "id": ""}))
    shown = b"// id: abc\n// length: 629\n// label note:// a\n" + body
    assert parse.snapshot_shown(shown, SNAPSHOT["id"]).id == SNAPSHOT["id"]
    with pytest.raises(parse.ParseError):
        parse.snapshot_shown(b'// id: abc\n{"retention":{}}', SNAPSHOT["id"])


@pytest.mark.parametrize(
    ("printed", "mode"),
    [("0644", 0o644), ("040000755", 0o4755), ("020000775", 0o2775), ("04000777", 0o1777), ("064000700", 0o7700)],
)
def test_gos_modes_are_read_as_unix_has_them(printed: str, mode: int) -> None:
    entry = parse.DirectoryEntry(name="x", type="f", mode=printed).entry()
    assert oct(entry.mode) == oct(mode)


def test_directory_entries_are_read() -> None:
    printed = (
        b'{"stream":"kopia:directory","entries":[{"name":"a","type":"f","mode":"0644","size":2,'
        b'"mtime":"2026-11-25T01:29:53.1Z","uid":65534,"gid":1,"obj":"3e7a"},'
        b'{"name":"d","type":"d","mode":"0755","mtime":"2026-11-25T01:29:53Z","obj":"k1","summ":{"size":9,"files":2}},'
        b'{"name":"l","type":"s","mtime":"2026-11-25T01:29:53Z","obj":"1"},{"name":"?","type":"z"}],"summary":{}}'
    )
    entries = [entry.entry() for entry in parse.directory(printed)]
    assert [entry.kind for entry in entries] == [
        EntryKind.FILE,
        EntryKind.DIRECTORY,
        EntryKind.LINK,
        EntryKind.OTHER,
    ]
    assert [(entry.size, entry.uid, entry.gid) for entry in entries[:2]] == [(2, 65534, 1), (9, 0, 0)]
    assert parse.directory(b'{"stream":"kopia:directory","entries":null,"summary":{}}') == ()
    with pytest.raises(parse.ParseError):
        parse.directory(b'{"stream":"kopia:indirect","entries":[]}')


def test_the_repositorys_id_is_read_from_its_format_blob() -> None:
    assert parse.repository_id(b'{"tool":"x","uniqueID":"kKpcqA==","keyAlgo":"scrypt"}') == "90aa5ca8"
    for bad in (b"", b"{}", b'{"uniqueID":""}', b'{"uniqueID":"?"}', b'{"uniqueID":null}'):
        with pytest.raises(parse.ParseError):
            parse.repository_id(bad)


@pytest.mark.parametrize("text", ["", "yesterday", "2026-11-25T01:29:53", "2026-11-25"])
def test_a_time_without_zone_is_none(text: str) -> None:
    with pytest.raises(parse.ParseError):
        parse.time_of(text)


BACKUP = r" \ 2 hashing, 17 hashed (370.4 MB), 3 cached (1.5 KB), uploaded 12 B, estimated 600 MB (61.7%) 1m2s left   "


def test_the_progress_of_a_backup_is_heard_once() -> None:
    heard: list[Progress] = []
    meter = parse.Meter(heard.append)
    assert meter.backup(BACKUP) is Heard.PROGRESS
    assert meter.backup(BACKUP.replace("\\", "|")) is Heard.NOTHING
    last = " * 0 hashing, 20 hashed (600 MB), 3 cached (0 B), uploaded 2 GB (1 fatal errors), estimating..."
    assert meter.backup(last) is Heard.PROGRESS
    assert heard[0] == Progress(
        phase="copying", files_done=20, bytes_done=370_401_500, bytes_total=600_000_000, seconds_left=62
    )
    assert (heard[1].files_done, heard[1].bytes_total, meter.uploaded) == (23, None, 2_000_000_000)


def test_the_progress_of_a_restore_is_heard() -> None:
    heard: list[Progress] = []
    meter = parse.Meter(heard.append)
    line = "Processed 9 (193.3 MB) of 30 (600 MB) 158.2 MB/s (32.2%) remaining 1h0m1.5s."
    assert meter.restore(line) is Heard.PROGRESS
    assert meter.restore("Processed 9 (193.3 MB) of 30 (600 MB), skipped 2 (1 B).") is Heard.NOTHING
    assert heard == [
        Progress(
            phase="copying",
            files_done=9,
            bytes_done=193_300_000,
            files_total=30,
            bytes_total=600_000_000,
            seconds_left=3601.5,
        )
    ]


@pytest.mark.parametrize("line", ["Snapshotting a@b:/data ...", "Found 2 fatal error(s) while snapshotting a.", ""])
def test_other_lines_are_text(line: str) -> None:
    meter = parse.Meter(lambda _: None)
    assert meter.backup(line) is Heard.TEXT
    assert meter.restore(line) is Heard.TEXT


def test_small_files_are_found_in_a_long_listing() -> None:
    of = parse.small_object
    line = "-rw-r--r--         3000 2026-11-25 03:54:02 UTC 0e04fa183f5a0638704f0feb9cffb5ad   131/a b"
    assert of(line, 3000) == ("0e04fa183f5a0638704f0feb9cffb5ad", 3000, "131/a b")
    assert of(line, 2999) is None
    assert of(line.replace("-rw", "drw", 1), 3000) is None
    assert of(line.replace("        3000", "           0"), 3000) is None
    assert of(line.replace("0e04", "Ix1e04"), 3000) is not None
    assert of("a line of a name with a line feed", 3000) is None
