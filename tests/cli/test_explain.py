"""The decision with all that it is made from: both witnesses, every value with its origin, what to do."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from holdfast.cli import cluster, explain, explain_view
from holdfast.cli.cluster import Claimed, Order
from holdfast.cli.explain import ExplainReport, Value
from holdfast.cli.history import History
from holdfast.decide import evidence, intent
from holdfast.decide.protection import Broken
from holdfast.kube import objects
from holdfast.model.claim import Claim, ClaimPhase, Identity
from holdfast.model.evidence import Doubt, Inventory
from holdfast.model.failure import Failure, FailureKind
from holdfast.model.protection import NoPlan
from holdfast.model.repository import Repository
from holdfast.model.snapshot import Flag
from holdfast.model.verdict import Hold
from tests import builders
from tests.builders import NOW, REF


def claimed(claim: Claim | None, repository: Repository | Broken | None = None) -> Claimed:
    return Claimed(
        ref=REF,
        claim=claim,
        wish=intent.read(claim, {}) if claim is not None else None,
        item=None,
        request=None,
        repositories={"default": repository or builders.repository()},
    )


def explained(found: Inventory | Failure, claim: Claim | None = None, **spec: Any) -> ExplainReport:
    about = claimed(claim or builders.claim(), builders.repository(**spec))
    order = cluster.order(about)
    assert isinstance(order, Order)
    judged = evidence.judge(
        order.identity.value, found, repository=order.repository.value, asked=NOW, remembered=None, now=NOW
    )
    history = History(claimed=about, order=order, began=NOW, found=found, evidence=judged)
    return explain.report(about, history, None, NOW + timedelta(seconds=1))


def said(report: ExplainReport, width: int = 100) -> str:
    return "\n".join(line.plain for line in explain_view.screen(report, width))


def test_both_witnesses_and_what_was_compared_are_shown() -> None:
    report = explained(
        builders.inventory(builders.listing(builders.snapshot()), builders.record(builders.recorded())),
        pin=builders.REPOSITORY_ID,
    )
    assert report.decision.verdict == "Restore"
    assert not report.attention
    assert report.heard is not None
    assert (report.heard.engine.count, report.heard.record.count) == (1, 1)
    assert report.heard.engine.newest == report.heard.record.newest == "a" * 32
    assert all(check.holds for check in report.heard.checks)
    assert f"the marker names the pinned repository {builders.REPOSITORY_ID}" in said(report, 140)


def test_a_claim_without_history_starts_empty_and_the_proof_is_named() -> None:
    report = explained(builders.inventory(builders.listing(), None))
    assert report.decision.verdict == "StartEmpty"
    assert "Absent, proven" in said(report, 200)


def test_the_newest_backup_missing_names_both_and_fails_its_check() -> None:
    found = builders.inventory(
        builders.listing(builders.snapshot("b" * 32, 5)),
        builders.record(builders.recorded("b" * 32, 5), builders.recorded("a" * 32, 1)),
    )
    report = explained(found)
    assert report.attention
    assert report.decision.reason == Doubt.NEWEST_MISSING.value
    assert report.heard is not None
    assert [check.what for check in report.heard.checks if not check.holds] == [
        f"the record's newest snapshot, {'a' * 32}, is in the listing"
    ]
    assert "b" * 32 in report.decision.sentence
    assert "set annotation holdfast.dev/restore to its id" in report.decision.todo


def test_another_repository_than_the_pin_fails_its_check() -> None:
    report = explained(builders.inventory(builders.listing(), None), pin="cd" * 16)
    assert report.decision.reason == Doubt.PINNED_ELSEWHERE.value
    assert report.heard is not None
    assert not report.heard.checks[0].holds


@pytest.mark.parametrize("kind", list(FailureKind))
def test_every_failure_says_why_and_what_to_do(kind: FailureKind) -> None:
    report = explained(Failure(kind=kind, detail="the reason"))
    assert report.decision.reason == kind.value
    assert "the reason" in report.decision.sentence.lower()
    assert report.decision.todo or kind is FailureKind.NO_MARKER
    assert report.attention


def test_a_new_storage_says_which_line_initialises_it() -> None:
    report = explained(Failure(kind=FailureKind.NO_MARKER, detail="the marker is not there"))
    assert "set spec.initializeUntil" in report.decision.sentence


def test_every_value_has_its_origin() -> None:
    annotations = {"holdfast.dev/schedule": "H 3 * * *", "holdfast.dev/exclude": "cache/*"}
    report = explained(
        builders.inventory(builders.listing(), None), builders.claim(annotations=annotations), known_id="ab" * 16
    )
    values = {each.name: each for each in report.values}
    assert values["schedule"].value == "H 3 * * *"
    assert values["schedule"].origin == "annotation holdfast.dev/schedule"
    assert values["repository"].origin == "the Repository named default"
    assert values["repository id"].origin == "seen before (not pinned)"
    assert values["exclude"].value == "cache/*"
    assert values["protected"].origin == "label backup"
    assert all(each.origin for each in report.values)


def test_a_value_that_cannot_be_read_is_named() -> None:
    report = explained(builders.inventory(builders.listing(), None), builders.claim(labels={"backup": "often"}))
    assert report.attention
    assert "'often' is none of hourly" in said(report, 200)


def test_a_bound_claim_is_told_what_would_happen() -> None:
    found = builders.inventory(builders.listing(builders.snapshot()), builders.record(builders.recorded()))
    report = explained(found, builders.claim(phase=ClaimPhase.BOUND))
    assert not report.applies_now
    assert "If it were created again now: Restore" in said(report)


def test_how_the_volume_is_read_is_told_with_its_reason() -> None:
    why = "VolumeSnapshotClass csi is the default of driver csi.example"
    item = objects.Protection(
        metadata=objects.ObjectMeta(name="data", uid="u", resource_version="1", creation_timestamp=NOW),
        status={"state": "New", "plan": {"copyMethod": "Snapshot", "copyMethodFrom": why}},
    )
    about = replace(claimed(builders.claim()), item=item, repositories={})
    order = cluster.order(about)
    assert isinstance(order, NoPlan)
    report = explain.report(about, order, None, NOW)
    assert Value(name="copy method", value="Snapshot", origin=why) in report.ledger


def test_flags_stand_beside_the_witness_that_knows_them() -> None:
    found = builders.inventory(
        builders.listing(builders.snapshot("b" * 32, 5), builders.snapshot()),
        builders.record(builders.recorded("b" * 32, 5), builders.recorded(flags=(Flag.PARTIAL,))),
    )
    report = explained(found)
    assert "[Partial]" in said(report, 200)
    assert "Skipped the newer" in report.decision.sentence


@pytest.mark.parametrize(
    ("repositories", "why"),
    [
        ({}, Doubt.NOT_CHOSEN),
        ({"default": "spec.engine: 'borg' is not known; write kopia or restic"}, Doubt.NOT_READY),
        ({"default": builders.repository(namespaces=("other",))}, Doubt.NOT_CHOSEN),
    ],
)
def test_without_a_usable_repository_the_claim_waits(repositories: dict[str, Repository | Broken], why: Doubt) -> None:
    about = replace(claimed(builders.claim()), repositories=repositories)
    order = cluster.order(about)
    assert isinstance(order, NoPlan)
    report = explain.report(about, order, None, NOW)
    assert (report.decision.verdict, report.decision.reason) == ("Wait", why.value)
    assert report.decision.todo


def test_an_identity_of_another_namespace_needs_a_grant() -> None:
    claim = builders.claim(annotations={"holdfast.dev/identity": "other/data"})
    order = cluster.order(claimed(claim))
    assert isinstance(order, NoPlan)
    assert order.why is Hold.NOT_GRANTED


def test_a_claim_that_is_gone_is_explained_by_its_name() -> None:
    order = cluster.order(claimed(None))
    assert isinstance(order, Order)
    assert order.identity.value == Identity(namespace="apps", claim="data")


@pytest.mark.parametrize("width", [80, 140])
def test_the_explanation_fits_its_width(width: int) -> None:
    found = builders.inventory(builders.listing(builders.snapshot()), builders.record(builders.recorded()))
    report = explained(found, known_id="ab" * 32)
    assert all(line.cell_len <= width for line in explain_view.screen(report, width))
