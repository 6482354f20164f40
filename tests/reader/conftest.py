"""Readers on every engine that is there, as real processes."""

from pathlib import Path

import pytest

from holdfast.model.repository import EngineKind
from tests.support.pods import Pod
from tests.support.programs import find_program


@pytest.fixture(params=tuple(EngineKind), ids=str)
def pod(request: pytest.FixtureRequest, tmp_path: Path) -> Pod:
    """Return a pod without a repository, for each engine in turn."""
    kind: EngineKind = request.param
    if kind is not EngineKind.MEMORY:
        find_program(kind.value)
    return Pod.create(tmp_path, kind)


@pytest.fixture
def memory_pod(tmp_path: Path) -> Pod:
    """Return a pod without a repository, for what is the same on every engine."""
    return Pod.create(tmp_path, EngineKind.MEMORY)
