"""Our own objects are read exactly or refused, with every problem, its path and what to write instead."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from holdfast.kube import objects, specs
from holdfast.model.repository import (
    ClaimStorage,
    DirectoryStorage,
    EngineKind,
    Grant,
    NfsStorage,
    Place,
    S3Storage,
)
from tests.support.chaos_api import meta

S3 = {"endpoint": "minio.storage.svc:9000", "bucket": "backups"}


def read_repository(status: dict[str, Any] | None = None, **changes: Any) -> objects.Repository:
    spec = {"engine": "kopia", "storage": {"s3": S3}, "credentials": {"secretRef": {"name": "keys"}}} | changes
    metadata = meta("main", 2)
    del metadata["namespace"]
    return msgspec.convert({"metadata": metadata, "spec": spec, "status": status}, objects.Repository)


def test_a_repository_is_read_whole() -> None:
    read = specs.repository(
        read_repository(
            {"repositoryID": "seen"},
            engine="restic",
            storage={"s3": {**S3, "prefix": "home/k8s", "region": "eu-1", "insecure": True, "virtualHost": True}},
            cluster="home",
            namespaces=["media", "home"],
            grants=[{"from": "home", "to": "old-home"}],
            repositoryID="pinned",
            initializeUntil="2026-12-01T02:00:00+02:00",
        )
    )
    assert (read.name, read.uid, read.engine, read.secret) == ("main", "uid-main", EngineKind.RESTIC, "keys")
    assert read.storage == S3Storage(
        endpoint="minio.storage.svc:9000",
        bucket="backups",
        prefix="home/k8s/",
        region="eu-1",
        tls=False,
        path_style=False,
    )
    assert (read.cluster, read.namespaces, read.pin, read.known_id) == ("home", ("media", "home"), "pinned", "seen")
    assert read.grants == (Grant(reader="home", owner="old-home"),)
    assert read.initialize_until == datetime(2026, 12, 1, tzinfo=UTC)


def test_a_short_repository_has_the_documented_defaults() -> None:
    read = specs.repository(read_repository())
    assert read.storage == S3Storage(endpoint="minio.storage.svc:9000", bucket="backups")
    assert (read.cluster, read.namespaces, read.grants) == ("", ("*",), ())
    assert (read.pin, read.known_id, read.initialize_until) == (None, None, None)


def test_an_empty_list_of_namespaces_admits_none() -> None:
    assert specs.repository(read_repository(namespaces=[])).namespaces == ()


@pytest.mark.parametrize(
    ("filesystem", "place"),
    [
        ({"hostPath": "/backups"}, DirectoryStorage(path="/backups")),
        ({"claim": {"name": "backups"}}, ClaimStorage(claim="backups")),
        ({"claim": {"name": "backups", "path": "home/"}}, ClaimStorage(claim="backups", path="home")),
        ({"nfs": {"server": "nas.lan", "path": "/"}}, NfsStorage(server="nas.lan", path="/")),
    ],
)
def test_a_filesystem_is_read(filesystem: dict[str, Any], place: Place) -> None:
    assert specs.repository(read_repository(storage={"filesystem": filesystem})).storage == place


@pytest.mark.parametrize(
    ("endpoint", "host", "tls"),
    [
        ("s3.example.org", "s3.example.org", True),
        ("https://s3.example.org/", "s3.example.org", True),
        ("http://minio:9000", "minio:9000", False),
        ("[fd00::1]:9000", "[fd00::1]:9000", True),
    ],
)
def test_a_scheme_says_whether_tls_is_used(endpoint: str, host: str, tls: bool) -> None:
    storage = specs.repository(read_repository(storage={"s3": {**S3, "endpoint": endpoint}})).storage
    assert isinstance(storage, S3Storage)
    assert (storage.endpoint, storage.tls) == (host, tls)


@pytest.mark.parametrize(
    ("changes", "path", "advice"),
    [
        ({"engine": "borg"}, "spec.engine", "write kopia or restic"),
        ({"engine": None}, "spec.engine", "is missing"),
        ({"storage": {}}, "spec.storage", "write s3 or filesystem"),
        ({"storage": None}, "spec.storage", "is missing"),
        ({"storage": {"s3": S3, "filesystem": {"hostPath": "/x"}}}, "spec.storage", "keep one"),
        ({"storage": {"s3": {"endpoint": "h"}}}, "spec.storage.s3.bucket", "is missing"),
        ({"storage": {"s3": {"bucket": "b"}}}, "spec.storage.s3.endpoint", "is missing"),
        ({"storage": {"s3": {**S3, "bucket": "b/deep"}}}, "spec.storage.s3.bucket", "put 'deep' in prefix"),
        ({"storage": {"s3": {**S3, "endpoint": "s3://h"}}}, "spec.storage.s3.endpoint", "write 'h'"),
        ({"storage": {"s3": {**S3, "endpoint": "h/b"}}}, "spec.storage.s3.endpoint", "host[:port]"),
        ({"storage": {"s3": {**S3, "endpoint": "h", "insecure": "yes"}}}, "spec.storage.s3.insecure", "true or false"),
        (
            {"storage": {"s3": {**S3, "endpoint": "https://h", "insecure": True}}},
            "spec.storage.s3.insecure",
            "contradicts",
        ),
        ({"storage": {"s3": {**S3, "prefix": "/a"}}}, "spec.storage.s3.prefix", "without a leading /"),
        ({"storage": {"s3": {**S3, "prefix": "a/../b"}}}, "spec.storage.s3.prefix", "is no prefix"),
        ({"storage": {"s3": {**S3, "prefix": "a "}}}, "spec.storage.s3.prefix", "write 'a'"),
        ({"storage": {"filesystem": {"hostPath": "x"}}}, "spec.storage.filesystem.hostPath", "absolute path"),
        ({"storage": {"filesystem": {"hostPath": "/"}}}, "spec.storage.filesystem.hostPath", "directory of its own"),
        ({"storage": {"filesystem": {}}}, "spec.storage.filesystem", "write hostPath or claim or nfs"),
        (
            {"storage": {"filesystem": {"hostPath": "/x", "claim": {"name": "y"}}}},
            "spec.storage.filesystem",
            "keep one of hostPath and claim",
        ),
        ({"storage": {"filesystem": {"claim": "y"}}}, "spec.storage.filesystem.claim", "write fields below it"),
        ({"storage": {"filesystem": {"claim": {"path": "a"}}}}, "spec.storage.filesystem.claim.name", "is missing"),
        (
            {"storage": {"filesystem": {"claim": {"name": "y", "path": "../a"}}}},
            "spec.storage.filesystem.claim.path",
            "leads out of the claim",
        ),
        ({"storage": {"filesystem": {"nfs": {"path": "/a"}}}}, "spec.storage.filesystem.nfs.server", "is missing"),
        (
            {"storage": {"filesystem": {"nfs": {"server": "h", "path": "a"}}}},
            "spec.storage.filesystem.nfs.path",
            "absolute path",
        ),
        ({"credentials": {}}, "spec.credentials.secretRef", "is missing"),
        ({"credentials": "keys"}, "spec.credentials", "is no object"),
        ({"cluster": "a/b"}, "spec.cluster", "use a-z"),
        ({"cluster": 7}, "spec.cluster", "put it in quotes"),
        ({"namespaces": "media"}, "spec.namespaces", "is no list"),
        ({"grants": [{"from": "a"}]}, "spec.grants[0].to", "is missing"),
        ({"grants": ["a"]}, "spec.grants", "is no list of grants"),
        ({"initializeUntil": "tomorrow"}, "spec.initializeUntil", "is no time"),
        ({"initializeUntil": "2026-12-01T00:00:00"}, "spec.initializeUntil", "names no time zone"),
    ],
)
def test_every_problem_names_its_path_and_what_to_write(changes: dict[str, Any], path: str, advice: str) -> None:
    with pytest.raises(ValueError) as caught:
        specs.repository(read_repository(**changes))
    assert [line for line in str(caught.value).splitlines() if line.startswith(f"{path}: ") and advice in line]


def test_all_problems_are_named_at_once() -> None:
    with pytest.raises(ValueError) as caught:
        specs.repository(read_repository(engine="borg", storage={"s3": {}}, credentials=None, initializeUntil="x"))
    assert [line.partition(":")[0] for line in str(caught.value).splitlines()] == [
        "spec.engine",
        "spec.storage.s3.endpoint",
        "spec.storage.s3.bucket",
        "spec.credentials",
        "spec.initializeUntil",
    ]


def test_a_repository_without_spec_is_refused() -> None:
    metadata = meta("main", 2)
    with pytest.raises(ValueError, match=r"spec\.engine: is missing"):
        specs.repository(msgspec.convert({"metadata": metadata}, objects.Repository))
