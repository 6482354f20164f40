"""Which way a claim is read; and a copy of it, which is made and cleared away from any state a crash can leave."""

from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, assert_never

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.decide import copying
from holdfast.model.copying import (
    AsGuest,
    Broken,
    ByAlias,
    BySnapshot,
    ClassSettings,
    Cleared,
    ContentFacts,
    CopyFacts,
    DeleteWithClaim,
    Drop,
    DropContent,
    NoWay,
    Offer,
    Part,
    Ready,
    Request,
    Seat,
    SetPolicy,
    SnapshotClass,
    SnapshotFacts,
    Source,
    Take,
    TemporaryVolume,
    User,
    Wait,
    Way,
)
from holdfast.model.failure import FailureKind
from holdfast.model.intent import CopyMethod
from tests import builders

AUTO, SNAPSHOT, DIRECT = CopyMethod.AUTO, CopyMethod.SNAPSHOT, CopyMethod.DIRECT
CSI = Source(driver="csi.example", provisioner="csi.example", has_alias=True)
HOST = Source(driver=None, provisioner="rancher.io/local-path", has_alias=True)
STATIC = Source(driver="csi.example", provisioner=None, has_alias=True)
EXOTIC = Source(driver=None, provisioner="exotic", has_alias=False)
ONE = SnapshotClass(name="one", driver="csi.example", is_default=False)
DEFAULT = SnapshotClass(name="two", driver="csi.example", is_default=True)
ELSEWHERE = SnapshotClass(name="three", driver="other.example", is_default=True)


def told(**settings: Any) -> Source:
    """Return the CSI volume of a class that says so."""
    return replace(CSI, settings=ClassSettings(**settings))


@pytest.mark.parametrize(
    ("wish", "source", "classes", "expected"),
    [
        (AUTO, CSI, [ONE], "one"),
        (AUTO, CSI, [ONE, DEFAULT], "two"),
        (AUTO, CSI, [ONE, DEFAULT, replace(DEFAULT, name="four")], ByAlias),
        (AUTO, CSI, [ONE, replace(ONE, name="four")], ByAlias),
        (AUTO, CSI, [ELSEWHERE], ByAlias),
        (AUTO, CSI, [], ByAlias),
        (AUTO, HOST, [ONE], ByAlias),
        (AUTO, STATIC, [ONE], ByAlias),
        (AUTO, EXOTIC, [ONE], "NoAlias"),
        (SNAPSHOT, CSI, [ONE], "one"),
        (SNAPSHOT, CSI, [], "NoSnapshotClass"),
        (SNAPSHOT, HOST, [ONE], "NoSnapshotClass"),
        (DIRECT, CSI, [ONE], ByAlias),
        (DIRECT, EXOTIC, [ONE], "NoAlias"),
        (AUTO, told(copy_method=DIRECT), [ONE], ByAlias),
        (SNAPSHOT, told(copy_method=DIRECT), [ONE], "one"),
        (DIRECT, told(copy_method=SNAPSHOT), [ONE], ByAlias),
        (AUTO, told(copy_method=SNAPSHOT), [], "NoSnapshotClass"),
        (AUTO, told(snapshot_class="one"), [ONE, DEFAULT], "one"),
        (AUTO, told(snapshot_class="one"), [DEFAULT, replace(ONE, driver="other.example")], "NoSnapshotClass"),
        (DIRECT, told(snapshot_class="gone"), [ONE], ByAlias),
        (AUTO, told(alias=False), [ONE], "one"),
        (AUTO, told(alias=False), [], "NoAlias"),
        (DIRECT, told(alias=False), [ONE], "NoAlias"),
    ],
)
def test_the_way_is_chosen(wish: CopyMethod, source: Source, classes: list[SnapshotClass], expected: Any) -> None:
    found = copying.way(builders.claim(), wish, source, classes, no_guest="nobody lets it")
    assert named(found) == expected


@pytest.mark.parametrize("source", [EXOTIC, told(alias=False)])
def test_what_no_second_volume_can_name_is_read_where_its_app_is_if_that_is_let(source: Source) -> None:
    refused = copying.way(builders.claim(), DIRECT, source, [], no_guest="nobody lets it")
    assert isinstance(refused, NoWay)
    assert refused.detail.endswith("and nobody lets it")
    assert named(copying.way(builders.claim(), DIRECT, source, [], no_guest=None)) is AsGuest
    assert named(copying.way(builders.claim(), DIRECT, CSI, [], no_guest=None)) is ByAlias


def named(way: Way) -> object:
    match way:
        case BySnapshot(snapshot_class=name):
            return name
        case NoWay(reason=reason):
            return reason
        case ByAlias() | AsGuest():
            return type(way)
    assert_never(way)


def test_a_claim_of_a_single_pod_is_read_by_snapshot_or_not_at_all() -> None:
    single = builders.claim(access_modes=("ReadWriteOncePod",))
    assert named(copying.way(single, AUTO, CSI, [ONE], no_guest=None)) == "one"
    for wish, classes in ((AUTO, []), (DIRECT, [ONE])):
        found = copying.way(single, wish, CSI, classes, no_guest=None)
        assert isinstance(found, NoWay)
        assert found.reason == "ReadWriteOncePod"


