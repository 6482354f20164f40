"""What kopia prints → our values. Raises ParseError when an answer is not of the form that version 0.23.1 has."""

import base64
import binascii
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Final, TypeVar

import msgspec

from holdfast.engines.kopia.argv import identity_of
from holdfast.engines.program import Heard
from holdfast.model.entry import Entry, EntryKind
from holdfast.model.run import Progress
from holdfast.model.snapshot import Flag, Snapshot

T = TypeVar("T")
Time = Annotated[datetime, msgspec.Meta(tz=True)]

_VANISHED: Final = re.compile(r".*: no such file or directory")
_NAMED_ERRORS: Final = 10  # kopia names at most so many failed entries


class ParseError(ValueError):
    """An answer that is not of the expected form."""


class Source(msgspec.Struct, rename="camel"):
    host: str
    user_name: str
    path: str


class EntryError(msgspec.Struct):
    path: str
    error: str


class Summary(msgspec.Struct, rename="camel"):
    size: int
    files: int
    num_failed: int = 0
    errors: tuple[EntryError, ...] = ()

    def unreadable(self) -> tuple[int, tuple[str, ...]]:
        """Return how many entries could not be read, and those that are named; what vanished meanwhile is neither."""
        named = tuple(error for error in self.errors if not _VANISHED.fullmatch(error.error))
        vanished = len(self.errors) - len(named)
        return self.num_failed - vanished, tuple(error.path for error in named)


class RootEntry(msgspec.Struct):
    type: str
    obj: str
    summ: Summary


class Stats(msgspec.Struct, rename="camel"):
    excluded_file_count: int = 0
    excluded_dir_count: int = 0


class Manifest(msgspec.Struct, rename="camel"):
    """A snapshot as kopia keeps it; times are as printed, to the nanosecond."""

    id: str
    source: Source
    start_time: str
    root_entry: RootEntry | None = None
    stats: Stats = msgspec.field(default_factory=Stats)
    incomplete: str = ""
    tags: dict[str, str] = {}

    def snapshot(self) -> Snapshot | None:
        """Return the restore point; None when it is of a source that is none of ours."""
        identity = identity_of(self.source.user_name, self.source.host, self.source.path)
        if identity is None:
            return None
        summary = self.root_entry.summ if self.root_entry is not None else Summary(size=0, files=0)
        flags = set()
        if self.incomplete or self.root_entry is None:
            flags.add(Flag.INCOMPLETE)
        if summary.unreadable()[0] > 0:
            flags.add(Flag.PARTIAL)
        return Snapshot(
            id=self.id,
            identity=identity,
            time=time_of(self.start_time),
            files=summary.files,
            bytes=summary.size,
            flags=frozenset(flags),
            tags={name.removeprefix("tag:"): value for name, value in self.tags.items()},
        )


class Label(msgspec.Struct):
    """One line of the list of manifests: snapshots, policies, maintenance."""

    id: str
    labels: dict[str, str]


class DirectoryEntry(msgspec.Struct):
    name: str
    type: str
    obj: str = ""
    mode: str = "0"
    size: int = 0
    mtime: str = ""
    uid: int = 0
    gid: int = 0
    summ: Summary | None = None

    def entry(self) -> Entry:
        kinds = {"f": EntryKind.FILE, "d": EntryKind.DIRECTORY, "s": EntryKind.LINK}
        kind = kinds.get(self.type, EntryKind.OTHER)
        size = self.summ.size if self.summ is not None else self.size
        modified = time_of(self.mtime) if self.mtime else None
        return Entry(
            name=self.name, kind=kind, size=size, mode=_mode(self.mode), modified=modified, uid=self.uid, gid=self.gid
        )


class Directory(msgspec.Struct):
    stream: str
    entries: tuple[DirectoryEntry, ...] | None  # None: there are none


class Verification(msgspec.Struct, rename="camel"):
    class Counts(msgspec.Struct, rename="camel"):
        read_bytes: int = 0

    stats: Counts
    error_count: int
    error_strings: tuple[str, ...] = ()


class MaintenanceRun(msgspec.Struct, frozen=True):
    start: str
    success: bool = False
    error: str = ""


class Maintenance(msgspec.Struct):
    class Schedule(msgspec.Struct):
        runs: dict[str, tuple[MaintenanceRun, ...]] | None = None

    owner: str
    schedule: Schedule

    def runs(self) -> frozenset[tuple[str, MaintenanceRun]]:
        """Return what has been run, each with its task's name."""
        return frozenset((task, run) for task, done in (self.schedule.runs or {}).items() for run in done)


def snapshots(stdout: bytes) -> tuple[Manifest, ...]:
    return _decode(tuple[Manifest, ...], stdout, "list of snapshots")


def labels(stdout: bytes) -> tuple[Label, ...]:
    return _decode(tuple[Label, ...], stdout, "list of manifests")


def manifest(stdout: bytes) -> Manifest:
    return _decode(Manifest, stdout, "snapshot")


def shown_manifest(stdout: bytes) -> Mapping[str, object]:
    """Return a manifest as `manifest show` prints it: comment lines, then JSON."""
    body = b"\n".join(line for line in stdout.split(b"\n") if not line.startswith(b"//"))
    return _decode(dict[str, object], body, "manifest")


def snapshot_shown(stdout: bytes, snapshot: str) -> Manifest:
    """Return the snapshot that `manifest show` printed; it leaves out the id."""
    try:
        return msgspec.convert({**shown_manifest(stdout), "id": snapshot}, Manifest)
    except msgspec.ValidationError as error:
        raise ParseError(f"kopia's snapshot {snapshot} is not of the expected form: {error}") from error


