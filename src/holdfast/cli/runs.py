"""Backups that were asked for: how each one stands, from what the operator remembers of its claim."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final, assert_never

from holdfast.cli.ledger import Row
from holdfast.cli.text import counted, moment
from holdfast.model.claim import ClaimRef
from holdfast.model.protection import Health
from holdfast.model.run import Progress
from holdfast.render import sentences


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """The run has not started: why, as far as that is known."""

    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Starting:
    """The mover's pod is being started, or has said nothing yet; `detail` is what Kubernetes says of it."""

    detail: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """The mover is at work."""

    progress: Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """The snapshot was found again and recorded; flags say why it is not restored by itself."""

    snapshot: str
    files: int
    bytes: int
    flags: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The run failed; the operator tries again at `retry_at`."""

    detail: str
    retry_at: datetime | None


State = Waiting | Starting | Running | Done | Failed


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """One claim's run, and the value that asked for it."""

    ref: ClaimRef
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How a run ended."""

    claim: str
    outcome: Done | Failed


CUT_OFF: Final = Waiting(detail="the cluster does not answer; what runs in it goes on")


def state(
    watched: Watched, row: Row | None, job_value: str | None, progress: Progress | None, obstacle: str | None = None
) -> State:
    """Return how the run stands.

    `job_value` is the request that the claim's Job serves: "" for a scheduled slot, None when there is no Job.
    `obstacle` is what keeps its pod from starting.
    """
    if row is None:
        return Waiting(detail="Holdfast has not looked at the claim yet: is the operator running?")
    known = row.memory
    if known.served_now == watched.value:
        return Done(snapshot=known.last_id or "", files=known.files or 0, bytes=known.bytes or 0, flags=known.flags)
    if row.state == Health.RELEASED:
        return Failed(detail="the claim is gone", retry_at=None)
    if known.failed_now == watched.value and known.failure is not None:
        return Failed(detail=known.failure, retry_at=known.retry_at)
    if job_value == watched.value:
        return working(progress, obstacle)
    if job_value is not None:
        return Waiting(detail="another run is under way, this one follows")
    return Waiting(detail=row.message or "waiting for its turn")


def working(progress: Progress | None, obstacle: str | None) -> Starting | Running:
    """Return the state of a run whose mover said this last."""
    return Running(progress=progress) if progress is not None else Starting(detail=obstacle)


def tell(ended: Done | Failed) -> str:
    """Return how a run ended as one phrase."""
    match ended:
        case Done(snapshot=snapshot, files=files, bytes=size, flags=flags):
            flagged = f", but it is {' and '.join(flags)}: it is never restored by itself" if flags else ""
            return f"backed up {counted(files, 'file')}, {sentences.size(size)}, as {snapshot[:16]}{flagged}"
        case Failed(detail=detail, retry_at=retry_at):
            again = f"; it is tried again at {moment(retry_at)}" if retry_at is not None else ""
            return f"failed: {detail}{again}"
    assert_never(ended)
