"""Our client and our kinds on a real API server."""

import json
from typing import Any

import pytest

from holdfast.kube import errors
from holdfast.kube.client import Kube
from holdfast.render import crds
from tests.cluster.kubectl import kubectl
from tests.kube import portable

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def kinds(kubeconfig: object) -> None:
    """Have our kinds served."""
    for definition in crds.definitions():
        kubectl("apply", "--server-side", "--force-conflicts", "--filename=-", text=json.dumps(definition))
        kubectl("wait", "--for=condition=Established", f"crd/{definition['metadata']['name']}", "--timeout=30s")


@pytest.mark.parametrize("what", portable.ALL, ids=lambda what: what.__name__)
async def test_the_client_means_what_it_says(what: portable.Portable, kube: Kube, namespace: str) -> None:
    await what(kube, namespace)


def test_nothing_is_wrong_with_the_schemas() -> None:
    for definition in crds.definitions():
        shown = kubectl("get", f"crd/{definition['metadata']['name']}", "--output=json")
        conditions = {each["type"]: each["status"] for each in json.loads(shown)["status"]["conditions"]}
        assert conditions.get("NonStructuralSchema", "False") == "False"
        assert conditions["NamesAccepted"] == "True"


async def test_a_restore_may_not_have_the_name_that_means_by_itself(kube: Kube, namespace: str) -> None:
    restore: dict[str, Any] = {
        "apiVersion": "holdfast.dev/v1alpha1",
        "kind": "Restore",
        "metadata": {"name": "auto", "namespace": namespace},
        "spec": {},
    }
    with pytest.raises(errors.Invalid):
        await kube.create(restore)
