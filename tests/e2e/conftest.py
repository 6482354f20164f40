"""The tests of this directory need the real cluster of `make e2e`."""

import os
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path

import pytest

from holdfast.kube.client import Kube
from tests.cluster.kubectl import kubectl


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
