"""What became of a run is read from the mover's own container."""

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from holdfast.controllers import runs
from holdfast.kube import objects
from holdfast.model.population import JobState
from tests.builders import at

META = {"name": "run", "namespace": "holdfast", "uid": "u", "resourceVersion": "1"}


def facts(*containers: dict[str, Any], of: str = "u") -> JobState:
    """Return what is read of a Job whose uid is "u" and a pod of the Job whose uid is `of`."""
    meta = META | {"creationTimestamp": at(0).isoformat()}
    job = msgspec.convert({"metadata": meta}, objects.Job, strict=False)
    status = {"phase": "Running", "containerStatuses": list(containers)}
    owned = meta | {"ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "name": "run", "uid": of}]}
    pod = msgspec.convert({"metadata": owned, "spec": {}, "status": status}, objects.Pod, strict=False)
    return runs.read(job, [pod], timedelta(minutes=5), since=at(0), now=at(0)).state


def ended(name: str) -> dict[str, Any]:
    return {"name": name, "state": {"terminated": {"exitCode": 0}}}


def test_a_proxy_that_ends_before_the_mover_ends_no_run() -> None:
    assert facts(ended("proxy"), {"name": "mover"}) is JobState.RUNNING


def test_the_pod_of_an_earlier_job_of_this_name_ends_no_run() -> None:
    assert facts(ended("mover"), of="earlier") is JobState.RUNNING


def test_a_run_has_ended_when_its_mover_has_though_a_proxy_lives() -> None:
    assert facts({"name": "proxy"}, ended("mover")) is JobState.ENDED


@pytest.mark.parametrize(
    ("about", "expected"),
    [("another", "kubectl describe job/run --namespace=holdfast"), ("u", "FailedCreate: exceeded quota")],
)
def test_a_job_for_which_no_pod_was_made_says_why_or_where_that_stands(about: str, expected: str) -> None:
    meta = META | {"creationTimestamp": at(0).isoformat()}
    job = msgspec.convert({"metadata": meta}, objects.Job, strict=False)
    deadline = timedelta(minutes=5)
    known = at(30)  # by our clock, half a minute ahead of the one by which the Job was made
    assert runs.read(job, [], deadline, since=known, now=known + deadline).state is JobState.RUNNING
    refused = {"involvedObject": {"kind": "Job", "uid": about}, "reason": "FailedCreate", "message": "exceeded quota"}
    warnings = [msgspec.convert({"metadata": meta, **refused}, objects.Event, strict=False)]
    found = runs.read(job, [], deadline, warnings, since=known, now=known + deadline + timedelta(seconds=1))
    assert found.state is JobState.STUCK
    assert found.failure is not None
    assert expected in found.failure.detail
