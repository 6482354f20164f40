"""Where a run is: the progress that its mover prints, read from the log of its pod."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import partial
from typing import Final, Self

from holdfast.cli.cluster import Cluster, warnings
from holdfast.cli.text import counted, span
from holdfast.kube import errors, objects, obstacles
from holdfast.model import wire
from holdfast.model.run import Progress
from holdfast.render import claims, names, sentences

POLL_SECONDS: Final = 0.5
STARTED: Final = frozenset({"Running", "Succeeded", "Failed"})


async def restores(cluster: Cluster) -> Mapping[str, objects.Job]:
    """Return the Jobs of restores by the claim that they are for."""
    return await _jobs(cluster, "restore", cluster.asked.holdfast_namespace)


async def backups(cluster: Cluster) -> Mapping[str, objects.Job]:
    """Return the Jobs of backups by the claim that they are for: in our namespace, or as guests in the claim's own."""
    return await _jobs(cluster, "backup", None)


async def _jobs(cluster: Cluster, kind: str, namespace: str | None) -> Mapping[str, objects.Job]:
    found = await cluster.kube.list(objects.JOBS, namespace, {names.KIND: kind})
    named = [(each.annotations.get(claims.CLAIM, ""), each) for each in found if not each.is_deleting]
    home = cluster.asked.holdfast_namespace
    # Anywhere else it is a forgery: who may create Jobs may give them our labels.
    return {claim: job for claim, job in named if job.metadata.namespace in (home, claim.partition("/")[0])}


class Logs:
    """What the mover of each Job said last. An async context: every log is followed once, until the end."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._latest: dict[str, Progress] = {}
        self._obstacles: dict[str, str | None] = {}
        self._followed: dict[str, asyncio.Task[None]] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._followed.values():
            task.cancel()
        await asyncio.gather(*self._followed.values(), return_exceptions=True)

    def progress(self, job: objects.Job) -> Progress | None:
        """Return what the Job's mover said last; None while it has said nothing."""
        name = job.metadata.name
        if name not in self._followed:
            note, hear = partial(self._latest.__setitem__, name), partial(self._obstacles.__setitem__, name)
            self._followed[name] = asyncio.create_task(follow(self._cluster, job, note, hear))
        return self._latest.get(name)

    def obstacle(self, job: objects.Job) -> str | None:
        """Return what keeps the Job's pod from starting, as far as Kubernetes says."""
        return self._obstacles.get(job.metadata.name)


async def follow(
    cluster: Cluster, job: objects.Job, note: Callable[[Progress], None], hear: Callable[[str | None], None]
) -> None:
    """Note the progress of a Job until its log ends, and until it starts, hear what keeps its pod from that.

    A log that cannot be read is no failure of the run.
    """
    namespace = job.metadata.namespace or ""
    try:
        pod = await _started(cluster, job, hear)
        async for line in cluster.kube.logs(namespace, pod, follow=True):
            progress = read(line)
            if progress is not None:
                note(progress)
    except errors.KubeError:
        return


async def _started(cluster: Cluster, job: objects.Job, hear: Callable[[str | None], None]) -> str:
    """Return the Job's pod once it has started."""
    labels = {"batch.kubernetes.io/job-name": job.metadata.name}
    while True:
        found = await cluster.kube.list(objects.PODS, job.metadata.namespace, labels)
        for pod in found:
            if pod.status is not None and pod.status.phase in STARTED:
                hear(None)
                return pod.metadata.name
        hear(obstacles.of_job(job, found, await warnings(cluster, found or (job,))))
        await asyncio.sleep(POLL_SECONDS)


def read(line: str) -> Progress | None:
    """Return the progress that a line of a log tells; None for a line that tells something else."""
    try:
        return wire.decode(Progress, line)
    except wire.WireError:
        return None


def share(progress: Progress) -> float | None:
    """Return how much is done, from 0 to 1, as far as that is known."""
    if progress.bytes_total:
        return min(progress.bytes_done / progress.bytes_total, 1.0)
    if progress.files_total:
        return min(progress.files_done / progress.files_total, 1.0)
    return None


def tell(progress: Progress) -> str:
    """Return the progress as one phrase."""
    files = counted(progress.files_done, "file")
    if progress.files_total is not None:
        files = f"{progress.files_done:,} of {counted(progress.files_total, 'file')}"
    size = sentences.size(progress.bytes_done)
    if progress.bytes_total is not None:
        size = f"{size} of {sentences.size(progress.bytes_total)}"
    left = ""
    if progress.seconds_left is not None:
        left = f", {span(timedelta(seconds=progress.seconds_left))} left"
    return f"{progress.phase}: {files}, {size}{left}"
