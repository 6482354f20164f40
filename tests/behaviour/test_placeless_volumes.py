"""Volumes that are directories of some node and say not of which: they are read where their app is, or not at all."""

from pathlib import Path

import pytest

from tests.support.town import APPS, Town

pytestmark = pytest.mark.anyio


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    path = tmp_path / "disk"
    path.mkdir()
    (path / "f").write_text("treasure")
    return path


async def static(town: Town, path: Path) -> None:
    """Create a volume without a node and a claim that names it."""
    size = {"storage": "64Mi"}
    await town.kube.create(
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": "disk"},
            "spec": {
                "capacity": size,
                "accessModes": ["ReadWriteOnce"],
                "storageClassName": "",
                "persistentVolumeReclaimPolicy": "Retain",
                "hostPath": {"path": str(path)},
            },
        }
    )
    await town.kube.create(
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": "data", "namespace": APPS, "labels": {"backup": "manual"}},
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "resources": {"requests": size},
                "storageClassName": "",
                "volumeName": "disk",
            },
        }
    )


async def test_a_directory_of_an_unknown_node_is_not_read_until_its_app_tells_the_node(town: Town, disk: Path) -> None:
    await static(town, disk)
    await town.annotate("data", {"holdfast.dev/backup-now": "1"})
    assert "start the app" in await town.told("data", "NodeNotKnown")

    async def is_failing() -> bool:
        told = await town.protection("data")
        return told.get("state") == "Failing" and "start the app" in str(told.get("message"))

    await town.until("its Protection says so", is_failing)
    await town.app("data", "cat f")
    await town.app_ended("data")
    await town.back_up("data")
