"""Runs kopia against one repository, each time from a private folder that starts empty and is deleted afterwards."""

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from holdfast.engines import program
from holdfast.engines.kopia import argv, failures, parse
from holdfast.engines.program import Finished, Limits, Listen, Program
from holdfast.engines.protocol import EngineFailure
from holdfast.model.failure import FailureKind
from holdfast.model.repository import S3Storage, Storage

# A call that only reads or writes a few objects; opening a repository with thousands of index blobs takes minutes.
SHORT: Final = Limits(total=timedelta(minutes=10), inactivity=timedelta(minutes=10))


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One private folder with a configuration: what is run in it shares a cache."""

    folder: Path
    name: str
    environment: Mapping[str, str]
    secrets: tuple[str, ...]
    short: Limits = SHORT

    def program(self, arguments: tuple[str, ...], limits: Limits) -> Program:
        return Program(
            argv=(self.name, *arguments),
            environment=self.environment,
            directory=self.folder,
            limits=limits,
            secrets=self.secrets,
        )

    async def run(
        self, arguments: tuple[str, ...], *, limits: Limits | None = None, on_stderr: Listen | None = None
    ) -> Finished:
        return await program.run(self.program(arguments, limits or self.short), on_stderr=on_stderr)

    async def output(self, arguments: tuple[str, ...], doing: str) -> bytes:
        """Return what a call printed; raise EngineFailure unless it ended with 0."""
        finished = await self.run(arguments)
        if finished.exit_code != 0:
            raise failures.failure(doing, finished.exit_code, finished.stderr)
        return finished.stdout

    @property
    def cache(self) -> Path:
        return self.folder / "cache"

    def repository_id(self) -> str:
        """Return the id of the repository that calls in this session opened: kopia leaves its format blob here."""
        try:
            return parse.repository_id((self.cache / "kopia.repository").read_bytes())
        except (OSError, parse.ParseError) as error:
            raise EngineFailure(FailureKind.DAMAGED, f"kopia left no id of what it opened: {error}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Kopia:
    """How to reach one repository with kopia; nothing is opened yet."""

    storage: Storage
    password: str
    environment: Mapping[str, str]
    work: Path
    name: str
    short: Limits = SHORT  # of every call that is given none of its own

    @contextmanager
    def session(
        self, *, readonly: bool, cached: bool = True, content_cache: int = argv.CONTENT_CACHE
    ) -> Iterator[Session]:
        """Open a session for the time of the block.

        `cached=False` keeps no copy of what is read, which pays on a directory only; there is no repository_id then.
        """
        folder = Path(tempfile.mkdtemp(prefix="kopia-", dir=self.work))
        try:
            cache, config = folder / "cache", folder / "repository.config"
            cache.mkdir()
            config.write_bytes(
                argv.configuration(
                    self.storage,
                    self._authority(),
                    cache=cache if cached else None,
                    content_cache=content_cache,
                    readonly=readonly,
                )
            )
            yield Session(
                folder=folder,
                name=self.name,
                environment=argv.environment(self.environment, self.password, folder, config),
                secrets=argv.secrets(self.environment, self.password),
                short=self.short,
            )
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _authority(self) -> bytes | None:
        if not isinstance(self.storage, S3Storage) or self.storage.ca_file is None:
            return None
        try:
            return Path(self.storage.ca_file).read_bytes()
        except OSError as error:
            raise EngineFailure(FailureKind.BAD_ORDER, f"the storage's CA file cannot be read: {error}") from error
