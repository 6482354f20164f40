"""Where a repository lies, as one phrase."""

from typing import assert_never

from holdfast.model.repository import ClaimStorage, DirectoryStorage, NfsStorage, Place, S3Storage


def where(storage: Place) -> str:
    """Return the storage's place: a directory, or `s3://bucket/prefix` and its endpoint."""
    match storage:
        case DirectoryStorage(path=path):
            return path
        case ClaimStorage(claim=claim, path=path):
            return f"{path} of claim {claim}" if path else f"claim {claim}"
        case NfsStorage(server=server, path=path):
            return f"{server}:{path}"
        case S3Storage():
            return f"s3://{storage.bucket}/{storage.prefix} at {storage.endpoint}"
        case _:
            assert_never(storage)
