"""AWS Signature Version 4 for S3: what proves to a storage who asks, and for what exactly.

https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
"""

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote

_UNRESERVED: Final = "-._~"


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """Storage keys; the session token comes with temporary ones."""

    access_key: str
    secret_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)


def path_of(key: str) -> str:
    """Return the key as it is written in a URL's path; surrogate escapes become the bytes they stand for."""
    return quote(key.encode(errors="surrogateescape"), safe=_UNRESERVED + "/")


def query_of(parameters: Iterable[tuple[str, str]]) -> str:
    """Return the parameters as a query, in the order and encoding that is signed."""
    return "&".join(f"{name}={value}" for name, value in sorted((_quote(n), _quote(v)) for n, v in parameters))


def sign(
    *,
    method: str,
    host: str,
    path: str,
    query: str,
    body: bytes,
    region: str,
    credentials: Credentials,
    now: datetime,
) -> Mapping[str, str]:
    """Return the headers that sign the request, `host` among them.

    `host` is as sent (with a port that is not the scheme's own); `path` and `query` come from `path_of`, `query_of`.
    """
    stamp = now.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
    digest = hashlib.sha256(body).hexdigest()
    headers = {"host": host, "x-amz-content-sha256": digest, "x-amz-date": stamp}
    if credentials.session_token is not None:
        headers["x-amz-security-token"] = credentials.session_token
    names = ";".join(headers)  # written above in the order that signing asks for
    lines = "".join(f"{name}:{' '.join(value.split())}\n" for name, value in headers.items())
    request = "\n".join((method, path, query, lines, names, digest))
    scope = f"{stamp[:8]}/{region}/s3/aws4_request"
    text = "\n".join(("AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(request.encode()).hexdigest()))
    signature = hmac.new(_key(credentials.secret_key, scope), text.encode(), hashlib.sha256).hexdigest()
    authorization = (
        f"AWS4-HMAC-SHA256 Credential={credentials.access_key}/{scope}, SignedHeaders={names}, Signature={signature}"
    )
    return {**headers, "authorization": authorization}


def _quote(text: str) -> str:
    return quote(text.encode(errors="surrogateescape"), safe=_UNRESERVED)


def _key(secret: str, scope: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return key
