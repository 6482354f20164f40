"""A bucket over TLS, with a certificate authority of the user's own, and as a host of its own name."""

import socket
import subprocess
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from holdfast.engines.protocol import EngineFailure
from holdfast.engines.storage import open_storage
from holdfast.model.failure import FailureKind
from holdfast.model.repository import S3Storage
from tests.support.programs import find_program
from tests.support.s3 import S3Server, running_server

pytestmark = [pytest.mark.anyio, pytest.mark.storage]

DOMAIN = "storage.test"

CERTIFICATE = f"""
[req]
distinguished_name = name
x509_extensions = extensions
prompt = no
[name]
CN = {DOMAIN}
[extensions]
subjectAltName = DNS:{DOMAIN}, DNS:*.{DOMAIN}
basicConstraints = critical, CA:true
keyUsage = critical, digitalSignature, keyCertSign
"""


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a new `key.pem` and the certificate `ca.pem`, which signs itself."""
    folder = tmp_path_factory.mktemp("certificate")
    (folder / "request").write_text(CERTIFICATE)
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", "key.pem")
    command = (find_program("openssl"), "req", "-x509", *key, "-out", "ca.pem", "-days", "2", "-config", "request")
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def server(certificate: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    tls = ("--cert", str(certificate / "ca.pem"), "--key", str(certificate / "key.pem"))
    with running_server(tmp_path_factory.mktemp("s3-tls"), *tls, "--virtual-domain", DOMAIN + ":{port}") as running:
        yield running


@pytest.fixture(autouse=True)
def _names_resolve_here(monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.getaddrinfo

    def resolve(host: Any, *arguments: Any, **options: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        return real("127.0.0.1" if name.endswith(DOMAIN) else host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setenv("NO_PROXY", DOMAIN)


def _storage(server: S3Server, *, path_style: bool, ca_file: str | None) -> S3Storage:
    endpoint = f"{DOMAIN}:{server.endpoint.partition(':')[2]}"
    return S3Storage(endpoint=endpoint, bucket=server.bucket, prefix="a b/", path_style=path_style, ca_file=ca_file)


@pytest.mark.parametrize("path_style", [True, False])
async def test_both_ways_to_name_a_bucket_work_over_tls(server: S3Server, certificate: Path, path_style: bool) -> None:
    storage = _storage(server, path_style=path_style, ca_file=str(certificate / "ca.pem"))
    async with aclosing(open_storage(storage, server.environment)) as bucket:
        await bucket.put("ü +~/key", b"1")

        assert await bucket.get("ü +~/key") == b"1"
        assert await bucket.get("ü +~/other") is None
        assert [each.key for each in await bucket.list("")] == ["ü +~/key"]
        await bucket.delete("ü +~/key")


async def test_a_certificate_of_an_unknown_authority_is_refused_with_advice(server: S3Server) -> None:
    storage = _storage(server, path_style=True, ca_file=None)
    async with aclosing(open_storage(storage, server.environment)) as bucket:
        with pytest.raises(EngineFailure) as caught:
            await bucket.list("")

    assert caught.value.failure.kind is FailureKind.UNREACHABLE
    assert "CA bundle" in caught.value.failure.detail
