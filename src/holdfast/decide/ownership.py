"""Whose an object is: only ours are updated or deleted (P8)."""

from collections.abc import Mapping
from typing import Final

from holdfast.model.intent import MANAGED_BY

MANAGER: Final = "holdfast"


def is_ours(labels: Mapping[str, str]) -> bool:
    """Return whether Holdfast made the object that carries these labels."""
    return labels.get(MANAGED_BY) == MANAGER
