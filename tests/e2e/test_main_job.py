"""The main job in a real cluster: one label, everything lost, the data back before the app starts."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast.model.repository import EngineKind
from tests.cluster.kubectl import kubectl
from tests.e2e.town import App, apply, holdfast, install, lose_holdfast
from tests.support import trees

pytestmark = [pytest.mark.programs, pytest.mark.timeout(400)]

LABELS = {"backup": "manual"}
REAL = pytest.mark.parametrize("engine", [EngineKind.KOPIA, EngineKind.RESTIC], ids=str)


@pytest.fixture
def cluster(kubeconfig: Path) -> Iterator[None]:
    install()
    yield
    lose_holdfast()


@REAL
def test_what_was_lost_is_back_before_the_app_starts(
    cluster: None, app: App, tmp_path: Path, engine: EngineKind
) -> None:
    repository = tmp_path / "repository"
    repository.mkdir()
    manifests = holdfast("render", "repository", "--engine", engine.value, "--directory", str(repository))
    apply(manifests)
    kubectl("wait", "--for=condition=Ready", "repository/default", "--timeout=120s")

    app.claim("data", **LABELS)
    app.run("first", "touch /data/started", on="data")
    trees.build(app.volume("data"))
    before = trees.manifest(app.volume("data"))
    holdfast("backup", f"{app.name}/data")

    app.lose()
    lose_holdfast()
    install()
    apply(manifests)
    app.create()
    app.claim("data", **LABELS)
    app.claim("newcomer", **LABELS)
    assert app.run("second", "test -e /data/started && echo here", on="data") == "here\n"
    after = trees.manifest(app.volume("data"))
    assert set(after) == set(before)
    assert {name: each.digest for name, each in after.items()} == {name: each.digest for name, each in before.items()}
    assert {name: (each.mode, each.owner) for name, each in after.items()} == {
        name: (each.mode, each.owner) for name, each in before.items()
    }
    assert app.run("third", "ls -A /data", on="newcomer") == ""
