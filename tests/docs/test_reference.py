"""The reference is made from the code, complete, and current."""

from collections.abc import Mapping
from enum import Enum
from pathlib import Path

import pytest

from holdfast.model.admission import Unarmed
from holdfast.model.evidence import Doubt
from holdfast.model.failure import FailureKind
from holdfast.model.population import Pause
from holdfast.model.protection import Health
from holdfast.model.snapshot import Flag
from holdfast.model.verdict import Hold
from holdfast.render import meanings, reference

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"


@pytest.mark.parametrize("name", reference.PAGES)
def test_a_page_is_current(name: str) -> None:
    written = (REFERENCE / name).read_text(encoding="utf-8")
    assert written == reference.PAGES[name](), f"docs/reference/{name} is not current: run make docs"


@pytest.mark.parametrize(
    ("table", "kinds"),
    [
        (meanings.FAILURES, FailureKind),
        (meanings.DOUBTS, Doubt),
        (meanings.HOLDS, Hold),
        (meanings.PAUSES, Pause),
        (meanings.UNARMED, Unarmed),
        (meanings.FLAGS, Flag),
        (meanings.STATES, Health),
    ],
)
def test_every_reason_has_a_meaning(table: Mapping[Enum, str], kinds: type[Enum]) -> None:
    assert set(table) == set(kinds)
