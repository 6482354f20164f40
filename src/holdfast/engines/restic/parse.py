"""restic's JSON as values. A shape that we do not know is an error, never a default."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Final, TypeVar

import msgspec

from holdfast.engines.protocol import EngineFailure
from holdfast.engines.restic import argv
from holdfast.model.claim import Identity
from holdfast.model.entry import Entry, EntryKind
from holdfast.model.failure import FailureKind
from holdfast.model.run import Progress
from holdfast.model.snapshot import Snapshot

T = TypeVar("T")

_KINDS: Final = {"file": EntryKind.FILE, "dir": EntryKind.DIRECTORY, "symlink": EntryKind.LINK}
_GO_MODES: Final = ((1 << 23, 0o4000), (1 << 22, 0o2000), (1 << 20, 0o1000))  # setuid, setgid, sticky
_ESCAPE: Final = re.compile(r"\\(?:x([0-9a-f]{2})|u([0-9a-f]{4})|U([0-9a-f]{8})|(.))", re.DOTALL)
_LETTERS: Final = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_STEP: Final = re.compile(r"\[\d+(?::\d+)+\]\s+\d+\.\d+%\s+(\d+) / (\d+) (?:packs|snapshots)")


_RETRY: Final = re.compile(r"\breturned error, retrying after \d")


class _Summary(msgspec.Struct):
    total_files_processed: int
    total_bytes_processed: int


class _Snapshot(msgspec.Struct):
    id: str
    time: Annotated[datetime, msgspec.Meta(tz=True)]
    tags: list[str] = []
    summary: _Summary | None = None
    program_version: str = "unknown"


class _Tags(msgspec.Struct):
    tags: list[str] = []


class _Node(msgspec.Struct):
    name: str
    type: str
    mode: int = 0
    mtime: str = ""
    uid: int = 0
    gid: int = 0
    size: int = 0


class _Tree(msgspec.Struct):
    nodes: list[_Node]


class _Status(msgspec.Struct):
    total_files: int = 0
    files_done: int = 0
    files_restored: int = 0
    total_bytes: int = 0
    bytes_done: int = 0
    bytes_restored: int = 0
    bytes_skipped: int = 0
    seconds_remaining: int | None = None


class _BackupSummary(_Summary):
    snapshot_id: str
    data_added_packed: int
    backup_start: Annotated[datetime, msgspec.Meta(tz=True)]


class _Reason(msgspec.Struct):
    message: str


class _ErrorLine(msgspec.Struct):
    error: _Reason
    during: str
    item: str


class _ExitError(msgspec.Struct):
    message: str


class _Kind(msgspec.Struct):
    message_type: str


class _Version(msgspec.Struct):
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What a backup's summary says; the time is the snapshot's."""

    id: str
    time: datetime
    files: int
    bytes: int
    added_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Notes:
    """What our own tags say: the root's attributes, None in a snapshot by others; and that the volume was empty."""

    root: str | None
    empty: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """One file that could not be read or written."""

    item: str
    during: str
    message: str


def _decoded(kind: type[T], text: bytes | str, what: str) -> T:
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise EngineFailure(FailureKind.UNKNOWN, f"restic's {what} cannot be read: {error}") from error


def version(text: bytes) -> str:
    """Return the version that `restic version --json` printed."""
    return _decoded(_Version, text, "version").version


def snapshots(identity: Identity, text: bytes) -> tuple[Snapshot, ...]:
    """Return the listed snapshots, oldest first."""
    found = [_snapshot(identity, each) for each in _decoded(list[_Snapshot], text, "list of snapshots")]
    return tuple(sorted(found, key=lambda each: each.time))


def _snapshot(identity: Identity, found: _Snapshot) -> Snapshot:
    if found.summary is None:
        raise EngineFailure(
            FailureKind.UNKNOWN,
            f"snapshot {found.id}, made by {found.program_version}, has no file counts: restic notes them since 0.17",
        )
    tags = argv.tags_of(found.tags)
    for ours in (argv.ROOT_TAG, argv.EMPTY_TAG):
        tags.pop(ours, None)
    return Snapshot(
        id=found.id,
        identity=identity,
        time=found.time.astimezone(UTC),
        files=found.summary.total_files_processed,
        bytes=found.summary.total_bytes_processed,
        tags=tags,
    )


def notes(text: bytes) -> Notes:
    """Return what we noted with a snapshot, from a list of only that one."""
    found = _decoded(list[_Tags], text, "snapshot")
    if len(found) != 1:  # restic leaves out what it cannot read, with exit code 0
        raise EngineFailure(FailureKind.DAMAGED, "the snapshot is in the storage, and restic cannot read it")
    tags = argv.tags_of(found[0].tags)
    return Notes(root=tags.get(argv.ROOT_TAG), empty=argv.EMPTY_TAG in tags)


