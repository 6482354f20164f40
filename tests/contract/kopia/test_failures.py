"""kopia's own words, captured from real runs, and what they mean."""

from pathlib import Path

import pytest

from holdfast.engines.kopia import failures
from holdfast.engines.program import Finished
from holdfast.model.failure import FailureKind

OUTPUTS = Path(__file__).parent.parent / "outputs" / "kopia"

MEANING = {
    "create-again": FailureKind.NOT_EMPTY,
    "directory-forbidden": FailureKind.FORBIDDEN,
    "directory-io-error": FailureKind.UNREACHABLE,
    "directory-missing": FailureKind.STORAGE_MISSING,
    "wrong-password": FailureKind.WRONG_PASSWORD,
    # Damage.
    "blobcfg-garbage": FailureKind.DAMAGED,
    "format-empty": FailureKind.DAMAGED,
    "format-half": FailureKind.DAMAGED,
    "format-missing": FailureKind.NO_REPOSITORY,
    "index-bit": FailureKind.DAMAGED,
    "index-empty": FailureKind.DAMAGED,
    "index-garbage": FailureKind.DAMAGED,
    "manifest-pack-cut": FailureKind.DAMAGED,
    "manifest-pack-missing": FailureKind.DAMAGED,
    "restore-pack-bit": FailureKind.DAMAGED,
    "restore-pack-missing": FailureKind.DAMAGED,
    "verify-index-missing": FailureKind.SNAPSHOT_MISSING,
    "verify-pack-bit": FailureKind.DAMAGED,
    "verify-pack-missing": FailureKind.DAMAGED,
    # What is asked for is not there.
    "delete-missing": FailureKind.SNAPSHOT_MISSING,
    "manifest-missing": FailureKind.SNAPSHOT_MISSING,
    "path-in-file": FailureKind.PATH_MISSING,
    "path-missing": FailureKind.PATH_MISSING,
    "verify-missing": FailureKind.SNAPSHOT_MISSING,
    # S3.
    "s3-access-denied": FailureKind.FORBIDDEN,
    "s3-archived": FailureKind.DAMAGED,
    "s3-bad-gateway": FailureKind.UNREACHABLE,
    "s3-clock-skew": FailureKind.CLOCK_SKEW,
    "s3-create-again": FailureKind.NOT_EMPTY,
    "s3-cut": FailureKind.UNREACHABLE,
    "s3-dropped": FailureKind.UNREACHABLE,
    "s3-expired-token": FailureKind.FORBIDDEN,
    "s3-forbidden-plain": FailureKind.FORBIDDEN,
    "s3-internal-error": FailureKind.UNREACHABLE,
    "s3-moved": FailureKind.MISDIRECTED,
    "s3-no-bucket-create": FailureKind.MISDIRECTED,
    "s3-no-host": FailureKind.UNREACHABLE,
    "s3-ok-empty": FailureKind.MISDIRECTED,
    "s3-ok-html": FailureKind.MISDIRECTED,
    "s3-other-region": FailureKind.MISDIRECTED,
    "s3-permanent-redirect": FailureKind.MISDIRECTED,
    "s3-redirected": FailureKind.MISDIRECTED,
    "s3-refused": FailureKind.UNREACHABLE,
    "s3-slow-down": FailureKind.UNREACHABLE,
    "s3-timeout": FailureKind.UNREACHABLE,
    "s3-tls-unknown-authority": FailureKind.UNREACHABLE,
    "s3-unauthorized": FailureKind.FORBIDDEN,
    "s3-unavailable": FailureKind.UNREACHABLE,
    "s3-unknown-key": FailureKind.FORBIDDEN,
    "s3-wrong-prefix": FailureKind.NO_REPOSITORY,
    "s3-wrong-secret": FailureKind.FORBIDDEN,
    # Nothing that a kind of ours says better than kopia's own words.
    "backup-read-only": FailureKind.UNKNOWN,
    "maintenance-other-owner": FailureKind.UNKNOWN,
    "read-only": FailureKind.UNKNOWN,
    "target-forbidden": FailureKind.UNKNOWN,
}
OF_BACKUPS = {
    "repository-full": FailureKind.REPOSITORY_FULL,
    "source-missing": FailureKind.SOURCE_UNREADABLE,
    "source-unreadable": FailureKind.SOURCE_UNREADABLE,
}
OF_RESTORES = {"target-full": FailureKind.TARGET_FULL}
SAVED = {"source-partial"}


def sample(name: str) -> Finished:
    code, *lines = (OUTPUTS / f"{name}.txt").read_text(errors="surrogateescape").splitlines()
    return Finished(exit_code=int(code.removeprefix("exit ")), stdout=b"", stderr=tuple(lines))


def test_every_sample_has_a_meaning() -> None:
    assert {path.stem for path in OUTPUTS.glob("*.txt")} == {*MEANING, *OF_BACKUPS, *OF_RESTORES, *SAVED}


@pytest.mark.parametrize(("name", "kind"), MEANING.items())
def test_a_message_means_one_kind(name: str, kind: FailureKind) -> None:
    finished = sample(name)
    assert finished.exit_code == 1
    assert failures.classify(finished.stderr) is kind


@pytest.mark.parametrize(("name", "kind"), OF_BACKUPS.items())
def test_a_failed_backup_says_whose_fault_it_was(name: str, kind: FailureKind) -> None:
    assert failures.backup(Path("/data"), sample(name)).failure.kind is kind


@pytest.mark.parametrize(("name", "kind"), OF_RESTORES.items())
def test_a_failed_restore_says_whose_fault_it_was(name: str, kind: FailureKind) -> None:
    finished = sample(name)
    assert failures.failure("restoring", 1, finished.stderr, FailureKind.TARGET_FULL).failure.kind is kind


def test_only_unreadable_entries_leave_a_backup_saved() -> None:
    saved = {path.stem for path in OUTPUTS.glob("*.txt") if failures.is_partial_backup(sample(path.stem).stderr)}
    assert saved == SAVED


def test_every_row_is_backed_by_a_sample() -> None:
    last = [sample(path.stem).stderr[-1].strip() for path in OUTPUTS.glob("*.txt")]
    assert [row for kind, row in failures.rows() if not any(row.fullmatch(line) for line in last)] == []


@pytest.mark.parametrize("line", ["", "BLOB not found", "invalid repository password", "no space left on device?"])
def test_a_fragment_means_nothing(line: str) -> None:
    assert failures.classify((line,)) is FailureKind.UNKNOWN


def test_a_long_complaint_is_told_by_its_beginning_and_its_cause() -> None:
    wrapped = 'Error when processing "big": ' + "unable to write a pack: " * 40 + "no space left on device"
    found = failures.failure("backing up", 1, (wrapped,), FailureKind.REPOSITORY_FULL).failure
    assert found.kind is FailureKind.REPOSITORY_FULL
    assert found.detail.startswith('backing up: kopia ended with 1: Error when processing "big": unable')
    assert " … " in found.detail
    assert found.detail.endswith("unable to write a pack: no space left on device")
    assert len(found.detail) < 280


def test_the_sentence_shows_the_last_words() -> None:
    assert (
        str(failures.failure("listing", 2, ()).failure)
        == "UnknownFailure: listing: kopia ended with 2: it said nothing"
    )
    assert "x: boom" in failures.failure("x", 1, ("first", "boom")).failure.detail.replace("kopia ended with 1: ", "")
