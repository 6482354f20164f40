"""How an answer reaches a terminal, a pipe or a program."""

import json
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import click
from rich.console import Console
from rich.text import Text

from holdfast.cli.text import visible
from holdfast.model import wire

UNBOUNDED: Final = 1_000_000  # a pipe has no width: nothing is wrapped or cut there
NOTE_INDENT: Final = 4
GAP: Final = "   "


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A row of a grid, and what is said below it."""

    cells: tuple[Text, ...]
    notes: tuple[Text, ...] = ()


def console(*, stderr: bool = False) -> Console:
    """Return the terminal, or the pipe; colours as NO_COLOR, TERM and FORCE_COLOR say."""
    stream = sys.stderr if stderr else sys.stdout
    wide = None if stream.isatty() or "COLUMNS" in os.environ else UNBOUNDED
    return Console(file=stream, width=wide, highlight=False, markup=False, emoji=False)


def text(content: str, style: str = "") -> Text:
    """Return text of whatever origin, harmless."""
    return Text(visible(content), style=style)


def grid(headers: Sequence[str], lines: Sequence[Line], width: int) -> list[Text]:
    """Return lines of text: aligned columns, and notes below their row, wrapped to the width.

    A cell longer than half the width (a claim's name may have 253 characters) does not move the other rows.
    """
    rows = [tuple(Text(header, style="dim") for header in headers), *(line.cells for line in lines)]
    widths = [min(max(row[index].cell_len for row in rows), width // 2) for index in range(len(headers))]
    made = [_row(rows[0], widths)]
    for line in lines:
        made.append(_row(line.cells, widths))
        for note in line.notes:
            made.extend(indented(note, width))
    return made


def _row(cells: Sequence[Text], widths: Sequence[int]) -> Text:
    joined = Text()
    for cell, wide in zip(cells, widths, strict=True):
        joined.append_text(cell)
        joined.append(" " * (wide - cell.cell_len) + GAP)
    joined.rstrip()
    return joined


def indented(note: Text, width: int, indent: int = NOTE_INDENT) -> list[Text]:
    """Return the text wrapped to the width, every line indented; what is to be copied (no_wrap) stays one line."""
    if width >= UNBOUNDED or note.no_wrap:
        return [Text(" " * indent).append_text(note)]
    wrapped = note.wrap(Console(width=width), max(width - indent, 20))
    return [Text(" " * indent).append_text(line) for line in wrapped]


def pairs(values: Iterable[tuple[str, Text]], width: int, indent: int = 2) -> list[Text]:
    """Return names and values below each other, long values wrapped beside their name."""
    listed = list(values)
    wide = max((len(name) for name, _ in listed), default=0)
    made = []
    for name, value in listed:
        lines = indented(value, width, indent + wide + len(GAP)) or [Text()]
        head = Text(" " * indent).append(name.ljust(wide), style="dim").append(GAP)
        made.append(head.append_text(lines[0][indent + wide + len(GAP) :]))
        made.extend(lines[1:])
    return made


def write(lines: Iterable[Text], to: Console) -> None:
    """Print lines of text."""
    for line in lines:
        to.print(line, soft_wrap=True)


def write_json(report: object) -> None:
    """Print a report for programs."""
    click.echo(json.dumps(wire.to_plain(report), indent=2, ensure_ascii=True))
