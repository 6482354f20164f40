"""Movers and readers as pods."""

from typing import Any

import pytest

from holdfast.model.intent import RunAs
from holdfast.model.workorder import Initialize, WorkOrder
from holdfast.render import pods
from tests import builders


def mover(run_as: RunAs | None = None) -> dict[str, Any]:
    repository = builders.repository()
    order = WorkOrder(run="run", repository=pods.access(repository), work=Initialize())
    return pods.mover_job("run", "holdfast", "image", repository, order, run_as=run_as)


def reader() -> dict[str, Any]:
    return pods.reader_deployment("holdfast", "image", builders.repository())


@pytest.mark.parametrize("made", [mover(), reader()], ids=["mover", "reader"])
def test_no_mesh_adds_a_proxy(made: dict[str, Any]) -> None:
    annotations = made["spec"]["template"]["metadata"]["annotations"]
    assert annotations["sidecar.istio.io/inject"] == "false"
    assert annotations["linkerd.io/inject"] == "disabled"


def test_no_autoscaler_ends_a_run() -> None:
    annotations = mover()["spec"]["template"]["metadata"]["annotations"]
    assert annotations["cluster-autoscaler.kubernetes.io/safe-to-evict"] == "false"
    assert annotations["karpenter.sh/do-not-disrupt"] == "true"


def test_a_mover_of_a_user_has_no_capability_at_all() -> None:
    pod = mover(RunAs(uid=1000, gid=50))["spec"]["template"]["spec"]
    assert pod["containers"][0]["securityContext"] == {
        "runAsUser": 1000,
        "runAsGroup": 50,
        "runAsNonRoot": True,
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
