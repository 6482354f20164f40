"""What is known before a claim is created again so that it gets its data, and what stands against it."""

from dataclasses import dataclass
from enum import StrEnum


class Obstacle(StrEnum):
    """Why a claim is not re-armed now."""

    HELD = "HeldAlready"
    NOT_PROTECTED = "NotProtected"
    NEVER_ARMED = "NeverArmed"
    DELETING = "Deleting"
    IN_USE = "InUse"
    REFUSED = "Refused"
    NO_BACKUP = "NoBackup"


@dataclass(frozen=True, slots=True, kw_only=True)
class Against:
    """One obstacle: what it is, and what to do."""

    why: Obstacle
    what: str
    todo: str = ""
