from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.model import wire
from holdfast.model.claim import Identity
from holdfast.model.evidence import Inventory
from holdfast.model.failure import Failure, FailureKind
from holdfast.model.repository import DirectoryStorage, EngineKind, S3Storage
from holdfast.model.run import BackedUp, Failed, RunResult
from holdfast.model.snapshot import Loss
from holdfast.model.workorder import Backup, Initialize, RepositoryAccess, WorkOrder
from tests import builders, strategies

names = st.text(st.characters(codec="ascii", categories=["Ll", "Nd"]), min_size=1, max_size=9)
orders = st.builds(
    WorkOrder,
    run=names,
    repository=st.builds(
        RepositoryAccess,
        engine=st.sampled_from(list(EngineKind)),
        storage=st.one_of(
            st.builds(DirectoryStorage, path=st.text()),
            st.builds(S3Storage, endpoint=names, bucket=names, prefix=st.text()),
        ),
        expected_id=st.one_of(st.none(), names),
    ),
    work=st.one_of(
        st.builds(Initialize),
        st.builds(
            Backup,
            identity=st.builds(Identity, cluster=st.just(""), namespace=names, claim=names),
            source=st.text(),
            claim_uid=names,
            cluster_uid=names,
            exclude=st.lists(st.text()).map(tuple),
        ),
    ),
)


@given(order=orders)
def test_a_work_order_reads_back_as_written(order: WorkOrder) -> None:
    assert wire.decode(WorkOrder, wire.encode(order)) == order


@given(inventory=strategies.inventories)
def test_an_inventory_reads_back_as_written(inventory: Inventory) -> None:
    assert wire.decode(Inventory, wire.encode(inventory)) == inventory


def test_names_that_are_not_utf8_survive() -> None:
    snapshot = builders.recorded(unreadable=("lat\udce9",), losses={Loss.NOT_UTF8: 1})
    result = RunResult(run="r", outcome=BackedUp(snapshot=snapshot, new_bytes=1, seconds=0.5))
    assert wire.decode(RunResult, wire.encode(result)) == result


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", "not JSON"),
        ("[]", r"\$: expected an object"),
        ('{"run": "r"}', r"\$\.outcome: missing"),
        ('{"run": "r", "outcome": {"type": "Nothing"}}', r"\$\.outcome\.type: 'Nothing' is none of"),
        ('{"run": 1, "outcome": {"type": "Deleted", "snapshots": []}}', r"\$\.run: expected str"),
        ('{"run": "r", "outcome": {"type": "Deleted", "snapshots": []}, "more": 1}', "unknown field 'more'"),
        ('{"run": "r", "outcome": {"type": "Deleted", "snapshots": [3]}}', r"snapshots\[0\]: expected str"),
    ],
)
def test_what_is_not_the_value_is_refused_with_its_place(text: str, complaint: str) -> None:
    with pytest.raises(wire.WireError, match=complaint):
        wire.decode(RunResult, text)


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(wire.WireError, match="names no time zone"):
        wire.from_plain(datetime, "2026-03-01T12:00:00")
    assert wire.from_plain(datetime, "2026-03-01T12:00:00+02:00") == datetime(2026, 3, 1, 10, tzinfo=UTC)


def test_a_failure_reads_back() -> None:
    result = RunResult(run="r", outcome=Failed(failure=Failure(kind=FailureKind.LOCKED, detail="held")))
    assert wire.decode(RunResult, wire.encode(result)) == result
