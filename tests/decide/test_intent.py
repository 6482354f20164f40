"""Labels are an API for humans: read strictly, and whatever cannot be read is said."""

import pytest

from holdfast.decide import intent
from holdfast.model.claim import Identity, Owner
from holdfast.model.intent import AsOf, Auto, ById, CopyMethod, Never, Protect, Required, RunAs, Tier, Unreadable
from tests import builders

JOB = Owner(api_version="v1", kind="Pod", name="x", uid="u", controller=True)
DATABASE = Owner(api_version="postgresql.cnpg.io/v1", kind="Cluster", name="x", uid="u", controller=True)
STATEFUL = Owner(api_version="apps/v1", kind="StatefulSet", name="x", uid="u", controller=True)


@pytest.mark.parametrize("tier", list(Tier))
def test_one_label_protects_at_its_tier(tier: Tier) -> None:
    found = intent.read(builders.claim(labels={"backup": tier.value}), {})
    assert (found.protect.value, found.tier.value) == (Protect.YES, tier)
    assert not found.problems


@pytest.mark.parametrize("value", ["disabled", "false", "off", "no", "Off", "FALSE"])
def test_off_means_off(value: str) -> None:
    assert intent.read(builders.claim(labels={"backup": value}), {"backup": "daily"}).protect.value is Protect.OFF


@pytest.mark.parametrize("value", ["", "fortnightly", "true", "yes"])
def test_an_unreadable_tier_is_backed_up_daily_and_said(value: str) -> None:
    found = intent.read(builders.claim(labels={"backup": value}), {})
    assert (found.protect.value, found.tier.value) == (Protect.YES, Tier.DAILY)
    assert "label backup" in str(found.problems[0])


def test_a_namespace_protects_its_claims() -> None:
    found = intent.read(builders.claim(labels={}), {"backup": "weekly"})
    assert (found.protect.value, found.tier.value) == (Protect.YES, Tier.WEEKLY)
    assert found.tier.origin == "namespace label backup"


@pytest.mark.parametrize("owner", [JOB, DATABASE])
def test_a_namespace_default_never_applies_to_what_an_operator_made(owner: Owner) -> None:
    found = intent.read(builders.claim(labels={}, owners=(owner,)), {"backup": "daily"})
    assert found.protect.value is Protect.OPERATED


def test_a_namespace_default_applies_to_stateful_sets() -> None:
    found = intent.read(builders.claim(labels={}, owners=(STATEFUL,)), {"backup": "daily"})
    assert found.protect.value is Protect.YES


def test_an_exempt_claim_needs_a_reason() -> None:
    silent = intent.read(builders.claim(labels={"backup-exempt": "true"}), {"backup": "daily"})
    assert silent.protect.value is Protect.EXEMPT
    assert "exempt-reason" in str(silent.problems[0])
    reason = {"holdfast.dev/exempt-reason": "a cache"}
    spoken = intent.read(builders.claim(labels={"backup-exempt": "true"}, annotations=reason), {})
    assert not spoken.problems


def test_a_claim_both_labelled_and_exempt_is_protected_and_said() -> None:
    found = intent.read(builders.claim(labels={"backup": "daily", "backup-exempt": "true"}), {})
    assert found.protect.value is Protect.YES
    assert "contradicts" in str(found.problems[0])


def test_our_own_claims_are_never_protected() -> None:
    labels = {"backup": "daily", "app.kubernetes.io/managed-by": "holdfast"}
    assert intent.read(builders.claim(labels=labels), {}).protect.value is Protect.OURS


def test_an_unlabelled_claim_asks_for_nothing() -> None:
    assert intent.read(builders.claim(labels={}), {}).protect.value is Protect.NOT_ASKED


