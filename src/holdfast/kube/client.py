"""The one client for Kubernetes: typed reads, server-side apply, merge patches, watches; every call has a deadline."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import httpx2
import msgspec

from holdfast.kube import connection, decode, errors
from holdfast.kube.decode import Page, WatchEvent
from holdfast.kube.objects import Kind, Manifest, Object, T, kind_of

FIELD_MANAGER: Final = "holdfast"
PAGE_SIZE: Final = 500
LIST_ATTEMPTS: Final = 3  # a continue token may expire midway; then everything is listed again
LINE_LIMIT: Final = 16 * 2**20  # etcd keeps objects far below this

_APPLY = "application/apply-patch+yaml"
_MERGE = "application/merge-patch+json"
_JSON = "application/json"

Parameters = Mapping[str, str]


def always() -> bool:
    """Allow every write: for commands, which hold no lease."""
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Kube:
    """A connection to one API server.

    `may_write` is asked right before each write; when it says no, the write is not sent and NotLeading is raised.
    `strict` makes the server refuse fields that it does not know, instead of dropping them.
    """

    http: httpx2.AsyncClient
    namespace: str = "default"
    may_write: Callable[[], bool] = always
    deadline: timedelta = timedelta(seconds=30)
    strict: bool = False

    @classmethod
    def connect(
        cls,
        kubeconfig: Path | None = None,
        context: str | None = None,
        namespace: str | None = None,
        *,
        deadline: timedelta = timedelta(seconds=30),
        strict: bool = False,
        trust_env: bool = True,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> "Kube":
        """Return a client for the cluster of a kubeconfig, or for the one that this pod runs in.

        `trust_env` uses proxies named by the environment, never on loopback. Raises KubeError when nothing leads to
        a cluster. Nothing is sent yet.
        """
        http, configured = connection.connect(kubeconfig, context, trust_env=trust_env, transport=transport)
        return cls(http=http, namespace=namespace or configured, deadline=deadline, strict=strict)

    def guarded(self, may_write: Callable[[], bool]) -> "Kube":
        """Return the same connection, whose writes ask `may_write` first."""
        return replace(self, may_write=may_write)

    async def aclose(self) -> None:
        await self.http.aclose()

    # Reads

    async def get(self, kind: Kind[T], name: str, namespace: str | None = None) -> T:
        """Return the object as the server has it now; raise NotFound, NotServed, Undecodable, …"""
        return decode.one(kind, await self._request("GET", kind.path(namespace, name)))

    async def manifest(self, kind: Kind[Any], name: str, namespace: str | None = None) -> Manifest:
        """Return the object whole, as JSON: for a copy of it, of which nothing may be lost."""
        found: Manifest = msgspec.json.decode(await self._request("GET", kind.path(namespace, name)))
        return found

    async def list(
        self,
        kind: Kind[T],
        namespace: str | None = None,
        labels: Mapping[str, str] | None = None,
        fields: str | None = None,
    ) -> Sequence[T]:
        """Return all objects, from one consistent and complete list.

        Raises Undecodable when one of them cannot be read, since the list would not be complete.
        """
        for _ in range(LIST_ATTEMPTS - 1):
            with contextlib.suppress(errors.Gone):
                return await self._list_once(kind, namespace, labels, fields)
        return await self._list_once(kind, namespace, labels, fields)

    async def _list_once(
        self, kind: Kind[T], namespace: str | None, labels: Mapping[str, str] | None, fields: str | None
    ) -> Sequence[T]:
        items: list[T] = []
        async for page in self.pages(kind, namespace, labels, fields):
            if page.broken:
                first = page.broken[0]
                raise errors.Undecodable("Undecodable", f"{kind.kind} {first.key or '?'}: {first.detail}")
            items.extend(page.items)
        return items

    async def pages(
        self,
        kind: Kind[T],
        namespace: str | None = None,
        labels: Mapping[str, str] | None = None,
        fields: str | None = None,
    ) -> AsyncGenerator[Page[T], None]:
        """Yield all objects in parts, as of one version; raise Gone midway when that version has expired.

        After Gone, drop what came and begin again: the token that the server offers then mixes versions.
        """
        proceed: str | None = None
        while True:
            parameters = {"limit": str(PAGE_SIZE)} | _selector(labels, fields)
            if proceed:
                parameters["continue"] = proceed
            page = decode.page(kind, await self._request("GET", kind.path(namespace), parameters))
            yield page
            proceed = page.proceed
            if proceed is None:
                return

    async def watch(
        self,
        kind: Kind[T],
        namespace: str | None = None,
        *,
        resource_version: str,
        duration: timedelta,
        quiet: timedelta = timedelta(seconds=90),
        labels: Mapping[str, str] | None = None,
        fields: str | None = None,
        connected: Callable[[], None] = lambda: None,
    ) -> AsyncGenerator[WatchEvent[T], None]:
        """Yield what happened after `resource_version`; end when the server ends the watch after `duration`.

        Raises Gone when the version has expired, Unreachable when the stream breaks or is silent for `quiet`
        (bookmarks come every minute). `connected` is called once the server has accepted the watch.
        """
        parameters = _selector(labels, fields) | {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(max(1, round(duration.total_seconds()))),
        }
        async with (
            contextlib.aclosing(self._stream(kind.path(namespace), parameters, quiet, connected)) as chunks,
            contextlib.aclosing(_lines(chunks)) as lines,
        ):
            async for line in lines:
                yield decode.event(kind, line)

    async def logs(
        self, namespace: str, pod: str, *, follow: bool, quiet: timedelta = timedelta(minutes=20)
    ) -> AsyncGenerator[str, None]:
        """Yield the lines of a pod's log; with `follow` up to its end, or Unreachable after `quiet` without a line."""
        path = f"/api/v1/namespaces/{namespace}/pods/{pod}/log"
        chunks = self._stream(path, {"follow": "true"} if follow else {}, quiet)
        async with contextlib.aclosing(chunks), contextlib.aclosing(_lines(chunks)) as lines:
            async for line in lines:
                yield line.decode(errors="replace")

    # Writes

    async def create(self, manifest: Manifest) -> Object:
        """Create the object and return it; raise AlreadyExists, Terminating, Invalid, …"""
        kind = kind_of(manifest)
        path = kind.path(_namespace(manifest))
        created: Object = decode.one(kind, await self._write("POST", path, manifest, _JSON, self._write_parameters()))
        return created

    async def try_create(self, manifest: Manifest) -> Manifest:
        """Return the object as a creation would store it, after admission; nothing is stored. Raises as `create`."""
        path = kind_of(manifest).path(_namespace(manifest))
        parameters = self._write_parameters() | {"dryRun": "All"}
        tried: Manifest = msgspec.json.decode(await self._write("POST", path, manifest, _JSON, parameters))
        return tried

    async def apply(self, manifest: Manifest, *, force: bool = True) -> Object:
        """Make what the manifest says true, and return the object (server-side apply as "holdfast").

        Fields that we applied before and leave out now are removed; fields of others stay. Creates what is missing:
        name `metadata.uid` where an object of this name may have been re-created (then Conflict or Invalid).
        """
        return await self._apply(manifest, None, force)

    async def apply_status(self, manifest: Manifest) -> Object:
        """Apply the manifest's status; raise NotFound when there is no such object."""
        return await self._apply(manifest, "status", True)

    async def _apply(self, manifest: Manifest, subresource: str | None, force: bool) -> Object:
        kind = kind_of(manifest)
        path = kind.path(_namespace(manifest), manifest["metadata"]["name"], subresource)
        parameters = self._write_parameters() | {"force": "true" if force else "false"}
        applied: Object = decode.one(kind, await self._write("PATCH", path, manifest, _APPLY, parameters))
        return applied

    async def patch(
        self,
        kind: Kind[T],
        name: str,
        namespace: str | None,
        body: Mapping[str, Any],
        *,
        subresource: str | None = None,
    ) -> T:
        """Merge `body` into the object and return it.

        `metadata.resourceVersion` or `metadata.uid` in the body are preconditions (Conflict, Invalid).
        """
        path = kind.path(namespace, name, subresource)
        return decode.one(kind, await self._write("PATCH", path, body, _MERGE, self._write_parameters()))

    async def delete(self, kind: Kind[Any], name: str, namespace: str | None = None, *, uid: str | None = None) -> bool:
        """Ask for the object's deletion, its dependents after it; return False when there is no such object.

        True says that the server accepted: finalizers may keep the object. Conflict: it has another uid.
        """
        options: dict[str, Any] = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"}
        if uid is not None:
            options["preconditions"] = {"uid": uid}
        try:
            await self._write("DELETE", kind.path(namespace, name), options, _JSON, {})
        except errors.NotFound:
            return False
        return True

    def _write_parameters(self) -> dict[str, str]:
        parameters = {"fieldManager": FIELD_MANAGER}
        return parameters | {"fieldValidation": "Strict"} if self.strict else parameters

    # Requests

    async def _write(
        self, method: str, path: str, body: Mapping[str, Any], content_type: str, parameters: Parameters
    ) -> bytes:
        content = msgspec.json.encode(body)
        if not self.may_write():
            raise errors.NotLeading("NotLeading", f"{method} {path} not sent: this process may not write now")
        return await self._request(method, path, parameters, content, content_type)

    async def _request(
        self,
        method: str,
        path: str,
        parameters: Parameters | None = None,
        content: bytes | None = None,
        content_type: str = _JSON,
    ) -> bytes:
        headers = {"Accept": _JSON, "Content-Type": content_type}
        try:
            async with asyncio.timeout(self.deadline.total_seconds()):
                response = await self.http.request(
                    method, path, params=parameters or {}, content=content, headers=headers
                )
        except (TimeoutError, httpx2.HTTPError) as error:
            raise self._unreachable(method, path, error) from error
        if not response.is_success:
            raise errors.from_response(response.status_code, response.content, response.headers.get("Retry-After"))
        return response.content

    async def _stream(
        self,
        path: str,
        parameters: Parameters,
        quiet: timedelta,
        connected: Callable[[], None] = lambda: None,
    ) -> AsyncGenerator[bytes, None]:
        timeout = httpx2.Timeout(**connection.TIMEOUT.as_dict() | {"read": quiet.total_seconds()})
        try:
            async with self.http.stream("GET", path, params=parameters, timeout=timeout) as response:
                if not response.is_success:
                    body = await response.aread()
                    raise errors.from_response(response.status_code, body, response.headers.get("Retry-After"))
                connected()
                async for chunk in response.aiter_bytes():
                    yield chunk
        except httpx2.HTTPError as error:
            raise self._unreachable("GET", path, error) from error

    def _unreachable(self, method: str, path: str, error: Exception) -> errors.Unreachable:
        what = str(error) or f"no answer within {self.deadline.total_seconds():g} s"
        return errors.Unreachable("Unreachable", f"{method} {str(self.http.base_url).rstrip('/')}{path}: {what}")


async def _lines(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """Yield whole lines, and at last what came after the last of them: for a watch that is half an event."""
    rest = b""
    async for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if line:
                yield line
        if len(rest) > LINE_LIMIT:
            raise errors.Undecodable("Undecodable", f"a line is longer than {LINE_LIMIT} bytes")
    if rest:
        yield rest


def _selector(labels: Mapping[str, str] | None, fields: str | None) -> dict[str, str]:
    wanted = {"labelSelector": ",".join(f"{key}={value}" for key, value in labels.items())} if labels else {}
    return wanted | {"fieldSelector": fields} if fields else wanted


def _namespace(manifest: Manifest) -> str | None:
    namespace: str | None = manifest["metadata"].get("namespace")
    return namespace
