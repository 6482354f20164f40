"""Movers' Jobs as facts: what became of a run, read from its pod's termination (2 to 3 s before the Job says so)."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from holdfast.controllers.world import World
from holdfast.kube import errors, objects, obstacles
from holdfast.model import wire
from holdfast.model.failure import Failure, FailureKind
from holdfast.model.population import JobFacts, JobState
from holdfast.model.run import Failed, RunResult
from holdfast.render import names
from holdfast.render.pods import MOVER

KILLED: Final = frozenset({137, 143})


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A mover's Job, and what it and its pods say."""

    job: objects.Job
    facts: JobFacts


def observe(world: World, name: str) -> JobFacts | None:
    """Return the facts of the Job of this name; None when there is none."""
    job = world.informers.jobs.get(world.settings.namespace, name)
    if job is None or job.is_deleting:
        return None
    pods = world.informers.pods.by("job", name)
    return read(
        job,
        pods,
        world.settings.start_deadline,
        world.warnings(job, *pods),
        since=world.met.since(job),
        now=world.now(),
    )


def refused(error: errors.KubeError) -> Failure:
    """Return what it means for a run that the cluster lets an object not be made."""
    return Failure(kind=FailureKind.NOT_ADMITTED, detail=f"the cluster refuses what it takes: {error.message}")


def active(world: World, kind: str) -> Sequence[objects.Job]:
    """Return the Jobs of one kind of run that have not ended."""
    return [
        job
        for job in world.informers.jobs.objects.values()
        if job.labels.get(names.KIND) == kind
        and not (job.status is not None and (job.status.succeeded or job.status.failed))
    ]


def read(
    job: objects.Job,
    pods: Sequence[objects.Pod],
    start_deadline: timedelta,
    warnings: Collection[objects.Event] = (),
    *,
    since: datetime,
    now: datetime,
) -> JobFacts:
    """Return what a Job, which is known `since` then, its pods, and warnings about them say."""
    name = job.metadata.name
    pods = [pod for pod in pods if _is_of(pod, job)]
    for pod in pods:
        terminated = _terminated(pod)
        if terminated is not None:
            result, failure = _outcome(terminated)
            ended = terminated.finished_at or now
            return JobFacts(name=name, state=JobState.ENDED, ended=ended, result=result, failure=failure)
    if _has_failed(job):
        failure = Failure(kind=FailureKind.CANCELED, detail=_why_failed(job, pods))
        return JobFacts(name=name, state=JobState.ENDED, ended=now, result=None, failure=failure)
    if any(pod.status is not None and pod.status.phase == "Running" for pod in pods):
        return JobFacts(name=name, state=JobState.RUNNING, ended=None, result=None, failure=None)
    why = obstacles.of_job(job, pods, warnings)
    if now - since > start_deadline:
        stuck = Failure(kind=FailureKind.TIMEOUT, detail=_why_stuck(job, pods, start_deadline, why))
        return JobFacts(name=name, state=JobState.STUCK, ended=None, result=None, failure=stuck)
    return JobFacts(name=name, state=JobState.RUNNING, ended=None, result=None, failure=None, obstacle=why)


def _is_of(pod: objects.Pod, job: objects.Job) -> bool:
    """A Job that is made again under its name is not done because the pod of the last one is."""
    return any(owner.uid == job.metadata.uid for owner in pod.metadata.owner_references or ())


def _terminated(pod: objects.Pod) -> objects.Terminated | None:
    for status in (pod.status.container_statuses if pod.status else None) or ():
        if status.name == MOVER and status.state is not None and status.state.terminated is not None:
            return status.state.terminated
    return None


def _outcome(terminated: objects.Terminated) -> tuple[RunResult | None, Failure | None]:
    if not terminated.message:
        if terminated.exit_code in KILLED:
            detail = f"the mover was killed (exit code {terminated.exit_code}{_reason(terminated)})"
            return None, Failure(kind=FailureKind.CANCELED, detail=detail)
        detail = f"the mover ended with exit code {terminated.exit_code} and said nothing{_reason(terminated)}"
        return None, Failure(kind=FailureKind.UNKNOWN, detail=detail)
    try:
        result = wire.decode(RunResult, terminated.message)
    except wire.WireError as error:
        return None, Failure(kind=FailureKind.UNKNOWN, detail=f"the mover's result cannot be read: {error}")
    match result.outcome:
        case Failed(failure=failure):
            return result, failure
        case _ if terminated.exit_code != 0:
            detail = f"the mover reported success and ended with exit code {terminated.exit_code}"
            return None, Failure(kind=FailureKind.UNKNOWN, detail=detail)
        case _:
            return result, None


def _reason(terminated: objects.Terminated) -> str:
    return f", {terminated.reason}" if terminated.reason not in (None, "Error") else ""


def _has_failed(job: objects.Job) -> bool:
    conditions = (job.status.conditions if job.status else None) or ()
    return any(each.type == "Failed" and each.status == "True" for each in conditions)


def _why_failed(job: objects.Job, pods: Sequence[objects.Pod]) -> str:
    for each in (job.status.conditions if job.status else None) or ():
        if each.type == "Failed" and each.message:
            return f"the mover's Job failed: {each.message}"
    return "the mover's pod was removed" if not pods else "the mover's Job failed"


def _why_stuck(job: objects.Job, pods: Sequence[objects.Pod], start_deadline: timedelta, why: str | None) -> str:
    if not pods:
        what = "no pod was made for the mover"
        look, expected = f"job/{job.metadata.name}", "says why (a quota, Pod Security)"
    else:
        what = "the mover's pod has not started"
        look, expected = f"pod/{pods[0].metadata.name}", "says what it waits for"
    where = f"`kubectl describe {look} --namespace={job.metadata.namespace}` {expected}"
    return f"{what} within {start_deadline}: {why or where}"
