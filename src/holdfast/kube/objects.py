"""Kubernetes objects: only the fields that we read, decoded straight from the wire, frozen in practice.

Every field that a server may leave out or send as null is `X | None`. None of these is ever sent back: msgspec drops
what it does not know, so a PUT would erase it. Writes are manifests built from scratch, and merge patches.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Final, Generic, NamedTuple, TypeVar

import msgspec

from holdfast.model.request import GROUP

Time = Annotated[datetime, msgspec.Meta(tz=True)]
Manifest = Mapping[str, Any]


class Key(NamedTuple):
    """What names an object of a kind; the namespace of a cluster-scoped object is ""."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


class Wire(msgspec.Struct, frozen=True, kw_only=True, gc=False, rename="camel"):
    """Settings of all structs here. `gc=False`: they cannot form cycles, and 10,000 of them are not walked."""


class OwnerReference(Wire, frozen=True, kw_only=True):
    api_version: str
    kind: str
    name: str
    uid: str
    controller: bool | None = None


class ObjectMeta(Wire, frozen=True, kw_only=True):
    """Metadata of a stored object."""

    name: str
    namespace: str | None = None
    uid: str
    resource_version: str
    creation_timestamp: Time
    deletion_timestamp: Time | None = None
    generation: int | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    finalizers: list[str] | None = None
    owner_references: list[OwnerReference] | None = None

    def __post_init__(self) -> None:
        # The same few keys and label values come with every object: one copy of each saves a third of the memory.
        if self.labels:
            shared = {sys.intern(key): sys.intern(value) for key, value in self.labels.items()}
            msgspec.structs.force_setattr(self, "labels", shared)
        if self.annotations:
            shared = {sys.intern(key): value for key, value in self.annotations.items()}
            msgspec.structs.force_setattr(self, "annotations", shared)


class Object(Wire, frozen=True, kw_only=True):
    """What every kind has. Items of lists carry no kind or apiVersion: the `Kind` they were asked by knows them."""

    metadata: ObjectMeta

    @property
    def key(self) -> Key:
        return Key(self.metadata.namespace or "", self.metadata.name)

    @property
    def labels(self) -> Mapping[str, str]:
        return self.metadata.labels or {}

    @property
    def annotations(self) -> Mapping[str, str]:
        return self.metadata.annotations or {}

    @property
    def is_deleting(self) -> bool:
        return self.metadata.deletion_timestamp is not None


class Condition(Wire, frozen=True, kw_only=True):
    type: str
    status: str
    reason: str | None = None
    message: str | None = None
    last_transition_time: Time | None = None


class ObjectReference(Wire, frozen=True, kw_only=True):
    kind: str | None = None
    namespace: str | None = None
    name: str | None = None
    uid: str | None = None


# Claims


class TypedReference(Wire, frozen=True, kw_only=True):
    kind: str
    name: str
    api_group: str | None = None
    namespace: str | None = None


class ResourceRequirements(Wire, frozen=True, kw_only=True):
    requests: dict[str, str] | None = None


class ClaimSpec(Wire, frozen=True, kw_only=True):
    access_modes: list[str] | None = None
    data_source: TypedReference | None = None
    data_source_ref: TypedReference | None = None
    resources: ResourceRequirements | None = None
    selector: dict[str, Any] | None = None
    storage_class_name: str | None = None
    volume_mode: str | None = None
    volume_name: str | None = None


class ClaimStatus(Wire, frozen=True, kw_only=True):
    phase: str | None = None
    capacity: dict[str, str] | None = None
    conditions: list[Condition] | None = None


class PersistentVolumeClaim(Object, frozen=True, kw_only=True):
    spec: ClaimSpec
    status: ClaimStatus | None = None


# Volumes


class VolumeSpec(Wire, frozen=True, kw_only=True):
    """Sources and node affinity stay as they came: they are copied, never read."""

    access_modes: list[str] | None = None
    capacity: dict[str, str] | None = None
    claim_ref: ObjectReference | None = None
    mount_options: list[str] | None = None
    node_affinity: dict[str, Any] | None = None
    persistent_volume_reclaim_policy: str | None = None
    storage_class_name: str | None = None
    volume_mode: str | None = None
    csi: dict[str, Any] | None = None
    host_path: dict[str, Any] | None = None
    local: dict[str, Any] | None = None
    nfs: dict[str, Any] | None = None


class VolumeStatus(Wire, frozen=True, kw_only=True):
    phase: str | None = None
    reason: str | None = None


class PersistentVolume(Object, frozen=True, kw_only=True):
    spec: VolumeSpec
    status: VolumeStatus | None = None


class StorageClass(Object, frozen=True, kw_only=True):
    provisioner: str
    volume_binding_mode: str | None = None
    reclaim_policy: str | None = None
    allow_volume_expansion: bool | None = None
    parameters: dict[str, str] | None = None


