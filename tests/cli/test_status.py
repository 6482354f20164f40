"""Am I safe? From what the objects say to one sentence, lines and an exit code."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from holdfast.cli import ledger, status, status_view
from holdfast.cli.ledger import Row
from holdfast.cli.status import Facts, Leader, RepositoryFacts, StatusReport
from holdfast.decide import intent
from holdfast.model.claim import Claim, ClaimPhase, ClaimRef, DataSource
from holdfast.model.intent import Protect
from holdfast.model.protection import Health
from tests import builders
from tests.builders import NOW, REF, at

LEADER = Leader(holder="operator-1", renewed=NOW - timedelta(seconds=5))
READY = RepositoryFacts(
    name="default",
    spec=builders.repository(known_id="ab" * 16),
    ready="True",
    reason="Ready",
    message="2 claims have backups",
    claims=2,
)


def bound(name: str = "data", **changes: Any) -> Claim:
    ref = ClaimRef(namespace="apps", name=name)
    plain = builders.claim(ref=ref, uid=f"uid-{name}", phase=ClaimPhase.BOUND, created=at(100), volume_name="v")
    return replace(plain, **changes)


def row(claim: Claim, state: str = "Protected", message: str = "", **restore: Any) -> Row:
    return ledger.read_status(
        {
            "state": state,
            "message": message,
            "claimUID": claim.uid,
            "plan": {"schedule": "hourly", "nextRun": "2026-03-01T12:30:00Z"},
            "backup": {"lastID": "a" * 32, "lastTime": "2026-03-01T11:30:00Z"},
            "restore": {"claimUID": claim.uid, **restore},
        }
    )


def facts(*claims: Claim, rows: dict[ClaimRef, Row] | None = None, **changes: Any) -> Facts:
    known = {claim.ref: row(claim) for claim in claims} if rows is None else rows
    plain = Facts(
        now=NOW,
        leader=LEADER,
        repositories=(READY,),
        claims=tuple((claim, intent.read(claim, {})) for claim in claims),
        rows=known,
        restores={},
    )
    return replace(plain, **changes)


def said(report: StatusReport, width: int = 80, *, everything: bool = False) -> str:
    return "\n".join(line.plain for line in status_view.screen(report, NOW, width, everything=everything))


def test_all_is_well() -> None:
    report = status.report(facts(bound("one"), bound("two")))
    assert report.headline == "All 2 claims are protected."
    assert not report.attention
    assert [line.state for line in report.claims] == [Health.PROTECTED, Health.PROTECTED]


def test_a_claim_that_waits_is_first_and_says_why() -> None:
    good, waiting = bound("good"), bound("waiting", phase=ClaimPhase.PENDING)
    rows = {
        good.ref: row(good),
        waiting.ref: row(waiting, "Waiting", "the directory is missing", phase="Waiting"),
    }
    report = status.report(facts(good, waiting, rows=rows))
    assert report.headline == "1 of 2 claims is protected; 1 waits. apps/waiting: the directory is missing."
    assert report.attention
    assert report.claims[0].claim == "apps/waiting"


def test_a_claim_without_a_protection_is_unknown() -> None:
    report = status.report(facts(bound(), rows={}))
    assert (report.claims[0].state, report.attention) == (Health.UNKNOWN, True)


def test_a_protection_of_an_earlier_claim_of_the_name_says_nothing_about_this_one() -> None:
    claim = bound()
    report = status.report(facts(claim, rows={claim.ref: replace(row(claim), claim_uid="another")}))
    assert report.claims[0].state is Health.UNKNOWN


def test_time_alone_makes_a_claim_late() -> None:
    claim = bound()
    report = status.report(facts(claim, now=NOW + timedelta(hours=9), leader=replace(LEADER, renewed=None)))
    assert report.claims[0].state is Health.LATE
    assert report.claims[0].message == "the last good backup is from 9 h 30 min ago, and a newer one is overdue"


@pytest.mark.parametrize(
    ("leader", "sentence"),
    [
        (None, "no operator is running: nothing is backed up or restored"),
        (replace(LEADER, holder=""), "no operator is running: nothing is backed up or restored"),
        (replace(LEADER, renewed=at(3)), "operator-1 gave its last sign of life 3 h ago"),
    ],
)
def test_without_an_operator_nobody_is_safe(leader: Leader | None, sentence: str) -> None:
    report = status.report(facts(bound(), leader=leader))
    assert report.attention
    assert report.operator == sentence
    assert report.headline == "No operator is at work. When it last was: 1 is protected."
    assert sentence in said(report, 140)


def test_a_repository_that_is_not_ready_says_why() -> None:
    ill = replace(READY, ready="False", reason="Forbidden", message="the key is unknown")
    report = status.report(facts(bound(), repositories=(ill,)))
    assert report.attention
    assert "Forbidden   default" in said(report)
    assert "the key is unknown" in said(report)


def test_a_repository_that_cannot_be_read_says_what_to_write() -> None:
    broken = replace(READY, spec="spec.engine: 'borg' is not known; write kopia or restic")
    report = status.report(facts(repositories=(broken,)))
    assert not report.repositories[0].is_ready
    assert "write kopia or restic" in said(report)


def test_the_line_that_pins_a_repository_is_shown_until_it_is_pinned() -> None:
    pinned = replace(READY, spec=builders.repository(known_id="ab" * 16, pin="ab" * 16))
    assert f"repositoryID: {'ab' * 16}" in said(status.report(facts(bound())))
    assert "repositoryID" not in said(status.report(facts(bound(), repositories=(pinned,))))


def test_claims_without_any_repository_need_a_person() -> None:
    report = status.report(facts(bound(), repositories=()))
    assert report.attention
    assert report.headline == "Nothing is protected: there is no Repository, and 1 claim ask for one."


def test_an_exemption_is_shown_with_its_reason_and_needs_one() -> None:
    exempt = bound("cache", labels={"backup-exempt": "true"}, annotations={"holdfast.dev/exempt-reason": "a cache"})
    careless = bound("other", labels={"backup-exempt": "true"})
    fine = status.report(facts(exempt))
    assert (fine.attention, fine.unprotected[0].why, fine.unprotected[0].reason) == (False, Protect.EXEMPT, "a cache")
    assert "a cache" in said(fine)
    report = status.report(facts(exempt, careless))
    assert report.attention
    assert report.unprotected[0].claim == "apps/other"


def test_claims_that_nobody_asked_to_protect_are_counted_and_shown_on_request() -> None:
    report = status.report(facts(bound("plain", labels={})))
    assert not report.attention
    assert "apps/plain" not in said(report)
    assert "1 claim without protection" in said(report)
    assert "apps/plain" in said(report, everything=True)


def test_a_claim_of_the_past_keeps_its_line() -> None:
    gone = bound("gone")
    report = status.report(facts(bound(), rows={bound().ref: row(bound()), gone.ref: row(gone, "Released")}))
    assert not report.attention
    assert "apps/gone" not in said(report)
    assert "apps/gone" in said(report, everything=True)


def test_a_restore_into_a_claim_without_our_label_is_shown() -> None:
    source = DataSource(group="holdfast.dev", kind="Restore", name="old")
    claim = bound("copy", labels={}, phase=ClaimPhase.PENDING, source=source)
    told = ledger.restoring({"phase": "Waiting", "message": "the storage is missing"})
    restores = {ClaimRef(namespace="apps", name="old"): told}
    report = status.report(facts(claim, rows={}, restores=restores))
    assert report.claims[0].state is Health.WAITING
    assert report.claims[0].message == "the storage is missing"
    assert not report.unprotected


def test_a_state_of_a_newer_version_is_no_reason_to_feel_safe() -> None:
    claim = bound()
    report = status.report(facts(claim, rows={claim.ref: row(claim, "Splendid")}))
    assert report.claims[0].state is Health.UNKNOWN


@pytest.mark.parametrize("width", [80, 140])
def test_the_screen_fits_its_width(width: int) -> None:
    waiting = bound("waiting", phase=ClaimPhase.PENDING)
    why = "the newest known backup, 0123456789abcdef of 2026-01-01 00:00Z, is not in the repository; " * 3
    report = status.report(facts(bound(), waiting, rows={waiting.ref: row(waiting, "Waiting", why)}))
    assert all(line.cell_len <= width for line in status_view.screen(report, NOW, width, everything=True))


def test_every_health_has_a_grade_and_words() -> None:
    for health in Health:
        claim = bound()
        report = status.report(facts(claim, rows={claim.ref: row(claim, health.value)}))
        assert report.claims[0].grade is status.GRADES[health]
        assert str(REF) in report.headline
