"""What every controller sees: one informer per kind, the client, the events and the clock."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from holdfast.decide import copying, guest, intent, protection, storage_class
from holdfast.decide.protection import Broken
from holdfast.kube import objects, parse, specs
from holdfast.kube.client import Kube
from holdfast.kube.events import Recorder
from holdfast.kube.informer import Informer
from holdfast.kube.objects import Key
from holdfast.kube.snapshots import SnapshotClasses
from holdfast.model.claim import Claim, ClaimRef, Identity
from holdfast.model.copying import ClassSettings, NoWay, Source, Way
from holdfast.model.intent import PREFIX, Intent, Problem
from holdfast.model.protection import NoPlan, Plan
from holdfast.model.repository import Repository
from holdfast.model.settings import Settings
from holdfast.render import claims, names, pods

FORGOTTEN: Final = timedelta(hours=1)  # longer than any controller waits before it looks again


@dataclass(frozen=True, slots=True, kw_only=True)
class Informers:
    """The objects that we watch; those of our own namespace only where nobody else's matter."""

    claims: Informer[objects.PersistentVolumeClaim]
    volumes: Informer[objects.PersistentVolume]
    classes: Informer[objects.StorageClass]
    namespaces: Informer[objects.Namespace]
    repositories: Informer[objects.Repository]
    protections: Informer[objects.Protection]
    restores: Informer[objects.Restore]
    secrets: Informer[objects.Secret]
    pods: Informer[objects.Pod]
    consumers: Informer[objects.Pod]  # until they have a node; everywhere, where claims are held by name
    jobs: Informer[objects.Job]
    warnings: Informer[objects.Event]  # about pods, Jobs and claims

    @classmethod
    def of(cls, kube: Kube, settings: Settings) -> "Informers":
        """Return informers that have not begun."""
        namespace = settings.namespace
        informers = cls(
            claims=Informer(kube, objects.CLAIMS),
            volumes=Informer(kube, objects.VOLUMES),
            classes=Informer(kube, objects.CLASSES),
            namespaces=Informer(kube, objects.NAMESPACES),
            repositories=Informer(kube, objects.REPOSITORIES),
            protections=Informer(kube, objects.PROTECTIONS),
            restores=Informer(kube, objects.RESTORES),
            secrets=Informer(kube, objects.SECRETS, namespace),
            pods=Informer(kube, objects.PODS, namespace),
            consumers=Informer(kube, objects.PODS, None if settings.by_name else namespace, fields="spec.nodeName="),
            jobs=Informer(kube, objects.JOBS, namespace),
            warnings=Informer(kube, objects.EVENTS, namespace, fields="type=Warning"),
        )
        informers.claims.index("component", _at_home(namespace, lambda claim: _label(claim, names.COMPONENT)))
        informers.claims.index("filled-for", _at_home(namespace, _filled_for))
        informers.claims.index("history", _history)
        informers.volumes.index("alias-of", _alias_of)
        informers.volumes.index("copy-of", lambda volume: _claimed_in(namespace, volume))
        informers.jobs.index("backup-of", _backup_of)
        informers.jobs.index("owner", lambda job: [each.uid for each in job.metadata.owner_references or ()])
        informers.consumers.index("uses", used_claims)
        informers.pods.index("job", lambda pod: _label(pod, "batch.kubernetes.io/job-name"))
        informers.pods.index("hash", lambda pod: _label(pod, names.HASH))
        informers.warnings.index("about", lambda event: (event.involved_object.uid or "",))
        return informers

    def all(self) -> tuple[Informer[objects.Object], ...]:
        """Return every informer, for running them."""
        return tuple(getattr(self, name) for name in self.__slots__)


def _at_home(
    namespace: str, words: Callable[[objects.PersistentVolumeClaim], tuple[str, ...]]
) -> Callable[[objects.PersistentVolumeClaim], tuple[str, ...]]:
    """Return an index of our namespace's claims alone: elsewhere whoever owns a claim can make it look like ours."""
    return lambda claim: words(claim) if claim.metadata.namespace == namespace else ()


