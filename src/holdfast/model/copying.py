"""How a claim's data is read while its app goes on: facts about the copy, and the one next step."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from holdfast.model.failure import Failure
from holdfast.model.intent import CopyMethod


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotClass:
    """A VolumeSnapshotClass of the cluster."""

    name: str
    driver: str
    is_default: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassSettings:
    """What a StorageClass says of its volumes. `alias`: a second volume that names the same bytes is known to work.

    `access_modes`: those of a volume that is made from a snapshot; none: those of its claim.
    """

    copy_method: CopyMethod = CopyMethod.AUTO
    snapshot_class: str | None = None
    access_modes: tuple[str, ...] = ()
    alias: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """The volume to read. `driver`: the CSI driver it is of; `provisioner`: that of its claim's StorageClass.

    `has_alias`: its kind lets a second, read-only volume name the same bytes.
    """

    driver: str | None
    provisioner: str | None
    has_alias: bool
    settings: ClassSettings = ClassSettings()


@dataclass(frozen=True, slots=True, kw_only=True)
class BySnapshot:
    """A mover reads a volume with these access modes that was made from a VolumeSnapshot of this class."""

    snapshot_class: str
    access_modes: tuple[str, ...]
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ByAlias:
    """A mover reads the volume itself, beside the app."""

    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AsGuest:
    """A mover reads the claim itself, in the namespace of its app, which holds a credential meanwhile."""

    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NoWay:
    """The claim cannot be read in the way that is asked for, or in any: why, as a reason and a sentence."""

    reason: str
    detail: str


Way = BySnapshot | ByAlias | AsGuest | NoWay


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A pod that uses the claim and has a node. `running`: it has not ended."""

    name: str
    node: str
    running: bool
    tolerations: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seat:
    """Where a mover can read a volume beside its app. `node` None: wherever the volume itself lets it."""

    node: str | None
    tolerations: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotFacts:
    """The VolumeSnapshot of a copy's name, known `since` then. `error` is the driver's word, as long as it stands."""

    since: datetime
    deleting: bool
    ours: bool
    ready: bool
    error: str | None
    restore_bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ContentFacts:
    """A VolumeSnapshotContent of a copy. `ours`: it carries our labels, by which it is found without its
    VolumeSnapshot. `handle`: what the driver calls the snapshot, once it exists.

    `retained`: deleting this object, or its VolumeSnapshot, leaves the driver's snapshot alone.
    `secrets` are the annotations that name what the driver needs to delete it.
    """

    name: str
    deleting: bool
    ours: bool
    retained: bool
    handle: str | None
    driver: str
    snapshot_class: str | None
    mode: str | None
    secrets: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class TemporaryVolume:
    """The volume that was provisioned from the snapshot. `retained`: it would outlive its claim."""

    name: str
    retained: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyFacts:
    """All objects of one copy: taken beside the app, offered in our namespace, and the claim made from it.

    `claim` says whether the temporary claim is being deleted; None: there is none.
    """

    taken: SnapshotFacts | None = None
    first: ContentFacts | None = None
    second: ContentFacts | None = None
    offered: SnapshotFacts | None = None
    claim: bool | None = None
    volume: TemporaryVolume | None = None


class Part(StrEnum):
    """The objects of a copy that we make."""

    TAKEN = "taken"
    SECOND = "second"
    OFFERED = "offered"
    CLAIM = "claim"


@dataclass(frozen=True, slots=True, kw_only=True)
class Take:
    """Make the VolumeSnapshot beside the app's claim."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetPolicy:
    """Mark a content as ours, and say what becomes of the driver's snapshot when the content goes."""

    content: str
    retain: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """Make the VolumeSnapshot in our namespace, after a second content of the same handle where there is none."""

    content: ContentFacts | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Make the temporary claim."""

    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """The cluster is at work. `since`: from when the copy is, as soon as that is known."""

    detail: str
    since: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """This attempt cannot read the claim."""

    failure: Failure


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """A mover can mount the temporary claim."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteWithClaim:
    """Let the temporary volume go with its claim."""

    volume: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Drop:
    """Delete an object of ours."""

    part: Part


@dataclass(frozen=True, slots=True, kw_only=True)
class DropContent:
    """Delete a content whose VolumeSnapshot is gone."""

    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleared:
    """Nothing of the copy is left."""


Making = Take | SetPolicy | Offer | Request | Wait | Broken | Ready
Clearing = DeleteWithClaim | SetPolicy | Drop | DropContent | Wait | Cleared
