"""A mover: carries out one work order over a mounted volume, and says what came of it."""

import asyncio
import json
import logging
import os
import signal
import sys
import tempfile
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Final, NoReturn, assert_never

from holdfast.engines import choose, log
from holdfast.engines.program import Limits, redact
from holdfast.engines.protocol import EngineFailure
from holdfast.model import wire
from holdfast.model.failure import Failure, FailureKind
from holdfast.model.run import Failed, Outcome, RunResult
from holdfast.model.workorder import VERSION, Backup, Delete, Initialize, Restore, Verify, WorkOrder
from holdfast.mover import result
from holdfast.mover.bench import Bench
from holdfast.mover.watch import Reporter, Watch

DONE: Final = 0
FAILED: Final = 1
UNREADABLE: Final = 2

ORDER: Final = "HOLDFAST_WORK_ORDER"
ROOT: Final = "HOLDFAST_ROOT"
SECRETS: Final = (choose.PASSWORD, "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
_RUN_LENGTH: Final = 253  # a Kubernetes name

events = logging.getLogger("holdfast.mover")


def main() -> NoReturn:
    """Carry out the order of the environment and exit: 0 done, 1 failed, 2 when the order could not be read."""
    code = carry_out(dict(os.environ))
    sys.stderr.flush()
    # Not sys.exit: it would wait for threads that a hung mount keeps for ever.
    os._exit(code)


def carry_out(environment: Mapping[str, str]) -> int:
    """Return the exit code, once the result is written."""
    secrets = tuple(environment[name] for name in SECRETS if environment.get(name))
    log.to_stderr(secrets)
    root = Path(environment.get(ROOT, "/"))
    text = environment.get(ORDER, "")
    try:
        order = read_order(text)
    except EngineFailure as error:
        _tell(root, RunResult(run=_run_of(text), outcome=Failed(failure=error.failure)))
        return UNREADABLE
    events.info("mover.started", extra={"run": order.run, "work": type(order.work).__name__})
    loop = asyncio.new_event_loop()
    outcome = _redacted(loop.run_until_complete(_within_limits(order, root, environment)), secrets)
    _tell(root, RunResult(run=order.run, outcome=outcome))
    _close(loop)
    return FAILED if isinstance(outcome, Failed) else DONE


def _close(loop: asyncio.AbstractEventLoop) -> None:
    """Close the loop, unless work hangs in it that would not let it close: the process ends without that."""
    loop.run_until_complete(asyncio.sleep(0))
    if not asyncio.all_tasks(loop):
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


def read_order(text: str) -> WorkOrder:
    """Return the work order that `text` encodes; raise EngineFailure(BAD_ORDER) saying what is wrong with it."""
    try:
        plain = json.loads(text)
        version = plain.get("version") if isinstance(plain, dict) else None
        if version != VERSION:
            raise wire.WireError(f"it is of version {version}, this mover knows {VERSION}: the two images differ")
        order = wire.from_plain(WorkOrder, plain)
        if not 0 < len(order.run) <= _RUN_LENGTH:
            raise wire.WireError(f"its run has a name of {len(order.run)} characters")
        if min(order.inactivity_seconds, order.total_seconds) <= 0:
            raise wire.WireError("its deadlines are not positive")
    except ValueError as error:
        raise EngineFailure(FailureKind.BAD_ORDER, f"${ORDER} is no work order: {error}") from error
    return order


def _run_of(text: str) -> str:
    """Return the run's name from an order that cannot be carried out, as far as it can be told."""
    try:
        run = json.loads(text)["run"]
    except (ValueError, TypeError, KeyError, IndexError):
        return ""
    return run[:_RUN_LENGTH] if isinstance(run, str) else ""


async def _within_limits(order: WorkOrder, root: Path, environment: Mapping[str, str]) -> Outcome:
    """Return what came of the order: failures are outcomes too."""
    limits = Limits(
        total=timedelta(seconds=order.total_seconds), inactivity=timedelta(seconds=order.inactivity_seconds)
    )
    reporter = Reporter(sys.stdout.fileno())
    watch = Watch(reporter, total=limits.total, inactivity=limits.inactivity)

    def stop() -> None:
        # Said at once: a kill may follow before everything has come to its end.
        canceled = Failure(kind=FailureKind.CANCELED, detail="The run was stopped by a signal; it is started again.")
        _tell(root, RunResult(run=order.run, outcome=Failed(failure=canceled)))
        watch.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    try:
        place = environment.get("TMPDIR")
        with tempfile.TemporaryDirectory(prefix="holdfast-", dir=place, ignore_cleanup_errors=True) as scratch:
            return await watch.run(_work(order, root, environment, Path(scratch), limits, reporter))
    except EngineFailure as error:
        return Failed(failure=error.failure)
    except Exception as error:  # noqa: BLE001  # the edge of the process: whatever happened becomes a result
        events.exception("mover.surprised", extra={"run": order.run})
        detail = f"Something unforeseen happened ({type(error).__name__}: {error}); the mover's log has the details."
        return Failed(failure=Failure(kind=FailureKind.UNKNOWN, detail=detail))


async def _work(
    order: WorkOrder, root: Path, environment: Mapping[str, str], scratch: Path, limits: Limits, reporter: Reporter
) -> Outcome:
    # Only the part that is needed is imported: a mover starts many thousand times a day.
    async with choose.opened(order.repository, root, environment, scratch, limits) as repository:
        bench = Bench(run=order.run, repository=repository, root=root, report=reporter)
        match order.work:
            case Initialize():
                from holdfast.mover import initialize

                return await initialize.run(bench)
            case Backup() as work:
                from holdfast.mover import backup

                return await backup.run(bench, work)
            case Restore() as work:
                from holdfast.mover import restore

                return await restore.run(bench, work)
            case Verify() as work:
                from holdfast.mover import verify

                return await verify.run(bench, work)
            case Delete() as work:
                from holdfast.mover import delete

                return await delete.run(bench, work)
            case _:
                assert_never(order.work)


def _redacted(outcome: Outcome, secrets: tuple[str, ...]) -> Outcome:
    if not isinstance(outcome, Failed):
        return outcome
    failure = outcome.failure
    return Failed(failure=Failure(kind=failure.kind, detail=redact(failure.detail, secrets)))


def _tell(root: Path, said: RunResult) -> None:
    """Write the result where Kubernetes keeps it, and log it."""
    data = result.fit(said)
    match said.outcome:
        case Failed(failure=failure):
            events.error("mover.failed", extra={"run": said.run, "why": failure.kind.value, "detail": failure.detail})
        case outcome:
            events.info("mover.finished", extra={"run": said.run, "outcome": wire.to_plain(outcome)})
    try:
        (root / "dev/termination-log").write_bytes(data)
    except OSError as error:
        events.error("mover.result_not_written", extra={"run": said.run, "detail": str(error)})
