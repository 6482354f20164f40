"""`python -m tests.evidence.table` runs these tests and writes `docs/reference/evidence.md` from what they saw."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from holdfast.model.repository import EngineKind
from tests.evidence import cases, damage
from tests.evidence.cases import Kind, Moment, Row

PAGE: Final = Path(__file__).parent.parent.parent / "docs" / "reference" / "evidence.md"
OUT: Final = "HOLDFAST_EVIDENCE"
_HEAD: Final = ("Situation", *(engine.value for engine in EngineKind))
_BOTH: Final = " · "  # between the claim that was backed up and the one that never was
_NOT_TRIED: Final = "–"

INTRODUCTION: Final = """# Evidence: what is decided when a storage misbehaves

Made by `python -m tests.evidence.table` from a run with the real kopia and restic, on directories and on an S3 server
behind a proxy that misbehaves; `make test` holds every row against them again.

Two claims ask at once: one was backed up twice, the other never. A cell says what is decided about the first, and
about the second after the dot when that differs. `Restore` and `StartEmpty` are the right answers; everything else is
the reason for which the claim waits. Nowhere does the first start empty. After each row of the bucket the
same server, healthy again, gives both right answers at the first try; no inventory sends anything but GET and HEAD,
and none changes a file.
"""

MOMENTS: Final[Mapping[Moment, str]] = {
    Moment.START: "The bucket misbehaves from the first request",
    Moment.ENGINE: "The bucket misbehaves once the engine's own objects are asked for: the records were read well",
    Moment.PROGRAM: "The bucket misbehaves for the engine's program alone: our own client is answered well",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What one run of a row gave."""

    kept: str
    new: str
    seconds: float


Key = tuple[str, str, str]  # engine, kind, situation


def rows() -> Sequence[Row]:
    """Return every row that the tests hold."""
    return (
        *(
            cases.of_misbehaviour(engine, mode, moment)
            for mode in cases.MODES
            for engine in EngineKind
            for moment in cases.moments(engine, mode)
        ),
        *(what.row(engine, kind) for engine, kind, what in damage.EACH),
    )


def key_of(row: Row) -> Key:
    return row.engine.value, row.kind.value, row.situation


def cell(kept: str, new: str) -> str:
    return kept if kept == new else f"{kept}{_BOTH}{new}"


def cells(page: str) -> Mapping[Key, tuple[str, str]]:
    """Return the verdicts that the page shows."""
    found: dict[Key, tuple[str, str]] = {}
    kind, moment = "", ""
    for line in page.splitlines():
        if line.startswith("## "):
            kind = Kind.DIRECTORY if line.endswith("directory") else Kind.S3
            moment = next((each.value for each, title in MOMENTS.items() if line == f"## {title}"), "")
        if line.startswith("| ") and not line.startswith(f"| {_HEAD[0]}"):
            situation, *told = (part.strip() for part in line.strip("|").split("|"))
            situation = f"{situation}, {moment}" if moment else situation
            for engine, text in zip(EngineKind, told, strict=True):
                if text != _NOT_TRIED:
                    kept, _, new = text.partition(_BOTH)
                    found[engine.value, str(kind), situation] = kept, new or kept
    return found


def render(measured: Mapping[Key, Measured], wall: float) -> str:
    """Return the page."""
    parts = [INTRODUCTION, _figures(measured, wall)]
    for moment, title in MOMENTS.items():
        told = {key: each for key, each in measured.items() if key[2].endswith(f", {moment.value}")}
        parts.append(_section(title, [f"{mode.value}" for mode in cases.MODES], told, Kind.S3, f", {moment.value}"))
    names = list(dict.fromkeys(what.situation for what in damage.ALL))
    parts.append(_section("Lost, damaged or replaced in a directory", names, measured, Kind.DIRECTORY, ""))
    parts.append(_section("Lost, damaged or replaced in a bucket", names, measured, Kind.S3, ""))
    return "\n".join(parts)


def _section(title: str, situations: Iterable[str], measured: Mapping[Key, Measured], kind: Kind, ending: str) -> str:
    lines = [f"## {title}", "", f"| {' | '.join(_HEAD)} |", f"|{'---|' * len(_HEAD)}"]
    for situation in situations:
        told = [measured.get((engine.value, kind.value, situation + ending)) for engine in EngineKind]
        if any(told):
            texts = [_NOT_TRIED if each is None else cell(each.kept, each.new) for each in told]
            lines.append(f"| {situation} | {' | '.join(texts)} |")
    return "\n".join((*lines, ""))


def _figures(measured: Mapping[Key, Measured], wall: float) -> str:
    verdicts = [verdict for each in measured.values() for verdict in (each.kept, each.new)]
    restored, empty = verdicts.count("Restore"), verdicts.count("StartEmpty")
    lost = sum(each.kept == "StartEmpty" for each in measured.values())
    slowest = max(each.seconds for each in measured.values())
    return (
        f"Measured: {len(measured)} situations, {len(verdicts)} verdicts: {restored} Restore, {empty} StartEmpty "
        f"({lost} of them for the claim with backups), {len(verdicts) - restored - empty} waits; "
        f"the slowest took {slowest:.0f} s, all of them {wall:.0f} s.\n"
    )


def read(folder: Path) -> Mapping[Key, Measured]:
    """Return what the tests wrote down."""
    found: dict[Key, Measured] = {}
    for path in folder.glob("*.jsonl"):
        for line in path.read_text().splitlines():
            engine, kind, situation, kept, new, seconds = json.loads(line)
            found[engine, kind, situation] = Measured(kept=kept, new=new, seconds=seconds)
    return found


def main() -> int:
    """Run the tests and write the page; return their exit code."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        command = (sys.executable, "-m", "pytest", "-q", "-n", "2", str(Path(__file__).parent))
        ended = subprocess.run(command, env={**os.environ, OUT: folder}, check=False)
        measured = read(Path(folder))
        wanted = {key_of(row) for row in rows()}
        if not wanted <= set(measured):
            print(f"{len(wanted - set(measured))} rows were not measured: the page stays as it is", file=sys.stderr)
            return 1
        PAGE.write_text(render({key: measured[key] for key in wanted}, time.monotonic() - began))
    return ended.returncode


if __name__ == "__main__":
    sys.exit(main())
