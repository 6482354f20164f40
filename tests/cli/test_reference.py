"""The reference is what the program says of itself."""

import re
from pathlib import Path

from holdfast.cli import main, reference
from holdfast.cli.problems import ExitCode

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "cli.md"


def test_the_reference_is_current() -> None:
    assert PAGE.read_text() == reference.reference(), "make docs writes it anew"


def test_every_command_and_exit_code_is_in_it() -> None:
    text = PAGE.read_text()
    named = re.findall(r"^## holdfast (.+)$", text, re.MULTILINE)
    assert named == [" ".join(path) for path, _ in reference.commands(main.build())]
    assert [int(code) for code in re.findall(r"^\| (\d+) \|", text, re.MULTILINE)] == [code.value for code in ExitCode]
