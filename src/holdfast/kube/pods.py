"""What a pod's status says to a person."""

from collections.abc import Iterable

from holdfast.kube import objects


def obstacle(pods: Iterable[objects.Pod]) -> str | None:
    """Return what keeps a Job's pod from starting, in Kubernetes' own words; None when it says nothing."""
    for pod in pods:
        for status in (pod.status.container_statuses if pod.status else None) or ():
            waiting = status.state.waiting if status.state else None
            if waiting is not None and waiting.reason:
                return f"{waiting.reason}: {waiting.message or ''}".rstrip(": ")
        if pod.status is not None and pod.status.message:
            return pod.status.message
        for each in (pod.status.conditions if pod.status else None) or ():
            if each.status == "False" and each.message:
                return each.message
    return None
