"""What a Kubernetes API server (or the way to it) can refuse, as one family of exceptions."""

from datetime import timedelta
from typing import Final

import msgspec


class KubeError(Exception):
    """A request to Kubernetes failed. `status` is the HTTP or Status code, None when nothing was answered.

    `retry_after` is the pause that the server asked for.
    """

    def __init__(
        self, reason: str, message: str, status: int | None = None, *, retry_after: timedelta | None = None
    ) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        self.message = message
        self.status = status
        self.retry_after = retry_after


class Conflict(KubeError):
    """Somebody else wrote in between, a precondition does not hold, or a field is owned by another manager."""


class AlreadyExists(KubeError):
    """There is an object of this name."""


class Gone(KubeError):
    """The version, or the continue token, is too old: list again."""


class NotFound(KubeError):
    """There is no object of this name (or no such namespace)."""


class NotServed(KubeError):
    """The server does not know this kind: its CustomResourceDefinition is missing."""


class Unauthorized(KubeError):
    """The server does not know who we are."""


class Forbidden(KubeError):
    """We may not do this, or a policy refuses it, or cannot be asked."""


class Terminating(KubeError):
    """The namespace is being deleted: nothing can be created in it until it is gone."""


class Invalid(KubeError):
    """The request can never succeed as it is written."""


# What the creation of an object is refused with: by a right, a quota, a policy or a namespace that goes.
REFUSALS: Final = (Forbidden, Terminating, Invalid)


class Undecodable(KubeError):
    """The server answered with an object that we cannot read."""


class Unreachable(KubeError):
    """No whole answer came. A write may have taken effect all the same."""


class NotLeading(KubeError):
    """This process may not write (any more): another one may be leading."""


UNASKED: Final = "failed calling webhook"  # a policy that refuses whatever it is not asked about; code 500


class _Cause(msgspec.Struct, frozen=True):
    reason: str | None = None
    field: str | None = None


class _Details(msgspec.Struct, frozen=True, rename="camel"):
    causes: list[_Cause] | None = None
    retry_after_seconds: int | None = None


class Status(msgspec.Struct, frozen=True):
    """The `Status` object with which the server refuses, on its own or inside a watch."""

    kind: str | None = None
    code: int | None = None
    reason: str | None = None
    message: str | None = None
    details: _Details | None = None


_DECODER = msgspec.json.Decoder(Status)


def from_response(code: int, body: bytes, retry_after: str | None = None) -> KubeError:
    """Return the error that an HTTP answer stands for; `retry_after` is the header of that name."""
    pause = timedelta(seconds=int(retry_after)) if retry_after and retry_after.isdecimal() else None
    try:
        status = _DECODER.decode(body)
    except msgspec.DecodeError:
        status = Status()
    if status.kind == "Status":
        return from_status(status, code, pause)
    text = body[:200].decode(errors="replace").strip() or "empty answer"
    if code == 404:
        return NotServed("NotServed", f"the API server does not serve this kind ({text})", code)
    if code == 401:
        return Unauthorized("Unauthorized", text, code)
    if code == 403:
        return Forbidden("Forbidden", text, code)
    return KubeError(f"HTTP{code}", text, code, retry_after=pause)


def from_status(status: Status, code: int | None = None, retry_after: timedelta | None = None) -> KubeError:
    """Return the error that a Status object stands for."""
    code = status.code or code
    reason = status.reason or f"HTTP{code}"
    causes = (status.details.causes if status.details else None) or []
    if retry_after is None and status.details and status.details.retry_after_seconds is not None:
        retry_after = timedelta(seconds=status.details.retry_after_seconds)
    message = status.message or "no message"
    error = _class(code, reason, any(cause.reason == "NamespaceTerminating" for cause in causes))
    if error is KubeError and UNASKED in message:
        error = Forbidden
    fields = ", ".join(sorted({cause.field for cause in causes if cause.field}))
    if error is Conflict and fields:
        message = f"{message} (fields: {fields})"
    return error(reason, message, code, retry_after=retry_after)


def _class(code: int | None, reason: str, terminating: bool) -> type[KubeError]:
    if code == 409:
        return AlreadyExists if reason == "AlreadyExists" else Conflict
    if code == 403:
        return Terminating if terminating else Forbidden
    classes = {400: Invalid, 401: Unauthorized, 404: NotFound, 410: Gone, 422: Invalid}
    return KubeError if code is None else classes.get(code, KubeError)
