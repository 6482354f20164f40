"""restic's own words, captured from real runs, and what they mean."""

from pathlib import Path

import pytest

from holdfast.engines.restic import failures
from holdfast.model.failure import FailureKind

OUTPUTS = Path(__file__).parent.parent / "outputs" / "restic"

MEANING = {
    "no-repository": FailureKind.NO_REPOSITORY,
    "wrong-password": FailureKind.WRONG_PASSWORD,
    "no-keys": FailureKind.WRONG_PASSWORD,
    "locked": FailureKind.LOCKED,
    "locked-prune": FailureKind.LOCKED,
    "init-again": FailureKind.NOT_EMPTY,
    "s3-init-again": FailureKind.NOT_EMPTY,
    "config-forbidden": FailureKind.FORBIDDEN,
    # What is asked for is not there.
    "snapshot-missing": FailureKind.SNAPSHOT_MISSING,
    "restore-missing": FailureKind.SNAPSHOT_MISSING,
    "s3-snapshot-missing": FailureKind.SNAPSHOT_MISSING,
    "tree-missing": FailureKind.PATH_MISSING,
    "tree-file": FailureKind.PATH_MISSING,
    # Damage.
    "config-empty": FailureKind.DAMAGED,
    "config-garbage": FailureKind.DAMAGED,
    "index-corrupt": FailureKind.DAMAGED,
    "index-gone-check": FailureKind.DAMAGED,
    "index-gone-restore": FailureKind.DAMAGED,
    "index-gone-tree": FailureKind.DAMAGED,
    "packs-gone-check": FailureKind.DAMAGED,
    "packs-gone-dump": FailureKind.DAMAGED,
    "packs-gone-restore": FailureKind.DAMAGED,
    "packs-gone-tree": FailureKind.DAMAGED,
    "s3-packs-gone-tree": FailureKind.DAMAGED,
    "pack-flipped-check": FailureKind.DAMAGED,
    "pack-flipped-dump": FailureKind.DAMAGED,
    "pack-flipped-restore": FailureKind.DAMAGED,
    # S3.
    "s3-no-bucket": FailureKind.NO_REPOSITORY,
    "s3-no-keys": FailureKind.FORBIDDEN,
    "s3-unknown-key": FailureKind.FORBIDDEN,
    "s3-wrong-secret": FailureKind.FORBIDDEN,
    # Full, where the test says which side.
    "init-full": FailureKind.REPOSITORY_FULL,
    "repository-full": FailureKind.REPOSITORY_FULL,
    "target-full": FailureKind.REPOSITORY_FULL,
}
NO_FAILURES = {"empty", "snapshot-corrupt", "snapshot-empty", "source-partial"}


def sample(name: str) -> tuple[int, tuple[str, ...]]:
    first, *stderr = (OUTPUTS / f"{name}.txt").read_text().splitlines()
    return int(first.removeprefix("exit ")), tuple(line for line in stderr if line)


def test_every_sample_has_its_meaning() -> None:
    assert {path.stem for path in OUTPUTS.iterdir()} == {*MEANING, *NO_FAILURES}


@pytest.mark.parametrize(("name", "kind"), MEANING.items())
def test_what_restic_says_is_classified(name: str, kind: FailureKind) -> None:
    exit_code, stderr = sample(name)
    failure = failures.failure(exit_code, stderr, full=FailureKind.REPOSITORY_FULL).failure
    assert failure.kind is kind, failure
    assert failure.detail
    for unwanted in ("\n", "github.com", "unlock", "message_type"):
        assert unwanted not in failure.detail


def test_a_check_names_what_is_damaged() -> None:
    assert failures.verification(*sample("pack-flipped-check")).failure.detail.startswith("pack 66af37c57b4525bc")


def test_what_was_never_seen_is_unknown() -> None:
    failure = failures.failure(1, ("Fatal: something new: no space, no file",), full=FailureKind.TARGET_FULL).failure
    assert failure.kind is FailureKind.UNKNOWN
    assert failure.detail == "Fatal: something new: no space, no file"


def test_a_program_that_was_killed_says_so() -> None:
    failure = failures.failure(-9, (), full=FailureKind.TARGET_FULL).failure
    assert failure.kind is FailureKind.UNKNOWN
    assert "-9" in failure.detail


def test_unreadable_files_are_named_once_and_relative() -> None:
    _, stderr = sample("source-partial")
    assert failures.unreadable(stderr, Path("/data")) == ("dir", "f")


def test_a_file_that_vanished_is_not_unreadable() -> None:
    line = (
        '{"message_type":"error","error":{"message":"lstat /data/x: no such file or directory"},'
        '"during":"archival","item":"/data/x"}'
    )
    assert failures.unreadable((line,), Path("/data")) == ()


def test_a_snapshot_of_nothing_is_recognised() -> None:
    assert failures.found_nothing(*sample("empty"))
