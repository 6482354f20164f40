"""Jobs: one pod after another until one succeeds, or too many have failed, or time is up."""

from datetime import datetime, timedelta
from typing import Final

from holdfast.sandbox.actors import reporting
from holdfast.sandbox.store.lifecycle import Deletion
from holdfast.sandbox.store.ownership import Writer
from holdfast.sandbox.store.refusal import Refusal
from holdfast.sandbox.store.store import Store
from holdfast.sandbox.store.values import Json, at

RETRY: Final = timedelta(seconds=10)
_LONGEST_RETRY: Final = timedelta(minutes=6)
_SOURCE: Final = "job-controller"
_BACKGROUND: Final = Deletion(propagation="Background")


class Jobs:
    """The job controller, for Jobs of one completion."""

    def __init__(self, store: Store, *, retry: timedelta = RETRY) -> None:
        self._store: Final = store
        self._retry: Final = retry
        self._jobs: Final = store.kind_named("Job")
        self._pods: Final = store.kind_named("Pod")

    def step(self) -> float | None:
        due = [self._sync(job) for job in self._store.all("Job") if "deletionTimestamp" not in job["metadata"]]
        return min((each for each in due if each is not None), default=None)

    def _sync(self, job: Json) -> float | None:
        if _finished_at(job) is not None:
            return self._expire(job)
        if job["spec"].get("suspend"):
            return None
        started = at(job, "status", "startTime")
        if started is None:
            started = reporting.stamp(self._store.now())
            self._amend(job, {"startTime": started})
        pods = [pod for pod in self._store.all("Pod", job["metadata"]["namespace"]) if reporting.owned_by(pod, job)]
        phases = [at(pod, "status", "phase") for pod in pods]
        succeeded, failed = phases.count("Succeeded"), phases.count("Failed") + _restarts(job, pods)
        active = [pod for pod in pods if at(pod, "status", "phase") in ("Pending", "Running")]
        running = [pod for pod in active if "deletionTimestamp" not in pod["metadata"]]
        self._amend(job, {"active": len(active) or None, "succeeded": succeeded or None, "failed": failed or None})
        if succeeded:
            return self._finish(job, "Complete", "CompletionsReached", "Reached expected number of succeeded pods")
        if failed > job["spec"]["backoffLimit"]:
            self._end(active)
            return self._finish(job, "Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit")
        left = self._time_left(job, started)
        if left is not None and left <= 0:
            self._end(active)
            return self._finish(job, "Failed", "DeadlineExceeded", "Job was active longer than specified deadline")
        if running or active:
            return left
        wait = self._pause_left(pods)
        if wait > 0:
            return wait if left is None else min(wait, left)
        self._start(job)
        return left

    def _start(self, job: Json) -> None:
        template, meta = job["spec"]["template"], job["metadata"]
        owner = {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "name": meta["name"],
            "uid": meta["uid"],
            "controller": True,
            "blockOwnerDeletion": True,
        }
        body: Json = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "generateName": f"{meta['name']}-",
                "labels": at(template, "metadata", "labels") or {},
                "annotations": at(template, "metadata", "annotations") or {},
                "ownerReferences": [owner],
            },
            "spec": template["spec"],
        }
        create_pod(self._store, job, "Job", body, _SOURCE)

    def _finish(self, job: Json, name: str, reason: str, message: str) -> float | None:
        now = self._store.now()
        first = "SuccessCriteriaMet" if name == "Complete" else "FailureTarget"
        conditions = reporting.with_condition(job, now, name=first, status="True", reason=reason, message=message)
        marked = {**job, "status": {"conditions": conditions}}
        conditions = reporting.with_condition(marked, now, name=name, status="True", reason=reason, message=message)
        status: Json = {"conditions": conditions, "active": None}
        if name == "Complete":
            status["completionTime"] = reporting.stamp(now)
        self._amend(job, status)
        said = "Completed" if name == "Complete" else reason
        words = "Job completed" if name == "Complete" else message
        reporting.event(self._store, job, "Job", reason=said, message=words, source=_SOURCE, warning=name != "Complete")
        return 0.0

    def _expire(self, job: Json) -> float | None:
        """Delete a finished Job whose time to live is over; return the seconds until then."""
        ttl, finished = job["spec"].get("ttlSecondsAfterFinished"), _finished_at(job)
        if ttl is None or finished is None:
            return None
        left = (reporting.parsed(finished) + timedelta(seconds=ttl) - self._store.now()).total_seconds()
        if left > 0:
            return left
        self._store.delete(self._jobs, job["metadata"]["namespace"], job["metadata"]["name"], _BACKGROUND)
        return None

    def _time_left(self, job: Json, started: str) -> float | None:
        deadline = job["spec"].get("activeDeadlineSeconds")
        if deadline is None:
            return None
        end = reporting.parsed(started) + timedelta(seconds=int(deadline))
        return (end - self._store.now()).total_seconds()

    def _pause_left(self, pods: list[Json]) -> float:
        """Return the seconds until the next pod may start: twice as long after each failure."""
        failed = [pod for pod in pods if at(pod, "status", "phase") == "Failed"]
        if not failed:
            return 0.0
        pause = min(self._retry * (1 << min(len(failed) - 1, 10)), _LONGEST_RETRY)
        return max((_ended(pod) + pause - self._store.now()).total_seconds() for pod in failed)

    def _end(self, pods: list[Json]) -> None:
        for pod in pods:
            if "deletionTimestamp" not in pod["metadata"]:
                self._store.delete(self._pods, pod["metadata"]["namespace"], pod["metadata"]["name"], _BACKGROUND)

    def _amend(self, job: Json, status: Json) -> None:
        self._store.amend(self._jobs, job["metadata"]["namespace"], job["metadata"]["name"], {"status": status})


def create_pod(store: Store, owner: Json, kind: str, body: Json, source: str) -> None:
    """Create the pod, or say on its owner why it could not be."""
    try:
        pod = store.create(store.kind_named("Pod"), owner["metadata"]["namespace"], body, Writer(manager=source))
    except Refusal as refusal:
        reporting.event(store, owner, kind, reason="FailedCreate", message=refusal.message, source=source, warning=True)
        return
    message = f"Created pod: {pod['metadata']['name']}"
    reporting.event(store, owner, kind, reason="SuccessfulCreate", message=message, source=source)


def _restarts(job: Json, pods: list[Json]) -> int:
    if at(job, "spec", "template", "spec", "restartPolicy") != "OnFailure":
        return 0
    statuses = [status for pod in pods for status in at(pod, "status", "containerStatuses") or ()]
    return sum(status["restartCount"] for status in statuses)


def _finished_at(job: Json) -> str | None:
    for condition in at(job, "status", "conditions") or ():
        if condition["type"] in ("Complete", "Failed") and condition["status"] == "True":
            return str(condition["lastTransitionTime"])
    return None


def _ended(pod: Json) -> datetime:
    for status in at(pod, "status", "containerStatuses") or ():
        ended = at(status, "state", "terminated", "finishedAt")
        if ended is not None:
            return reporting.parsed(ended)
    return reporting.parsed(pod["metadata"]["creationTimestamp"])
