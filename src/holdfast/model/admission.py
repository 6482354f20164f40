"""A claim being created or updated, and what the rule does with it."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from holdfast.model.claim import DataSource, Owner


@dataclass(frozen=True, slots=True, kw_only=True)
class Creation:
    """The parts of a claim under admission that the rule reads. `storage_class` "" means: no dynamic provisioning."""

    namespace: str
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
    OURS = "MadeByHoldfast"
    OPERATED = "MadeByAnOperator"
    HAS_SOURCE = "HasAnotherSource"
    STATIC = "Static"  # selector, class "" or a volume named
    BLOCK = "Block"


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """Set `dataSourceRef` to our Restore of this name, and drop a `dataSource` that names our kind."""

    restore: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaveAlone:
    why: Unarmed


Admission = Arm | LeaveAlone
