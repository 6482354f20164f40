"""restic's processes for one storage: each with its own place for caches and temporary files."""

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Final

from holdfast.engines import program
from holdfast.engines.program import Finished, Heard, Limits, Listen, Program, Running
from holdfast.engines.protocol import EngineFailure, Report
from holdfast.engines.restic import argv, failures, parse
from holdfast.model.claim import Identity
from holdfast.model.failure import FailureKind
from holdfast.model.repository import Storage
from holdfast.model.run import Progress

SHORT: Final = Limits(total=timedelta(minutes=10), inactivity=timedelta(minutes=5))
RETRYING: Final = timedelta(seconds=30)  # how long a call that only asks may try the same again and again


class Restic:
    """Runs restic on the repository of any identity in `storage`."""

    def __init__(
        self,
        storage: Storage,
        *,
        password: str,
        environment: Mapping[str, str],
        work: Path,
        name: str,
        limits: Limits = SHORT,
    ) -> None:
        self._storage = storage
        self._password = password
        self._environment = environment
        self._work = work
        self._name = name
        self._short = SHORT.within(limits)
        self._version: str | None = None

    async def version(self) -> str:
        """Return restic's version; raise NO_PROGRAM unless it is the one that we know."""
        if self._version is None:
            environment = {**program.inherited(self._environment), "HOME": str(self._work)}
            asked = Program(
                argv=(self._name, *argv.version()),
                environment=environment,
                directory=self._work,
                limits=self._short,
            )
            finished = await program.run(asked)
            if finished.exit_code < 0:  # killed: that says nothing about which version is installed
                raise failures.failure(finished.exit_code, finished.stderr, full=FailureKind.UNKNOWN)
            found = (
                parse.version(finished.stdout) if finished.exit_code == 0 else "a restic that cannot say its version"
            )
            if found != argv.VERSION:
                raise EngineFailure(
                    FailureKind.NO_PROGRAM,
                    f"restic {argv.VERSION} is needed, {found} is installed: put restic {argv.VERSION} first on PATH",
                )
            self._version = found
        return self._version

    async def run(
        self,
        identity: Identity,
        arguments: tuple[str, ...],
        *,
        limits: Limits | None = None,
        directory: Path | None = None,
        cache: Path | None = None,
        on_stdout: Listen | None = None,
    ) -> Finished:
        """Run restic to its end, whatever that is; without `limits` it is a call that only asks, and gives up soon."""
        await self.version()
        asked = self._program(identity, arguments, limits or self._short, directory or self._work, cache)
        ear = _Ear(RETRYING if limits is None else None)
        try:
            return await program.run(asked, on_stdout=on_stdout, on_stderr=ear.hear)
        except EngineFailure as error:
            raise ear.reason(error) from error

    async def output(self, identity: Identity, arguments: tuple[str, ...], *, cache: Path | None = None) -> bytes:
        """Return what restic prints; raise EngineFailure when it fails."""
        finished = await self.run(identity, arguments, cache=cache)
        if finished.exit_code != 0:
            raise failures.failure(finished.exit_code, finished.stderr, full=FailureKind.UNKNOWN)
        return finished.stdout

    async def started(
        self, identity: Identity, arguments: tuple[str, ...], limits: Limits
    ) -> AbstractAsyncContextManager[Running]:
        """Return restic started for the time of the block."""
        await self.version()
        asked = self._program(identity, arguments, limits, self._work, None)
        return program.started(asked, on_stderr=_Ear(None).hear)

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """Make an empty folder for the time of the block; as a cache, it shows that all was read from the storage."""
        with tempfile.TemporaryDirectory(dir=self._work) as folder:
            yield Path(folder)

    def _program(
        self, identity: Identity, arguments: tuple[str, ...], limits: Limits, directory: Path, cache: Path | None
    ) -> Program:
        environment = argv.environment_of(
            self._storage, identity, self._password, self._environment, self._work, cache or self._work / "cache"
        )
        return Program(
            argv=(self._name, *argv.options(self._storage), *arguments),
            environment=environment,
            directory=directory,
            limits=limits,
            secrets=argv.secrets_of(self._password, self._environment),
        )


class _Ear:
    """Listens to stderr: keeps all text, but takes a retry for what it is, nothing new.

    With `patience`, a retry that comes so long after the first ends the call: restic itself goes on for 15 minutes.
    """

    def __init__(self, patience: timedelta | None) -> None:
        self._patience = patience
        self._first: float | None = None
        self._retry: str | None = None

    def hear(self, line: str) -> Heard:
        if not parse.is_retry(line):
            return Heard.TEXT
        now = time.monotonic()
        if self._first is None:
            self._first = now
        self._retry = line
        if self._patience is not None and now - self._first > self._patience.total_seconds():
            raise self._given_up()
        return Heard.NOTHING

    def reason(self, error: EngineFailure) -> EngineFailure:
        """Return what was really wrong when restic was stopped while it tried the same again and again."""
        if error.failure.kind is not FailureKind.TIMEOUT or self._retry is None:
            return error
        return self._given_up()

    def _given_up(self) -> EngineFailure:
        return EngineFailure(FailureKind.UNREACHABLE, f"restic gave up: {self._retry}")


def status_to(report: Report) -> Listen:
    """Return a listener that passes on the status lines of a backup or a restore."""
    return _following(report, lambda line: parse.progress(line) if parse.kind(line) == "status" else None)


def steps_to(report: Report) -> Listen:
    """Return a listener that passes on the lines for people of a check or prune."""
    return _following(report, parse.step)


def _following(report: Report, read: Callable[[str], Progress | None]) -> Listen:
    last: Progress | None = None

    def listen(line: str) -> Heard:
        nonlocal last
        progress = read(line)
        if progress is None:
            return Heard.TEXT
        before, last = last, progress
        report(progress)
        # restic repeats its line while it hangs.
        if before is not None and _done(before) == _done(progress):
            return Heard.NOTHING
        return Heard.PROGRESS

    return listen


def _done(progress: Progress) -> tuple[int, int, int | None, int | None]:
    return progress.files_done, progress.bytes_done, progress.files_total, progress.bytes_total
