"""What the commands read from a cluster: claims, Repositories, Protections, as values."""

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from holdfast.cli.options import Asked
from holdfast.cli.problems import ExitCode, Problem
from holdfast.decide import intent, ownership, protection, request
from holdfast.decide.protection import Broken
from holdfast.kube import errors, objects, parse, specs
from holdfast.kube.client import Kube
from holdfast.model.claim import Claim, ClaimRef, Identity
from holdfast.model.intent import Intent, RestoreMode, Sourced
from holdfast.model.protection import NoPlan
from holdfast.model.repository import Repository
from holdfast.model.request import AUTO, GROUP, KIND, RestoreRequest
from holdfast.model.verdict import Hold
from holdfast.render import pods


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """A connection, and what the shared options say."""

    kube: Kube
    asked: Asked

    def ref(self, text: str) -> ClaimRef:
        """Return the claim that `namespace/name`, or a name in the current namespace, names."""
        try:
            return ClaimRef.parse(text if "/" in text else f"{self.kube.namespace}/{text}")
        except ValueError as error:
            raise Problem(f"{error}", "Write namespace/name, or a name and -n NAMESPACE.", ExitCode.USAGE) from error


@asynccontextmanager
async def connect(asked: Asked) -> AsyncGenerator[Cluster, None]:
    """Yield the cluster that the options lead to."""
    kube = Kube.connect(asked.kubeconfig, asked.context, asked.namespace)
    try:
        yield Cluster(kube=kube, asked=asked)
    finally:
        await kube.aclose()


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """What the objects say about one claim, which may be gone."""

    ref: ClaimRef
    claim: Claim | None
    wish: Intent | None
    item: objects.Protection | None
    request: RestoreRequest | NoPlan | None
    repositories: Mapping[str, Repository | Broken]


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """Whose history is asked for, where it lies, and which point of it."""

    repository: Sourced[Repository]
    identity: Sourced[Identity]
    mode: Sourced[RestoreMode]
    accept_partial: str | None


async def claimed(cluster: Cluster, ref: ClaimRef) -> Claimed:
    """Return what the objects say about a claim."""
    found = await find(cluster, objects.CLAIMS, ref.name, ref.namespace)
    claim = parse.claim(found) if found is not None else None
    namespace = await find(cluster, objects.NAMESPACES, ref.namespace)
    labels = namespace.labels if namespace is not None else {}
    return Claimed(
        ref=ref,
        claim=claim,
        wish=intent.read(claim, labels, cluster.asked.label) if claim is not None else None,
        item=await protection_of(cluster, ref),
        request=await _request(cluster, claim) if claim is not None else None,
        repositories=await repositories(cluster),
    )


async def find(
    cluster: Cluster, kind: objects.Kind[objects.T], name: str, namespace: str | None = None
) -> objects.T | None:
    """Return an object; None when there is none of this name."""
    try:
        return await cluster.kube.get(kind, name, namespace)
    except errors.NotFound:
        return None


async def warnings(cluster: Cluster, about: Iterable[objects.Object]) -> Sequence[objects.Event]:
    """Return the warnings about these objects; none where this person may not read Events."""
    told: list[objects.Event] = []
    with suppress(errors.Forbidden):
        for each in about:
            fields = f"involvedObject.uid={each.metadata.uid},type=Warning"
            told.extend(await cluster.kube.list(objects.EVENTS, each.metadata.namespace, fields=fields))
    return told


async def protection_of(cluster: Cluster, ref: ClaimRef) -> objects.Protection | None:
    """Return the claim's Protection; one that somebody else made is none (P8)."""
    found = await find(cluster, objects.PROTECTIONS, ref.name, ref.namespace)
    return found if found is not None and ownership.is_ours(found.labels) else None


async def protections(cluster: Cluster, namespace: str | None) -> Mapping[ClaimRef, objects.Protection]:
    """Return all Protections of ours, in one namespace or in all."""
    found = await cluster.kube.list(objects.PROTECTIONS, namespace)
    return {
        ClaimRef(namespace=each.metadata.namespace or "", name=each.metadata.name): each
        for each in found
        if ownership.is_ours(each.labels)
    }


