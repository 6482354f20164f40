"""Where a Repository says that its snapshots are."""

import re
from collections.abc import Mapping
from typing import Any, Final

from holdfast.kube.fields import Fields
from holdfast.model.repository import ClaimStorage, DirectoryStorage, NfsStorage, Place, S3Storage

_ENDPOINT: Final = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?)(:[0-9]{1,5})?")


def storage(read: Fields, storage: Mapping[str, Any] | None) -> Place | None:
    """Return the place that `spec.storage` names, None when it names none that can be used; `read` has the problems."""
    match _only(read, storage, "spec.storage", "says not where the snapshots are", ("s3", "filesystem")):
        case "s3":
            return _s3(read, read.object(storage, "s3", "spec.storage"))
        case "filesystem":
            return _filesystem(read, read.object(storage, "filesystem", "spec.storage"))
        case _:
            return None


def _only(
    read: Fields, parent: Mapping[str, Any] | None, path: str, nothing: str, names: tuple[str, ...]
) -> str | None:
    """Return the name of the only one of these fields that is given; more and fewer are noted."""
    if parent is None:
        return None
    given = [name for name in names if parent.get(name) is not None]
    if not given:
        read.problem(path, nothing, f"write {' or '.join(names)} below it")
    elif len(given) > 1:
        read.problem(path, "names two places", f"keep one of {' and '.join(given)}")
    return given[0] if len(given) == 1 else None


def _filesystem(read: Fields, filesystem: Mapping[str, Any] | None) -> Place | None:
    where = "spec.storage.filesystem"
    match _only(read, filesystem, where, "names no directory", ("hostPath", "claim", "nfs")):
        case "hostPath":
            return DirectoryStorage(path=_absolute(read, filesystem, "hostPath", where))
        case "claim":
            claim = read.object(filesystem, "claim", where)
            return ClaimStorage(
                claim=read.text(claim, "name", f"{where}.claim", required=True),
                path=_relative(read, claim, "path", f"{where}.claim"),
            )
        case "nfs":
            nfs = read.object(filesystem, "nfs", where)
            return NfsStorage(
                server=read.text(nfs, "server", f"{where}.nfs", required=True),
                path=_absolute(read, nfs, "path", f"{where}.nfs", root=True),
            )
        case _:
            return None


def _absolute(read: Fields, parent: Mapping[str, Any] | None, name: str, where: str, *, root: bool = False) -> str:
    path = read.text(parent, name, where, required=True)
    if path and (not path.startswith("/") or ".." in path.split("/") or (not root and path.strip("/") == "")):
        read.problem(f"{where}.{name}", f"{path!r} is no directory of its own", "write an absolute path without ..")
    return path


def _relative(read: Fields, parent: Mapping[str, Any] | None, name: str, where: str) -> str:
    path = read.text(parent, name, where)
    if path.startswith("/") or ".." in path.split("/"):
        read.problem(f"{where}.{name}", f"{path!r} leads out of the claim", "write a path in it, such as backups/home")
    return path.strip("/")


def _s3(read: Fields, s3: Mapping[str, Any] | None) -> S3Storage | None:
    if s3 is None:
        return None
    where = "spec.storage.s3"
    endpoint, tls = _endpoint(read, s3, where)
    bucket = read.text(s3, "bucket", where, required=True)
    if "/" in bucket:
        name, _, rest = bucket.partition("/")
        read.problem(
            f"{where}.bucket", f"{bucket!r} is more than a bucket", f"write {name!r} and put {rest!r} in prefix"
        )
    return S3Storage(
        endpoint=endpoint,
        bucket=bucket,
        prefix=_prefix(read, s3, where),
        region=read.text(s3, "region", where) or "us-east-1",
        tls=tls,
        path_style=read.flag(s3, "virtualHost", where) is not True,
    )


def _endpoint(read: Fields, s3: Mapping[str, Any], where: str) -> tuple[str, bool]:
    """Return host[:port] and whether TLS is used: a scheme says it, or else `insecure`."""
    text = read.text(s3, "endpoint", where, required=True)
    insecure = read.flag(s3, "insecure", where)
    scheme, separator, rest = text.partition("://")
    endpoint = (rest if separator else text).rstrip("/")
    if separator and scheme not in ("http", "https"):
        read.problem(f"{where}.endpoint", f"{scheme}:// is no way to speak S3", f"write {endpoint!r}")
    elif text and not _ENDPOINT.fullmatch(endpoint):
        read.problem(
            f"{where}.endpoint",
            f"{text!r} is not of the form host[:port]",
            "write for example minio.storage.svc:9000; a path belongs in prefix",
        )
    if separator and insecure is not None and insecure is not (scheme == "http"):
        read.problem(f"{where}.insecure", f"{insecure} contradicts {scheme}://", "leave one of them out")
    return endpoint, scheme == "https" if separator else insecure is not True


def _prefix(read: Fields, s3: Mapping[str, Any], where: str) -> str:
    text = read.text(s3, "prefix", where)
    path = text.rstrip("/")
    if path and not all(part not in ("", ".", "..") for part in path.split("/")):
        read.problem(f"{where}.prefix", f"{text!r} is no prefix", "write for example backups/home, without a leading /")
    return f"{path}/" if path else ""
