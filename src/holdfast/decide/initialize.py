"""Whether a repository may be created: once, in a window that a person opened, where provably nothing is."""

from datetime import datetime

from holdfast.model.failure import Failure, FailureKind
from holdfast.model.repository import Repository


def allowed(repository: Repository, seen: Failure | None, now: datetime) -> bool:
    """Return whether to order the initialisation.

    `seen` is how the last inventory failed. The mover proves, under the lease, that marker, records and repository
    are all missing before it creates anything; here only the window and the kind of failure are judged.
    """
    if repository.initialize_until is None or now >= repository.initialize_until:
        return False
    if repository.pin is not None or repository.known_id is not None:
        return False
    return seen is not None and seen.kind is FailureKind.NO_MARKER


def advice(repository: Repository, seen: Failure, now: datetime) -> str:
    """Return the sentence for a person whose repository cannot be used."""
    if seen.kind is not FailureKind.NO_MARKER:
        return seen.detail
    if repository.known_id is not None or repository.pin is not None:
        expected = repository.pin or repository.known_id
        return (
            f"{seen.detail}. Repository {expected} was here before: check bucket, prefix and mount. "
            "Nothing is created and claims wait"
        )
    if repository.initialize_until is None:
        return (
            f"{seen.detail}. If this storage is new, set spec.initializeUntil to a time in the near future; "
            "otherwise check bucket, prefix and mount"
        )
    if now >= repository.initialize_until:
        return f"{seen.detail}. spec.initializeUntil ({repository.initialize_until.isoformat()}) has passed"
    return f"{seen.detail}. It is being initialised"
