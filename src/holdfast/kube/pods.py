"""What a pod's status, and the cluster's warnings about it, say to a person."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

from holdfast.kube import objects

# While a pod's volumes and network are made, its status says no more than this, and warnings tell what is wrong.
MAKING: Final = frozenset({"ContainerCreating", "PodInitializing"})
TELLING: Final = frozenset({"FailedMount", "FailedAttachVolume", "FailedMapVolume", "FailedCreatePodSandBox"})
SUMMARY: Final = "Unable to attach or mount volumes"  # every two minutes a kubelet says this too, and no reason with it
LONG_AGO: Final = datetime.min.replace(tzinfo=UTC)


def obstacle(pods: Iterable[objects.Pod], warnings: Iterable[objects.Event] = ()) -> str | None:
    """Return what keeps a pod from starting, in Kubernetes' own words; None when it says nothing.

    `warnings`: Events about pods, these or others.
    """
    warnings = list(warnings)
    for pod in pods:
        for status in (pod.status.container_statuses if pod.status else None) or ():
            waiting = status.state.waiting if status.state else None
            if waiting is not None and waiting.reason in MAKING:
                return _warning(pod, warnings)
            if waiting is not None and waiting.reason:
                return f"{waiting.reason}: {waiting.message or ''}".rstrip(": ")
        if pod.status is not None and pod.status.message:
            return pod.status.message
        for each in (pod.status.conditions if pod.status else None) or ():
            if each.status == "False" and each.message:
                return each.message
    return None


def _warning(pod: objects.Pod, warnings: Iterable[objects.Event]) -> str | None:
    told = [each for each in warnings if each.involved_object.uid == pod.metadata.uid and each.reason in TELLING]
    last = max(told, key=lambda each: (not _is_summary(each), each.last_timestamp or LONG_AGO), default=None)
    return f"{last.reason}: {last.message or ''}".rstrip(": ") if last is not None else None


def _is_summary(event: objects.Event) -> bool:
    return (event.message or "").startswith(SUMMARY)
