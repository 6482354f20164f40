"""The loss of a whole cluster, and what is left then: a storage, and manifests."""

import json
import shutil
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from holdfast.model.repository import EngineKind
from tests.cluster import lifecycle, places
from tests.cluster.kubectl import kubectl
from tests.e2e import shop
from tests.e2e.shop import Contents
from tests.support import trees
from tests.support.programs import find_program, path_with_tools


def new_cluster() -> None:
    """Lose the cluster with etcd, volumes, keys and images, and start one that knows nothing of it."""
    with lifecycle.locked():
        left = lifecycle.down(lambda _: None)
        assert not left, left
        assert not places.STATE.exists()
        lifecycle.up(lambda _: None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """The storage as the lost cluster left it, and what was in the volumes."""

    storage: Path
    before: Mapping[str, Contents]
    snapshots: Mapping[str, str]

    @classmethod
    def now(cls, storage: Path, to: Path, before: Mapping[str, Contents]) -> "Saved":
        trees.copy(storage, to)
        known = {name: status["backup"]["lastID"] for name, status in shop.protections().items()}
        return cls(storage=to, before=before, snapshots=known)

    def bring_back(self, storage: Path) -> None:
        """Put the storage where the cluster looks for it."""
        shutil.rmtree(storage)
        trees.copy(self.storage, storage)

    def bare_restore(self, name: str, engine: EngineKind, repository: str, work: Path) -> float:
        """Restore one claim's backup with the engine alone, as its manual says; return the seconds that it took."""
        (secret,) = (each["stringData"] for each in yaml.safe_load_all(repository) if each["kind"] == "Secret")
        environment = {"PATH": path_with_tools(), "HOME": str(work), "KOPIA_CHECK_FOR_UPDATES": "false", **secret}
        snapshot, target = self.snapshots[name], work / "target"
        argv: tuple[str, ...]

        def run(*argv: str) -> None:
            done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr

        match engine:
            case EngineKind.KOPIA:
                kopia = (find_program("kopia"), f"--config-file={work / 'kopia.config'}")
                run(*kopia, "repository", "connect", "filesystem", f"--path={self.storage / 'kopia'}")
                argv = (*kopia, "snapshot", "restore", snapshot, str(target))
            case EngineKind.RESTIC:
                one = f"--repo={self.storage / 'restic' / shop.NAME / name}"
                argv = (find_program("restic"), one, "restore", snapshot, f"--target={target}")
            case EngineKind.MEMORY:
                raise AssertionError("it is no program")
        begun = time.monotonic()
        run(*argv)
        seconds = time.monotonic() - begun
        shutil.rmtree(target)
        return seconds


def connecting(repository: str) -> str:
    """Return the Repository's manifests as another cluster is given them: pinned, and not to be made anew."""
    pin = kubectl("get", "repository/default", "--output=jsonpath={.status.repositoryID}")
    made: list[dict[str, Any]] = list(yaml.safe_load_all(repository))
    for each in made:
        if each["kind"] == "Repository":
            del each["spec"]["initializeUntil"]
            each["spec"]["repositoryID"] = pin
    return "\n---\n".join(map(json.dumps, made))
