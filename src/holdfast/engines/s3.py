"""A bucket as storage. What an answer proves is what this file is about, so nothing here guesses.

A listing counts only as a signed, well-formed ListBucketResult of the bucket and prefix that were asked, read to its
end; an object is absent only when a GET says NoSuchKey *and* such a listing does not show it. HEAD is never used: its
answers carry no code, so a missing object, a missing bucket and a stray web server look alike.
"""

import asyncio
import hashlib
import ipaddress
import ssl
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final
from xml.etree import ElementTree

import httpx2

from holdfast.engines import s3_errors, signing
from holdfast.engines.protocol import EngineFailure, StoredObject
from holdfast.engines.signing import Credentials
from holdfast.model.failure import FailureKind
from holdfast.model.repository import S3Storage

DEADLINE: Final = timedelta(seconds=60)  # of one request, to the last byte of its answer
SILENCE: Final = timedelta(seconds=20)  # without a single byte
LARGEST: Final = 64 * 2**20  # bytes of one answer; a record of 100,000 snapshots has about 30 MiB


def credentials_of(environment: Mapping[str, str]) -> Credentials:
    """Return the keys that AWS's usual variables hold; raise FORBIDDEN, naming the one that is missing."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        if not environment.get(name):
            raise EngineFailure(
                FailureKind.FORBIDDEN, f"{name} is not set: the repository's Secret must hold the storage keys"
            )
    return Credentials(
        access_key=environment["AWS_ACCESS_KEY_ID"],
        secret_key=environment["AWS_SECRET_ACCESS_KEY"],
        session_token=environment.get("AWS_SESSION_TOKEN") or None,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Page:
    objects: tuple[StoredObject, ...]
    folders: tuple[str, ...]
    next: str | None


class Bucket:
    """`protocol.Storage` over an S3 bucket and base prefix; the bucket must exist."""

    def __init__(
        self,
        storage: S3Storage,
        credentials: Credentials,
        *,
        deadline: timedelta = DEADLINE,
        silence: timedelta = SILENCE,
    ) -> None:
        self._storage = storage
        self._credentials = credentials
        self._deadline = deadline
        self._scheme = "https" if storage.tls else "http"
        self._host = storage.endpoint if storage.path_style else f"{storage.bucket}.{storage.endpoint}"
        self._root = f"/{signing.path_of(storage.bucket)}" if storage.path_style else ""
        self._client = httpx2.AsyncClient(
            verify=_trust(storage),
            trust_env=not _is_loopback(storage.endpoint),
            follow_redirects=False,
            timeout=httpx2.Timeout(silence.total_seconds()),
        )

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def list(self, prefix: str) -> Sequence[StoredObject]:
        """Return all keys that start with `prefix`, sorted; what a console puts up as a folder is no key."""
        pages = await self._pages(prefix, delimiter="")
        found = (each for page in pages for each in page.objects)
        return sorted((each for each in found if each.size or not each.key.endswith("/")), key=lambda each: each.key)

    async def folders(self, prefix: str) -> Sequence[str]:
        """Return the names directly below `prefix`: folders with a trailing "/", keys without."""
        pages = await self._pages(prefix, delimiter="/")
        keys = {each.key for page in pages for each in page.objects}
        names = {name.removeprefix(prefix) for name in keys.union(*(page.folders for page in pages))}
        return sorted(names - {""})

    async def get(self, key: str) -> bytes | None:
        """Return the object's bytes; None when GET says NoSuchKey and a complete listing does not show the key."""
        answer = await self._send("GET", key)
        if answer.status_code == 200:
            return self._content(key, answer)
        error = s3_errors.read(answer.content)
        if answer.status_code != 404 or error is None or error.code != "NoSuchKey":
            raise self._failure(answer)
        if answer.headers.get("x-amz-delete-marker") == "true":
            raise EngineFailure(
                FailureKind.DAMAGED,
                f"{self._name(key)} was deleted in a versioned bucket: an older version can be brought back",
            )
        if any(each.key == key for each in await self.list(key)):
            raise EngineFailure(FailureKind.DAMAGED, f"{self._name(key)} is listed, and cannot be read")
        return None

    async def put(self, key: str, data: bytes) -> None:
        """Write the object whole: S3 replaces it only once every byte has come and fits the signed digest."""
        answer = await self._send("PUT", key, body=data)
        if answer.status_code != 200:
            raise self._failure(answer)
        if "etag" not in answer.headers or answer.content:
            raise self._stranger("what confirms no write", answer)

    async def delete(self, key: str) -> None:
        """Delete the object; an absent one is no error."""
        answer = await self._send("DELETE", key)
        if answer.status_code != 204:
            raise self._failure(answer)

    def _content(self, key: str, answer: httpx2.Response) -> bytes:
        if "etag" not in answer.headers or answer.headers.get("content-type", "").startswith("text/html"):
            raise self._stranger(f"a web page in place of {key}", answer)
        # A chunked answer tells its own end; one that has neither may have been cut anywhere.
        length = answer.headers.get("content-length")
        if length != str(len(answer.content)) and answer.headers.get("transfer-encoding") != "chunked":
            raise EngineFailure(FailureKind.UNREACHABLE, f"the answer for {self._name(key)} is not whole")
        return answer.content

    async def _pages(self, prefix: str, *, delimiter: str) -> Sequence[_Page]:
        pages: list[_Page] = []
        seen: set[str] = set()
        token: str | None = None
        while True:
            page = await self._page(prefix, delimiter, token)
            pages.append(page)
            token = page.next
            if token is None:
                return pages
            if token in seen:
                raise EngineFailure(
                    FailureKind.MISDIRECTED, f"{self._name(prefix)} is listed in circles: a continuation token repeats"
                )
            seen.add(token)

    async def _page(self, prefix: str, delimiter: str, token: str | None) -> _Page:
        parameters = [("list-type", "2"), ("max-keys", "1000"), ("prefix", self._storage.prefix + prefix)]
        if delimiter:
            parameters.append(("delimiter", delimiter))
        if token is not None:
            parameters.append(("continuation-token", token))
        answer = await self._send("GET", None, query=signing.query_of(parameters))
        if answer.status_code != 200:
            raise self._failure(answer)
        try:
            return self._read_page(prefix, answer)
        except (ElementTree.ParseError, ValueError) as error:
            # A cut listing is trouble on the way; anything else that is no listing comes from another kind of server.
            if b"<ListBucketResult" in answer.content[:400]:
                raise EngineFailure(
                    FailureKind.UNREACHABLE, f"the listing of {self._name(prefix)} cannot be read: {error}"
                ) from error
            raise self._stranger("a listing that is none", answer) from error

    def _read_page(self, prefix: str, answer: httpx2.Response) -> _Page:
        """Return the page; raise ValueError for one that is not whole, MISDIRECTED for another one than was asked."""
        root = ElementTree.fromstring(answer.content)  # noqa: S314  # expat refuses entity bombs since 2.4.1
        for element in root.iter():
            element.tag = element.tag.rpartition("}")[2]
        if root.tag != "ListBucketResult":
            raise self._stranger(f"a <{root.tag}> in place of a listing", answer)
        count, truncated = _text(root, "KeyCount"), _text(root, "IsTruncated")
        asked = (self._storage.bucket, self._storage.prefix + prefix)
        if (_text(root, "Name"), root.findtext("Prefix") or "") != asked:
            raise self._stranger("a listing of another bucket or prefix", answer)
        objects = tuple(self._read_object(each, answer) for each in root.findall("Contents"))
        folders = tuple(self._relative(_text(each, "Prefix")) for each in root.findall("CommonPrefixes"))
        if not len(objects) <= int(count) <= len(objects) + len(folders):
            raise ValueError(f"KeyCount is {count}, and there are {len(objects)} keys and {len(folders)} folders")
        match truncated:
            case "true":
                return _Page(objects=objects, folders=folders, next=_text(root, "NextContinuationToken"))
            case "false":
                return _Page(objects=objects, folders=folders, next=None)
            case _:
                raise ValueError(f"IsTruncated is {truncated!r}")

    def _read_object(self, element: ElementTree.Element, answer: httpx2.Response) -> StoredObject:
        modified = _in_utc(datetime.fromisoformat(_text(element, "LastModified")))
        age = _in_utc(parsedate_to_datetime(answer.headers.get("date", ""))) - modified
        return StoredObject(
            key=self._relative(_text(element, "Key")),
            size=int(_text(element, "Size")),
            age_seconds=max(0.0, age.total_seconds()),
        )

    def _relative(self, key: str) -> str:
        if not key.startswith(self._storage.prefix):
            raise ValueError(f"{key!r} is not below {self._storage.prefix!r}")
        return key.removeprefix(self._storage.prefix)

    async def _send(self, method: str, key: str | None, *, query: str = "", body: bytes = b"") -> httpx2.Response:
        """Return the whole answer; a connection that the server closed while it was idle is tried once more."""
        try:
            async with asyncio.timeout(self._deadline.total_seconds()):
                try:
                    return await self._exchange(method, key, query, body)
                except (httpx2.RemoteProtocolError, httpx2.ReadError, httpx2.WriteError):
                    return await self._exchange(method, key, query, body)
        except (TimeoutError, httpx2.TimeoutException) as error:
            raise EngineFailure(
                FailureKind.TIMEOUT, f"{self._scheme}://{self._host} did not answer {method} in time"
            ) from error
        except httpx2.RequestError as error:
            raise EngineFailure(
                FailureKind.UNREACHABLE, f"{self._scheme}://{self._host} cannot be reached: {_reason(error)}"
            ) from error

    async def _exchange(self, method: str, key: str | None, query: str, body: bytes) -> httpx2.Response:
        path = self._path(key)
        headers = signing.sign(
            method=method,
            host=self._host,
            path=path,
            query=query,
            body=body,
            region=self._storage.region,
            credentials=self._credentials,
            now=datetime.now(UTC),
        )
        url = f"{self._scheme}://{self._host}{path}{'?' + query if query else ''}"
        unsigned = {"accept-encoding": "identity"}
        if method == "PUT":  # asked for by buckets with a retention period (Object Lock)
            unsigned["content-md5"] = b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
        request = self._client.build_request(method, url, headers={**headers, **unsigned}, content=body)
        answer = await self._client.send(request, stream=True)
        try:
            content = bytearray()
            async for chunk in answer.aiter_raw():
                content += chunk
                if len(content) > LARGEST:
                    raise self._stranger(f"an answer of more than {LARGEST} bytes", answer)
            return httpx2.Response(answer.status_code, headers=answer.headers, content=bytes(content))
        finally:
            await answer.aclose()

    def _path(self, key: str | None) -> str:
        if key is None:
            return self._root or "/"
        whole = self._storage.prefix + key
        if any(part in ("", ".", "..") for part in whole.split("/")):
            raise EngineFailure(FailureKind.BAD_ORDER, f"{whole!r} is no key: an empty part, or one of dots")
        return f"{self._root}/{signing.path_of(whole)}"

    def _name(self, key: str) -> str:
        return f"s3://{self._storage.bucket}/{self._storage.prefix}{key}"

    def _failure(self, answer: httpx2.Response) -> EngineFailure:
        return s3_errors.failure(self._storage, answer.status_code, answer.headers, answer.content)

    def _stranger(self, what: str, answer: httpx2.Response) -> EngineFailure:
        return s3_errors.stranger(self._storage, what, answer.status_code)


