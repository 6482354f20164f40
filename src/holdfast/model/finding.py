"""What `holdfast check` finds in manifests."""

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    ERROR = "Error"  # it will not do what it says
    NOTE = "Note"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What is wrong, or worth knowing, and what to do about it where the sentence does not say it already."""

    level: Level
    reason: str
    what: str
    todo: str = ""
