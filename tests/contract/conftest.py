"""Every engine on every storage: what the contract suite is run on."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from holdfast.engines.storage import open_storage
from holdfast.model.repository import DirectoryStorage, EngineKind, Storage
from tests.support.bench import Bench, environment_with, open_engine
from tests.support.programs import find_program

ENGINES = tuple(EngineKind)
STORAGES = ("directory",)


@pytest.fixture(scope="module", params=ENGINES, ids=str)
def kind(request: pytest.FixtureRequest) -> EngineKind:
    found: EngineKind = request.param
    return found


@pytest.fixture(scope="module")
def program(kind: EngineKind) -> str | None:
    return None if kind is EngineKind.MEMORY else find_program(kind)


@pytest.fixture(scope="module", params=STORAGES)
def where(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Storage, Mapping[str, str]]:
    """Return an empty storage, and the environment that holds its keys."""
    return DirectoryStorage(path=str(tmp_path_factory.mktemp("storage"))), {}


@asynccontextmanager
async def a_bench(
    kind: EngineKind, program: str | None, where: tuple[Storage, Mapping[str, str]], work: Path
) -> AsyncIterator[Bench]:
    """Hold an engine with an initialised repository open."""
    storage, keys = where
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
    kind: EngineKind,
    program: str | None,
    where: tuple[Storage, Mapping[str, str]],
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Bench]:
    """One repository for a whole file: tests use identities of their own and damage nothing."""
    async with a_bench(kind, program, where, tmp_path_factory.mktemp("work")) as held:
        yield held


@pytest.fixture
async def own_bench(kind: EngineKind, program: str | None, tmp_path: Path) -> AsyncIterator[Bench]:
    """A repository on a directory for one test, which may damage it."""
    storage, work = tmp_path / "storage", tmp_path / "work"
    storage.mkdir()
    work.mkdir()
    async with a_bench(kind, program, (DirectoryStorage(path=str(storage)), {}), work) as held:
        yield held
