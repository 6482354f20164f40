"""When a credential may leave Holdfast's namespace: for what it opens alone, and where an administrator says so."""

from typing import Any

import pytest

from holdfast.decide import guest
from holdfast.model.intent import GUESTS
from holdfast.model.repository import ClaimStorage, EngineKind
from tests import builders

LET = {GUESTS: "true"}
OWN: dict[str, Any] = {"engine": EngineKind.RESTIC, "namespaces": ("apps",)}


def test_a_mover_may_work_where_an_administrator_lets_it_with_what_opens_nothing_else() -> None:
    assert guest.refusal("apps", LET, builders.repository(**OWN)) is None


@pytest.mark.parametrize(
    ("labels", "changes", "expected"),
    [
        ({}, {}, "holdfast render guest apps"),
        ({GUESTS: "yes"}, {}, "holdfast render guest apps"),
        (LET, {"engine": EngineKind.KOPIA}, "one of restic"),
        (LET, {"namespaces": ("*",)}, "Repository of its own"),
        (LET, {"namespaces": ("apps", "web")}, "Repository of its own"),
        (LET, {"namespaces": ("web",)}, "Repository of its own"),
        (LET, {"storage": ClaimStorage(claim="disk")}, "no pod of apps can use"),
    ],
)
def test_everywhere_else_it_is_refused_with_what_to_do(
    labels: dict[str, str], changes: dict[str, Any], expected: str
) -> None:
    refused = guest.refusal("apps", labels, builders.repository(**(OWN | changes)))
    assert refused is not None
    assert expected in refused
