"""When is a reader started anew?"""

from datetime import timedelta

import pytest

from holdfast.decide import renewal
from holdfast.model.failure import Failure, FailureKind
from holdfast.model.repository import DirectoryStorage, S3Storage, Storage
from tests import builders

DISK = DirectoryStorage(path="/srv/backups")
BUCKET = S3Storage(endpoint="s3.example.org", bucket="backups")
LONG = renewal.AFTER


@pytest.mark.parametrize(
    ("storage", "seen", "age", "expected"),
    [
        (DISK, FailureKind.NO_MARKER, LONG, True),
        (DISK, FailureKind.STORAGE_MISSING, LONG, True),
        (DISK, FailureKind.NO_MARKER, LONG - timedelta(seconds=1), False),
        (DISK, FailureKind.NO_MARKER, None, False),
        (DISK, FailureKind.WRONG_PASSWORD, LONG, False),
        (DISK, FailureKind.READER_DOWN, LONG, False),
        (BUCKET, FailureKind.NO_MARKER, LONG, False),
    ],
)
def test_only_a_directory_that_seems_to_be_missing_is_looked_at_by_a_new_pod(
    storage: Storage, seen: FailureKind, age: timedelta | None, expected: bool
) -> None:
    began = builders.NOW - age if age is not None else None
    failure = Failure(kind=seen, detail="as told")
    assert renewal.is_due(builders.repository(storage=storage), failure, began, builders.NOW) is expected
