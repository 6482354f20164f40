"""What is said of a claim that has its data."""

import pytest

from holdfast.render import sentences


@pytest.mark.parametrize(
    ("restored", "owners_kept", "reason", "part"),
    [
        (None, True, "StartedEmpty", "started empty"),
        ("k1", True, "Restored", "restored k1"),
        ("k1", False, "Restored", "without their owners"),
    ],
)
def test_what_a_bound_claim_holds_is_said(restored: str | None, owners_kept: bool, reason: str, part: str) -> None:
    said = sentences.done(restored, owners_kept=owners_kept)
    assert said[0] == reason
    assert part in said[1]
    assert ("owners" in said[1]) is not owners_kept
