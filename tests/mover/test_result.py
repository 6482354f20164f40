"""A result always fits into what Kubernetes keeps of it."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from holdfast.model import wire
from holdfast.model.failure import Failure, FailureKind
from holdfast.model.run import RESULT_LIMIT, BackedUp, Deleted, Failed, Outcome, Restored, RunResult, Verified
from holdfast.model.snapshot import Flag, Loss, RecordedSnapshot
from holdfast.mover import result

ids = st.text(alphabet="0123456789abcdef", min_size=32, max_size=64)
many = st.lists(ids, max_size=200).map(tuple)
paths = st.lists(st.text(max_size=4096) | st.just("\udcff" * 4096), max_size=10).map(tuple)
snapshots = st.builds(
    RecordedSnapshot,
    id=ids,
    time=st.just(datetime(2026, 1, 1, tzinfo=UTC)),
    run=st.text(alphabet="abc-", max_size=253),
    claim_uid=st.text(alphabet="abc-", max_size=36),
    cluster_uid=st.text(alphabet="abc-", max_size=36),
    files=st.integers(0, 1 << 60),
    bytes=st.integers(0, 1 << 60),
    flags=st.just(tuple(Flag)),
    unreadable=paths,
    losses=st.just(dict.fromkeys(Loss, 1 << 60)),
)
outcomes: st.SearchStrategy[Outcome] = st.one_of(
    st.builds(BackedUp, snapshot=snapshots, new_bytes=st.none(), seconds=st.just(1.0)),
    st.builds(Verified, snapshots=many, read_bytes=st.just(1), seconds=st.just(1.0)),
    st.builds(Deleted, snapshots=many),
    st.builds(Failed, failure=st.builds(Failure, kind=st.sampled_from(FailureKind), detail=st.text(max_size=9000))),
    st.builds(
        Restored, snapshot=ids, files=st.just(1), bytes=st.just(1), owners_kept=st.booleans(), seconds=st.just(1.0)
    ),
)


@given(run=st.text(max_size=253), outcome=outcomes)
def test_a_result_fits_and_still_says_what_happened(run: str, outcome: Outcome) -> None:
    data = result.fit(RunResult(run=run, outcome=outcome))
    assert len(data) <= RESULT_LIMIT
    read = wire.decode(RunResult, data)
    assert read.run == run
    assert type(read.outcome) is type(outcome)
    if isinstance(outcome, BackedUp) and isinstance(read.outcome, BackedUp):
        assert (read.outcome.snapshot.id, read.outcome.snapshot.flags) == (outcome.snapshot.id, outcome.snapshot.flags)
    if isinstance(outcome, Failed) and isinstance(read.outcome, Failed):
        assert read.outcome.failure.kind is outcome.failure.kind


def test_what_fits_is_not_cut() -> None:
    whole = RunResult(run="r", outcome=Deleted(snapshots=("a", "b")))
    assert wire.decode(RunResult, result.fit(whole)) == whole
