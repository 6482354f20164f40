"""Fetching whole packs ahead of a restore from S3, where kopia asks for each small file on its own.

kopia restores in random order, so windows that follow the restore cannot be: all packs of small files are fetched
first, up to a bound. Reading a file then finds its pack in the cache. Only speed depends on this: what is not fetched
ahead, for whatever reason, kopia asks for itself.
"""

import os
import shutil
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from holdfast.engines import program
from holdfast.engines.kopia import argv, parse
from holdfast.engines.kopia.session import Session
from holdfast.engines.program import Limits, Lines

SMALL: Final = 1 << 20  # a larger file is at most some requests for each 4 MB of it
WORTHWHILE: Final = 100  # files; for fewer, looking for them takes longer
_MOST_FILES: Final = 500_000
_SAMPLED: Final = 4 << 20  # one file of each so many bytes, in the order of paths, tells whether neighbours share packs
_FEWEST: Final = 16
_CAUTIOUS: Final = 200  # files asked for at once, and then eight times as many, when neighbours do not share packs
_AT_ONCE: Final = 20_000  # object ids in one call: 860 KB of arguments of the 2 MB that Linux allows
_SPREAD: Final = 4  # bytes that may be fetched for each byte that is wanted
_ALLOWANCE: Final = 64 << 20  # a few whole packs, whatever is wanted of them
_PINNED: Final = 30 * 86_400  # seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Small:
    """A small file's content."""

    object_id: str
    size: int


async def prefetch(session: Session, small: Sequence[Small], limits: Limits, bound: int) -> None:
    """Fetch the packs of small files into the session's cache, at most about `bound` bytes or half of its free disk.

    Packs may hold more of others than of us: it stops when too much is fetched for what is wanted.
    """
    bound = min(bound, shutil.disk_usage(session.folder).free // 2)
    small = up_to(small, bound)
    if len(small) < WORTHWHILE:
        return
    chosen = sample(small)
    packs = await _fetch(session, chosen, limits)
    wanted = sum(each.size for each in small)
    if packs is None or packs.bytes > min(bound, wanted * _SPREAD + _ALLOWANCE):
        return
    wanted = 0
    for window in windows(small, at_first=_AT_ONCE if packs.number <= len(chosen) / 2 else _CAUTIOUS):
        wanted += sum(each.size for each in window)
        packs = await _fetch(session, window, limits)
        if packs is None or packs.bytes > min(bound, wanted * _SPREAD + _ALLOWANCE):
            return


async def small_files(session: Session, snapshot: str, limits: Limits) -> Sequence[Small]:
    """Return a snapshot's small files, each content once, neighbours together; nothing when it cannot be listed."""
    if not argv.is_snapshot_id(snapshot):
        return ()
    found: dict[str, tuple[bytes, int]] = {}
    async with program.started(session.program(argv.list_objects(snapshot), limits)) as running:
        async for line in _lines(running):
            small = parse.small_object(line, SMALL)
            if small is not None and len(found) < _MOST_FILES:
                object_id, size, path = small
                found.setdefault(object_id, (path.encode("utf-8", "surrogateescape"), size))
        if (await running.finished()).exit_code != 0:
            return ()
    in_order = sorted(found.items(), key=lambda item: item[1][0])
    return [Small(object_id=object_id, size=size) for object_id, (_, size) in in_order]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Packs:
    number: int
    bytes: int


async def _fetch(session: Session, small: Sequence[Small], limits: Limits) -> _Packs | None:
    """Fetch the files' packs and return what is in the cache now; None when kopia failed."""
    finished = await session.run(argv.prefetch([each.object_id for each in small]), limits=limits)
    return _pin(session.cache / "contents") if finished.exit_code == 0 else None


def up_to(small: Sequence[Small], bound: int) -> Sequence[Small]:
    """Return the first files, as many as `bound` bytes hold."""
    total = 0
    for number, each in enumerate(small):
        total += each.size
        if total > bound:
            return small[:number]
    return small


def sample(small: Sequence[Small]) -> Sequence[Small]:
    """Return some of the files, spread evenly."""
    total = sum(each.size for each in small)
    step = max(1, len(small) // max(_FEWEST, total // _SAMPLED))
    return small[::step]


async def _lines(running: program.Running) -> AsyncIterator[str]:
    lines = Lines()
    async for chunk in running.chunks():
        for line in lines.add(chunk):
            yield line


def windows(small: Sequence[Small], *, at_first: int) -> Iterable[Sequence[Small]]:
    """Yield all files in order, `at_first` of them and then eight times as many each time, up to what a call takes."""
    start, length = 0, at_first
    while start < len(small):
        yield small[start : start + length]
        start, length = start + length, min(length * 8, _AT_ONCE)


def _pin(contents: Path) -> _Packs:
    """Keep what is in the content cache before all that comes later, and return what it is.

    kopia drops the oldest first: contents of large files, read once, go before packs that are dated in the future.
    """
    later = time.time() + _PINNED
    sizes = []
    for folder, _, names in os.walk(contents):
        for name in names:
            path = Path(folder) / name
            if name.endswith(".f"):
                sizes.append(path.stat().st_size)
                os.utime(path, (later, later))
    return _Packs(number=len(sizes), bytes=sum(sizes))