def _label(item: objects.Object, key: str) -> tuple[str, ...]:
    value = item.labels.get(key)
    return (value,) if value else ()


def _history(claim: objects.PersistentVolumeClaim) -> tuple[str, ...]:
    """Return `namespace/claim` of the history that a claim names as its own: those that share one are found by it."""
    try:
        named = Identity.parse(claim.annotations.get(PREFIX + "identity", "").strip())
    except ValueError:
        return (str(claim.key),)
    return (f"{named.namespace}/{named.claim}",)


def used_claims(pod: objects.Pod) -> tuple[str, ...]:
    """Return `namespace/name` of every claim that the pod uses."""
    sources = (each.persistent_volume_claim for each in pod.spec.volumes or ())
    return tuple(f"{pod.metadata.namespace}/{each.claim_name}" for each in sources if each is not None)


def _backup_of(job: objects.Job) -> tuple[str, ...]:
    found = job.annotations.get(claims.CLAIM)
    return (found,) if found and job.labels.get(names.KIND) == "backup" else ()


def _alias_of(volume: objects.PersistentVolume) -> tuple[str, ...]:
    found = volume.annotations.get(claims.CLAIM)
    return (found,) if found and volume.labels.get(names.COMPONENT) == "backup" else ()


def _claimed_in(namespace: str, volume: objects.PersistentVolume) -> tuple[str, ...]:
    """Return the name of the claim of our namespace that a volume belongs to."""
    owner = volume.spec.claim_ref
    return (owner.name,) if owner is not None and owner.namespace == namespace and owner.name else ()


def _filled_for(claim: objects.PersistentVolumeClaim) -> tuple[str, ...]:
    found = claim.annotations.get(claims.CLAIM)
    return (found,) if found and claim.labels.get(names.COMPONENT) == "fill" else ()


