"""When a claim is due: a stable slot in its tier's period, or cron with `H`. Times are aware and UTC."""

import functools
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from holdfast.model.intent import Tier

PERIODS: Final = {Tier.HOURLY: timedelta(hours=1), Tier.DAILY: timedelta(days=1), Tier.WEEKLY: timedelta(days=7)}
EPOCH: Final = datetime(2024, 1, 1, tzinfo=UTC)  # a Monday
ALIASES: Final = {
    "@hourly": "H * * * *",
    "@daily": "H H * * *",
    "@midnight": "H 0 * * *",
    "@weekly": "H H * * H",
    "@monthly": "H H H * *",
}
FIELDS: Final = (("minute", 0, 59), ("hour", 0, 23), ("day of month", 1, 28), ("month", 1, 12), ("day of week", 0, 6))
Number = Callable[[str], int]  # what a claim's H stands for in a field, before it is brought into its range
HASHED: Final = re.compile(r"H(?:\((\d+)-(\d+)\))?(?:/(\d+))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """A fixed moment within a repeating period."""

    period: timedelta
    offset: timedelta


def slot(tier: Tier, identity: str) -> Slot | None:
    """Return the claim's slot in its tier, spread by a hash of the identity; None for `manual`."""
    period = PERIODS.get(tier)
    if period is None:
        return None
    return Slot(period=period, offset=timedelta(seconds=_hash(identity, "slot") % int(period.total_seconds())))


def due_since(tier: Tier, cron: str | None, identity: str, now: datetime) -> datetime | None:
    """Return the latest moment at or before `now` when the claim was due; None when the clock never starts it."""
    if cron is not None:
        return _previous(cron, identity, now)
    place = slot(tier, identity)
    if place is None:
        return None
    return EPOCH + place.offset + (now - EPOCH - place.offset) // place.period * place.period


def next_due(tier: Tier, cron: str | None, identity: str, now: datetime) -> datetime | None:
    """Return the first moment after `now` when the claim is due; None when the clock never starts it."""
    if cron is not None:
        return _next(cron, identity, now)
    last = due_since(tier, None, identity, now)
    place = slot(tier, identity)
    return last + place.period if last is not None and place is not None else None


def interval(tier: Tier, cron: str | None, identity: str, now: datetime) -> timedelta | None:
    """Return the time from the latest due moment to the next; None when the clock never starts the claim."""
    last, following = due_since(tier, cron, identity, now), next_due(tier, cron, identity, now)
    return following - last if last is not None and following is not None else None


@functools.lru_cache(maxsize=1024)  # asked for every look at a claim
def fault(cron: str) -> str | None:
    """Return what is wrong with a cron text, and what to write instead; None when any claim can use it."""
    months = FIELDS[3][2]
    try:
        for number in range(months):  # a day that not every month has may never come, for the claims of some H
            zone, fields = _resolve(cron, _always(number))
            next(CronSim(fields, EPOCH.astimezone(zone)))
    except (CronSimError, ValueError, KeyError, StopIteration) as error:
        reason = str(error) or "it never comes due"
        return f"{cron!r} is no schedule ({reason}); write five fields such as 'H 3 * * *'"
    return None


def _hash(identity: str, purpose: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{purpose}:{identity}".encode()).digest()[:8])


def _next(cron: str, identity: str, now: datetime) -> datetime:
    zone, fields = _resolve(cron, _of(identity))
    return next(CronSim(fields, now.astimezone(zone))).astimezone(UTC)


def _previous(cron: str, identity: str, now: datetime) -> datetime:
    zone, fields = _resolve(cron, _of(identity))
    # cronsim looks strictly before its start; a moment that is due exactly now counts as due.
    return next(CronSim(fields, (now + timedelta(seconds=1)).astimezone(zone), reverse=True)).astimezone(UTC)


def _of(identity: str) -> Number:
    return lambda field: _hash(identity, field)


def _always(number: int) -> Number:
    return lambda _: number


def _resolve(cron: str, number: Number) -> tuple[ZoneInfo, str]:
    zone, text = ZoneInfo("UTC"), cron.strip()
    if text.startswith("CRON_TZ="):
        name, _, text = text.removeprefix("CRON_TZ=").partition(" ")
        zone, text = _zone(name), text.strip()
    fields = ALIASES.get(text.lower(), text).split()
    if len(fields) != len(FIELDS):
        raise ValueError(f"{len(fields)} fields instead of five")
    hashed = [_hashed(field, *FIELDS[index], number) for index, field in enumerate(fields)]
    return zone, " ".join(hashed)


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise ValueError(f"{name!r} is no time zone") from error


def _hashed(field: str, name: str, lowest: int, highest: int, number: Number) -> str:
    def resolve(match: re.Match[str]) -> str:
        low = int(match[1]) if match[1] else lowest
        high = int(match[2]) if match[2] else highest
        step = int(match[3]) if match[3] else 0
        if low > high or (match[3] and not 0 < step <= high - low + 1):
            raise ValueError(f"{match[0]} does not fit the {name}")
        if not step:
            return str(low + number(name) % (high - low + 1))
        return f"{low + number(name) % step}-{high}/{step}"

    # Only a whole list item is ours: the H of THU or MARCH is not.
    return ",".join(HASHED.sub(resolve, item) if HASHED.fullmatch(item) else item for item in field.split(","))