# Namespaces and secrets


class NamespaceStatus(Wire, frozen=True, kw_only=True):
    phase: str | None = None


class Namespace(Object, frozen=True, kw_only=True):
    status: NamespaceStatus | None = None


class Secret(Object, frozen=True, kw_only=True):
    data: dict[str, bytes] | None = None
    type: str | None = None

    def __repr__(self) -> str:
        return f"Secret({self.key}, keys={sorted(self.data or {})})"


# Pods, jobs, deployments


class ClaimVolumeSource(Wire, frozen=True, kw_only=True):
    claim_name: str
    read_only: bool | None = None


class PodVolume(Wire, frozen=True, kw_only=True):
    name: str
    persistent_volume_claim: ClaimVolumeSource | None = None


class Container(Wire, frozen=True, kw_only=True):
    name: str
    image: str | None = None
    resources: dict[str, Any] | None = None


class PodSpec(Wire, frozen=True, kw_only=True):
    node_name: str | None = None
    node_selector: dict[str, str] | None = None
    affinity: dict[str, Any] | None = None
    tolerations: list[dict[str, Any]] | None = None
    scheduler_name: str | None = None
    volumes: list[PodVolume] | None = None
    containers: list[Container] | None = None


class Terminated(Wire, frozen=True, kw_only=True):
    exit_code: int
    reason: str | None = None
    message: str | None = None
    finished_at: Time | None = None


class Waiting(Wire, frozen=True, kw_only=True):
    reason: str | None = None
    message: str | None = None


class ContainerState(Wire, frozen=True, kw_only=True):
    terminated: Terminated | None = None
    waiting: Waiting | None = None


class ContainerStatus(Wire, frozen=True, kw_only=True):
    name: str
    ready: bool | None = None
    restart_count: int | None = None
    state: ContainerState | None = None


class PodStatus(Wire, frozen=True, kw_only=True):
    phase: str | None = None
    reason: str | None = None
    message: str | None = None
    pod_ip: str | None = msgspec.field(name="podIP", default=None)
    conditions: list[Condition] | None = None
    container_statuses: list[ContainerStatus] | None = None


class Pod(Object, frozen=True, kw_only=True):
    spec: PodSpec
    status: PodStatus | None = None


class JobStatus(Wire, frozen=True, kw_only=True):
    active: int | None = None
    succeeded: int | None = None
    failed: int | None = None
    start_time: Time | None = None
    completion_time: Time | None = None
    conditions: list[Condition] | None = None


class Job(Object, frozen=True, kw_only=True):
    status: JobStatus | None = None


class TemplateMeta(Wire, frozen=True, kw_only=True):
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None


class PodTemplate(Wire, frozen=True, kw_only=True):
    metadata: TemplateMeta | None = None


class DeploymentSpec(Wire, frozen=True, kw_only=True):
    replicas: int | None = None
    template: PodTemplate | None = None


class DeploymentStatus(Wire, frozen=True, kw_only=True):
    observed_generation: int | None = None
    replicas: int | None = None
    ready_replicas: int | None = None
    updated_replicas: int | None = None
    conditions: list[Condition] | None = None


class Deployment(Object, frozen=True, kw_only=True):
    spec: DeploymentSpec
    status: DeploymentStatus | None = None


# Events and leases


class Event(Object, frozen=True, kw_only=True):
    involved_object: ObjectReference
    reason: str | None = None
    message: str | None = None
    type: str | None = None
    count: int | None = None
    first_timestamp: Time | None = None
    last_timestamp: Time | None = None


class LeaseSpec(Wire, frozen=True, kw_only=True):
    """Times stay text: they are compared with themselves only, never with our clock."""

    holder_identity: str | None = None
    lease_duration_seconds: int | None = None
    acquire_time: str | None = None
    renew_time: str | None = None
    lease_transitions: int | None = None


class Lease(Object, frozen=True, kw_only=True):
    spec: LeaseSpec | None = None


# Snapshots: kinds of an addition to Kubernetes, which a cluster may not have


class VolumeSnapshotClass(Object, frozen=True, kw_only=True):
    driver: str
    deletion_policy: str | None = None


class SnapshotError(Wire, frozen=True, kw_only=True):
    message: str | None = None


class SnapshotStatus(Wire, frozen=True, kw_only=True):
    bound_volume_snapshot_content_name: str | None = None
    ready_to_use: bool | None = None
    restore_size: str | None = None
    error: SnapshotError | None = None


class VolumeSnapshot(Object, frozen=True, kw_only=True):
    status: SnapshotStatus | None = None


class ContentSpec(Wire, frozen=True, kw_only=True):
    driver: str
    deletion_policy: str | None = None
    source_volume_mode: str | None = None
    volume_snapshot_class_name: str | None = None
    volume_snapshot_ref: ObjectReference | None = None