async def repositories(cluster: Cluster) -> Mapping[str, Repository | Broken]:
    """Return every Repository, or why it cannot be used as it stands (spec or Secret)."""
    found: dict[str, Repository | Broken] = {}
    for item in await cluster.kube.list(objects.REPOSITORIES):
        found[item.metadata.name] = await _repository(cluster, item)
    return found


async def _repository(cluster: Cluster, item: objects.Repository) -> Repository | Broken:
    try:
        repository = specs.repository(item)
    except ValueError as error:
        return str(error)
    namespace = cluster.asked.holdfast_namespace
    secret = await find(cluster, objects.SECRETS, repository.secret, namespace)
    data = (secret.data or {}) if secret is not None else {}
    missing = [key for key in pods.secret_keys(repository) if not data.get(key)]
    if secret is None:
        return f"Secret {namespace}/{repository.secret} does not exist: create it with {', '.join(missing)}"
    return f"Secret {namespace}/{repository.secret} lacks {', '.join(missing)}" if missing else repository


async def _request(cluster: Cluster, claim: Claim) -> RestoreRequest | NoPlan | None:
    """Return what the Restore that the claim names asks for; None when it names `auto` or none of ours."""
    source = claim.source
    if source is None or (source.group, source.kind) != (GROUP, KIND) or source.name == AUTO:
        return None
    where = f"Restore {claim.ref.namespace}/{source.name}"
    found = await find(cluster, objects.RESTORES, source.name, claim.ref.namespace)
    if found is None:
        return NoPlan(why=Hold.NO_REQUEST, detail=f"there is no {where}: create it")
    try:
        return request.read(source.name, found.spec or {})
    except ValueError as error:
        return NoPlan(why=Hold.NO_REQUEST, detail=f"{where}: {error}")


def order(found: Claimed, repository: str | None = None) -> Order | NoPlan:
    """Return whose history a claim of this name asks for, as it would be asked for now.

    `repository` overrides what the objects say. A claim that is gone is remembered by its Protection.
    """
    wish, asked = found.wish, found.request
    if isinstance(asked, NoPlan):
        return asked
    remembered = _remembered(found) if wish is None else {}
    named = repository or (asked.repository if asked is not None else None)
    named = named or (wish.repository if wish is not None else remembered.get("repository"))
    chosen = protection.choose(named, found.ref.namespace, found.repositories)
    if isinstance(chosen, NoPlan):
        return chosen
    if repository is not None:
        chosen = Sourced(value=chosen.value, origin="option --repository")
    elif asked is not None and asked.repository is not None:
        chosen = Sourced(value=chosen.value, origin=f"Restore {asked.name}")
    identity = _identity(found, chosen.value, remembered.get("identity"))
    if isinstance(identity, NoPlan):
        return identity
    return Order(
        repository=chosen,
        identity=identity,
        mode=_mode(wish, asked),
        accept_partial=wish.accept_partial if wish is not None else None,
    )


def _remembered(found: Claimed) -> Mapping[str, str]:
    plan = ((found.item.status or {}) if found.item is not None else {}).get("plan")
    if not isinstance(plan, dict):
        return {}
    return {name: value for name in ("repository", "identity") if isinstance(value := plan.get(name), str) and value}


def _identity(found: Claimed, repository: Repository, remembered: str | None) -> Sourced[Identity] | NoPlan:
    if isinstance(found.request, RestoreRequest) and found.request.identity is not None:
        identity = protection.identify(found.ref, found.request.identity, repository)
        origin = f"Restore {found.request.name}"
    elif remembered is not None:
        identity = protection.identify(found.ref, Identity.parse(remembered), repository)
        origin = f"Protection {found.ref}"
    else:
        return protection.identify(found.ref, found.wish.identity if found.wish is not None else None, repository)
    return identity if isinstance(identity, NoPlan) else Sourced(value=identity.value, origin=origin)


def _mode(wish: Intent | None, asked: RestoreRequest | None) -> Sourced[RestoreMode]:
    if asked is not None:
        return Sourced(value=asked.mode, origin=f"Restore {asked.name}")
    if wish is not None:
        return wish.restore
    return Sourced(value=intent.parse_restore("auto", None), origin="default")
