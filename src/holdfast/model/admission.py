"""The admission rule as data, a claim being created or updated, and what the rule does with it.

Every rendering (the pure rule, the API server's policies, Git) is made from these values and passes the same cases.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from holdfast.model.claim import DataSource, Owner
from holdfast.model.intent import LABEL, MANAGED_BY, MANAGERS

# A claim that names a volume which is not there stays Pending under any provisioner, and ignores all other volumes.
RESERVED: Final = "holdfast."
# local-path cuts its helper pod's name (18 characters and the volume's) at 128, and takes a second one for the first.
LONGEST_RESERVED: Final = 100

# Labels of claims that another tool makes and fills; None: whatever the value.
MADE_BY_TOOLS: Final[Mapping[str, frozenset[str] | None]] = {
    MANAGED_BY: MANAGERS,
    "app.kubernetes.io/created-by": frozenset({"volsync"}),
    "velero.io/restore-name": None,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What one cluster's rule depends on. `by_name`: classes whose provisioner ignores dataSourceRef."""

    own_namespace: str
    label: str = LABEL
    by_name: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Creation:
    """The parts of a claim under admission that the rule reads.

    `name` "": the API server will make one (generateName). `storage_class` "" means: no dynamic provisioning.
    """

    namespace: str
    name: str
    namespace_labels: Mapping[str, str]
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    owners: tuple[Owner, ...]
    source: DataSource | None  # spec.dataSource
    source_ref: DataSource | None  # spec.dataSourceRef
    volume_name: str
    storage_class: str | None
    volume_mode: str
    has_selector: bool


class Unarmed(StrEnum):
    """Why a claim is left alone."""

    NOT_PROTECTED = "NotProtected"
    MADE_BY_TOOL = "MadeByATool"  # Holdfast, VolSync, Velero, CDI: whoever made it fills it
    OPERATED = "MadeByAnOperator"
    HELD = "HeldAlready"
    HAS_SOURCE = "HasAnotherSource"
    STATIC = "Static"  # selector, class "" or a volume named
    BLOCK = "Block"
    NAMELESS = "NameNotKnown"  # held by name, and the name is not made yet


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """Set these; None leaves a field alone.

    `restore`: `dataSourceRef` names our Restore of this name, and a `dataSource` that did so goes. `volume`:
    `volumeName` is this reserved name.
    """

    restore: str | None = None
    volume: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaveAlone:
    why: Unarmed


@dataclass(frozen=True, slots=True, kw_only=True)
class Refuse:
    """The claim can neither be held nor be let through; `because` is the sentence for whoever creates it."""

    because: str


Admission = Arm | LeaveAlone | Refuse


def reserved(namespace: str, name: str) -> str:
    """Return the volume name by which a claim is held: unambiguous, since a namespace has no dot."""
    return f"{RESERVED}{namespace}.{name}"
