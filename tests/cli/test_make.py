"""`holdfast render`: manifests that the operator can read, a password of their own, and the sentence about it."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
import yaml

from holdfast.kube import objects, specs
from holdfast.model.repository import (
    ClaimStorage,
    DirectoryStorage,
    EngineKind,
    NfsStorage,
    Place,
    Repository,
    S3Storage,
)
from holdfast.render import crds, pods
from holdfast.render.repository import PLACEHOLDER, WARNING
from tests.cli.test_main import run

KEYS: dict[str, str | None] = {"AWS_ACCESS_KEY_ID": "AK", "AWS_SECRET_ACCESS_KEY": "SK", "AWS_SESSION_TOKEN": None}
NO_KEYS: dict[str, str | None] = dict.fromkeys(KEYS)


def rendered(*arguments: str, env: dict[str, str | None] | None = None) -> tuple[dict[str, Any], dict[str, Any], str]:
    done = run("render", "repository", *arguments, env=env or NO_KEYS)
    assert done.exit_code == 0, done.output
    secret, repository = yaml.safe_load_all(done.stdout)
    return secret, repository, done.stderr


def read(manifest: dict[str, Any]) -> Repository:
    stored = manifest | {
        "metadata": manifest["metadata"]
        | {"uid": "u", "resourceVersion": "1", "creationTimestamp": "2026-01-01T00:00:00Z"}
    }
    return specs.repository(msgspec.convert(stored, objects.Repository))


@pytest.mark.parametrize("engine", [EngineKind.KOPIA, EngineKind.RESTIC])
def test_a_directory_is_what_was_asked_for(engine: EngineKind) -> None:
    secret, manifest, told = rendered("main", "--engine", engine.value, "--directory", "/srv/backups")
    repository = read(manifest)
    assert (repository.name, repository.engine) == ("main", engine)
    assert repository.storage == DirectoryStorage(path="/srv/backups")
    assert secret["metadata"] == {"name": repository.secret, "namespace": "holdfast"}
    assert set(secret["stringData"]) == set(pods.secret_keys(repository))
    assert WARNING in told


def test_the_window_is_seven_days() -> None:
    _, manifest, _ = rendered("--directory", "/srv/backups")
    until = read(manifest).initialize_until
    assert until is not None
    assert timedelta(days=6, hours=23) < until - datetime.now(UTC) <= timedelta(days=7)


def test_every_password_is_new_and_long() -> None:
    passwords = {rendered("--directory", "/srv")[0]["stringData"]["KOPIA_PASSWORD"] for _ in range(3)}
    assert len(passwords) == 3
    assert min(map(len, passwords)) >= 40


@pytest.mark.parametrize(
    ("text", "more", "storage"),
    [
        ("s3.example.org/backups", (), S3Storage(endpoint="s3.example.org", bucket="backups")),
        (
            "https://s3.example.org/backups/team/",
            ("--region", "eu-central-1"),
            S3Storage(endpoint="s3.example.org", bucket="backups", prefix="team/", region="eu-central-1"),
        ),
        (
            "127.0.0.1:9000/backups/a/b",
            ("--insecure",),
            S3Storage(endpoint="127.0.0.1:9000", bucket="backups", prefix="a/b/", tls=False),
        ),
        ("http://minio:9000/backups", (), S3Storage(endpoint="minio:9000", bucket="backups", tls=False)),
    ],
)
def test_a_bucket_reads_back_as_it_was_written(text: str, more: tuple[str, ...], storage: S3Storage) -> None:
    secret, manifest, told = rendered("--s3", text, *more, env=KEYS)
    assert read(manifest).storage == storage
    assert {key: secret["stringData"][key] for key in pods.S3_KEYS} == {
        "AWS_ACCESS_KEY_ID": "AK",
        "AWS_SECRET_ACCESS_KEY": "SK",
    }
    assert PLACEHOLDER not in told


@pytest.mark.parametrize(
    ("arguments", "place"),
    [
        (("--claim", "backups"), ClaimStorage(claim="backups")),
        (("--claim", "backups/team/"), ClaimStorage(claim="backups", path="team")),
        (("--nfs", "nas.example.org:/volume1/backups"), NfsStorage(server="nas.example.org", path="/volume1/backups")),
        (("--nfs", "fd00::7:/backups"), NfsStorage(server="fd00::7", path="/backups")),
    ],
)
def test_a_file_system_of_the_cluster_reads_back_as_it_was_written(arguments: tuple[str, ...], place: Place) -> None:
    _, manifest, _ = rendered(*arguments)
    assert read(manifest).storage == place


@pytest.mark.parametrize(
    ("arguments", "advice"),
    [
        ((), "--nfs SERVER:/PATH"),
        (("--claim", "backups", "--directory", "/srv"), "with one of"),
        (("--claim", "/home"), "write NAME[/PATH]"),
        (("--claim", "backups/../team"), "write NAME[/PATH]"),
        (("--nfs", "nas.example.org"), "write SERVER:/PATH"),
        (("--nfs", ":/volume1"), "write SERVER:/PATH"),
        (("--directory", "backups"), "absolute path"),
    ],
)
def test_a_place_that_cannot_be_one_is_refused_with_how_to_write_it(arguments: tuple[str, ...], advice: str) -> None:
    done = run("render", "repository", *arguments)
    assert done.exit_code == 2
    assert advice in done.stderr


def test_keys_that_are_not_named_stand_out() -> None:
    secret, _, told = rendered("--s3", "s3.example.org/backups")
    assert secret["stringData"]["AWS_ACCESS_KEY_ID"] == PLACEHOLDER
    assert "Write AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY into the Secret" in told


def test_a_session_token_goes_along() -> None:
    secret, _, _ = rendered("--s3", "s3.example.org/backups", env=KEYS | {"AWS_SESSION_TOKEN": "T"})
    assert secret["stringData"]["AWS_SESSION_TOKEN"] == "T"


def test_the_cluster_and_holdfasts_namespace_are_written_where_they_are_named() -> None:
    secret, manifest, _ = rendered("--directory", "/srv", "--cluster", "home", "--holdfast-namespace", "backups")
    assert read(manifest).cluster == "home"
    assert secret["metadata"]["namespace"] == "backups"


def test_kinds_are_printed_whole() -> None:
    done = run("render", "crds")
    assert list(yaml.safe_load_all(done.stdout)) == list(crds.definitions())
