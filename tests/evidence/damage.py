"""What can befall a repository while nobody looks: each a change to its files, and what must be decided then."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from holdfast.model.evidence import Doubt
from holdfast.model.failure import FailureKind
from holdfast.model.repository import EngineKind
from holdfast.model.verdict import Hold
from tests.evidence.cases import EMPTY, KOPIA, MEMORY, RESTIC, RESTORE, Kind, Row, Words, words
from tests.support.evidence import KEPT, NEW, Place, blobs

Do = Callable[[Place, Place], Place | None]  # the place and another repository → how it is reached then, if otherwise

BOTH: Final = (Kind.DIRECTORY, Kind.S3)
ENGINES: Final = tuple(EngineKind)
NO_MARKER: Final = words(FailureKind.NO_MARKER)
BAD_MARKER: Final = words(FailureKind.BAD_MARKER)
BAD_RECORD: Final = words(FailureKind.BAD_RECORD)
REPLACED: Final = words(FailureKind.REPLACED)
DAMAGED: Final = words(FailureKind.DAMAGED)
NO_REPOSITORY: Final = words(FailureKind.NO_REPOSITORY)
PARTIAL: Final = words(FailureKind.PARTIAL_LISTING)
PASSWORD: Final = words(FailureKind.WRONG_PASSWORD)
NEWEST: Final = words(Doubt.NEWEST_MISSING)
FLAGGED: Final = words(Hold.FLAGGED)
UNREACHABLE: Final = words(FailureKind.UNREACHABLE)
STORAGE_MISSING: Final = words(FailureKind.STORAGE_MISSING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """`kept` and `new` are what is decided about the claim that was backed up and the one that never was."""

    situation: str
    do: Do
    kept: Words
    new: Words
    engines: tuple[EngineKind, ...] = ENGINES
    kinds: tuple[Kind, ...] = BOTH

    def row(self, engine: EngineKind, kind: Kind) -> Row:
        return Row(engine=engine, kind=kind, situation=self.situation, kept=self.kept, new=self.new)


def marker(place: Place) -> Path:
    return place.files / ".holdfast" / "marker"


def record(place: Place) -> Path:
    return place.files / ".holdfast" / "claims" / str(KEPT)


def engine_files(place: Place) -> Path:
    return place.files / place.engine.value


def history(place: Place) -> Path:
    return place.files / "restic" / str(KEPT)


def one(place: Place, blob: str) -> Path:
    return blobs(place, blob)[-1]


def overwrite(path: Path, data: bytes) -> None:
    """Change what the file holds; its attributes, in which the S3 server keeps the etag, stay."""
    path.chmod(0o600)
    path.write_bytes(data)


def halve(path: Path) -> None:
    overwrite(path, path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    overwrite(path, bytes(data))


def behead(path: Path) -> None:
    """Leave so little that no content is whole."""
    overwrite(path, path.read_bytes()[:100])


def scramble(path: Path) -> None:
    """Change every byte, and not the size."""
    overwrite(path, bytes(byte ^ 0x55 for byte in path.read_bytes()))


def unreadable(path: Path) -> None:
    """Let every read of the file fail with EIO, as on a dying disk: nobody reads address 0 of a process."""
    path.unlink()
    path.symlink_to("/proc/self/mem")


def emptied(folder: Path) -> None:
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def swapped(mine: Path, theirs: Path) -> None:
    if mine.is_dir():
        shutil.rmtree(mine)
        shutil.copytree(theirs, mine)
    else:
        overwrite(mine, theirs.read_bytes())


def _on(of: Callable[[Place], Path], change: Callable[[Path], object]) -> Do:
    def do(place: Place, _: Place) -> None:
        change(of(place))

    return do


def _each(blob: str, change: Callable[[Path], object]) -> Do:
    def do(place: Place, _: Place) -> None:
        for path in blobs(place, blob):
            change(path)

    return do


def _by(of: Callable[[Place], Path]) -> Do:
    def do(place: Place, other: Place) -> None:
        swapped(of(place), of(other))

    return do


def _record_of_another(place: Place, _: Place) -> None:
    shutil.copy2(record(place), record(place).with_name(NEW.claim))


def _record_renamed(place: Place, _: Place) -> None:
    record(place).rename(place.files / ".holdfast" / "claims" / "web-kept")


def _records_link(place: Place, _: Place) -> None:
    folder = place.files / ".holdfast" / "claims"
    folder.rename(place.files / "elsewhere")
    folder.symlink_to(place.files / "not-mounted")


def _nothing(_place: Place, _: Place) -> None:
    """Change nothing."""


def _another_password(place: Place, _: Place) -> Place:
    return replace(place, password="incorrect horse")


def _another_expected(place: Place, _: Place) -> Place:
    return replace(place, expected_id="0123abcd" * 8)


def _half_marker_payload(path: Path) -> None:
    head, _, payload = path.read_bytes().partition(b"\n")
    overwrite(path, head + b"\n" + payload.replace(b"2026", b"2025").replace(b"2027", b"2026"))


def _snapshot(place: Place) -> Path:
    folder = history(place) / "snapshots"
    return max((path for path in folder.iterdir() if path.is_file()), key=lambda path: path.stat().st_mtime_ns)


def _only_snapshot_is(change: Callable[[Path], object]) -> Do:
    """Leave one snapshot, the newest, and change it."""

    def do(place: Place, _: Place) -> None:
        newest = _snapshot(place)
        for path in newest.parent.iterdir():
            if path != newest:
                path.unlink()
        change(newest)

    return do


def _a_lock(place: Place, _: Place) -> None:
    (history(place) / "locks").mkdir(exist_ok=True)
    (history(place) / "locks" / ("0" * 64)).write_bytes(b"a lock that somebody left")


def _newest_of_memory(place: Place) -> Path:
    folder = place.files / "memory" / "snapshots" / str(KEPT)
    return max(folder.iterdir(), key=lambda path: path.stat().st_mtime_ns)


def _memory_root(place: Place) -> Path:
    return place.files / "memory" / "repository"


def _garbage(path: Path) -> None:
    overwrite(path, b"garbage" * 50)


def _zero(path: Path) -> None:
    overwrite(path, b"")


DISK: Final = (Kind.DIRECTORY,)
_CLAIMS: Final[Callable[[Place], Path]] = lambda place: place.files / ".holdfast" / "claims"  # noqa: E731
_BASE: Final[Callable[[Place], Path]] = lambda place: place.files  # noqa: E731

OF_ALL: Final = (
    Damage(situation="nothing is wrong", do=_nothing, kept=RESTORE, new=EMPTY),
    Damage(
        situation="the directory is missing",
        do=_on(_BASE, shutil.rmtree),
        kept=STORAGE_MISSING,
        new=STORAGE_MISSING,
        kinds=DISK,
    ),
    Damage(
        situation="all is gone: an empty mount, another prefix", do=_on(_BASE, emptied), kept=NO_MARKER, new=NO_MARKER
    ),
    Damage(situation="the marker is missing", do=_on(marker, Path.unlink), kept=NO_MARKER, new=NO_MARKER),
    Damage(situation="the marker is cut short", do=_on(marker, halve), kept=BAD_MARKER, new=BAD_MARKER),
    Damage(situation="the marker has 0 bytes", do=_on(marker, _zero), kept=BAD_MARKER, new=BAD_MARKER),
    Damage(situation="the marker was altered", do=_on(marker, _half_marker_payload), kept=PASSWORD, new=PASSWORD),
    Damage(
        situation="the marker is another repository's",
        do=_by(marker),
        kept=BAD_RECORD,
        new=REPLACED,
        engines=(KOPIA, MEMORY),
    ),
    # A restic repository belongs to one claim: of a claim that has none, only the records tell.
    Damage(
        situation="the marker is another repository's", do=_by(marker), kept=BAD_RECORD, new=EMPTY, engines=(RESTIC,)
    ),
    Damage(situation="another repository was seen here before", do=_another_expected, kept=REPLACED, new=REPLACED),
    Damage(situation="the password is wrong", do=_another_password, kept=PASSWORD, new=PASSWORD),
    Damage(
        situation="the marker cannot be read (EIO)",
        do=_on(marker, unreadable),
        kept=UNREACHABLE,
        new=UNREACHABLE,
        kinds=DISK,
    ),
    Damage(
        situation="a record cannot be read (EIO)", do=_on(record, unreadable), kept=UNREACHABLE, new=EMPTY, kinds=DISK
    ),
    Damage(
        situation="the records' directory is a link to a disk that is not mounted",
        do=_records_link,
        kept=STORAGE_MISSING,
        new=STORAGE_MISSING,
        kinds=DISK,
    ),
    Damage(
        situation="the engine's directory is missing",
        do=_on(engine_files, shutil.rmtree),
        kept=words(FailureKind.NO_REPOSITORY, FailureKind.STORAGE_MISSING),
        new=words(FailureKind.NO_REPOSITORY, FailureKind.STORAGE_MISSING),
    ),
    Damage(situation="a record is missing", do=_on(record, Path.unlink), kept=FLAGGED, new=EMPTY),
    Damage(situation="all records are missing", do=_on(_CLAIMS, shutil.rmtree), kept=FLAGGED, new=EMPTY),
    Damage(situation="a record was altered", do=_on(record, _half_marker_payload), kept=BAD_RECORD, new=EMPTY),
    Damage(situation="a record is cut short", do=_on(record, halve), kept=BAD_RECORD, new=EMPTY),
    Damage(situation="a record has 0 bytes", do=_on(record, _zero), kept=BAD_RECORD, new=EMPTY),
    Damage(situation="a record is a copy of another claim's", do=_record_of_another, kept=RESTORE, new=BAD_RECORD),
    Damage(situation="a record has a name that is none", do=_record_renamed, kept=BAD_RECORD, new=BAD_RECORD),
)

OF_KOPIA: Final = tuple(
    Damage(situation=situation, do=do, kept=kept, new=new, engines=(KOPIA,), kinds=kinds)
    for situation, do, kept, new, kinds in (
        ("all index blobs are missing", _each("x", Path.unlink), PARTIAL, PARTIAL, BOTH),
        ("the newest index blob is missing", _on(lambda place: one(place, "x"), Path.unlink), NEWEST, EMPTY, BOTH),
        ("an index blob is garbage", _on(lambda place: one(place, "x"), _garbage), DAMAGED, DAMAGED, BOTH),
        ("an index blob has 0 bytes", _on(lambda place: one(place, "x"), _zero), DAMAGED, DAMAGED, BOTH),
        ("a q pack is missing", _on(lambda place: one(place, "q"), Path.unlink), DAMAGED, DAMAGED, BOTH),
        ("the q packs are cut short", _each("q", behead), DAMAGED, DAMAGED, BOTH),
        ("the q packs are garbage", _each("q", scramble), DAMAGED, DAMAGED, BOTH),
        (
            "kopia.repository is missing",
            _on(lambda place: one(place, "kopia.repository"), Path.unlink),
            NO_REPOSITORY,
            NO_REPOSITORY,
            BOTH,
        ),
        ("kopia.repository is cut", _on(lambda place: one(place, "kopia.repository"), halve), DAMAGED, DAMAGED, BOTH),
        (
            "kopia.repository has 0 bytes",
            _on(lambda place: one(place, "kopia.repository"), _zero),
            DAMAGED,
            DAMAGED,
            BOTH,
        ),
        (
            "kopia.repository cannot be read (EIO)",
            _on(lambda place: one(place, "kopia.repository"), unreadable),
            UNREACHABLE,
            UNREACHABLE,
            DISK,
        ),
        (
            "kopia.repository is another repository's",
            _by(lambda place: one(place, "kopia.repository")),
            DAMAGED,
            DAMAGED,
            BOTH,
        ),
        ("another repository lies in its place", _by(engine_files), REPLACED, REPLACED, BOTH),
        ("kopia.blobcfg is garbage", _on(lambda place: one(place, "kopia.blobcfg"), _garbage), DAMAGED, DAMAGED, BOTH),
    )
)

OF_RESTIC: Final = tuple(
    Damage(situation=situation, do=do, kept=kept, new=EMPTY, engines=(RESTIC,), kinds=kinds)
    for situation, do, kept, kinds in (
        ("snapshots/ is empty", _on(lambda place: history(place) / "snapshots", emptied), NEWEST, BOTH),
        ("the newest snapshot file is missing", _on(_snapshot, Path.unlink), NEWEST, BOTH),
        ("the only snapshot file is garbage", _only_snapshot_is(_garbage), PARTIAL, BOTH),
        ("the only snapshot file has 0 bytes", _only_snapshot_is(_zero), PARTIAL, BOTH),
        ("config is missing", _on(lambda place: history(place) / "config", Path.unlink), DAMAGED, BOTH),
        ("config has 0 bytes", _on(lambda place: history(place) / "config", _zero), DAMAGED, BOTH),
        ("config cannot be read", _on(lambda place: history(place) / "config", unreadable), DAMAGED, DISK),
        ("keys/ is empty", _on(lambda place: history(place) / "keys", emptied), DAMAGED, BOTH),
        ("another repository lies in its place", _by(history), REPLACED, BOTH),
        ("the claim's repository is gone", _on(history, shutil.rmtree), words(*NEWEST, *NO_REPOSITORY), BOTH),
        ("index/ is empty", _on(lambda place: history(place) / "index", emptied), RESTORE, BOTH),
        ("a lock was left", _a_lock, RESTORE, BOTH),
    )
)

OF_MEMORY: Final = tuple(
    Damage(situation=situation, do=do, kept=kept, new=new, engines=(MEMORY,))
    for situation, do, kept, new in (
        ("memory/repository is missing", _on(_memory_root, Path.unlink), NO_REPOSITORY, NO_REPOSITORY),
        ("memory/repository is garbage", _on(_memory_root, _garbage), DAMAGED, DAMAGED),
        ("another repository lies in its place", _by(engine_files), REPLACED, REPLACED),
        ("the newest snapshot is garbage", _on(_newest_of_memory, flip), DAMAGED, EMPTY),
        ("the newest snapshot is missing", _on(_newest_of_memory, Path.unlink), NEWEST, EMPTY),
    )
)

ALL: Final = (*OF_ALL, *OF_KOPIA, *OF_RESTIC, *OF_MEMORY)
EACH: Final = tuple((engine, kind, damage) for damage in ALL for engine in damage.engines for kind in damage.kinds)
