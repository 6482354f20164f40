"""Everything that evidence can look like, for properties."""

from datetime import timedelta

from hypothesis import strategies as st

from holdfast.model.evidence import Answer, Doubt, Evidence, Exists, Inventory, Remembered, Unknown
from holdfast.model.failure import Failure, FailureKind
from holdfast.model.intent import AsOf, Auto, ById, Never, Required, RestoreMode, Unreadable
from holdfast.model.repository import EngineKind
from holdfast.model.snapshot import Flag, Listing, Record, RecordedSnapshot, Snapshot
from tests import builders

ids = st.sampled_from(["a" * 32, "b" * 32, "c" * 32, "d" * 32])
flags = st.frozensets(st.sampled_from(list(Flag)), max_size=2)
hours = st.floats(min_value=0.1, max_value=200)
failures = st.builds(Failure, kind=st.sampled_from(list(FailureKind)), detail=st.just("it failed"))
engine_ids = st.sampled_from([builders.REPOSITORY_ID, "cd" * 16])


@st.composite
def snapshots(draw: st.DrawFn) -> tuple[Snapshot, ...]:
    chosen = draw(st.lists(ids, unique=True, max_size=4))
    made = [builders.snapshot(each, draw(hours), files=draw(st.integers(0, 9)), flags=draw(flags)) for each in chosen]
    return tuple(sorted(made, key=lambda each: each.time))


@st.composite
def recorded(draw: st.DrawFn) -> tuple[RecordedSnapshot, ...]:
    chosen = draw(st.lists(ids, unique=True, max_size=4))
    made = [
        builders.recorded(
            each,
            draw(hours),
            flags=tuple(sorted(draw(flags))),
            cleared=draw(st.sampled_from([None, "looked at it"])),
        )
        for each in chosen
    ]
    return tuple(sorted(made, key=lambda each: each.time))


listings = st.builds(Listing, engine_id=st.one_of(st.none(), engine_ids), snapshots=snapshots())
records = st.builds(
    Record,
    identity=st.just(builders.IDENTITY),
    repository_id=engine_ids,
    engine_id=engine_ids,
    snapshots=recorded(),
)
answers = st.builds(Answer, listing=st.one_of(listings, failures), record=st.one_of(st.none(), records, failures))
markers = st.builds(builders.marker, repository_id=engine_ids, engine=st.sampled_from(list(EngineKind)))
inventories = st.builds(
    Inventory,
    began=st.sampled_from([builders.NOW, builders.NOW - timedelta(minutes=1)]),
    marker=markers,
    recorded=st.integers(0, 5),
    answers=st.one_of(st.just({}), st.builds(lambda answer: {builders.IDENTITY: answer}, answers)),
)
readings = st.one_of(st.none(), failures, inventories)
remembered = st.one_of(st.none(), st.builds(Remembered, id=ids, time=st.just(builders.at(3))))
modes: st.SearchStrategy[RestoreMode] = st.one_of(
    st.just(Auto()),
    st.just(Required()),
    st.builds(Never, reason=st.sampled_from([None, "a fresh start"])),
    st.builds(ById, snapshot=st.sampled_from(["a" * 32, "b" * 8, "e" * 32])),
    st.builds(AsOf, time=hours.map(builders.at)),
    st.builds(Unreadable, text=st.just("newest")),
)
evidences: st.SearchStrategy[Evidence] = st.one_of(
    st.builds(Exists, learned=st.just(builders.NOW), snapshots=snapshots().filter(bool)),
    st.builds(
        Unknown,
        learned=st.just(builders.NOW),
        why=st.one_of(st.sampled_from(list(Doubt)), st.sampled_from(list(FailureKind))),
        detail=st.just("nobody can tell"),
        snapshots=snapshots(),
    ),
)
