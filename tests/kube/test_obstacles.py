"""What keeps a pod from starting, out of what Kubernetes says of it."""

from typing import Any

import msgspec
import pytest

from holdfast.kube import objects, obstacles


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
        ({"containerStatuses": [{"name": "mover", "state": {"waiting": {"reason": "Odd"}}}]}, "Odd"),
        ({"phase": "Running", "containerStatuses": [{"name": "mover", "state": {"running": {}}}]}, None),
    ],
)
def test_the_most_telling_words_are_taken(status: dict[str, Any], expected: str | None) -> None:
    assert obstacles.of_pods([pod(status)]) == expected


MAKING = {"containerStatuses": [{"name": "mover", "state": {"waiting": {"reason": "ContainerCreating"}}}]}
TYPE = "hostPath type check failed: /backups is not a directory"
NO_TIME = "Unable to attach or mount volumes: unmounted volumes=[repository]: timed out"


def warning(reason: str, message: str, *, minute: int | None = 0, uid: str = "u") -> objects.Event:
    meta = {"name": f"mover.{minute}", "namespace": "holdfast", "uid": "e", "resourceVersion": "1"}
    time = None if minute is None else f"2026-01-01T00:{minute:02}:00Z"
    body = {
        "metadata": meta | {"creationTimestamp": "2026-01-01T00:00:00Z"},
        "involvedObject": {"kind": "Pod", "uid": uid},
        "reason": reason,
        "message": message,
        "lastTimestamp": time,
    }
    return msgspec.convert(body, objects.Event)


@pytest.mark.parametrize(
    ("warnings", "expected"),
    [
        ([], None),
        ([warning("FailedMount", TYPE)], f"FailedMount: {TYPE}"),
        ([warning("FailedMount", NO_TIME, minute=2), warning("FailedMount", TYPE)], f"FailedMount: {TYPE}"),
        ([warning("FailedMount", NO_TIME)], f"FailedMount: {NO_TIME}"),
        ([warning("FailedMount", TYPE), warning("FailedAttachVolume", "busy", minute=1)], "FailedAttachVolume: busy"),
        ([warning("FailedMount", TYPE, minute=None), warning("FailedMount", "newer")], "FailedMount: newer"),
        ([warning("FailedMount", TYPE, uid="another's")], None),
        ([warning("FailedScheduling", "no node: it has one now")], None),
    ],
)
def test_of_a_pod_that_is_being_made_warnings_tell(warnings: list[objects.Event], expected: str | None) -> None:
    assert obstacles.of_pods([pod(MAKING)], warnings) == expected


def test_warnings_say_nothing_of_a_pod_that_has_come_further() -> None:
    running = {"phase": "Running", "containerStatuses": [{"name": "mover", "state": {"running": {}}}]}
    assert obstacles.of_pods([pod(running)], [warning("FailedMount", TYPE)]) is None


def test_no_pod_says_nothing() -> None:
    assert obstacles.of_pods([]) is None
