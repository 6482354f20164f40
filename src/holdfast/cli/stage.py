"""Where the demo plays: a repository on a directory or in a bucket, and how its disasters are made."""

import os
import secrets
import shutil
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from holdfast.engines.storage import open_storage
from holdfast.kube import objects
from holdfast.kube.client import Kube
from holdfast.model.repository import S3Storage

SECRET = "default-repository"
PASSWORD_KEYS = {"kopia": "KOPIA_PASSWORD", "restic": "RESTIC_PASSWORD"}


class StorageUnusable(Exception):
    """The storage that was asked for cannot be used; the message says what to do."""


class Place(Protocol):
    """A storage for one demo: made for it, and removed with it."""

    @property
    def where(self) -> str:
        """Return the place for people."""

    def spec(self) -> Mapping[str, Any]:
        """Return `spec.storage` of the Repository."""

    def elsewhere(self) -> Mapping[str, Any]:
        """Return `spec.storage` of a place beside it that holds nothing."""

    def secret(self) -> Mapping[str, str]:
        """Return the storage's keys for the Secret."""

    async def vanish(self, kube: Kube, /) -> None:
        """Make the storage unreachable."""

    async def reappear(self, kube: Kube, /) -> None:
        """Undo `vanish`."""

    async def remove(self) -> None:
        """Delete everything that the demo put there."""


async def point(kube: Kube, storage: Mapping[str, Any]) -> None:
    """Let the Repository look at another place."""
    replaced = {"s3": None, "filesystem": None, **storage}
    await kube.patch(objects.REPOSITORIES, "default", None, {"spec": {"storage": replaced}})


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectoryPlace:
    """A directory of the demo's own below the one that was asked for."""

    path: Path

    @classmethod
    def below(cls, parent: Path) -> "DirectoryPlace":
        """Return a new directory; raise StorageUnusable when it cannot be made."""
        path = parent.resolve() / _unique()
        try:
            path.mkdir(parents=True)
            cls(path=path)._empty.mkdir()
        except OSError as error:
            raise StorageUnusable(f"cannot make {path}: {error.strerror}; name another directory") from error
        return cls(path=path)

    @property
    def where(self) -> str:
        return str(self.path)

    @property
    def _away(self) -> Path:
        return self.path.with_name(self.path.name + ".unplugged")

    @property
    def _empty(self) -> Path:
        return self.path.with_name(self.path.name + ".empty-mount")

    def spec(self) -> Mapping[str, Any]:
        return {"filesystem": {"hostPath": str(self.path)}}

    def elsewhere(self) -> Mapping[str, Any]:
        return {"filesystem": {"hostPath": str(self._empty)}}

    def secret(self) -> Mapping[str, str]:
        return {}

    async def vanish(self, _: Kube, /) -> None:
        self.path.rename(self._away)

    async def reappear(self, _: Kube, /) -> None:
        self._away.rename(self.path)

    async def remove(self) -> None:
        for each in (self.path, self._away, self._empty):
            shutil.rmtree(each, ignore_errors=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketPlace:
    """A prefix of the demo's own in a bucket; endpoint and keys come from the environment, as for other S3 tools."""

    storage: S3Storage
    keys: Mapping[str, str]

    @classmethod
    def below(cls, url: str, environment: Mapping[str, str]) -> "BucketPlace":
        """Return a new prefix below `s3://bucket/prefix`; raise StorageUnusable when something is missing."""
        parts = urlsplit(url)
        endpoint = environment.get("AWS_ENDPOINT_URL_S3") or environment.get("AWS_ENDPOINT_URL")
        region = environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION") or "us-east-1"
        missing = [key for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY") if not environment.get(key)]
        if not parts.netloc:
            raise StorageUnusable(f"{url} names no bucket: write s3://bucket/prefix")
        if missing:
            raise StorageUnusable(f"{' and '.join(missing)} must be set in the environment for {url}")
        server = urlsplit(endpoint or f"https://s3.{region}.amazonaws.com")
        if server.scheme not in ("http", "https") or not server.netloc:
            raise StorageUnusable(f"AWS_ENDPOINT_URL is {endpoint!r}: write http://host:port or https://host")
        base = parts.path.strip("/")
        storage = S3Storage(
            endpoint=server.netloc,
            bucket=parts.netloc,
            prefix=f"{base}/{_unique()}/" if base else f"{_unique()}/",
            region=region,
            tls=server.scheme == "https",
        )
        names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
        return cls(storage=storage, keys={key: environment[key] for key in names if environment.get(key)})

    @property
    def where(self) -> str:
        return f"s3://{self.storage.bucket}/{self.storage.prefix} on {self.storage.endpoint}"

    def spec(self) -> Mapping[str, Any]:
        return self._spec(self.storage.endpoint, self.storage.prefix)

    def elsewhere(self) -> Mapping[str, Any]:
        return self._spec(self.storage.endpoint, self.storage.prefix.rstrip("/") + "-mistyped/")

    def _spec(self, endpoint: str, prefix: str) -> Mapping[str, Any]:
        s3 = {
            "endpoint": endpoint,
            "bucket": self.storage.bucket,
            "prefix": prefix,
            "region": self.storage.region,
            "insecure": not self.storage.tls,
        }
        return {"s3": s3}

    def secret(self) -> Mapping[str, str]:
        return self.keys

    async def vanish(self, kube: Kube, /) -> None:
        await point(kube, self._spec(f"127.0.0.1:{_closed_port()}", self.storage.prefix))

    async def reappear(self, kube: Kube, /) -> None:
        await point(kube, self.spec())

    async def remove(self) -> None:
        storage = open_storage(self.storage, self.keys)
        try:
            for each in await storage.list(""):
                await storage.delete(each.key)
        finally:
            await storage.aclose()


def place(asked: str | None, scratch: Path) -> Place:
    """Return the place for the storage that was asked for; without any, one below `scratch`."""
    if asked is not None and asked.startswith("s3://"):
        return BucketPlace.below(asked, os.environ)
    return DirectoryPlace.below(Path(asked) if asked is not None else scratch)


def repository(engine: str, where: Place, until: str) -> dict[str, Any]:
    """Return the Repository that the demo creates."""
    return {
        "apiVersion": objects.REPOSITORIES.api_version,
        "kind": objects.REPOSITORIES.kind,
        "metadata": {"name": "default"},
        "spec": {
            "engine": engine,
            "storage": dict(where.spec()),
            "credentials": {"secretRef": {"name": SECRET}},
            "initializeUntil": until,
        },
    }


def secret(engine: str, where: Place, namespace: str) -> dict[str, Any]:
    """Return the repository's Secret, with a password of this demo's own."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": SECRET, "namespace": namespace},
        "stringData": {PASSWORD_KEYS[engine]: secrets.token_urlsafe(24), **where.secret()},
    }


def _unique() -> str:
    return f"holdfast-demo-{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


def _closed_port() -> int:
    """Return a port on which nothing listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