def test_the_temporary_volume_has_the_modes_of_its_claim_or_those_that_its_class_says() -> None:
    claim = builders.claim(access_modes=("ReadWriteMany",))
    for source, modes in ((CSI, ("ReadWriteMany",)), (told(access_modes=("ReadOnlyMany",)), ("ReadOnlyMany",))):
        found = copying.way(claim, AUTO, source, [ONE], no_guest=None)
        assert isinstance(found, BySnapshot)
        assert found.access_modes == modes


# A copy

TAKEN = SnapshotFacts(since=builders.NOW, deleting=False, ours=True, ready=False, error=None, restore_bytes=None)
FIRST = ContentFacts(
    name="first",
    deleting=False,
    ours=False,
    retained=False,
    handle=None,
    driver="csi.example",
    snapshot_class="one",
    mode=None,
)


@dataclass(slots=True)
class Cluster:
    """What the snapshot controller, the driver and the provisioner do, one thing at a time."""

    keeps_snapshots: bool
    keeps_volumes: bool
    facts: CopyFacts = field(default_factory=CopyFacts)
    snapshot: bool = False
    volume: bool = False

    def change(self, **changes: Any) -> None:
        self.facts = replace(self.facts, **changes)

    def seen(self) -> CopyFacts:
        """Return what the operator sees: a content that it has not marked is found by its VolumeSnapshot only."""
        first = self.facts.first
        hidden = first is not None and not first.ours and self.facts.taken is None
        return replace(self.facts, first=None) if hidden else self.facts

    def lose_namespace(self) -> None:
        if self.facts.taken is not None:
            self.change(taken=replace(self.facts.taken, deleting=True))

    def work(self) -> None:
        """Take every step that is due."""
        self._bind()
        self._provision()
        self._delete()

    def _bind(self) -> None:
        taken, first, second, offered = self.facts.taken, self.facts.first, self.facts.second, self.facts.offered
        if taken is not None and not taken.deleting:
            if first is None:
                self.change(first=replace(FIRST, retained=self.keeps_snapshots))
            elif first.handle is None:
                self.change(first=replace(first, handle="snap-1"))
                self.snapshot = True
            else:
                self.change(taken=replace(taken, ready=True, restore_bytes=5))
        if second is not None and offered is not None and not offered.deleting:
            self.change(offered=replace(offered, ready=True))

    def _provision(self) -> None:
        claim, volume = self.facts.claim, self.facts.volume
        if claim is False and volume is None and self.snapshot:
            self.change(volume=TemporaryVolume(name="pv-1", retained=self.keeps_volumes))
            self.volume = True

    def _delete(self) -> None:
        if self.facts.claim is True:
            self.change(claim=None)
        elif self.facts.claim is None and self.facts.volume is not None and not self.facts.volume.retained:
            self.change(volume=None)
            self.volume = False
        for snapshot, content in (("taken", "first"), ("offered", "second")):
            held = getattr(self.facts, snapshot)
            if held is not None and held.deleting:
                self.change(**{snapshot: None})
                bound = getattr(self.facts, content)
                if bound is not None and not bound.retained:
                    self.drop_content(content)

    def drop_content(self, which: str) -> None:
        if not getattr(self.facts, which).retained:
            self.snapshot = False
        self.change(**{which: None})

    def obey(self, step: object) -> None:
        """Do what a step says."""
        facts = self.facts
        match step:
            case Take():
                self.change(taken=TAKEN)
            case SetPolicy(content=name, retain=retain):
                which = "first" if name == "first" else "second"
                self.change(**{which: replace(getattr(facts, which), ours=True, retained=retain)})
            case Offer(content=content):
                second = (
                    replace(content, name="second", ours=True, retained=True) if content is not None else facts.second
                )
                self.change(second=second, offered=TAKEN)
            case Request():
                self.change(claim=False)
            case DeleteWithClaim():
                assert facts.volume is not None
                self.change(volume=replace(facts.volume, retained=False))
            case Drop(part=Part.CLAIM):
                self.change(claim=True)
            case Drop(part=Part.SECOND):
                self.drop_content("second")
            case Drop(part=part):
                self.change(**{part.value: replace(getattr(facts, part.value), deleting=True)})
            case DropContent():
                self.drop_content("first")
            case _:
                pass


def making(facts: CopyFacts, **given_: Any) -> object:
    known: dict[str, Any] = {"requested_bytes": 3, "strays": (), "now": builders.NOW}
    return copying.next_step(facts, **(known | given_))


