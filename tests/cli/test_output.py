"""Grids and wrapped notes fit their width, and lose nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.cli import output
from holdfast.cli.output import Line


def lines(*rows: tuple[str, ...], note: str = "") -> list[Line]:
    notes = (output.text(note),) if note else ()
    return [Line(cells=tuple(output.text(cell) for cell in row), notes=notes) for row in rows]


def test_columns_are_aligned_and_no_line_ends_in_spaces() -> None:
    made = [each.plain for each in output.grid(("A", "BB"), lines(("one", "2"), ("雪", "three")), 80)]
    assert made == ["A     BB", "one   2", "雪    three"]


@pytest.mark.parametrize("width", [40, 80, 140])
def test_a_note_is_wrapped_below_its_row(width: int) -> None:
    note = "the storage is missing and nobody can tell " * 5
    made = output.grid(("A",), lines(("one",), note=note), width)
    assert all(each.cell_len <= width for each in made)
    assert " ".join("".join(each.plain for each in made[2:]).split()) == note.strip()


def test_a_pipe_gets_every_note_as_one_line() -> None:
    note = "long " * 200
    made = output.grid(("A",), lines(("one",), note=note), output.UNBOUNDED)
    assert len(made) == 3


@given(st.text(alphabet="abc ", max_size=300), st.integers(min_value=40, max_value=200))
def test_values_stand_beside_their_name(content: str, width: int) -> None:
    made = output.pairs([("name", output.text(content)), ("longer", output.text("x"))], width)
    assert made[0].plain.startswith("  name  ")
    assert made[-1].plain == "  longer   x"
    assert "".join(each.plain for each in made[:-1]).replace(" ", "") == "name" + content.replace(" ", "")


def test_a_name_of_253_characters_does_not_move_the_other_rows() -> None:
    made = [each.plain for each in output.grid(("A", "B"), lines(("n" * 253, "1"), ("short", "2")), 80)]
    assert made[1] == "n" * 253 + "   1"
    assert made[2] == "short" + " " * 38 + "2"
