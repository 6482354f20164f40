"""What goes in and comes out of an API server: a request, an answer, a stream of events, a log."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote

import msgspec

from holdfast.sandbox.store.history import Watch
from holdfast.sandbox.store.kinds import Kind
from holdfast.sandbox.store.values import Json


def line(event: str, item: Json) -> bytes:
    """Return one line of a watch."""
    return msgspec.json.encode({"type": event, "object": item}) + b"\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One HTTP request, as far as an API server looks at it."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/json"
    user_agent: str = ""
    body: bytes = b""

    @staticmethod
    def read(method: str, target: str, headers: Mapping[str, str], body: bytes) -> "Request":
        """Return the request with that request target; header names are in lower case."""
        path, _, query = target.partition("?")
        return Request(
            method=method,
            path=unquote(path),
            query=dict(parse_qsl(query, keep_blank_values=True)),
            content_type=headers.get("content-type", "").partition(";")[0].strip(),
            user_agent=headers.get("user-agent", ""),
            body=body,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A whole answer."""

    status: int
    body: bytes
    content_type: str = "application/json"
    warnings: tuple[str, ...] = ()
    retry_after_seconds: int | None = None

    def warning_headers(self) -> tuple[str, ...]:
        """Return the values of the Warning headers."""
        escaped = (text.replace("\\", "\\\\").replace('"', '\\"') for text in self.warnings)
        return tuple(f'299 - "{text}"' for text in escaped)


@dataclass(frozen=True, slots=True, kw_only=True)
class Watching:
    """A stream of events: first what is there already, then what the watch brings."""

    watch: Watch
    kind: Kind
    first: tuple[tuple[str, Json], ...]
    bookmarks: bool
    timeout_seconds: float

    def bookmark(self) -> bytes:
        """Return the line that says how far this watch has come."""
        meta = {"resourceVersion": str(self.watch.version), "creationTimestamp": None}
        item = {"kind": self.kind.kind, "apiVersion": self.kind.api_version, "metadata": meta}
        return line("BOOKMARK", item)


@dataclass(frozen=True, slots=True, kw_only=True)
class Logs:
    """The log of a pod is asked for; whoever runs the pods has it."""

    namespace: str
    name: str
    uid: str
    follow: bool
    tail_lines: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a path names: a kind, and in it perhaps a namespace, an object and a subresource."""

    kind: Kind
    namespace: str = ""
    name: str = ""
    subresource: str = ""
