"""What an S3 server's refusal means: status, headers and body → failure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from xml.etree import ElementTree

from holdfast.engines.protocol import EngineFailure
from holdfast.model.failure import FailureKind
from holdfast.model.repository import S3Storage

# https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html, and MinIO's own where they start with X
_CODES: Final[Mapping[FailureKind, str]] = {
    FailureKind.FORBIDDEN: """
        AccessDenied AllAccessDisabled AccountProblem ExpiredToken InvalidAccessKeyId InvalidSecurity InvalidToken
        NotSignedUp SignatureDoesNotMatch TokenRefreshRequired UnauthorizedAccess
    """,
    FailureKind.CLOCK_SKEW: "RequestTimeTooSkewed",
    FailureKind.MISDIRECTED: """
        AuthorizationHeaderMalformed IllegalLocationConstraintException InvalidBucketName NoSuchBucket NoSuchKey
        PermanentRedirect Redirect TemporaryRedirect
    """,
    # versitygw answers the last one also when another client removes the key's folder at that moment.
    FailureKind.LOCKED: "ConditionalRequestConflict OperationAborted ExistingObjectIsDirectory",
    FailureKind.UNREACHABLE: "InternalError RequestTimeout ServiceUnavailable SlowDown Throttling",
    FailureKind.REPOSITORY_FULL: """
        InsufficientCapacity QuotaExceeded StorageFull XMinioAdminBucketQuotaExceeded XMinioStorageFull
    """,
    FailureKind.DAMAGED: "InvalidObjectState ObjectNotInActiveTierError",
}
_KINDS: Final = {code: kind for kind, codes in _CODES.items() for code in codes.split()}

_ADVICE: Final[Mapping[str, str]] = {
    "NoSuchBucket": "there is no such bucket here: check its name and the endpoint; Holdfast creates none",
    "InvalidObjectState": "the object is archived: it is there, and must be brought back from its storage class first",
    "RequestTimeTooSkewed": "this host's clock and the storage's differ by more than 15 minutes",
    "ExpiredToken": "the session token has expired: renew the repository's Secret",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """An S3 error document."""

    code: str
    message: str
    region: str


def read(content: bytes) -> Refusal | None:
    """Return the S3 error document, None when the content is none."""
    try:
        root = ElementTree.fromstring(content)  # noqa: S314  # expat refuses entity bombs since 2.4.1
    except ElementTree.ParseError:
        return None
    found = {element.tag.rpartition("}")[2]: (element.text or "").strip() for element in root}
    if root.tag.rpartition("}")[2] != "Error" or not found.get("Code"):
        return None
    return Refusal(code=found["Code"], message=found.get("Message", ""), region=found.get("Region", ""))


def failure(storage: S3Storage, status: int, headers: Mapping[str, str], content: bytes) -> EngineFailure:
    """Return what an answer other than the hoped-for one means."""
    refusal = read(content)
    if refusal is None:
        return _without_code(storage, status, headers)
    region = headers.get("x-amz-bucket-region") or refusal.region
    kind = _KINDS.get(refusal.code) or _kind_of(status, other=FailureKind.UNKNOWN)
    advice = _ADVICE.get(refusal.code) or refusal.message
    if kind is FailureKind.MISDIRECTED and region and region != storage.region:
        advice = f"the bucket is in region {region}, and {storage.region} was asked"
    return EngineFailure(kind, f"{_where(storage)} answered {refusal.code} ({status}): {advice}")


def stranger(storage: S3Storage, what: str, status: int) -> EngineFailure:
    """Return the failure for an answer that no S3 server gives."""
    return EngineFailure(
        FailureKind.MISDIRECTED, f"{_where(storage)} answered with {what} ({status}): is another server there?"
    )


def _without_code(storage: S3Storage, status: int, headers: Mapping[str, str]) -> EngineFailure:
    region = headers.get("x-amz-bucket-region")
    target = headers.get("location")
    if region and region != storage.region:
        hint = f"the bucket is in region {region}, and {storage.region} was asked"
    elif target:
        hint = f"it points to {target}: check endpoint, region and TLS"
    else:
        hint = "no S3 error came with it: is a proxy or another server there?"
    return EngineFailure(
        _kind_of(status, other=FailureKind.MISDIRECTED), f"{_where(storage)} answered {status}: {hint}"
    )


def _kind_of(status: int, *, other: FailureKind) -> FailureKind:
    """Return what a status means whose document does not say more; `other` for those that say nothing."""
    if 300 <= status < 400:
        return FailureKind.MISDIRECTED
    if status in (401, 403):
        return FailureKind.FORBIDDEN
    if status == 507:
        return FailureKind.REPOSITORY_FULL
    if status in (407, 408, 425, 429) or status >= 500:
        return FailureKind.UNREACHABLE
    return other


def _where(storage: S3Storage) -> str:
    return f"{storage.endpoint}/{storage.bucket}" if storage.path_style else f"{storage.bucket}.{storage.endpoint}"
