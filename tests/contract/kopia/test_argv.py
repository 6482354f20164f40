"""What kopia is given: names that read back, and no secret anywhere."""

import json
import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.engines.kopia import argv
from holdfast.engines.protocol import EngineFailure
from holdfast.model.claim import Identity
from holdfast.model.failure import FailureKind
from holdfast.model.repository import DirectoryStorage, S3Storage

ALPHANUMERIC = string.ascii_lowercase + string.digits
S3 = S3Storage(endpoint="s3.example:9000", bucket="bucket", prefix="base/", region="eu-west-3", tls=False)


def names(inside: str) -> st.SearchStrategy[str]:
    end = st.sampled_from(ALPHANUMERIC)
    return st.one_of(end, st.builds("{}{}{}".format, end, st.text(ALPHANUMERIC + inside, max_size=20), end))


IDENTITIES = st.builds(Identity, cluster=st.one_of(st.just(""), names("-.")), namespace=names("-"), claim=names("-."))


@given(IDENTITIES)
def test_an_identity_reads_back_from_its_source(identity: Identity) -> None:
    user, _, rest = argv.source_of(identity).partition("@")
    host, _, path = rest.partition(":")
    assert argv.identity_of(user, host, path) == identity


@given(IDENTITIES, IDENTITIES)
def test_two_identities_never_share_a_source(one: Identity, other: Identity) -> None:
    assert (argv.source_of(one) == argv.source_of(other)) == (one == other)


@pytest.mark.parametrize(
    ("user", "host", "path"),
    [
        ("claim", "web", "/other"),
        ("Claim", "web", "/data"),
        ("claim", "WEB", "/data"),
        ("", "web", "/data"),
        ("claim", "", "/data"),
        ("claim", "web.", "/data"),
        ("cl@im", "web", "/data"),
        ("root", "host:1", "/data"),
    ],
)
def test_a_source_of_others_is_no_identity(user: str, host: str, path: str) -> None:
    assert argv.identity_of(user, host, path) is None


@pytest.mark.parametrize(
    "identity",
    [
        Identity(namespace="a.b", claim="c"),
        Identity(namespace="a", claim="c@d"),
        Identity(namespace="a", claim="c:/x"),
        Identity(namespace="A", claim="c"),
        Identity(namespace="..", claim=".."),
        Identity(namespace="a", claim="--flag"),
        Identity(cluster="a b", namespace="a", claim="c"),
    ],
    ids=str,
)
def test_a_name_that_would_not_read_back_is_refused(identity: Identity) -> None:
    with pytest.raises(EngineFailure) as caught:
        argv.source_of(identity)
    assert caught.value.failure.kind is FailureKind.BAD_ORDER


def test_a_snapshot_id_is_never_a_flag() -> None:
    assert argv.is_snapshot_id("0" * 32)
    assert not any(argv.is_snapshot_id(text) for text in ("", "--all", "0" * 31, "0" * 32 + "\n", "latest", "K" * 32))


def test_the_configuration_names_the_region_and_holds_no_key(tmp_path: Path) -> None:
    written = argv.configuration(S3, b"PEM", cache=tmp_path, content_cache=1, readonly=True)
    read = json.loads(written)
    assert read["readonly"] is True
    assert read["storage"]["config"] == {
        "bucket": "bucket",
        "prefix": "base/kopia/",
        "endpoint": "s3.example:9000",
        "region": "eu-west-3",
        "doNotUseTLS": True,
        "rootCA": "UEVN",
    }


def test_the_environment_is_a_whitelist(tmp_path: Path) -> None:
    given_environment = {
        "PATH": "/bin",
        "AWS_ACCESS_KEY_ID": "id",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "KOPIA_CACHE_DIRECTORY": "/elsewhere",
        "HOLDFAST_TOKEN": "token",
    }
    environment = argv.environment(given_environment, "word", tmp_path, tmp_path / "config")
    assert environment["KOPIA_PASSWORD"] == "word"
    assert environment["AWS_SECRET_ACCESS_KEY"] == "secret"
    assert not {"KOPIA_CACHE_DIRECTORY", "HOLDFAST_TOKEN"} & environment.keys()
    assert argv.secrets(given_environment, "word") == ("word", "secret")


@pytest.mark.parametrize("storage", [S3, DirectoryStorage(path="/repository")], ids=["s3", "directory"])
def test_no_command_writes_outside_the_engines_own_prefix(storage: S3Storage | DirectoryStorage) -> None:
    arguments = argv.create(storage, Path("/cache"))
    assert "--prefix=base/kopia/" in arguments or "--path=/repository/kopia" in arguments


def test_the_engines_own_retention_is_off_for_every_period() -> None:
    kept = {argument for argument in argv.set_global_policy() if argument.startswith("--keep-")}
    assert kept == {f"--keep-{each}=0" for each in ("latest", "hourly", "daily", "weekly", "monthly", "annual")}