def _text(element: ElementTree.Element, name: str) -> str:
    text = element.findtext(name)
    if not text:
        raise ValueError(f"there is no {name}")
    return text


def _in_utc(time: datetime) -> datetime:
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)


def _reason(error: httpx2.RequestError) -> str:
    reason = str(error) or type(error).__name__
    if "CERTIFICATE_VERIFY_FAILED" in reason:
        return f"{reason}; a certificate of your own needs its CA bundle with the repository"
    return reason


def _trust(storage: S3Storage) -> ssl.SSLContext | bool:
    """Return which certificates are believed; without TLS nothing is loaded, which saves a process start 20 ms."""
    if not storage.tls:
        return False
    if storage.ca_file is None:
        return True
    try:
        return ssl.create_default_context(cafile=storage.ca_file)
    except OSError as error:
        raise EngineFailure(
            FailureKind.UNREACHABLE, f"the CA bundle {storage.ca_file} cannot be read: {error}"
        ) from error


def _is_loopback(endpoint: str) -> bool:
    """Return whether the endpoint is this host, which no proxy stands before; raise BAD_ORDER when it is none."""
    try:
        url = httpx2.URL(f"http://{endpoint}")
    except httpx2.InvalidURL:
        url = httpx2.URL("")
    if not url.host or url.raw_path != b"/" or url.userinfo:
        raise EngineFailure(FailureKind.BAD_ORDER, f"endpoint {endpoint!r} is not of the form host[:port]")
    try:
        return ipaddress.ip_address(url.host).is_loopback
    except ValueError:
        return url.host == "localhost" or url.host.endswith(".localhost")