def entries(text: bytes) -> Sequence[Entry]:
    """Return a directory's entries by name, as `cat tree` prints it."""
    return sorted((_entry(node) for node in _decoded(_Tree, text, "directory").nodes), key=lambda entry: entry.name)


def _entry(node: _Node) -> Entry:
    return Entry(
        name=unquoted(node.name),
        kind=_KINDS.get(node.type, EntryKind.OTHER),
        size=node.size,
        mode=node.mode & 0o777 | sum(ours for theirs, ours in _GO_MODES if node.mode & theirs),
        modified=_time(node.mtime),
        uid=node.uid,
        gid=node.gid,
    )


def _time(text: str) -> datetime | None:
    """Return a file's time; None for one outside the years that Python knows."""
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def unquoted(text: str) -> str:
    """Return a name that Go's strconv.Quote wrote: bytes that are no UTF-8 are `\\xNN` there, surrogates here."""

    def letter(match: re.Match[str]) -> str:
        byte, short, long, single = match.groups()
        if byte is not None:
            return bytes.fromhex(byte).decode("utf-8", "surrogateescape")
        if single is not None:
            return _LETTERS.get(single, single)
        return chr(int(short or long, 16))

    return _ESCAPE.sub(letter, text)


def kind(line: str) -> str | None:
    """Return the `message_type` of a line of output; None when it is not such a line."""
    try:
        return msgspec.json.decode(line.encode("utf-8", "surrogateescape"), type=_Kind).message_type
    except (msgspec.DecodeError, UnicodeError):
        return None


def progress(line: str) -> Progress:
    """Return where a backup or a restore is; neither knows its totals before its scan is done."""
    status = _decoded(_Status, line, "status")
    return Progress(
        phase="copying",
        files_done=status.files_done + status.files_restored,
        bytes_done=status.bytes_done + status.bytes_restored + status.bytes_skipped,
        files_total=status.total_files or None,
        bytes_total=status.total_bytes or None,
        seconds_left=None if status.seconds_remaining is None else float(status.seconds_remaining),
    )


def step(line: str) -> Progress | None:
    """Return where a check or prune is, from its line for people; None for any other line."""
    found = _STEP.match(line)
    if found is None:
        return None
    return Progress(phase="checking", files_done=int(found[1]), bytes_done=0, files_total=int(found[2]))


def is_retry(line: str) -> bool:
    """Tell whether restic says that a request failed and will be tried again."""
    return _RETRY.search(line) is not None


def made(text: bytes) -> Made | None:
    """Return what the summary says, None when there is none."""
    for line in text.decode("utf-8", "surrogateescape").splitlines():
        if kind(line) == "summary":
            summary = _decoded(_BackupSummary, line, "summary")
            return Made(
                id=summary.snapshot_id,
                time=summary.backup_start.astimezone(UTC),
                files=summary.total_files_processed,
                bytes=summary.total_bytes_processed,
                added_bytes=summary.data_added_packed,
            )
    return None


def has_summary(text: bytes) -> bool:
    """Tell whether there is a summary line."""
    return any(kind(line) == "summary" for line in text.decode("utf-8", "surrogateescape").splitlines())


def troubles(lines: Sequence[str]) -> tuple[Trouble, ...]:
    """Return the files that stderr complains about."""
    return tuple(_trouble(line) for line in lines if kind(line) == "error" and '"during"' in line)


def _trouble(line: str) -> Trouble:
    found = _decoded(_ErrorLine, line, "error")
    return Trouble(item=found.item, during=found.during, message=found.error.message)


def messages(lines: Sequence[str]) -> tuple[str, ...]:
    """Return what stderr says line by line, out of JSON where it is in some; the reason to exit comes last."""
    return tuple(text for line in lines for text in _said(_message(line)))


def _message(line: str) -> str:
    match kind(line):
        case "exit_error":
            message = _decoded(_ExitError, line, "error").message
            # Of a lock it goes on with the advice to remove it, which has destroyed repositories; of others with hints.
            return message if "\n\t" in message else message.partition("\n")[0]
        case "error":
            return _trouble(line).message if '"during"' in line else _decoded(_ExitError, line, "error").message
        case _:
            return line


def _said(message: str) -> tuple[str, ...]:
    """Return the lines of a message up to its stack trace, of which the frames come before indented places."""
    lines = message.split("\n")
    trace = next((index for index, line in enumerate(lines) if line.startswith("\t")), None)
    kept = lines if trace is None else lines[: trace - 1]
    return tuple(line.strip() for line in kept if line.strip())