def directory(stdout: bytes) -> tuple[DirectoryEntry, ...]:
    listed = _decode(Directory, stdout, "directory")
    if listed.stream != "kopia:directory":
        raise ParseError(f"kopia's directory is a stream of another kind: {listed.stream!r}")
    return listed.entries or ()


def verification(stdout: bytes) -> Verification:
    return _decode(Verification, stdout, "verification")


def maintenance(stdout: bytes) -> Maintenance:
    return _decode(Maintenance, stdout, "maintenance")


def repository_id(format_blob: bytes) -> str:
    """Return the uniqueID, in hex, of a repository's format blob."""

    class Format(msgspec.Struct):
        uniqueID: str  # noqa: N815  kopia's own name

    try:
        raw = base64.b64decode(_decode(Format, format_blob, "format blob").uniqueID, validate=True)
    except binascii.Error as error:
        raise ParseError("kopia's repository id is not base64") from error
    if not raw:
        raise ParseError("kopia's repository has no id")
    return raw.hex()


def time_of(text: str) -> datetime:
    """Return a time as kopia prints it, cut to microseconds: rounding up would name a time that has not been."""
    try:
        time = datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text))
    except ValueError as error:
        raise ParseError(f"kopia's time is none: {text!r}") from error
    if time.tzinfo is None:
        raise ParseError(f"kopia's time names no zone: {text!r}")
    return time.astimezone(UTC)


def _mode(text: str) -> int:
    """Return Go's octal mode with setuid, setgid and sticky where Unix has them."""
    try:
        value = int(text, 8)
    except ValueError as error:
        raise ParseError(f"kopia's mode is none: {text!r}") from error
    special = (0o4000, value >> 23 & 1), (0o2000, value >> 22 & 1), (0o1000, value >> 20 & 1)
    return value & 0o777 | sum(bit for bit, is_set in special if is_set)


def _decode(expected: type[T], data: bytes, what: str) -> T:
    try:
        return msgspec.json.decode(data, type=expected)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ParseError(f"kopia's {what} is not of the expected form: {error}") from error


_SIZE = r"([0-9.]+) ([KMGTPE]?B)"
_BACKUP = re.compile(
    rf"\s*[-|/\\*] \d+ hashing, (\d+) hashed \({_SIZE}\), (\d+) cached \({_SIZE}\), uploaded {_SIZE}"
    rf"(?:.*?, estimated {_SIZE} \([0-9.]+%\) (\S+) left)?.*"
)
_RESTORE = re.compile(rf"\s*Processed (\d+) \({_SIZE}\) of (\d+) \({_SIZE}\)(?:.*remaining ([0-9hms.µn]+)\.)?.*")
_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:([0-9.]+)s)?")
_UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "PB": 10**15, "EB": 10**18}


class Meter:
    """Hears kopia's status lines: reports those that bring news, and keeps what was uploaded."""

    def __init__(self, report: Callable[[Progress], None]) -> None:
        self._report = report
        self.uploaded: int | None = None
        self._counts: Sequence[str | None] = ()

    def backup(self, line: str) -> Heard:
        """Hear a line of a backup."""
        found = _BACKUP.fullmatch(line)
        if found is None:
            return Heard.TEXT
        hashed, hashed_size, hashed_unit, cached, cached_size, cached_unit, new, new_unit, *estimate = found.groups()
        total, unit, left = estimate
        self.uploaded = _bytes(new, new_unit)
        return self._news(
            found.groups()[:8],
            Progress(
                phase="copying",
                files_done=int(hashed) + int(cached),
                bytes_done=_bytes(hashed_size, hashed_unit) + _bytes(cached_size, cached_unit),
                bytes_total=_bytes(total, unit) if total else None,
                seconds_left=_seconds(left) if left else None,
            ),
        )

    def restore(self, line: str) -> Heard:
        """Hear a line of a restore: kopia counts directories and links among the files."""
        found = _RESTORE.fullmatch(line)
        if found is None:
            return Heard.TEXT
        done, done_size, done_unit, total, total_size, total_unit, left = found.groups()
        return self._news(
            found.groups()[:6],
            Progress(
                phase="copying",
                files_done=int(done),
                bytes_done=_bytes(done_size, done_unit),
                files_total=max(int(done), int(total)),  # the root is counted when done, not before
                bytes_total=_bytes(total_size, total_unit),
                seconds_left=_seconds(left) if left else None,
            ),
        )

    def _news(self, counts: Sequence[str | None], progress: Progress) -> Heard:
        if counts == self._counts:
            return Heard.NOTHING
        self._counts = counts
        self._report(progress)
        return Heard.PROGRESS


def _bytes(number: str, unit: str) -> int:
    return round(float(number) * _UNITS[unit])


def _seconds(text: str) -> float | None:
    found = _DURATION.fullmatch(text)
    if found is None or not text:
        return None
    hours, minutes, seconds = found.groups()
    return int(hours or 0) * 3600 + int(minutes or 0) * 60 + float(seconds or 0)


_OBJECT_LINE = re.compile(r"-\S{9,}\s+(\d+) \d{4}-\d\d-\d\d \d\d:\d\d:\d\d \S+ (I*[gxD]?[0-9a-f]{32}) +(.*)")


def small_object(line: str, limit: int) -> tuple[str, int, str] | None:
    """Return object id, size and path of a regular file that a line of `ls -l -r -o` shows, up to `limit` bytes.

    A name with a line feed may look like a line of its own: good enough for choosing what to fetch ahead.
    """
    found = _OBJECT_LINE.fullmatch(line)
    if found is None:
        return None
    size = int(found[1])
    return (found[2], size, found[3]) if 0 < size <= limit else None
