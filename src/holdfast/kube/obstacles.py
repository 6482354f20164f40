"""What keeps an object from what it is for, as its status and the cluster's warnings about it tell a person."""

from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime
from typing import Final

from holdfast.kube import objects

# While a pod's volumes and network are made, its status says no more than this, and warnings tell what is wrong.
MAKING: Final = frozenset({"ContainerCreating", "PodInitializing"})
TELLING: Final = frozenset({"FailedMount", "FailedAttachVolume", "FailedMapVolume", "FailedCreatePodSandBox"})
SUMMARY: Final = "Unable to attach or mount volumes"  # every two minutes a kubelet says this too, and no reason with it
LONG_AGO: Final = datetime.min.replace(tzinfo=UTC)


def of_job(job: objects.Job, pods: Sequence[objects.Pod], warnings: Collection[objects.Event]) -> str | None:
    """Return what keeps a Job's pod from starting, or from being made; None when nobody says it."""
    return of_pods(pods, warnings) if pods else _about(job, warnings)


def _about(item: objects.Object, warnings: Iterable[objects.Event]) -> str | None:
    """Return the newest warning about the object; None when there is none."""
    return last(each for each in warnings if each.involved_object.uid == item.metadata.uid)


def of_pods(pods: Iterable[objects.Pod], warnings: Collection[objects.Event] = ()) -> str | None:
    """Return what keeps a pod from starting, in Kubernetes' own words; None when nobody says it.

    `warnings`: Events about the pods, and whatever else.
    """
    for pod in pods:
        for status in (pod.status.container_statuses if pod.status else None) or ():
            waiting = status.state.waiting if status.state else None
            if waiting is not None and waiting.reason in MAKING:
                return _about(pod, (each for each in warnings if each.reason in TELLING))
            if waiting is not None and waiting.reason:
                return f"{waiting.reason}: {waiting.message or ''}".rstrip(": ")
        if pod.status is not None and pod.status.message:
            return pod.status.message
        for each in (pod.status.conditions if pod.status else None) or ():
            if each.status == "False" and each.message:
                return each.message
    return None


def last(warnings: Iterable[objects.Event]) -> str | None:
    """Return the newest of the warnings, one with a reason before a summary; None when there is none."""
    found = max(warnings, key=lambda each: (not _is_summary(each), each.last_timestamp or LONG_AGO), default=None)
    return f"{found.reason}: {found.message or ''}".rstrip(": ") if found is not None else None


def _is_summary(event: objects.Event) -> bool:
    return (event.message or "").startswith(SUMMARY)
