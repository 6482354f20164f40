"""Specs of our own kinds, parsed, with a message for each field that cannot be read."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from holdfast.kube import objects, places
from holdfast.kube.fields import Fields
from holdfast.model.repository import EngineKind, Grant, Repository

_CLUSTER: Final = re.compile(r"[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?")


def repository(item: objects.Repository) -> Repository:
    """Return the Repository as it can be used.

    Raises ValueError whose message names every problem, one a line, each with its path and what to write instead.
    """
    read = Fields()
    spec = item.spec or {}
    engine = _engine(read, spec)
    storage = places.storage(read, read.object(spec, "storage", "spec"))
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


def _engine(read: Fields, spec: Mapping[str, Any]) -> EngineKind | None:
    text = read.text(spec, "engine", "spec", required=True)
    try:
        return EngineKind(text) if text else None
    except ValueError:
        read.problem("spec.engine", f"{text!r} is not known", "write kopia or restic")
        return None


def _grants(read: Fields, spec: Mapping[str, Any]) -> tuple[Grant, ...]:
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


def _time(read: Fields, spec: Mapping[str, Any], name: str, path: str) -> datetime | None:
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
