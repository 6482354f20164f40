"""Faults on request: what a network and a busy API server do to their clients, over one control object."""

import fnmatch
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from holdfast.sandbox.store.messages import Request
from holdfast.sandbox.store.refusal import Refusal


class Broken(Exception):
    """The connection goes away without an answer, or in the middle of one."""


class FaultKind(StrEnum):
    """What happens to a request that a fault matches."""

    REFUSE = "refuse"  # the connection is closed before anything happens
    HANG = "hang"  # nothing happens for `seconds`, then the connection is closed
    SLOW = "slow"  # the answer comes after `seconds`
    CUT = "cut"  # half an answer; of a watch, one more event
    HALF_LINE = "half a line"  # a watch ends cleanly in the middle of an event
    SILENT = "silent"  # a watch stays open and says nothing
    GONE = "410"  # the version is too old, as the answer's status
    GONE_IN_STREAM = "410 in the stream"  # the same, as a watch's ERROR event
    FORBIDDEN = "403"  # as by a quota
    BUSY = "429"  # with Retry-After
    BROKEN = "500"
    TIMEOUT = "504"
    EXPIRED_CONTINUE = "expired continue"  # the next page is 410; first pages pass
    DUPLICATE = "duplicated events"
    DELAY = "delayed events"  # each comes `seconds` late
    CONFLICT = "conflict"  # 409, nothing written
    ANSWER_LOST = "answer lost"  # the write takes effect, its answer never comes


_STREAM_ONLY: Final = frozenset(
    {FaultKind.HALF_LINE, FaultKind.SILENT, FaultKind.GONE_IN_STREAM, FaultKind.DUPLICATE, FaultKind.DELAY}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What to do to which requests. `method`: GET, POST, … or WATCH, "" for any; `path`: a pattern of shell kind.

    The first `skip` matching requests pass, the next `count` are hit; a count of None lasts until it is cleared.
    """

    kind: FaultKind
    method: str = ""
    path: str = "*"
    skip: int = 0
    count: int | None = 1
    seconds: float = 0.0

    def matches(self, request: Request) -> bool:
        is_watch = request.method == "GET" and request.query.get("watch", "").lower() in ("1", "true")
        if self.kind in _STREAM_ONLY and not is_watch:
            return False
        if self.kind is FaultKind.EXPIRED_CONTINUE and not request.query.get("continue"):
            return False
        wanted = self.method in ("", "WATCH" if is_watch else request.method)
        return wanted and fnmatch.fnmatchcase(request.path, self.path)


class Faults:
    """The faults in force, by name, and how often each has struck."""

    def __init__(self) -> None:
        self._faults: dict[str, Fault] = {}
        self._seen: dict[str, int] = {}
        self.struck: dict[str, int] = {}

    def add(self, name: str, fault: Fault) -> None:
        """Put a fault in force; one of the same name is replaced and its counts start again."""
        self._faults[name] = fault
        self._seen[name] = 0
        self.struck[name] = 0

    def clear(self, name: str | None = None) -> None:
        """End the fault of that name, or all of them; the counts stay readable."""
        for each in [name] if name is not None else list(self._faults):
            self._faults.pop(each, None)

    def take(self, request: Request) -> Fault | None:
        """Return the fault that hits this request, and count it."""
        for name, fault in self._faults.items():
            if not fault.matches(request):
                continue
            self._seen[name] += 1
            turn = self._seen[name] - fault.skip
            if turn > 0 and (fault.count is None or turn <= fault.count):
                self.struck[name] += 1
                return fault
        return None


def refusal(kind: FaultKind) -> Refusal | None:
    """Return the refusal that a fault of this kind answers with, if it answers with one."""
    match kind:
        case FaultKind.GONE | FaultKind.GONE_IN_STREAM:
            return Refusal(410, "Expired", "too old resource version")
        case FaultKind.EXPIRED_CONTINUE:
            return Refusal(410, "Expired", "The provided continue parameter is too old")
        case FaultKind.FORBIDDEN:
            return Refusal(403, "Forbidden", "forbidden: exceeded quota: a fault was asked for")
        case FaultKind.BUSY:
            details = {"retryAfterSeconds": 1}
            return Refusal(429, "TooManyRequests", "too many requests, please try again later", details=details)
        case FaultKind.BROKEN:
            return Refusal(500, "InternalError", "Internal error occurred: a fault was asked for")
        case FaultKind.TIMEOUT:
            return Refusal(504, "Timeout", "Timeout: request did not complete within the allotted timeout")
        case FaultKind.CONFLICT:
            return Refusal(
                409, "Conflict", "the object has been modified; please apply your changes to the latest version"
            )
        case (
            FaultKind.REFUSE | FaultKind.HANG | FaultKind.SLOW | FaultKind.CUT | FaultKind.HALF_LINE | FaultKind.SILENT
            | FaultKind.DUPLICATE | FaultKind.DELAY | FaultKind.ANSWER_LOST
        ):  # fmt: skip
            return None
