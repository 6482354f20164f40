"""A fresh inventory through a repository's reader, as the operator takes one."""

from collections.abc import AsyncGenerator, Collection
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from holdfast.cli.cluster import Cluster, find, warnings
from holdfast.engines.protocol import EngineFailure
from holdfast.engines.remote import RemoteReader
from holdfast.kube import objects, obstacles
from holdfast.model.claim import Identity
from holdfast.model.evidence import Inventory
from holdfast.model.failure import Failure, FailureKind
from holdfast.render import names, pods


@asynccontextmanager
async def reader(cluster: Cluster, repository: str) -> AsyncGenerator[RemoteReader, None]:
    """Yield a client for the repository's reader; raise EngineFailure(READER_DOWN) saying why there is none."""
    url, token = await _address(cluster, repository)
    remote = RemoteReader(url, token)
    try:
        yield remote
    finally:
        await remote.aclose()


async def ask(
    cluster: Cluster, repository: str, identities: Collection[Identity]
) -> tuple[datetime, Inventory | Failure]:
    """Return when the asking began and what came of it."""
    began = datetime.now(UTC)
    try:
        async with reader(cluster, repository) as remote:
            found = await remote.inventory(identities)
    except EngineFailure as error:
        return began, error.failure
    return min(began, found.began), found


async def _address(cluster: Cluster, repository: str) -> tuple[str, str]:
    namespace, name = cluster.asked.holdfast_namespace, names.reader(repository)
    secret = await find(cluster, objects.SECRETS, name, namespace)
    token = (secret.data or {}).get("token") if secret is not None else None
    if token is None:
        raise _down("has not been set up yet")
    found = await cluster.kube.list(objects.PODS, namespace, {names.HASH: names.digest(repository)})
    for pod in found:
        address = pod.status.pod_ip if pod.status is not None else None
        if address and _is_ready(pod):
            bracketed = f"[{address}]" if ":" in address else address
            return f"http://{bracketed}:{pods.READER_PORT}", token.decode()
    why = obstacles.of_pods(found, await warnings(cluster, found))
    raise _down(f"does not run: {why}" if why is not None else "is not running yet" if found else "is not running")


def _down(why: str) -> EngineFailure:
    return EngineFailure(FailureKind.READER_DOWN, f"the repository's reader {why}")


def _is_ready(pod: objects.Pod) -> bool:
    conditions = (pod.status.conditions if pod.status is not None else None) or ()
    return not pod.is_deleting and any(each.type == "Ready" and each.status == "True" for each in conditions)
