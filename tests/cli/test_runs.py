"""How a backup that was asked for stands, as a table of what the operator remembers."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from holdfast.cli import ledger, live, runlog, runs
from holdfast.cli.ledger import Row
from holdfast.cli.runs import Done, Failed, Running, Starting, State, Waiting, Watched
from holdfast.model import wire
from holdfast.model.protection import BackupMemory
from holdfast.model.run import Progress
from tests.builders import NOW, REF, at

PROGRESS = Progress(phase="copying", files_done=1, bytes_done=1 << 20, files_total=4, bytes_total=4 << 20)
QUIET = ledger.restoring({})


def row(state: str = "Protected", running: str | None = None, **memory: Any) -> Row:
    return Row(
        state=state,
        message="",
        claim_uid="uid-1",
        repository="default",
        identity="apps/data",
        schedule="hourly",
        copy_method=None,
        copy_method_from=None,
        next_run=None,
        problems=(),
        memory=replace(BackupMemory(last_id="old", last_time=at(5), served_now="before"), **memory),
        running=running,
        lossy=None,
        restored_uid="",
        restoring=QUIET,
    )


WATCHED = Watched(ref=REF, value="asked")


@pytest.mark.parametrize(
    ("found", "job", "expected"),
    [
        (None, None, Waiting(detail="Holdfast has not looked at the claim yet: is the operator running?")),
        (row(), None, Waiting(detail="waiting for its turn")),
        (row(), "", Waiting(detail="another run is under way, this one follows")),
        (row(), "asked", Starting()),
        (
            row(served_now="asked", last_id="new", files=2, bytes=20),
            None,
            Done(snapshot="new", files=2, bytes=20, flags=()),
        ),
        (
            row(served_now="asked", last_id="new", files=2, bytes=20, flags=("Partial",)),
            None,
            Done(snapshot="new", files=2, bytes=20, flags=("Partial",)),
        ),
        (
            row(attempt=1, failure="Unreachable: refused", failed_now="asked", retry_at=NOW),
            None,
            Failed(detail="Unreachable: refused", retry_at=NOW),
        ),
        (row(state="Released"), None, Failed(detail="the claim is gone", retry_at=None)),
    ],
)
def test_the_state_follows_from_what_is_remembered(found: Row | None, job: str | None, expected: State) -> None:
    assert runs.state(WATCHED, found, job, None) == expected


def test_a_failure_of_the_past_is_no_failure_of_this_run() -> None:
    found = row(attempt=2, failure="Unreachable: refused", failed_now="before", retry_at=NOW)
    assert runs.state(WATCHED, found, None, None) == Waiting(detail="waiting for its turn")


def test_progress_belongs_to_a_run_at_work() -> None:
    assert runs.state(WATCHED, row(), "asked", PROGRESS) == Running(progress=PROGRESS)


def test_a_flagged_backup_says_that_it_is_never_restored_by_itself() -> None:
    said = runs.tell(Done(snapshot="a" * 32, files=1, bytes=5, flags=("Partial",)))
    assert said == f"backed up 1 file, 5 B, as {'a' * 16}, but it is Partial: it is never restored by itself"


def test_a_failure_says_when_it_is_tried_again() -> None:
    said = runs.tell(Failed(detail="RepositoryFull: no space", retry_at=NOW))
    assert said == "failed: RepositoryFull: no space; it is tried again at 2026-03-01 12:00:00Z"


def test_progress_is_read_from_the_log_and_other_lines_are_not() -> None:
    assert runlog.read(wire.encode(PROGRESS).decode()) == PROGRESS
    assert runlog.read("level=info something else") is None


@pytest.mark.parametrize(
    ("progress", "share", "said"),
    [
        (PROGRESS, 0.25, "copying: 1 of 4 files, 1.0 MiB of 4.0 MiB"),
        (Progress(phase="scanning", files_done=7, bytes_done=10), None, "scanning: 7 files, 10 B"),
        (
            Progress(phase="copying", files_done=1, bytes_done=3, files_total=2, seconds_left=90.0),
            0.5,
            "copying: 1 of 2 files, 3 B, 1 min left",
        ),
    ],
)
def test_progress_is_told_as_far_as_it_is_known(progress: Progress, share: float | None, said: str) -> None:
    assert runlog.share(progress) == share
    assert runlog.tell(progress) == said


def test_a_pipe_hears_of_every_quarter_only() -> None:
    steps = [Running(progress=replace(PROGRESS, bytes_done=done << 10)) for done in range(0, 4096, 64)]
    assert len({live.announcement(step)[0] for step in steps}) == live.STEPS


def test_many_runs_fit_a_screen() -> None:
    states: dict[str, State] = {f"apps/claim-{number}": Waiting(detail="waiting for its turn") for number in range(50)}
    states["apps/busy"] = Running(progress=PROGRESS)
    made = live.table(states, 80)
    assert made.row_count == live.SHOWN + 1
    assert str(next(iter(made.columns[0].cells))) == "apps/busy"


def test_the_ledger_reads_what_the_operator_writes_and_survives_what_it_does_not() -> None:
    status = {
        "state": "Protected",
        "claimUID": "u",
        "plan": {"repository": "default", "identity": "apps/data", "nextRun": "2026-03-01T13:00:00Z"},
        "backup": {"lastID": "x", "lastTime": "2026-03-01T11:00:00Z", "files": "many", "flags": ["Partial"]},
        "restore": "nonsense",
    }
    found = ledger.read_status(status)
    assert (found.state, found.repository, found.next_run) == ("Protected", "default", NOW + timedelta(hours=1))
    assert (found.memory.last_id, found.memory.last_time, found.memory.files) == ("x", at(1), None)
    assert found.restoring.phase == ""


def test_a_run_that_cannot_start_says_why() -> None:
    why = "ErrImagePull: not found"
    assert runs.state(WATCHED, row(), "asked", None, why) == Starting(detail=why)
    assert live.announcement(Starting(detail=why)) == (f"starting {why}", f"starting: {why}")
