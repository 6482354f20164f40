"""What keeps a pod from starting, out of what Kubernetes says of it."""

from typing import Any

import msgspec
import pytest

from holdfast.kube import objects
from holdfast.kube.pods import obstacle


def pod(status: dict[str, Any]) -> objects.Pod:
    meta = {"name": "mover", "namespace": "holdfast", "uid": "u", "resourceVersion": "1"}
    created = {"creationTimestamp": "2026-01-01T00:00:00Z"}
    return msgspec.convert({"metadata": meta | created, "spec": {}, "status": status}, objects.Pod)


UNSCHEDULABLE = {
    "type": "PodScheduled",
    "status": "False",
    "message": "0/1 nodes are available: 1 Insufficient memory.",
}
NOT_READY = {"type": "ContainersReady", "status": "False", "message": "containers with unready status: [mover]"}
PULLING = {"name": "mover", "state": {"waiting": {"reason": "ErrImagePull", "message": "no such image"}}}


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ({}, None),
        ({"phase": "Pending", "conditions": [UNSCHEDULABLE]}, UNSCHEDULABLE["message"]),
        ({"conditions": [NOT_READY], "containerStatuses": [PULLING]}, "ErrImagePull: no such image"),
        ({"containerStatuses": [{"name": "mover", "state": {"waiting": {"reason": "Creating"}}}]}, "Creating"),
        ({"phase": "Running", "containerStatuses": [{"name": "mover", "state": {"running": {}}}]}, None),
    ],
)
def test_the_most_telling_words_are_taken(status: dict[str, Any], expected: str | None) -> None:
    assert obstacle([pod(status)]) == expected


def test_no_pod_says_nothing() -> None:
    assert obstacle([]) is None
