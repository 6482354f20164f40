"""Refusals: why a request was not carried out, as the Status object that a Kubernetes API server answers with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from holdfast.sandbox.store.values import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """One reason within a refusal: the kind of fault, the field it stands in, a sentence."""

    reason: str
    message: str
    field: str = ""


class Refusal(Exception):
    """A request that was refused: HTTP status, machine-readable reason, a sentence and details."""

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        *,
        causes: Sequence[Cause] = (),
        details: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.causes = tuple(causes)
        self.details = dict(details or {})

    def about(self, group: str, resource: str, name: str) -> "Refusal":
        """Return the same refusal with the object it speaks of in its details."""
        named: dict[str, object] = {"name": name, "group": group, "kind": resource}
        known = {key: value for key, value in named.items() if value}
        return Refusal(self.code, self.reason, self.message, causes=self.causes, details={**known, **self.details})

    def status(self) -> Json:
        """Return the Status object."""
        details = dict(self.details)
        if self.causes:
            details["causes"] = [
                {"reason": cause.reason, "message": cause.message, **({"field": cause.field} if cause.field else {})}
                for cause in self.causes
            ]
        body: Json = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "code": self.code,
        }
        if details:
            body["details"] = details
        return body


def bad_request(message: str) -> Refusal:
    return Refusal(400, "BadRequest", message)


def not_found(group: str, resource: str, name: str) -> Refusal:
    full = f"{resource}.{group}" if group else resource
    return Refusal(404, "NotFound", f'{full} "{name}" not found').about(group, resource, name)


def already_exists(group: str, resource: str, name: str) -> Refusal:
    full = f"{resource}.{group}" if group else resource
    return Refusal(409, "AlreadyExists", f'{full} "{name}" already exists').about(group, resource, name)


def conflict(message: str, causes: Sequence[Cause] = ()) -> Refusal:
    return Refusal(409, "Conflict", message, causes=causes)


def forbidden(message: str, causes: Sequence[Cause] = ()) -> Refusal:
    return Refusal(403, "Forbidden", message, causes=causes)


def expired(message: str) -> Refusal:
    return Refusal(410, "Expired", message)


def invalid(kind: str, name: str, causes: Sequence[Cause]) -> Refusal:
    """Return the 422 for an object whose fields are wrong."""
    listed = "; ".join(f"{cause.field}: {cause.message}" if cause.field else cause.message for cause in causes)
    return Refusal(
        422, "Invalid", f'{kind} "{name}" is invalid: {listed}', causes=causes, details={"name": name, "kind": kind}
    )


def wrong(field: str, message: str) -> Cause:
    return Cause(reason="FieldValueInvalid", field=field, message=message)


def required(field: str) -> Cause:
    return Cause(reason="FieldValueRequired", field=field, message="Required value")


def denied(field: str, message: str) -> Cause:
    return Cause(reason="FieldValueForbidden", field=field, message=message)
