"""The tests of this directory need the real cluster of `make e2e`."""

import json
import os
from collections.abc import AsyncGenerator, Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from holdfast.kube.client import Kube
from tests.cluster import places
from tests.cluster.kubectl import kubectl
from tests.e2e.town import App, end_namespace

DEFAULT: Final = "snapshot.storage.kubernetes.io/is-default-class"


@pytest.fixture(scope="session", autouse=True)
def kubeconfig() -> Path:
    """Return the way to the cluster; skip every test where `make e2e` has not started one."""
    if "HOLDFAST_E2E" not in os.environ:
        pytest.skip("needs a real cluster and root: make e2e")
    return Path(os.environ["KUBECONFIG"])


@pytest.fixture
async def kube(kubeconfig: Path) -> AsyncGenerator[Kube]:
    client = Kube.connect(kubeconfig, strict=True, trust_env=False)
    yield client
    await client.aclose()


@pytest.fixture
def namespace(kubeconfig: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """Return a namespace of the test's own; its deletion is begun afterwards, and waited for by nobody."""
    name = f"e2e-{os.urandom(4).hex()}"
    kubectl("create", "namespace", name)
    kubectl("label", "namespace", name, f"test={request.node.name.replace('[', '-').replace(']', '')[:63].strip('-_')}")
    yield name
    kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture
def app(kubeconfig: Path) -> Iterator[App]:
    """Return a namespace with apps of the test's own; it has gone before the next test begins."""
    made = App(f"app-{os.urandom(3).hex()}")
    made.create()
    yield made
    end_namespace(made.name)


@pytest.fixture
def own_class() -> Iterator[Callable[..., None]]:
    """Make another VolumeSnapshotClass the driver's default one, for this test."""

    def make(**spec: Any) -> None:
        named = {"name": "own", "annotations": {DEFAULT: "true"}}
        kind = {"apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshotClass"}
        manifest = json.dumps({**kind, "metadata": named, "driver": places.DRIVER, **spec})
        kubectl("apply", "--server-side", "--filename=-", text=manifest)

    kubectl("annotate", "volumesnapshotclass/csi", f"{DEFAULT}=false", "--overwrite")
    yield make
    kubectl("delete", "volumesnapshotclass/own")
    kubectl("annotate", "volumesnapshotclass/csi", f"{DEFAULT}=true", "--overwrite")