@given(st.booleans(), st.booleans(), st.lists(st.sampled_from(["make", "work", "work", "lose", "clear"]), max_size=40))
def test_whatever_happened_nothing_is_left_in_the_end(keeps: bool, keeps_volumes: bool, history: list[str]) -> None:
    cluster = Cluster(keeps_snapshots=keeps, keeps_volumes=keeps_volumes)
    began_to_clear = False
    for event in history:
        match event:
            case "make" if not began_to_clear:
                cluster.obey(making(cluster.seen()))
            case "work":
                cluster.work()
            case "lose" if not keeps or cluster.facts.first is None or cluster.facts.first.ours:
                cluster.lose_namespace()
            case "clear":
                began_to_clear = True
                cluster.obey(copying.clearing(cluster.seen()))
            case _:
                pass
        if cluster.facts.second is not None and not began_to_clear:
            assert cluster.snapshot, "the snapshot was taken from under the mover"
    for _ in range(40):
        cluster.obey(copying.clearing(cluster.seen()))
        cluster.work()
    assert cluster.facts == CopyFacts()
    assert copying.clearing(cluster.seen()) == Cleared()
    assert not cluster.snapshot
    assert not cluster.volume


@given(st.lists(st.booleans(), max_size=30))
def test_a_copy_is_made_in_the_end(order: list[bool]) -> None:
    cluster = Cluster(keeps_snapshots=False, keeps_volumes=False)
    for operator in [*order, *(True, False) * 12]:
        if operator:
            cluster.obey(making(cluster.seen()))
        else:
            cluster.work()
    assert making(cluster.seen()) == Ready()


def ready(**changes: Any) -> CopyFacts:
    taken = replace(TAKEN, ready=True, restore_bytes=5)
    first = replace(FIRST, handle="snap-1", ours=True, retained=True)
    made = CopyFacts(taken=taken, first=first, second=replace(first, name="second"), offered=taken)
    return replace(made, **changes)


def test_the_temporary_claim_is_as_large_as_the_snapshot_and_the_claim() -> None:
    assert making(ready()) == Request(size_bytes=5)
    assert making(ready(), requested_bytes=9) == Request(size_bytes=9)


@pytest.mark.parametrize(("age", "seconds"), [(-1, 0.2), (0, 0.2), (1.5, 0.2), (5, 0.5), (60, 6), (3600, 10)])
def test_a_slow_snapshot_is_looked_at_less_often(age: float, seconds: float) -> None:
    step = making(CopyFacts(taken=TAKEN))
    assert isinstance(step, Wait)
    assert copying.pause(step, builders.NOW + timedelta(seconds=age)) == timedelta(seconds=seconds)


def test_a_free_volume_is_not_read_instead() -> None:
    found = making(ready(), strays=("pv-old",))
    assert isinstance(found, Broken)
    assert "pv-old" in found.failure.detail


def test_an_error_is_told_once_it_stands() -> None:
    facts = CopyFacts(taken=replace(TAKEN, error="rpc error: quota"))
    assert making(facts) == Wait(detail="the snapshot is being taken", since=builders.NOW)
    found = making(facts, now=builders.NOW + timedelta(seconds=30))
    assert isinstance(found, Broken)
    assert found.failure.kind is FailureKind.NO_VOLUME_SNAPSHOT
    assert found.failure.detail == "rpc error: quota"


def test_a_snapshot_that_never_gets_ready_is_given_up() -> None:
    found = making(CopyFacts(taken=TAKEN), now=builders.NOW + timedelta(hours=3))
    assert isinstance(found, Broken)
    assert found.failure.kind is FailureKind.TIMEOUT


def test_a_stranger_s_snapshot_is_neither_used_nor_deleted() -> None:
    facts = CopyFacts(taken=replace(TAKEN, ours=False))
    assert isinstance(making(facts), Broken)
    assert copying.clearing(facts) == Cleared()


def user(name: str, node: str, *, running: bool = True) -> User:
    return User(name=name, node=node, running=running, tolerations=[{"key": node, "operator": "Exists"}])


@pytest.mark.parametrize(
    ("users", "selected", "placeless", "expected"),
    [
        ([], None, False, None),
        ([], "one", False, None),  # the volume may have moved on since it was made
        ([user("b", "two"), user("a", "one")], None, False, "one"),
        ([user("a", "one", running=False), user("b", "two")], None, True, "two"),
        ([user("a", "one", running=False)], None, False, None),
        ([user("a", "one", running=False)], None, True, "one"),
        ([user("a", "two")], "one", True, "two"),
        ([], "one", True, "one"),
        ([], None, True, Broken),
    ],
)
def test_a_mover_reads_where_the_app_is(
    users: list[User], selected: str | None, placeless: bool, expected: Any
) -> None:
    found = copying.seat(builders.claim(selected_node=selected), users, placeless=placeless)
    assert (found.node if isinstance(found, Seat) else Broken) == expected


def test_a_mover_bears_what_its_app_bears_of_the_node() -> None:
    found = copying.seat(builders.claim(), [user("a", "one")], placeless=False)
    assert found == Seat(node="one", tolerations=[{"key": "one", "operator": "Exists"}])


def test_a_directory_of_no_known_node_is_said_to_need_its_app_or_its_node() -> None:
    found = copying.seat(builders.claim(volume_name="disk", selected_node=None), [], placeless=True)
    assert isinstance(found, Broken)
    assert found.failure.kind is FailureKind.NODE_NOT_KNOWN
    assert "disk" in found.failure.detail
    assert "start the app" in found.failure.detail
