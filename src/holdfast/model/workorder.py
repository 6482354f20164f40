"""Work orders: what a mover gets. Resolved, versioned, no decision left; never a credential."""

from dataclasses import dataclass
from typing import Final

from holdfast.model.claim import Identity
from holdfast.model.repository import EngineKind, Storage

VERSION: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryAccess:
    """A repository as a pod reaches it; the directory is the path inside the pod.

    `expected_id` is the pin or what was seen before; a marker that names another id is refused.
    """

    engine: EngineKind
    storage: Storage
    expected_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Initialize:
    """Create the repository once, if marker, records and repository are provably missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    identity: Identity
    source: str
    claim_uid: str
    cluster_uid: str
    capacity_bytes: int | None = None
    exclude: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Restore:
    """`files` and `bytes` are what the snapshot holds: the target is counted against them."""

    identity: Identity
    snapshot: str
    files: int
    bytes: int
    target: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verify:
    """Read `percent` of the content of the snapshots; no ids means all of the identity."""

    identity: Identity
    snapshots: tuple[str, ...] = ()
    percent: int = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Delete:
    """Delete the named snapshots; `everything` deletes the whole history and its record."""

    identity: Identity
    snapshots: tuple[str, ...] = ()
    everything: bool = False


Work = Initialize | Backup | Restore | Verify | Delete


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkOrder:
    """`inactivity_seconds`: how long an engine may show no progress; `total_seconds`: the whole run."""

    version: int = VERSION
    run: str
    repository: RepositoryAccess
    work: Work
    inactivity_seconds: int = 900
    total_seconds: int = 172_800
