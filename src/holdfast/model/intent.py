"""What a person asked for by labels and annotations, and every value that could not be read."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, Generic, TypeVar

from holdfast.model.claim import Identity

T = TypeVar("T")

LABEL: Final = "backup"
EXEMPT_LABEL: Final = "backup-exempt"
PREFIX: Final = "holdfast.dev/"
OFF: Final = frozenset({"disabled", "false", "off", "no"})
MANAGED_BY: Final = "app.kubernetes.io/managed-by"
MANAGERS: Final = frozenset({"holdfast", "volsync", "velero", "cdi-controller"})

# Every annotation of ours on a claim, and what it means: the parser, `explain` and the reference read this table.
ANNOTATIONS: Final[Mapping[str, str]] = {
    "schedule": "cron with `H` (a stable hash), optionally `CRON_TZ=Zone ` before it; replaces the tier's slot",
    "repository": "name of the Repository to use instead of the default",
    "restore": "`auto`, `required`, `never`, a snapshot id, or an RFC 3339 time (the newest backup as of then)",
    "restore-reason": "why `restore: never`",
    "copy-method": "`auto` (what the StorageClass says, else a volume snapshot where the driver has a class for them, "
    "else the volume itself), `Snapshot` or `Direct`",
    "exclude": "patterns left out of backups, one a line",
    "run-as": "`uid` or `uid:gid` that movers of this claim run as, instead of root with five capabilities",
    "identity": "`namespace/claim` whose history this claim takes over",
    "accept-partial": "why partial snapshots of this claim may be restored",
    "backup-now": "a new value starts one backup",
    "exempt-reason": "why the claim is deliberately unprotected",
}
# Those on a StorageClass, for all claims of it.
CLASS_ANNOTATIONS: Final[Mapping[str, str]] = {
    "copy-method": "`Snapshot` or `Direct`, for claims that say nothing else themselves",
    "snapshot-class": "name of the VolumeSnapshotClass to take snapshots with",
    "access-modes": "access modes of the volume that is made from a snapshot, such as `ReadOnlyMany`",
    "alias": '`"false"`: a second volume that names the same bytes does not work with this driver',
}
GUESTS: Final = PREFIX + "guest-movers"  # on a namespace, by an administrator


class Tier(StrEnum):
    """How often a claim is backed up; `manual` never runs by the clock."""

    HOURLY = "hourly"
    DAILY = "daily"
    WEEKLY = "weekly"
    MANUAL = "manual"


class CopyMethod(StrEnum):
    """How a claim's data is read while its app goes on."""

    AUTO = "auto"
    SNAPSHOT = "Snapshot"
    DIRECT = "Direct"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sourced(Generic[T]):
    """A value, and where it came from, in words."""

    value: T
    origin: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A value that could not be read or used: where it stands, what is wrong, what to do."""

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Auto:
    """Restore the newest good snapshot; start empty when there provably never was one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Required:
    """Restore, and wait for a backup even if there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Never:
    """Start empty; without a reason it is not obeyed."""

    reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ById:
    """Restore exactly this snapshot."""

    snapshot: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AsOf:
    """Restore the newest good snapshot taken at or before this time."""

    time: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """The annotation says something that is none of the above."""

    text: str


RestoreMode = Auto | Required | Never | ById | AsOf | Unreadable


class Protect(StrEnum):
    """Whether a claim is protected."""

    YES = "Protected"
    OFF = "SwitchedOff"  # our label says so
    EXEMPT = "Exempt"
    NOT_ASKED = "NotAsked"  # neither the claim nor its namespace says anything
    OURS = "MadeByHoldfast"
    OPERATED = "MadeByAnOperator"  # a namespace default never applies to it


@dataclass(frozen=True, slots=True, kw_only=True)
class RunAs:
    """The user and the group of a mover that is not root, and so has no capability either."""

    uid: int
    gid: int

    def __str__(self) -> str:
        return f"{self.uid}:{self.gid}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """Labels and annotations of one claim, read strictly."""

    protect: Sourced[Protect]
    tier: Sourced[Tier]
    cron: str | None
    repository: str | None
    restore: Sourced[RestoreMode]
    identity: Identity | Unreadable | None
    copy_method: CopyMethod
    exclude: tuple[str, ...]
    run_as: RunAs | None
    accept_partial: str | None
    backup_now: str | None
    problems: tuple[Problem, ...]
