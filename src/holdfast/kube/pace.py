"""How fast something that failed is tried again."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Pauses that double from `first` up to `longest`, each spread by ± 20 % so that many do not come at once."""

    first: timedelta
    longest: timedelta
    chance: Callable[[], float] = random.random

    def pause(self, failures: int) -> timedelta:
        """Return the pause after so many failures in a row (1 is the first)."""
        doubled = self.first * 2 ** min(max(failures, 1) - 1, 30)
        return self.spread(min(doubled, self.longest))

    def spread(self, pause: timedelta, share: float = 0.2) -> timedelta:
        """Return a pause within ± `share` of the given one."""
        return pause * (1 + share * (2 * self.chance() - 1))
