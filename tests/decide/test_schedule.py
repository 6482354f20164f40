"""Slots are fixed, in range and spread; cron with `H` comes due when a person would expect."""

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.decide import schedule
from holdfast.model.intent import Tier

TIMED = [Tier.HOURLY, Tier.DAILY, Tier.WEEKLY]
times = st.datetimes(datetime(2024, 1, 2), datetime(2040, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001  # zone given
identities = st.from_regex(r"[a-z]{1,9}/[a-z]{1,9}", fullmatch=True)


@given(tier=st.sampled_from(TIMED), identity=identities, now=times)
def test_a_slot_comes_once_a_period(tier: Tier, identity: str, now: datetime) -> None:
    last = schedule.due_since(tier, None, identity, now)
    following = schedule.next_due(tier, None, identity, now)
    assert last is not None
    assert following is not None
    assert last <= now < following
    assert following - last == schedule.PERIODS[tier]
    assert schedule.due_since(tier, None, identity, following) == following


@pytest.mark.parametrize(("tier", "most"), [(Tier.HOURLY, 7), (Tier.DAILY, 3)])
def test_a_hundred_claims_with_names_of_equal_length_spread(tier: Tier, most: int) -> None:
    now = datetime(2026, 3, 1, tzinfo=UTC)
    minutes = Counter(
        due.replace(second=0)
        for number in range(100)
        if (due := schedule.next_due(tier, None, f"apps/claim-{number:03}", now)) is not None
    )
    assert max(minutes.values()) <= most


def test_manual_never_runs_by_the_clock() -> None:
    now = datetime(2026, 3, 1, tzinfo=UTC)
    assert schedule.next_due(Tier.MANUAL, None, "apps/data", now) is None
    assert schedule.due_since(Tier.MANUAL, None, "apps/data", now) is None


@given(now=times, identity=identities)
def test_cron_due_moments_follow_each_other(now: datetime, identity: str) -> None:
    cron = "H H(1-4) * * *"
    last = schedule.due_since(Tier.DAILY, cron, identity, now)
    following = schedule.next_due(Tier.DAILY, cron, identity, now)
    assert last is not None
    assert following is not None
    assert last <= now < following
    assert 1 <= following.hour <= 4
    assert following - last == timedelta(days=1)


@pytest.mark.parametrize(
    ("cron", "zone_hour"),
    [("CRON_TZ=Europe/Berlin 30 2 * * *", 3), ("30 2 * * *", 2)],
)
def test_the_spring_gap_still_runs_once(cron: str, zone_hour: int) -> None:
    # 2026-03-29 02:30 does not exist in Berlin; the run comes at 03:00 there, 01:00 UTC.
    start = datetime(2026, 3, 28, 12, tzinfo=UTC)
    due = schedule.next_due(Tier.DAILY, cron, "apps/data", start)
    expected = {3: datetime(2026, 3, 29, 1, 0, tzinfo=UTC), 2: datetime(2026, 3, 29, 2, 30, tzinfo=UTC)}
    assert due == expected[zone_hour]


def test_the_autumn_hour_runs_once() -> None:
    cron, due = "CRON_TZ=Europe/Berlin 30 2 * * *", datetime(2026, 10, 24, 12, tzinfo=UTC)
    runs = []
    for _ in range(2):
        due = schedule.next_due(Tier.DAILY, cron, "apps/data", due) or due
        runs.append(due)
    assert runs[1] - runs[0] >= timedelta(hours=23)


def test_a_moment_that_is_due_now_counts_as_due() -> None:
    moment = datetime(2026, 3, 1, 3, 0, tzinfo=UTC)
    assert schedule.due_since(Tier.DAILY, "0 3 * * *", "apps/data", moment) == moment


@pytest.mark.parametrize("name", ["MON-FRI", "THU", "MON,THU"])
def test_names_that_contain_an_h_are_left_alone(name: str) -> None:
    assert schedule.fault(f"0 3 * * {name}") is None


@pytest.mark.parametrize(
    "cron",
    [
        "",
        "every day",
        "* * * *",
        "0 0 3 * * *",
        "61 * * * *",
        "0 3 30 2 *",
        "CRON_TZ=Mars/Base 0 3 * * *",
        "H/0 * * * *",
        "0 3 31 H *",  # for some claims, which would never come due
    ],
)
def test_what_is_no_schedule_says_why(cron: str) -> None:
    fault = schedule.fault(cron)
    assert fault is not None
    assert "five fields" in fault


@pytest.mark.parametrize("cron", ["@hourly", "@daily", "@weekly", "H/15 * * * *", "H H(0-5) * * *", "0 3 L * *"])
def test_what_is_a_schedule_is_taken(cron: str) -> None:
    assert schedule.fault(cron) is None
