"""Kubernetes objects → the model's values. Every problem of an object is found at once, with its path and advice."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any, Final

from holdfast.kube import objects
from holdfast.model.claim import Claim, ClaimPhase, ClaimRef, DataSource, Owner
from holdfast.model.population import Consumer
from holdfast.model.repository import DirectoryStorage, EngineKind, Grant, Repository, S3Storage, Storage

SELECTED_NODE: Final = "volume.kubernetes.io/selected-node"

_BINARY: Final = {f"{letter}i": Fraction(1024) ** power for power, letter in enumerate("KMGTPE", start=1)}
_DECIMAL: Final = {letter: Fraction(1000) ** power for power, letter in enumerate("kMGTPE", start=1)}
_SMALL: Final = {"n": Fraction(1, 10**9), "u": Fraction(1, 10**6), "m": Fraction(1, 1000), "": Fraction(1)}
_SUFFIXES: Final = _BINARY | _DECIMAL | _SMALL
_QUANTITY: Final = re.compile(r"([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+))(?:[eE]([+-]?[0-9]{1,3})|([KMGTPE]i|[numkMGTPE]|))")

_CLUSTER: Final = re.compile(r"[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?")
_ENDPOINT: Final = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?)(:[0-9]{1,5})?")


def quantity(text: str) -> int:
    """Return the bytes that a Kubernetes quantity means, exactly; a fraction of a byte counts as one.

    Raises ValueError for anything else.
    """
    found = _QUANTITY.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no quantity such as 5Gi, 1500M or 1e9")
    number, exponent, suffix = found.groups()
    factor = Fraction(10) ** int(exponent) if exponent else _SUFFIXES[suffix]
    return -int(-Fraction(number) * factor // 1)


def claim(pvc: objects.PersistentVolumeClaim) -> Claim:
    """Return the claim as decisions see it; raise ValueError when it lacks what every stored claim has."""
    meta, spec = pvc.metadata, pvc.spec
    status = pvc.status or objects.ClaimStatus()
    requests = (spec.resources.requests if spec.resources else None) or {}
    if meta.namespace is None:
        raise ValueError(f"claim {meta.name}: metadata.namespace is missing")
    ref = ClaimRef(namespace=meta.namespace, name=meta.name)
    if "storage" not in requests:
        raise ValueError(f"claim {ref}: spec.resources.requests.storage is missing")
    if status.phase is None:
        raise ValueError(f"claim {ref}: status.phase is missing")
    capacity = (status.capacity or {}).get("storage")
    return Claim(
        ref=ref,
        uid=meta.uid,
        created=meta.creation_timestamp,
        labels=pvc.labels,
        annotations=pvc.annotations,
        phase=ClaimPhase(status.phase),
        storage_class=spec.storage_class_name,
        access_modes=tuple(spec.access_modes or ()),
        volume_mode=spec.volume_mode or "Filesystem",  # the API's own default
        requested_bytes=quantity(requests["storage"]),
        capacity_bytes=quantity(capacity) if capacity is not None else None,
        volume_name=spec.volume_name or None,
        source=_source(spec.data_source_ref or spec.data_source),
        owners=tuple(_owner(reference) for reference in meta.owner_references or ()),
        selected_node=pvc.annotations.get(SELECTED_NODE) or None,
        has_selector=spec.selector is not None,
        deleting=pvc.is_deleting,
    )


def consumer(pod: objects.Pod) -> Consumer:
    """Return what decides where the pod can run."""
    spec = pod.spec
    return Consumer(
        namespace=pod.metadata.namespace or "",
        node_selector=spec.node_selector or {},
        affinity=spec.affinity or {},
        tolerations=spec.tolerations or (),
        scheduler=spec.scheduler_name,
        resources=[each.resources or {} for each in spec.containers or ()],
    )


def _source(reference: objects.TypedReference | None) -> DataSource | None:
    if reference is None:
        return None
    return DataSource(group=reference.api_group or "", kind=reference.kind, name=reference.name)


def _owner(reference: objects.OwnerReference) -> Owner:
    return Owner(
        api_version=reference.api_version,
        kind=reference.kind,
        name=reference.name,
        uid=reference.uid,
        controller=reference.controller is True,
    )


def repository(item: objects.Repository) -> Repository:
    """Return the Repository as it can be used.

    Raises ValueError whose message names every problem, one a line, each with its path and what to write instead.
    """
    read = _Fields()
    spec = item.spec or {}
    engine = _engine(read, spec)
    storage = _storage(read, read.object(spec, "storage", "spec"))
    credentials = read.object(spec, "credentials", "spec")
    secret = read.text(
        read.object(credentials, "secretRef", "spec.credentials"), "name", "spec.credentials.secretRef", required=True
    )
    cluster = read.text(spec, "cluster", "spec")
    if cluster and not _CLUSTER.fullmatch(cluster):
        read.problem("spec.cluster", f"{cluster!r} cannot stand in a backup's name", "use a-z, 0-9, '-' and '.'")
    namespaces = read.texts(spec, "namespaces", "spec")
    grants = _grants(read, spec)
    until = _time(read, spec, "initializeUntil", "spec")
    pin = read.text(spec, "repositoryID", "spec")
    known = read.text(item.status or {}, "repositoryID", "status")
    if read.problems or engine is None or storage is None:
        raise ValueError("\n".join(read.problems))
    return Repository(
        name=item.metadata.name,
        uid=item.metadata.uid,
        engine=engine,
        storage=storage,
        secret=secret,
        cluster=cluster,
        namespaces=("*",) if namespaces is None else namespaces,
        grants=grants,
        pin=pin or None,
        initialize_until=until,
        known_id=known or None,
    )


@dataclass(slots=True)
class _Fields:
    """Reads values out of JSON and notes what is wrong with them."""

    problems: list[str] = field(default_factory=list)

    def problem(self, path: str, what: str, advice: str) -> None:
        self.problems.append(f"{path}: {what}; {advice}")

    def object(self, parent: Mapping[str, Any] | None, name: str, path: str) -> Mapping[str, Any] | None:
        """Return the object; None, which is noted, when it is missing. What is below None is not noted again."""
        value = parent.get(name) if parent is not None else None
        if isinstance(value, Mapping):
            return value
        if value is not None:
            self.problem(f"{path}.{name}", f"{value!r} is no object", "write fields below it")
        elif parent is not None:
            self.problem(f"{path}.{name}", "is missing", "write it (`holdfast render repository` shows an example)")
        return None

    def text(self, parent: Mapping[str, Any] | None, name: str, path: str, *, required: bool = False) -> str:
        """Return the text, "" when it is missing or no text."""
        if parent is None:
            return ""
        value = parent.get(name)
        if isinstance(value, str) and value.strip() == value and (value or not required):
            return value
        if isinstance(value, str) and value.strip():
            self.problem(f"{path}.{name}", f"{value!r} has spaces around it", f"write {value.strip()!r}")
        elif value is not None and not isinstance(value, str):
            self.problem(f"{path}.{name}", f"{value!r} is no text", "put it in quotes")
        elif required:
            self.problem(f"{path}.{name}", "is missing", "give it a value")
        return ""

    def texts(self, parent: Mapping[str, Any], name: str, path: str) -> tuple[str, ...] | None:
        """Return the list of texts, None when it is not given."""
        value = parent.get(name)
        if value is None:
            return None
        if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
            self.problem(f"{path}.{name}", f"{value!r} is no list of names", 'write for example ["media", "home"]')
            return ()
        return tuple(value)

    def flag(self, parent: Mapping[str, Any], name: str, path: str) -> bool | None:
        value = parent.get(name)
        if value is None or isinstance(value, bool):
            return value
        self.problem(f"{path}.{name}", f"{value!r} is neither true nor false", "write true or false, without quotes")
        return None


def _engine(read: _Fields, spec: Mapping[str, Any]) -> EngineKind | None:
    text = read.text(spec, "engine", "spec", required=True)
    try:
        return EngineKind(text) if text else None
    except ValueError:
        read.problem("spec.engine", f"{text!r} is not known", "write kopia or restic")
        return None


def _storage(read: _Fields, storage: Mapping[str, Any] | None) -> Storage | None:
    if storage is None:
        return None
    given = sorted(name for name in ("s3", "filesystem") if storage.get(name) is not None)
    match given:
        case ["s3"]:
            return _s3(read, read.object(storage, "s3", "spec.storage"))
        case ["filesystem"]:
            return _directory(read, read.object(storage, "filesystem", "spec.storage"))
        case []:
            read.problem("spec.storage", "says not where the snapshots are", "write s3 or filesystem below it")
        case _:
            read.problem("spec.storage", "names two places", "keep one of s3 and filesystem")
    return None


def _directory(read: _Fields, directory: Mapping[str, Any] | None) -> Storage | None:
    if directory is None:
        return None
    where = "spec.storage.filesystem"
    path = read.text(directory, "hostPath", where, required=True)
    if path and (not path.startswith("/") or ".." in path.split("/") or path.strip("/") == ""):
        read.problem(f"{where}.hostPath", f"{path!r} is no directory of its own", "write an absolute path without ..")
    return DirectoryStorage(path=path)


def _s3(read: _Fields, s3: Mapping[str, Any] | None) -> Storage | None:
    if s3 is None:
        return None
    where = "spec.storage.s3"
    endpoint, tls = _endpoint(read, s3, where)
    bucket = read.text(s3, "bucket", where, required=True)
    if "/" in bucket:
        name, _, rest = bucket.partition("/")
        read.problem(
            f"{where}.bucket", f"{bucket!r} is more than a bucket", f"write {name!r} and put {rest!r} in prefix"
        )
    return S3Storage(
        endpoint=endpoint,
        bucket=bucket,
        prefix=_prefix(read, s3, where),
        region=read.text(s3, "region", where) or "us-east-1",
        tls=tls,
        path_style=read.flag(s3, "virtualHost", where) is not True,
    )


def _endpoint(read: _Fields, s3: Mapping[str, Any], where: str) -> tuple[str, bool]:
    """Return host[:port] and whether TLS is used: a scheme says it, or else `insecure`."""
    text = read.text(s3, "endpoint", where, required=True)
    insecure = read.flag(s3, "insecure", where)
    scheme, separator, rest = text.partition("://")
    endpoint = (rest if separator else text).rstrip("/")
    if separator and scheme not in ("http", "https"):
        read.problem(f"{where}.endpoint", f"{scheme}:// is no way to speak S3", f"write {endpoint!r}")
    elif text and not _ENDPOINT.fullmatch(endpoint):
        read.problem(
            f"{where}.endpoint",
            f"{text!r} is not of the form host[:port]",
            "write for example minio.storage.svc:9000; a path belongs in prefix",
        )
    if separator and insecure is not None and insecure is not (scheme == "http"):
        read.problem(f"{where}.insecure", f"{insecure} contradicts {scheme}://", "leave one of them out")
    return endpoint, scheme == "https" if separator else insecure is not True


def _prefix(read: _Fields, s3: Mapping[str, Any], where: str) -> str:
    text = read.text(s3, "prefix", where)
    path = text.rstrip("/")
    if path and not all(part not in ("", ".", "..") for part in path.split("/")):
        read.problem(f"{where}.prefix", f"{text!r} is no prefix", "write for example backups/home, without a leading /")
    return f"{path}/" if path else ""


def _grants(read: _Fields, spec: Mapping[str, Any]) -> tuple[Grant, ...]:
    value = spec.get("grants")
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(item, Mapping) for item in value):
        read.problem(
            "spec.grants",
            "is no list of grants",
            "write for example [{from: home, to: old-home}]: home may read what old-home backed up",
        )
        return ()
    grants = []
    for number, item in enumerate(value):
        where = f"spec.grants[{number}]"
        reader, owner = (read.text(item, name, where, required=True) for name in ("from", "to"))
        grants.append(Grant(reader=reader, owner=owner))
    return tuple(grants)


def _time(read: _Fields, spec: Mapping[str, Any], name: str, path: str) -> datetime | None:
    text = read.text(spec, name, path)
    if not text:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        read.problem(f"{path}.{name}", f"{text!r} is no time", "write for example 2026-12-01T00:00:00Z")
        return None
    if time.tzinfo is None:
        read.problem(f"{path}.{name}", f"{text!r} names no time zone", "write for example 2026-12-01T00:00:00Z")
        return None
    return time.astimezone(UTC)
