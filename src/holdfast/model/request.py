"""What a Restore object asks for. The name `auto` is reserved: it means "decide"."""

from dataclasses import dataclass
from typing import Final

from holdfast.model.claim import Identity
from holdfast.model.intent import RestoreMode

GROUP: Final = "holdfast.dev"
KIND: Final = "Restore"
AUTO: Final = "auto"


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreRequest:
    """A person's own Restore: whose history, and which point of it; None means the claim's own and the newest."""

    name: str
    identity: Identity | None
    repository: str | None
    mode: RestoreMode
