"""Every engine on every storage: what the contract suite is run on."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path

import pytest

from holdfast.engines.storage import open_storage
from holdfast.model.repository import DirectoryStorage, EngineKind, Storage
from tests.support.bench import Bench, environment_with, open_engine
from tests.support.programs import find_program
from tests.support.s3 import S3Server

ENGINES = tuple(EngineKind)
_NUMBERS = count(1)


@pytest.fixture(scope="module", params=ENGINES, ids=str)
def kind(request: pytest.FixtureRequest) -> EngineKind:
    found: EngineKind = request.param
    return found


@pytest.fixture(scope="module")
def program(kind: EngineKind) -> str | None:
    return None if kind is EngineKind.MEMORY else find_program(kind)


@asynccontextmanager
async def a_bench(
    kind: EngineKind, program: str | None, storage: Storage, keys: Mapping[str, str], work: Path
) -> AsyncIterator[Bench]:
    """Hold an engine with an initialised repository open."""
    environment = environment_with(program, keys)
    beside = open_storage(storage, environment)
    try:
        engine = open_engine(kind, storage, beside, environment, work)
        await engine.initialize()
        yield Bench(kind=kind, where=storage, beside=beside, environment=environment, work=work, engine=engine)
    finally:
        await beside.aclose()


@pytest.fixture(scope="module")
async def bench(
    kind: EngineKind, program: str | None, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Bench]:
    """One repository on a directory for a whole file: tests use identities of their own and damage nothing."""
    storage = DirectoryStorage(path=str(tmp_path_factory.mktemp("storage")))
    async with a_bench(kind, program, storage, {}, tmp_path_factory.mktemp("work")) as held:
        yield held


@pytest.fixture(scope="module")
async def s3_bench(
    kind: EngineKind, program: str | None, s3_server: S3Server, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Bench]:
    """The same in a bucket, below a prefix."""
    storage = s3_server.storage(f"contract/{kind}-{next(_NUMBERS)}/")
    async with a_bench(kind, program, storage, s3_server.environment, tmp_path_factory.mktemp("work")) as held:
        yield held


@pytest.fixture
async def own_bench(kind: EngineKind, program: str | None, tmp_path: Path) -> AsyncIterator[Bench]:
    """A repository on a directory for one test, which may damage it."""
    storage, work = tmp_path / "own storage", tmp_path / "own work"
    storage.mkdir()
    work.mkdir()
    async with a_bench(kind, program, DirectoryStorage(path=str(storage)), {}, work) as held:
        yield held
