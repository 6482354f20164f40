"""Repositories with a history, made once by the real mover, and copied for whoever damages one."""

import asyncio
import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import pytest

from holdfast.model.repository import DirectoryStorage, EngineKind
from tests.evidence import table
from tests.evidence.cases import Kind, Row
from tests.support.evidence import Judged, Place, copied
from tests.support.programs import find_program, path_with_tools
from tests.support.s3 import S3Server

Templates = Callable[[EngineKind, Kind, int], Place]
Copy = Callable[[EngineKind, Kind], Place]
Note = Callable[[Row, Judged], None]


@pytest.fixture(scope="session")
def templates(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Templates:
    """Return the repositories: KEPT was backed up twice, NEW never. Nobody changes them; number 1 is another one."""
    made: dict[tuple[EngineKind, Kind, int], Place] = {}

    def template(engine: EngineKind, kind: Kind, number: int = 0) -> Place:
        key = engine, kind, number
        if key not in made:
            place = _place(request, tmp_path_factory, engine, kind, f"template-{number}")
            source = tmp_path_factory.mktemp("source")
            (source / "data").mkdir()
            (source / "data" / "file").write_text("content")
            with ThreadPoolExecutor(1) as thread:  # an event loop runs in ours
                thread.submit(asyncio.run, place.make(source)).result()
            made[key] = place
        return made[key]

    return template


def _place(
    request: pytest.FixtureRequest, folders: pytest.TempPathFactory, engine: EngineKind, kind: Kind, name: str
) -> Place:
    if engine is not EngineKind.MEMORY:
        find_program(engine.value)
    match kind:
        case Kind.DIRECTORY:
            files = folders.mktemp(name)
            where = DirectoryStorage(path=str(files))
            return Place(engine=engine, where=where, files=files, environment={"PATH": path_with_tools()})
        case Kind.S3:
            server: S3Server = request.getfixturevalue("s3_server")
            prefix = f"evidence/{engine}-{name}/"
            environment = {"PATH": path_with_tools(), **server.environment}
            return Place(
                engine=engine, where=server.storage(prefix), files=server.data / prefix, environment=environment
            )


@pytest.fixture
def copy(request: pytest.FixtureRequest, templates: Templates, tmp_path: Path) -> Copy:
    """Return a repository of its own for one test, to be damaged."""
    numbers = count()

    def a_copy(engine: EngineKind, kind: Kind) -> Place:
        template, number = templates(engine, kind, 0), next(numbers)
        if kind is Kind.DIRECTORY:
            files = tmp_path / f"repository-{number}"
            return copied(template, files, DirectoryStorage(path=str(files)))
        server: S3Server = request.getfixturevalue("s3_server")
        prefix = f"evidence/{os.urandom(6).hex()}/"
        return copied(template, server.data / prefix, server.storage(prefix))

    return a_copy


@pytest.fixture(scope="session")
def note(worker_id: str) -> Iterator[Note]:
    """Return what holds a run against its row of the table, and writes down what was measured when asked to."""
    folder = os.environ.get(table.OUT)
    out = (Path(folder) / f"{worker_id}.jsonl").open("a") if folder else None

    def hold(row: Row, judged: Judged) -> None:
        kept, new = judged.words
        assert (kept in row.kept, new in row.new) == (True, True), f"{row.situation}: {judged}"
        if out is not None:
            line = [row.engine.value, row.kind.value, row.situation, kept, new, round(judged.seconds, 2)]
            out.write(json.dumps(line) + "\n")
            out.flush()

    yield hold
    if out is not None:
        out.close()
