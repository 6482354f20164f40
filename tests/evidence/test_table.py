"""The page of the evidence table says what the tests hold."""

from tests.evidence import table


def test_the_page_shows_every_row_as_it_is_held() -> None:
    """`python -m tests.evidence.table` writes it anew."""
    shown = table.cells(table.PAGE.read_text())
    held = {table.key_of(row): row for row in table.rows()}
    assert set(shown) == set(held)
    wrong = {key: told for key, told in shown.items() if told[0] not in held[key].kept or told[1] not in held[key].new}
    assert not wrong


def test_no_row_lets_a_claim_with_backups_start_empty() -> None:
    assert not [row for row in table.rows() if "StartEmpty" in row.kept]


def test_every_row_is_of_its_own() -> None:
    rows = [table.key_of(row) for row in table.rows()]
    assert len(rows) == len(set(rows))