class Met:
    """Since when objects are known here. What they say of their own age goes by the cluster's clock, not by ours."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._known: dict[str, tuple[datetime, datetime]] = {}  # by uid: first and last asked for

    def since(self, item: objects.Object) -> datetime:
        """Return when the object was asked for first; one that nobody has asked for in FORGOTTEN is met anew."""
        uid, now = item.metadata.uid, self._now()
        if uid not in self._known:
            self._known = {each: asked for each, asked in self._known.items() if now - asked[1] < FORGOTTEN}
        first, _ = self._known.get(uid, (now, now))
        self._known[uid] = first, now
        return first


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Handed to every controller."""

    kube: Kube
    settings: Settings
    informers: Informers
    events: Recorder
    now: Callable[[], datetime]
    met: Met
    cluster_uid: str
    snapshot_classes: SnapshotClasses

    def claim(self, ref: ClaimRef) -> Claim | None:
        """Return the claim as far as it is known."""
        found = self.informers.claims.get(ref.namespace, ref.name)
        return parse.claim(found) if found is not None else None

    def is_ending(self, namespace: str) -> bool:
        """Return whether the namespace is being deleted, or gone: nothing can be created in it."""
        found = self.informers.namespaces.get("", namespace)
        return found is None or found.is_deleting

    def namespace_labels(self, name: str) -> Mapping[str, str]:
        """Return a namespace's labels as far as they are known."""
        namespace = self.informers.namespaces.get("", name)
        return namespace.labels if namespace is not None else {}

    def intent(self, claim: Claim) -> Intent:
        """Return what the claim's and its namespace's labels and annotations ask for."""
        return intent.read(claim, self.namespace_labels(claim.ref.namespace), self.settings.label)

    def plan(self, claim: Claim) -> Plan | NoPlan:
        """Return what is done for the claim."""
        wish = self.intent(claim)
        wish = replace(wish, problems=wish.problems + protection.limits(claim))
        return protection.plan(claim.ref, wish, self.repositories())

    async def way(self, claim: Claim, plan: Plan) -> Way | None:
        """Return how the claim's data is read; None as long as its volume is not known."""
        volume = self.informers.volumes.get("", claim.volume_name or "")
        if volume is None:
            return None
        found = self.informers.classes.get("", claim.storage_class or "")
        settings = storage_class.read(found.metadata.name, found.annotations) if found is not None else ClassSettings()
        if isinstance(settings, Problem):
            return NoWay(reason="ClassSettings", detail=str(settings))
        source = Source(
            driver=str(volume.spec.csi.get("driver")) if volume.spec.csi is not None else None,
            provisioner=found.provisioner if found is not None else None,
            has_alias=alias_source(volume) is not None,
            settings=settings,
        )
        namespace = claim.ref.namespace
        no_guest = guest.refusal(namespace, self.namespace_labels(namespace), plan.repository.value)
        classes = await self.snapshot_classes.current()
        return copying.way(claim, plan.copy_method, source, classes, no_guest=no_guest)

    def warnings(self, *about: objects.Object) -> Sequence[objects.Event]:
        """Return what the cluster has against objects of our namespace."""
        return [event for item in about for event in self.informers.warnings.by("about", item.metadata.uid)]

    def writer(self, ref: ClaimRef, plan: Plan) -> ClaimRef | None:
        """Return the other claim that writes this claim's history; None when this claim does."""
        identity = plan.identity.value
        sharing = {ref: (plan.repository.value.name, identity)}
        for item in self.informers.claims.by("history", f"{identity.namespace}/{identity.claim}"):
            other = parse.claim(item)
            found = self.plan(other) if other.ref != ref else None
            if isinstance(found, Plan):
                sharing[other.ref] = (found.repository.value.name, found.identity.value)
        return protection.clashes(sharing).get(ref)

    def sharers(self, item: objects.PersistentVolumeClaim) -> tuple[Key, ...]:
        """Return the claims that name the same history as this one."""
        return tuple(each.key for word in _history(item) for each in self.informers.claims.by("history", word))

    def repositories(self) -> Mapping[str, Repository | Broken]:
        """Return every Repository, or why it cannot be used as it stands (spec or Secret)."""
        return {item.metadata.name: self.repository(item) for item in self.informers.repositories.objects.values()}

    def repository(self, item: objects.Repository) -> Repository | Broken:
        """Return the Repository, or what is wrong with its spec or its Secret, and what to do."""
        try:
            repository = specs.repository(item)
        except ValueError as error:
            return str(error)
        return missing_secret(repository, self.informers.secrets, self.settings.namespace) or repository


def alias_source(volume: objects.PersistentVolume) -> Mapping[str, Any] | None:
    """Return the volume's source as a second volume names it; None for kinds that have none proven to work."""
    spec = volume.spec
    if spec.host_path is not None:
        return {"hostPath": {**spec.host_path, "type": "Directory"}}
    if spec.local is not None:
        return {"local": spec.local}
    if spec.nfs is not None:
        return {"nfs": {**spec.nfs, "readOnly": True}}
    if spec.csi is not None:
        return {"csi": {**spec.csi, "readOnly": True}}
    return None


def missing_secret(repository: Repository, secrets: Informer[objects.Secret], namespace: str) -> Broken | None:
    """Return what is missing of the repository's Secret; None when all keys are there."""
    secret = secrets.get(namespace, repository.secret)
    if secret is None:
        return (
            f"Secret {namespace}/{repository.secret} does not exist: create it with the keys "
            f"{', '.join(pods.secret_keys(repository))}"
        )
    missing = [key for key in pods.secret_keys(repository) if not (secret.data or {}).get(key)]
    if missing:
        return f"Secret {namespace}/{repository.secret} lacks {', '.join(missing)}"
    return None
