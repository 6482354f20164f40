"""What a bucket's answers prove: a server that misbehaves in any way we know never looks like an empty storage."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from xml.etree import ElementTree

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.engines.protocol import EngineFailure
from holdfast.engines.s3 import Bucket, credentials_of
from holdfast.engines.signing import Credentials
from holdfast.engines.storage import MARKER, list_records, read_marker
from holdfast.model.failure import Failure, FailureKind
from holdfast.model.repository import S3Storage
from tests.support.misbehaving import Misbehaviour, Proxy, misbehaving
from tests.support.s3 import S3Server

pytestmark = [pytest.mark.anyio, pytest.mark.storage]

Action = Callable[[Bucket], Awaitable[object]]

ACTIONS: Mapping[str, Action] = {
    "list": lambda bucket: bucket.list(""),
    "folders": lambda bucket: bucket.folders(""),
    "get": lambda bucket: bucket.get("there"),
    "get absent": lambda bucket: bucket.get("absent"),
    "put": lambda bucket: bucket.put("new", b"1"),
    "delete": lambda bucket: bucket.delete("there"),
}

EVERYTHING: dict[Misbehaviour, FailureKind] = {
    Misbehaviour.NOT_FOUND_PLAIN: FailureKind.MISDIRECTED,
    Misbehaviour.NOT_FOUND_EMPTY: FailureKind.MISDIRECTED,
    Misbehaviour.NOT_FOUND_HTML: FailureKind.MISDIRECTED,
    Misbehaviour.NO_SUCH_BUCKET: FailureKind.MISDIRECTED,
    Misbehaviour.NO_SUCH_KEY: FailureKind.MISDIRECTED,
    Misbehaviour.ACCESS_DENIED: FailureKind.FORBIDDEN,
    Misbehaviour.FORBIDDEN_PLAIN: FailureKind.FORBIDDEN,
    Misbehaviour.UNKNOWN_KEY: FailureKind.FORBIDDEN,
    Misbehaviour.BAD_SIGNATURE: FailureKind.FORBIDDEN,
    Misbehaviour.EXPIRED_TOKEN: FailureKind.FORBIDDEN,
    Misbehaviour.CLOCK_SKEW: FailureKind.CLOCK_SKEW,
    Misbehaviour.UNAUTHORIZED: FailureKind.FORBIDDEN,
    Misbehaviour.MOVED: FailureKind.MISDIRECTED,
    Misbehaviour.OTHER_REGION: FailureKind.MISDIRECTED,
    Misbehaviour.REDIRECTED: FailureKind.MISDIRECTED,
    Misbehaviour.SERVER_ERROR: FailureKind.UNREACHABLE,
    Misbehaviour.BAD_GATEWAY: FailureKind.UNREACHABLE,
    Misbehaviour.SLOW_DOWN: FailureKind.UNREACHABLE,
    Misbehaviour.FULL: FailureKind.REPOSITORY_FULL,
    Misbehaviour.OK_HTML: FailureKind.MISDIRECTED,
    Misbehaviour.OK_EMPTY: FailureKind.MISDIRECTED,
    Misbehaviour.DROPPED: FailureKind.UNREACHABLE,
    Misbehaviour.SILENT: FailureKind.TIMEOUT,
    Misbehaviour.REFUSED: FailureKind.UNREACHABLE,
}

OF_LISTINGS: dict[Misbehaviour, FailureKind] = {
    Misbehaviour.LIST_ENDS_IN_GARBAGE: FailureKind.MISDIRECTED,
    Misbehaviour.LIST_ENDS_EARLY: FailureKind.UNREACHABLE,
    Misbehaviour.LIST_IN_CIRCLES: FailureKind.MISDIRECTED,
    Misbehaviour.LIST_WITHOUT_COUNT: FailureKind.UNREACHABLE,
    Misbehaviour.LIST_WITHOUT_END: FailureKind.UNREACHABLE,
    Misbehaviour.LIST_MISCOUNTED: FailureKind.UNREACHABLE,
    Misbehaviour.LIST_OF_OTHER_PREFIX: FailureKind.MISDIRECTED,
    Misbehaviour.LIST_OF_OTHER_BUCKET: FailureKind.MISDIRECTED,
    Misbehaviour.CUT: FailureKind.UNREACHABLE,
}

OF_OBJECTS: Mapping[Misbehaviour, FailureKind] = {
    Misbehaviour.NO_SUCH_KEY_ON_GET: FailureKind.DAMAGED,
    Misbehaviour.DELETE_MARKER: FailureKind.DAMAGED,
    Misbehaviour.ARCHIVED: FailureKind.DAMAGED,
    Misbehaviour.CUT: FailureKind.UNREACHABLE,
}


@pytest.fixture
async def proxy(s3_server: S3Server) -> AsyncIterator[Proxy]:
    async with misbehaving(s3_server.endpoint) as running:
        yield running


@pytest.fixture
async def bucket(proxy: Proxy, s3_server: S3Server, s3_prefix: str) -> AsyncIterator[Bucket]:
    """A bucket behind the proxy that holds one object, "there"."""
    storage = s3_server.storage(s3_prefix, endpoint=proxy.endpoint)
    silence = timedelta(seconds=0.3)
    async with aclosing(Bucket(storage, credentials_of(s3_server.environment), silence=silence)) as opened:
        await opened.put("there", b"content " * 100)
        yield opened


async def _failure(action: Awaitable[object]) -> Failure:
    with pytest.raises(EngineFailure) as caught:
        await action
    return caught.value.failure


@pytest.mark.parametrize("action", [name for name in ACTIONS if name != "delete"])
@pytest.mark.parametrize("mode", EVERYTHING)
async def test_a_misbehaving_server_is_never_believed(
    bucket: Bucket, proxy: Proxy, mode: Misbehaviour, action: str
) -> None:
    await proxy.be(mode)

    assert (await _failure(ACTIONS[action](bucket))).kind is EVERYTHING[mode]

    await proxy.be(Misbehaviour.HEALTHY)
    assert [each.key for each in await bucket.list("t")] == ["there"]


@pytest.mark.parametrize("mode", [mode for mode in EVERYTHING if mode is not Misbehaviour.NO_SUCH_KEY])
async def test_a_deletion_counts_only_when_the_server_says_so(bucket: Bucket, proxy: Proxy, mode: Misbehaviour) -> None:
    await proxy.be(mode)

    assert (await _failure(bucket.delete("there"))).kind is EVERYTHING[mode]

    await proxy.be(Misbehaviour.HEALTHY)
    assert await bucket.get("there") is not None


@pytest.mark.parametrize("action", ["list", "folders", "get absent"])
@pytest.mark.parametrize("mode", OF_LISTINGS)
async def test_a_listing_that_is_not_whole_is_never_believed(
    bucket: Bucket, proxy: Proxy, mode: Misbehaviour, action: str
) -> None:
    await proxy.be(mode)

    assert (await _failure(ACTIONS[action](bucket))).kind is OF_LISTINGS[mode]


@pytest.mark.parametrize("mode", OF_OBJECTS)
async def test_an_object_that_is_there_is_never_absent(bucket: Bucket, proxy: Proxy, mode: Misbehaviour) -> None:
    await proxy.be(mode)

    assert (await _failure(bucket.get("there"))).kind is OF_OBJECTS[mode]


async def test_every_misbehaviour_is_in_the_tables() -> None:
    assert {*EVERYTHING, *OF_LISTINGS, *OF_OBJECTS, Misbehaviour.HEALTHY} == set(Misbehaviour)


@pytest.mark.parametrize("mode", [*EVERYTHING, *OF_LISTINGS])
async def test_no_misbehaviour_makes_the_marker_or_the_records_look_missing(
    bucket: Bucket, proxy: Proxy, mode: Misbehaviour
) -> None:
    await bucket.put(MARKER, b"{}\n{}\n")
    await bucket.put(".holdfast/claims/media/config", b"")
    await proxy.be(mode)

    assert (await _failure(list_records(bucket))).kind is (EVERYTHING | OF_LISTINGS)[mode]
    assert (await _failure(read_marker(bucket, "password"))).kind is not FailureKind.NO_MARKER


@pytest.mark.parametrize("mode", [Misbehaviour.MOVED, Misbehaviour.OTHER_REGION])
async def test_a_bucket_elsewhere_names_its_region(bucket: Bucket, proxy: Proxy, mode: Misbehaviour) -> None:
    await proxy.be(mode)

    assert "region eu-central-1" in (await _failure(bucket.list(""))).detail


@pytest.mark.parametrize(
    ("mode", "advice"),
    [
        (Misbehaviour.NO_SUCH_BUCKET, "check its name"),
        (Misbehaviour.CLOCK_SKEW, "clock"),
        (Misbehaviour.EXPIRED_TOKEN, "Secret"),
        (Misbehaviour.REDIRECTED, "http://127.0.0.1/login"),
        (Misbehaviour.OK_HTML, "another server"),
        (Misbehaviour.NOT_FOUND_HTML, "proxy"),
    ],
)
async def test_a_refusal_says_where_and_what_to_do(
    bucket: Bucket, proxy: Proxy, mode: Misbehaviour, advice: str
) -> None:
    await proxy.be(mode)

    detail = (await _failure(bucket.list(""))).detail

    assert proxy.endpoint in detail
    assert advice in detail


async def test_deleted_and_archived_objects_can_be_brought_back(bucket: Bucket, proxy: Proxy) -> None:
    for mode in (Misbehaviour.DELETE_MARKER, Misbehaviour.ARCHIVED):
        await proxy.be(mode)
        assert "brought back" in (await _failure(bucket.get("there"))).detail


async def test_a_head_request_is_never_sent(bucket: Bucket, proxy: Proxy) -> None:
    for name in ("list", "folders", "get", "get absent", "put", "delete"):
        await ACTIONS[name](bucket)

    assert {each.partition(" ")[0] for each in proxy.requests} == {"GET", "PUT", "DELETE"}


async def test_a_connection_that_breaks_once_is_tried_once_more(bucket: Bucket, proxy: Proxy) -> None:
    await proxy.be(Misbehaviour.DROPPED)
    before = len(proxy.requests)

    await _failure(bucket.get("there"))

    assert len(proxy.requests) - before == 2


async def test_a_listing_is_read_to_its_last_page(s3_server: S3Server, s3_prefix: str) -> None:
    keys = [f"claims/{number:05}" for number in range(2100)]
    folder = s3_server.data / s3_prefix / "claims"
    folder.mkdir(parents=True)
    for key in keys:
        (folder / key.removeprefix("claims/")).write_bytes(b"1")
    before = len(s3_server.requests())

    async with aclosing(Bucket(s3_server.storage(s3_prefix), credentials_of(s3_server.environment))) as bucket:
        assert [each.key for each in await bucket.list("")] == keys
        assert await bucket.folders("") == ["claims/"]
        assert await bucket.folders("claims/") == [key.removeprefix("claims/") for key in keys]

    assert [each.operation for each in s3_server.requests()[before:]] == ["ListObjectsV2"] * 7


async def test_a_wrong_bucket_secret_or_key_is_told_apart(s3_server: S3Server) -> None:
    keys = credentials_of(s3_server.environment)
    storage = s3_server.storage()
    cases: Sequence[tuple[S3Storage, Credentials, FailureKind]] = (
        (replace(storage, bucket="nobody-made-this"), keys, FailureKind.MISDIRECTED),
        (storage, replace(keys, secret_key="wrong"), FailureKind.FORBIDDEN),
        (storage, replace(keys, access_key="wrong"), FailureKind.FORBIDDEN),
        (storage, replace(keys, session_token="made-up"), FailureKind.FORBIDDEN),
        (replace(storage, region="eu-central-1"), keys, FailureKind.MISDIRECTED),
        (replace(storage, tls=True), keys, FailureKind.UNREACHABLE),
        (replace(storage, endpoint="does-not-exist.invalid"), keys, FailureKind.UNREACHABLE),
    )
    for wrong, credentials, kind in cases:
        async with aclosing(Bucket(wrong, credentials)) as bucket:
            for action in ("list", "get", "put"):
                assert (await _failure(ACTIONS[action](bucket))).kind is kind, (wrong, action)


async def test_keys_that_a_url_would_shorten_are_refused(bucket: Bucket) -> None:
    for key in ("a/../b", "./a", "a//b", "a/"):
        assert (await _failure(bucket.get(key))).kind is FailureKind.BAD_ORDER


async def test_what_a_console_puts_up_as_a_folder_is_no_key(
    bucket: Bucket, s3_server: S3Server, s3_prefix: str
) -> None:
    (s3_server.data / s3_prefix / "empty folder").mkdir()

    assert [each.key for each in await bucket.list("")] == ["there"]


async def test_a_missing_ca_bundle_is_named(tmp_path: Path) -> None:
    storage = S3Storage(endpoint="127.0.0.1:1", bucket="bucket", ca_file=str(tmp_path / "ca.crt"))
    with pytest.raises(EngineFailure) as caught:
        Bucket(storage, Credentials(access_key="k", secret_key="s"))

    assert "ca.crt" in caught.value.failure.detail


@pytest.mark.parametrize("endpoint", ["", "http://host", "host/path", "user@host", "host:port", "host?x"])
async def test_an_endpoint_that_is_none_is_refused(endpoint: str) -> None:
    with pytest.raises(EngineFailure) as caught:
        Bucket(S3Storage(endpoint=endpoint, bucket="bucket", tls=False), Credentials(access_key="k", secret_key="s"))

    assert caught.value.failure.kind is FailureKind.BAD_ORDER
    assert "host[:port]" in caught.value.failure.detail


LISTING = b"""<?xml version="1.0" encoding="UTF-8"?>
<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>bucket</Name><Prefix>b/</Prefix>\
<KeyCount>2</KeyCount><MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated>\
<Contents><Key>b/one</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><Size>1</Size></Contents>\
<Contents><Key>b/two</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><Size>0</Size></Contents>\
</ListBucketResult>"""


@given(
    data=st.data(),
    date=st.sampled_from(["", "yesterday", "Thu, 01 Jan 2026 00:00:00 GMT", "Thu, 01 Jan 2026 00:00:00 -0000"]),
)
def test_no_cut_or_altered_listing_reads_as_a_shorter_one(data: st.DataObject, date: str) -> None:
    start = data.draw(st.integers(0, len(LISTING)))
    end = data.draw(st.integers(start, min(len(LISTING), start + 150)))
    content = LISTING[:start] + data.draw(st.binary(max_size=3)) + LISTING[end:]
    bucket = Bucket(
        S3Storage(endpoint="127.0.0.1:1", bucket="bucket", prefix="b/", tls=False),
        Credentials(access_key="k", secret_key="s"),
    )
    answer = httpx2.Response(200, headers={"date": date}, content=content)
    try:
        page = bucket._read_page("", answer)
    except (EngineFailure, ElementTree.ParseError, ValueError):
        return
    assert len(page.objects) == 2
    assert page.next is None
