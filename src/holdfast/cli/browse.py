"""Looking into a snapshot: lists, file contents, downloads. Nothing that is cut short looks whole."""

import os
import secrets
import stat
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from rich.text import Text

from holdfast.cli import history, output, reading
from holdfast.cli.cluster import connect
from holdfast.cli.options import Asked, Output
from holdfast.cli.output import Line
from holdfast.cli.problems import ExitCode, Problem
from holdfast.cli.text import moment, visible
from holdfast.decide import intent
from holdfast.engines.remote import RemoteReader
from holdfast.model.claim import Identity
from holdfast.model.entry import Entry, EntryKind
from holdfast.model.intent import Auto, RestoreMode, Unreadable
from holdfast.model.snapshot import Snapshot
from holdfast.render import sentences

LETTERS: Final = {EntryKind.FILE: "-", EntryKind.DIRECTORY: "d", EntryKind.LINK: "l", EntryKind.OTHER: "?"}
MARKS: Final = {EntryKind.FILE: "", EntryKind.DIRECTORY: "/", EntryKind.LINK: "@", EntryKind.OTHER: ""}


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """One snapshot of one history, and the reader that shows it."""

    remote: RemoteReader
    identity: Identity
    snapshot: Snapshot

    def content(self, path: str) -> aclosing[AsyncGenerator[bytes, None]]:
        """Return a file's content, as a context that ends the asking."""
        return aclosing(self.remote.cat(self.identity, self.snapshot.id, path))


@dataclass(frozen=True, slots=True, kw_only=True)
class ListingReport:
    """One directory of a snapshot."""

    identity: str
    snapshot: str
    path: str
    entries: tuple[Entry, ...]


def split(text: str) -> tuple[str, RestoreMode]:
    """Return the claim and the point that `CLAIM[@SNAPSHOT]` names: an id, its beginning, or a time."""
    claim, at, point = text.partition("@")
    if not at:
        return claim, Auto()
    mode = intent.parse_restore(point, None)
    if isinstance(mode, Unreadable):
        advice = "After the @ write a snapshot id, or a time such as 2026-01-31T12:00:00Z."
        raise Problem(f"{point!r} names no snapshot", advice, ExitCode.USAGE)
    return claim, mode


@asynccontextmanager
async def open_snapshot(asked: Asked, text: str, repository: str | None) -> AsyncGenerator[Opened, None]:
    """Yield the snapshot that `CLAIM[@SNAPSHOT]` names; without a point it is the one that a restore would take."""
    claim, mode = split(text)
    async with connect(asked) as cluster:
        found = await history.read(cluster, cluster.ref(claim), repository)
        snapshot = history.choose(found, mode)
        async with reading.reader(cluster, found.order.repository.value.name) as remote:
            yield Opened(remote=remote, identity=found.order.identity.value, snapshot=snapshot)


def inside(path: str) -> str:
    """Return a path as readers take it: below the root, "" for the root itself."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise Problem(
            f"{path}: .. leads nowhere in a snapshot", "Write the path from the volume's root.", ExitCode.USAGE
        )
    return "/".join(parts)


async def ls(asked: Asked, text: str, path: str, repository: str | None) -> int:
    """List a directory of a snapshot."""
    async with open_snapshot(asked, text, repository) as opened:
        entries = await opened.remote.ls(opened.identity, opened.snapshot.id, inside(path))
    report = ListingReport(
        identity=str(opened.identity), snapshot=opened.snapshot.id, path=inside(path), entries=tuple(entries)
    )
    if asked.output is Output.JSON:
        output.write_json(report)
    else:
        to = output.console()
        note = f"{report.identity}@{opened.snapshot.id[:16]}, {moment(opened.snapshot.time)}"
        output.write([output.text(note, "dim")], output.console(stderr=True))
        output.write(listing(report.entries, to.width), to)
    return ExitCode.OK


def listing(entries: Sequence[Entry], width: int) -> Iterator[Text]:
    """Yield a directory's lines."""
    lines = [
        Line(
            cells=(
                output.text(LETTERS[each.kind] + stat.filemode(each.mode)[1:], "dim"),
                output.text(f"{each.uid}:{each.gid}", "dim"),
                output.text(sentences.size(each.size) if each.kind is EntryKind.FILE else "–"),
                output.text(moment(each.modified) if each.modified is not None else "–"),
                output.text(each.name + MARKS[each.kind], "bold blue" if each.kind is EntryKind.DIRECTORY else ""),
            )
        )
        for each in entries
    ]
    if lines:
        yield from output.grid(("MODE", "OWNER", "SIZE", "MODIFIED", "NAME"), lines, width)
    else:
        yield Text("(empty)", style="dim")


async def cat(asked: Asked, text: str, path: str, repository: str | None) -> int:
    """Write a file's content to stdout; what could steer a terminal is escaped when stdout is one."""
    write = _to_terminal if sys.stdout.isatty() else _to_pipe
    async with open_snapshot(asked, text, repository) as opened, opened.content(inside(path)) as content:
        async for chunk in content:
            write(chunk)
    sys.stdout.buffer.flush()
    return ExitCode.OK


def _to_pipe(chunk: bytes) -> None:
    sys.stdout.buffer.write(chunk)


def _to_terminal(chunk: bytes) -> None:
    # Decoded piece by piece: a character split between two pieces shows as its bytes.
    shown = visible(chunk.decode("utf-8", "surrogateescape"), keep="\n\t")
    sys.stdout.buffer.write(shown.encode("utf-8", "replace"))


async def download(asked: Asked, text: str, path: str, to: Path | None, repository: str | None, force: bool) -> int:
    """Fetch a file; it appears whole under its name, or not at all."""
    where = inside(path)
    target = to if to is not None else Path(where.rpartition("/")[2])
    if not where:
        raise Problem("The root is a directory", "Name one file: `holdfast ls` shows them.", ExitCode.USAGE)
    if target.is_dir():
        target = target / where.rpartition("/")[2]
    if target.exists() and not force:
        raise Problem(f"{target} is there already", "Name another file with -o, or replace it with --force.")
    async with open_snapshot(asked, text, repository) as opened, opened.content(where) as content:
        size = await save(content, target)
    say = output.console(stderr=True)
    note = f"{target}: {sentences.size(size)} from {opened.identity}@{opened.snapshot.id[:16]}"
    output.write([output.text(note)], say)
    return ExitCode.OK


async def save(content: AsyncIterator[bytes], target: Path) -> int:
    """Write the content beside the target and rename it once it is whole and on disk; return its bytes."""
    part = target.with_name(f".holdfast-{secrets.token_hex(8)}.part")
    size = 0
    try:
        with part.open("xb") as file:
            async for chunk in content:
                size += len(chunk)
                file.write(chunk)
            _settle(file)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    return size


def _settle(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
