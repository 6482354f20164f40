"""What one run works with."""

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final, Generic

from holdfast.engines import leases
from holdfast.engines.choose import Opened, R_co
from holdfast.engines.leases import Lease
from holdfast.engines.protocol import Engine, Report
from holdfast.model.claim import Identity

# The lease of a run that was killed is waited out; one that is renewed is another run's, and this one fails.
PATIENCE: Final = leases.TIME_TO_LIVE + timedelta(seconds=30)


@dataclass(frozen=True, kw_only=True)
class Bench(Generic[R_co]):
    """A run's open repository, where the pod's paths are found, and where progress goes."""

    run: str
    repository: Opened[R_co]
    root: Path
    report: Report


def hold_history(bench: Bench[Engine], identity: Identity) -> AbstractAsyncContextManager[Lease]:
    """Return the lease under which one identity's history is changed."""
    return leases.lease(bench.repository.storage, f"claims/{identity}", holder=bench.run, patience=PATIENCE)
