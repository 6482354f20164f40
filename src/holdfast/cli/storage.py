"""Where backups shall go, as a person says it on the command line."""

from pathlib import Path

import click

from holdfast.model.repository import ClaimStorage, DirectoryStorage, NfsStorage, Place, S3Storage


def place(
    directory: Path | None, claim: str | None, nfs: str | None, s3: str | None, region: str, insecure: bool
) -> Place:
    """Return the one place that is named. Raises UsageError where none is, or several are, or it cannot be one."""
    match directory, claim, nfs, s3:
        case Path(), None, None, None:
            return _directory(directory)
        case None, str(), None, None:
            return _claim(claim)
        case None, None, str(), None:
            return _nfs(nfs)
        case None, None, None, str():
            return _bucket(s3, region, insecure)
        case _:
            raise click.UsageError(
                "Say where the backups go, with one of: --s3 ENDPOINT/BUCKET[/PREFIX], --directory PATH, "
                "--claim NAME[/PATH], --nfs SERVER:/PATH."
            )


def _directory(path: Path) -> DirectoryStorage:
    if not path.is_absolute() or ".." in path.parts or path == Path("/"):
        raise click.UsageError(f"--directory {path}: write an absolute path of a directory of its own.")
    return DirectoryStorage(path=str(path))


def _claim(text: str) -> ClaimStorage:
    name, _, path = text.partition("/")
    if not name or ".." in path.split("/"):
        raise click.UsageError(f"--claim {text}: write NAME[/PATH], for example backups or backups/home.")
    return ClaimStorage(claim=name, path=path.strip("/"))


def _nfs(text: str) -> NfsStorage:
    server, separator, path = text.rpartition(":/")  # the server may be an IPv6 address
    if not server or not separator or ".." in path.split("/"):
        raise click.UsageError(f"--nfs {text}: write SERVER:/PATH, for example nas.example.org:/volume1/backups.")
    return NfsStorage(server=server, path=f"/{path}")


def _bucket(text: str, region: str, insecure: bool) -> S3Storage:
    scheme, separator, rest = text.partition("://")
    endpoint, _, path = (rest if separator else text).partition("/")
    bucket, _, prefix = path.partition("/")
    if separator and scheme not in ("http", "https"):
        raise click.UsageError(f"--s3 {text}: {scheme}:// is no way to speak S3; write ENDPOINT/BUCKET[/PREFIX].")
    if not endpoint or not bucket:
        raise click.UsageError(f"--s3 {text}: write ENDPOINT/BUCKET[/PREFIX], for example s3.example.org/backups/home.")
    if scheme == "https" and separator and insecure:
        raise click.UsageError("--insecure contradicts https://: leave one of them out.")
    return S3Storage(
        endpoint=endpoint,
        bucket=bucket,
        prefix=f"{prefix.strip('/')}/" if prefix.strip("/") else "",
        region=region,
        tls=not (insecure or (separator and scheme == "http")),
    )