class ContentStatus(Wire, frozen=True, kw_only=True):
    snapshot_handle: str | None = None


class VolumeSnapshotContent(Object, frozen=True, kw_only=True):
    spec: ContentSpec
    status: ContentStatus | None = None


# Ours


class Custom(Object, frozen=True, kw_only=True):
    """An object of one of our kinds; `spec` and `status` are JSON, read by `kube/parse.py` and the controllers."""

    spec: dict[str, Any] | None = None
    status: dict[str, Any] | None = None


class Repository(Custom, frozen=True, kw_only=True):
    """Cluster-scoped."""


class Protection(Custom, frozen=True, kw_only=True):
    """One per labelled claim, of the same name."""


class Restore(Custom, frozen=True, kw_only=True):
    """What a claim's `dataSourceRef` points to."""


T = TypeVar("T", bound=Object)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind(Generic[T]):
    """Where a kind is served and how its objects are read."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool
    struct: type[T]

    def __str__(self) -> str:
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str | None, name: str | None = None, subresource: str | None = None) -> str:
        """Return the URL path of an object, or of all objects in a namespace (None: in all)."""
        if name is not None and self.namespaced and not namespace:
            raise ValueError(f"{self.kind} {name}: a namespace is needed")
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        inside = f"/namespaces/{namespace}" if namespace and self.namespaced else ""
        rest = "".join(f"/{part}" for part in (self.plural, name, subresource) if part is not None)
        return root + inside + rest


VERSION: Final = "v1alpha1"


def _core(plural: str, kind: str, struct: type[T], *, namespaced: bool = True) -> Kind[T]:
    return Kind(group="", version="v1", plural=plural, kind=kind, namespaced=namespaced, struct=struct)


def _named(group: str, plural: str, kind: str, struct: type[T], *, namespaced: bool = True) -> Kind[T]:
    return Kind(group=group, version="v1", plural=plural, kind=kind, namespaced=namespaced, struct=struct)


def _ours(plural: str, kind: str, struct: type[T], *, namespaced: bool = True) -> Kind[T]:
    return Kind(group=GROUP, version=VERSION, plural=plural, kind=kind, namespaced=namespaced, struct=struct)


CLAIMS = _core("persistentvolumeclaims", "PersistentVolumeClaim", PersistentVolumeClaim)
VOLUMES = _core("persistentvolumes", "PersistentVolume", PersistentVolume, namespaced=False)
CLASSES = _named("storage.k8s.io", "storageclasses", "StorageClass", StorageClass, namespaced=False)
NAMESPACES = _core("namespaces", "Namespace", Namespace, namespaced=False)
SECRETS = _core("secrets", "Secret", Secret)
PODS = _core("pods", "Pod", Pod)
JOBS = _named("batch", "jobs", "Job", Job)
DEPLOYMENTS = _named("apps", "deployments", "Deployment", Deployment)
EVENTS = _core("events", "Event", Event)
LEASES = _named("coordination.k8s.io", "leases", "Lease", Lease)
SNAPSHOTS = _named("snapshot.storage.k8s.io", "volumesnapshots", "VolumeSnapshot", VolumeSnapshot)
CONTENTS = _named(
    "snapshot.storage.k8s.io",
    "volumesnapshotcontents",
    "VolumeSnapshotContent",
    VolumeSnapshotContent,
    namespaced=False,
)
SNAPSHOT_CLASSES = _named(
    "snapshot.storage.k8s.io", "volumesnapshotclasses", "VolumeSnapshotClass", VolumeSnapshotClass, namespaced=False
)
REPOSITORIES = _ours("repositories", "Repository", Repository, namespaced=False)
PROTECTIONS = _ours("protections", "Protection", Protection)
RESTORES = _ours("restores", "Restore", Restore)

KINDS: Mapping[tuple[str, str], Kind[Any]] = {
    (kind.api_version, kind.kind): kind
    for kind in (
        CLAIMS,
        VOLUMES,
        CLASSES,
        NAMESPACES,
        SECRETS,
        PODS,
        JOBS,
        DEPLOYMENTS,
        EVENTS,
        LEASES,
        SNAPSHOTS,
        CONTENTS,
        SNAPSHOT_CLASSES,
        REPOSITORIES,
        PROTECTIONS,
        RESTORES,
    )
}


def kind_of(manifest: Manifest) -> Kind[Any]:
    """Return the kind that a manifest names; raise ValueError for one that we never write."""
    named = (manifest.get("apiVersion", ""), manifest.get("kind", ""))
    if named not in KINDS:
        raise ValueError(f"no kind {named[1]!r} in {named[0]!r} is known here")
    return KINDS[named]
