"""Our signatures are those of botocore, the signer that S3 servers are tested with."""

from datetime import UTC, datetime

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials as BotoCredentials
from botocore.utils import percent_encode
from hypothesis import example, given
from hypothesis import strategies as st

from holdfast.engines import signing
from holdfast.engines.signing import Credentials

# Everything that can be written as UTF-8, and often what encoders trip over.
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=20)
AWKWARD = st.text("aA0 +~%/&=?#:.-_*'()éß語\t\"<>\\", max_size=20)
KEYS = st.one_of(TEXT, AWKWARD)
WORDS = st.text("abcXYZ0189/+=-_", min_size=1, max_size=40)


@given(
    method=st.sampled_from(["GET", "PUT", "DELETE"]),
    host=st.sampled_from(["127.0.0.1:7070", "s3.example.com", "bucket.s3.example.com:9000", "[::1]:9000"]),
    scheme=st.sampled_from(["http", "https"]),
    key=KEYS,
    query=st.dictionaries(KEYS, KEYS, max_size=4),
    body=st.binary(max_size=64),
    region=st.sampled_from(["us-east-1", "eu-central-1", "garage"]),
    access_key=WORDS,
    secret_key=WORDS,
    token=st.none() | WORDS,
)
@example("GET", "h:1", "http", "a+b ~c/é%2F", {"prefix": "a b/+~", "delimiter": ""}, b"", "r", "k", "s", "t//+=")
def test_every_request_is_signed_as_botocore_signs_it(
    method: str,
    host: str,
    scheme: str,
    key: str,
    query: dict[str, str],
    body: bytes,
    region: str,
    access_key: str,
    secret_key: str,
    token: str | None,
) -> None:
    path = f"/bucket/{signing.path_of(key)}"
    theirs = AWSRequest(method=method, url=f"{scheme}://{host}{path}", params=query, data=body)
    theirs.context["client_config"] = Config(s3={"payload_signing_enabled": True})
    S3SigV4Auth(BotoCredentials(access_key, secret_key, token), "s3", region).add_auth(theirs)

    ours = signing.sign(
        method=method,
        host=host,
        path=path,
        query=signing.query_of(query.items()),
        body=body,
        region=region,
        credentials=Credentials(access_key=access_key, secret_key=secret_key, session_token=token),
        now=datetime.strptime(theirs.headers["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC),
    )

    assert ours["authorization"] == theirs.headers["Authorization"]
    assert ours["x-amz-content-sha256"] == theirs.headers["X-Amz-Content-SHA256"]


@given(key=KEYS)
def test_keys_are_written_in_paths_as_botocore_writes_them(key: str) -> None:
    assert signing.path_of(key) == percent_encode(key, safe="/-._~")


@pytest.mark.parametrize(
    ("parameters", "query"),
    [
        ([("prefix", "a b"), ("delimiter", "/")], "delimiter=%2F&prefix=a%20b"),
        ([("b", ""), ("a", "~+")], "a=~%2B&b="),
        ([("a", "2"), ("a-", "1"), ("a", "1")], "a=1&a=2&a-=1"),
    ],
)
def test_a_query_is_sorted_and_encoded(parameters: list[tuple[str, str]], query: str) -> None:
    assert signing.query_of(parameters) == query


def test_credentials_do_not_show_their_secrets() -> None:
    shown = repr(Credentials(access_key="visible", secret_key="hidden-1", session_token="hidden-2"))

    assert "visible" in shown
    assert "hidden" not in shown