@pytest.mark.parametrize(
    ("text", "mode"),
    [
        ("auto", Auto()),
        ("Required", Required()),
        ("never", Never(reason=None)),
        ("deadbeef", ById(snapshot="deadbeef")),
        ("DEADBEEF" * 4, ById(snapshot="deadbeef" * 4)),
        ("2026-03-01T12:00:00Z", AsOf(time=builders.NOW)),
        ("2026-03-01T14:00:00+02:00", AsOf(time=builders.NOW)),
        ("newest", Unreadable(text="newest")),
        ("2026-03-01", Unreadable(text="2026-03-01")),
        ("2026-03-01T12:00:00", Unreadable(text="2026-03-01T12:00:00")),
        ("beef", Unreadable(text="beef")),
        ("0001-01-01T00:00:00+14:00", Unreadable(text="0001-01-01T00:00:00+14:00")),
    ],
)
def test_the_restore_annotation_is_read_strictly(text: str, mode: object) -> None:
    found = intent.read(builders.claim(annotations={"holdfast.dev/restore": text}), {})
    assert found.restore.value == mode
    assert bool(found.problems) == isinstance(mode, Unreadable | Never)


def test_unknown_annotations_of_ours_are_said() -> None:
    found = intent.read(builders.claim(annotations={"holdfast.dev/retore": "never", "other/x": "y"}), {})
    assert [problem.where for problem in found.problems] == ["annotation holdfast.dev/retore"]


def test_a_bad_schedule_falls_back_to_the_tier_and_is_said() -> None:
    found = intent.read(builders.claim(annotations={"holdfast.dev/schedule": "often"}), {})
    assert found.cron is None
    assert "the tier's slot is used" in str(found.problems[0])


def test_an_identity_is_read_or_said() -> None:
    good = intent.read(builders.claim(annotations={"holdfast.dev/identity": "old/data"}), {})
    assert good.identity == Identity(namespace="old", claim="data")
    bad = intent.read(builders.claim(annotations={"holdfast.dev/identity": "data"}), {})
    assert bad.identity == Unreadable(text="data")
    assert bad.problems


def test_an_identity_longer_than_names_can_be_is_no_question_for_a_reader() -> None:
    text = "apps/" + "a" * 200_000  # some of these, and a question to the reader is longer than it takes
    found = intent.read(builders.claim(annotations={"holdfast.dev/identity": text}), {})
    assert found.identity == Unreadable(text=text)
    assert len(str(found.problems[0])) < 200


def test_exclusions_are_one_a_line() -> None:
    found = intent.read(builders.claim(annotations={"holdfast.dev/exclude": "cache\n\n *.tmp \n"}), {})
    assert found.exclude == ("cache", "*.tmp")


@pytest.mark.parametrize(
    ("text", "method"), [("auto", CopyMethod.AUTO), ("snapshot", CopyMethod.SNAPSHOT), ("Direct", CopyMethod.DIRECT)]
)
def test_a_copy_method_is_read(text: str, method: CopyMethod) -> None:
    found = intent.read(builders.claim(annotations={"holdfast.dev/copy-method": text}), {})
    assert (found.copy_method, found.problems) == (method, ())


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1000", RunAs(uid=1000, gid=1000)), ("1000:50", RunAs(uid=1000, gid=50)), ("7:0", RunAs(uid=7, gid=0))],
)
def test_movers_run_as_whom_the_claim_names(text: str, expected: RunAs) -> None:
    found = intent.read(builders.claim(annotations={"holdfast.dev/run-as": text}), {})
    assert (found.run_as, found.problems) == (expected, ())


@pytest.mark.parametrize("text", ["root", "0", "0:100", "1000:", "-1", "4294967296", "1000:1000:1", "2147483648"])
def test_whom_nobody_can_run_as_is_named(text: str) -> None:
    found = intent.read(builders.claim(annotations={"holdfast.dev/run-as": text}), {})
    assert found.run_as is None
    assert f"holdfast.dev/run-as: {text!r} is not uid or uid:gid" in str(found.problems[0])


def test_a_copy_method_that_cannot_be_read_is_auto_and_said() -> None:
    found = intent.read(builders.claim(annotations={"holdfast.dev/copy-method": "Clone"}), {})
    assert found.copy_method is CopyMethod.AUTO
    assert [str(each) for each in found.problems] == [
        "annotation holdfast.dev/copy-method: 'Clone' is none of auto, Snapshot, Direct; auto is used"
    ]
