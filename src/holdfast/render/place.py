"""Where a repository lies, as one phrase."""

from holdfast.model.repository import DirectoryStorage, S3Storage, Storage


def where(storage: Storage) -> str:
    """Return the storage's place: a directory, or `s3://bucket/prefix` and its endpoint."""
    match storage:
        case DirectoryStorage(path=path):
            return path
        case S3Storage():
            return f"s3://{storage.bucket}/{storage.prefix} at {storage.endpoint}"
