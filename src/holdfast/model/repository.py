"""Repositories: where snapshots live, one engine and one storage each."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class EngineKind(StrEnum):
    KOPIA = "kopia"
    RESTIC = "restic"
    MEMORY = "memory"


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Storage:
    """A bucket and a base prefix ("" or ending in "/"); the region is always named. Keys come from the environment."""

    endpoint: str  # host[:port], no scheme
    bucket: str
    prefix: str = ""
    region: str = "us-east-1"
    tls: bool = True
    path_style: bool = True
    ca_file: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectoryStorage:
    """A directory that must exist: it is never created by us, so that an unmounted disk is noticed.

    `called`: what people call it, where a pod has it at another path.
    """

    path: str
    called: str = ""

    def __str__(self) -> str:
        return self.called or self.path


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimStorage:
    """A directory in the volume of a claim of our namespace; `path` is relative, "" the volume's root."""

    claim: str
    path: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NfsStorage:
    """A directory that a server exports; nodes mount it."""

    server: str
    path: str


Storage = S3Storage | DirectoryStorage  # as an engine reaches it
Place = Storage | ClaimStorage | NfsStorage  # as a Repository names it; the directory is the node's there


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """Namespace `reader` may read the history of namespace `owner` (`*`: any)."""

    reader: str
    owner: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Repository:
    """A Repository object's spec, parsed. `prefix` below the storage's base is the engine's own when adopting."""

    name: str
    uid: str
    engine: EngineKind
    storage: Place
    secret: str
    cluster: str = ""
    namespaces: tuple[str, ...] = ("*",)
    grants: tuple[Grant, ...] = ()
    pin: str | None = None
    initialize_until: datetime | None = None
    known_id: str | None = None  # status.repositoryID: what we saw before


@dataclass(frozen=True, slots=True, kw_only=True)
class Marker:
    """`<base>/.holdfast/marker`: names the storage and the repository id; written once at initialisation.

    For kopia `repository_id` is the repository's uniqueID in hex; restic has one repository per claim, so there it
    is an id of ours. `salt` (hex) derives the key that authenticates marker and records from the password.
    """

    version: int
    engine: EngineKind
    repository_id: str
    salt: str
    created: datetime
