"""Claims (PVCs) as Holdfast sees them, and the identity under which a claim's history is kept."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

LONGEST: Final = 3 * 253 + 2  # three names as long as Kubernetes lets them be


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class ClaimRef:
    """A claim's namespace and name."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"

    @classmethod
    def parse(cls, text: str) -> "ClaimRef":
        """Return the reference written as `namespace/name`; raise ValueError for anything else."""
        namespace, slash, name = text.partition("/")
        if not (namespace and slash and name) or "/" in name:
            raise ValueError(f"{text!r} is not of the form namespace/name")
        return cls(namespace=namespace, name=name)


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Identity:
    """The name of one history in a repository: never derived from our object names, round-trips as text.

    Two parts are namespace/claim, three are cluster/namespace/claim.
    """

    cluster: str = ""
    namespace: str
    claim: str

    def __str__(self) -> str:
        inside = f"{self.namespace}/{self.claim}"
        return f"{self.cluster}/{inside}" if self.cluster else inside

    @classmethod
    def parse(cls, text: str) -> "Identity":
        """Return the identity written as `[cluster/]namespace/claim`; raise ValueError for anything else."""
        parts = text.split("/")
        if len(parts) not in (2, 3) or not all(parts):
            raise ValueError(f"{text!r} is not of the form [cluster/]namespace/claim")
        if len(text) > LONGEST:
            raise ValueError(f"{text[:40]!r}… has {len(text)} characters, more than a name can have")
        *cluster, namespace, claim = parts
        return cls(cluster=cluster[0] if cluster else "", namespace=namespace, claim=claim)


class ClaimPhase(StrEnum):
    PENDING = "Pending"
    BOUND = "Bound"
    LOST = "Lost"


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSource:
    """What a claim's `dataSourceRef` names; `namespace` is "" where it is the claim's own."""

    group: str
    kind: str
    name: str
    namespace: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """One ownerReference."""

    api_version: str
    kind: str
    name: str
    uid: str
    controller: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """The parts of a PersistentVolumeClaim that decisions read."""

    ref: ClaimRef
    uid: str
    created: datetime
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    phase: ClaimPhase
    storage_class: str | None
    access_modes: tuple[str, ...]
    volume_mode: str
    requested_bytes: int
    capacity_bytes: int | None
    volume_name: str | None
    source: DataSource | None
    owners: tuple[Owner, ...]
    selected_node: str | None
    has_selector: bool
    deleting: bool
