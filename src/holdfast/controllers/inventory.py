"""Asks readers: one inventory per repository answers every claim that asked before it began (P7)."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from holdfast.controllers.world import World
from holdfast.engines.protocol import EngineFailure
from holdfast.engines.remote import RemoteReader
from holdfast.kube import obstacles
from holdfast.kube.objects import Key, Pod
from holdfast.model.claim import Claim, ClaimRef, Identity
from holdfast.model.evidence import Inventory
from holdfast.model.failure import Failure, FailureKind
from holdfast.render import names, pods

log = logging.getLogger(__name__)

# Claims of one wave are created within moments: waiting this long lets one inventory answer them all.
GATHER: Final = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What came of asking, and when the asking began."""

    began: datetime
    found: Inventory | Failure


@dataclass(slots=True)
class _Repository:
    wanted: set[Identity] = field(default_factory=set)
    readings: dict[Identity, Reading] = field(default_factory=dict)
    latest: Reading | None = None
    task: asyncio.Task[None] | None = None


class Inventories:
    """The latest readings of every repository, in memory only."""

    def __init__(self, world: World, tasks: asyncio.TaskGroup) -> None:
        self._world = world
        self._tasks = tasks
        self._repositories: dict[str, _Repository] = {}
        self._listeners: list[Callable[[str, frozenset[Identity]], None]] = []
        self.taken = 0

    def on_reading(self, listener: Callable[[str, frozenset[Identity]], None]) -> None:
        """Call `listener` with the repository's name and the identities that a new reading answers."""
        self._listeners.append(listener)

    def latest(self, repository: str) -> Reading | None:
        """Return the last reading of a repository, whoever asked for it."""
        return self._of(repository).latest

    def ask(self, repository: str, identity: Identity, since: datetime) -> Reading | None:
        """Return a reading about the identity that began at or after `since`; else see to it that one is taken."""
        state = self._of(repository)
        reading = state.readings.get(identity)
        if reading is not None and reading.began >= since:
            return reading
        state.wanted.add(identity)
        self.start(repository)
        return None

    def start(self, repository: str) -> None:
        """Take a reading soon, even if nobody asks about an identity."""
        state = self._of(repository)
        if state.task is None or state.task.done():
            work = self._take(repository, state)
            try:
                state.task = self._tasks.create_task(work)
            except RuntimeError:  # the operator ends, and its group takes no task any more
                work.close()
                raise

    def forget(self, repository: str) -> None:
        """Drop what is known of a repository that is no more, or is another one now."""
        state = self._of(repository)
        state.readings.clear()
        state.latest = None

    def _of(self, repository: str) -> _Repository:
        return self._repositories.setdefault(repository, _Repository())

    async def _take(self, repository: str, state: _Repository) -> None:
        while True:
            await asyncio.sleep(GATHER)
            asked, state.wanted = frozenset(state.wanted), set()
            began = self._world.now()
            found = await self._read(repository, asked)
            if isinstance(found, Inventory):
                # Our clock, which also says when claims asked: a reader's that is behind would make them ask for ever.
                found = replace(found, began=began)
            state.latest = Reading(began=began, found=found)
            state.readings.update(dict.fromkeys(asked, state.latest))
            self.taken += 1
            for listener in self._listeners:
                listener(repository, asked)
            if not state.wanted:
                return

    async def _read(self, repository: str, asked: frozenset[Identity]) -> Inventory | Failure:
        reader = self.reader(repository)
        if isinstance(reader, Failure):
            return reader
        try:
            return await reader.inventory(asked)
        except EngineFailure as error:
            log.info("inventory.failed", extra={"repository": repository, "kind": error.failure.kind.value})
            return error.failure
        finally:
            await reader.aclose()

    def reader(self, repository: str) -> RemoteReader | Failure:
        """Return a client for the repository's reader, or why there is none to ask."""
        settings = self._world.settings
        secret = self._world.informers.secrets.get(settings.namespace, names.reader(repository))
        token = (secret.data or {}).get("token") if secret is not None else None
        if token is None:
            return Failure(kind=FailureKind.READER_DOWN, detail="the repository's reader has not been set up yet")
        running = [pod for pod in self._world.informers.pods.by("hash", names.digest(repository)) if is_ready(pod)]
        if not running:
            return Failure(kind=FailureKind.READER_DOWN, detail=self._why_down(repository))
        address = running[0].status.pod_ip if running[0].status is not None else None
        return RemoteReader(f"http://{_bracketed(address or '')}:{pods.READER_PORT}", token.decode())

    def reader_began(self, repository: str) -> datetime | None:
        """Return when the newest pod of the repository's reader was made; None while there is none."""
        pods_there = self._world.informers.pods.by("hash", names.digest(repository))
        return max((pod.metadata.creation_timestamp for pod in pods_there), default=None)

    def _why_down(self, repository: str) -> str:
        standing = self._world.informers.pods.by("hash", names.digest(repository))
        why = obstacles.of_pods(standing, self._world.warnings(*standing))
        if not standing:
            why = self._why_no_pod(names.reader(repository))
        return f"the repository's reader does not run: {why}" if why else "the repository's reader is not running yet"

    def _why_no_pod(self, reader: str) -> str | None:
        """Return what the ReplicaSet of a reader is refused: those are not watched, and named after the reader."""
        warnings = self._world.informers.warnings.objects.values()
        return obstacles.last(each for each in warnings if (each.involved_object.name or "").startswith(f"{reader}-"))


class Questions:
    """What claims want to know of their histories, each since it asked and until it is answered (P7)."""

    def __init__(self, inventories: Inventories, now: Callable[[], datetime]) -> None:
        self._inventories = inventories
        self._now = now
        self._since: dict[ClaimRef, tuple[str, datetime]] = {}  # the claim's uid, and when it asked
        self._waiting: dict[tuple[str, Identity], set[Key]] = {}

    def ask(self, claim: Claim, repository: str, identity: Identity) -> tuple[Reading, datetime] | None:
        """Return a reading that began after the claim asked, and when that was; None while there is none yet."""
        asked = self._since.get(claim.ref)
        if asked is None or asked[0] != claim.uid:
            asked = self._since[claim.ref] = (claim.uid, self._now())
        since = asked[1]
        reading = self._inventories.ask(repository, identity, since)
        if reading is None:
            key = Key(claim.ref.namespace, claim.ref.name)
            self._waiting.setdefault((repository, identity), set()).add(key)
            return None
        return reading, since

    def answered(self, claim: Claim) -> None:
        """Forget when the claim asked: its next question wants a newer reading."""
        self._since.pop(claim.ref, None)

    def waiting_for(self, repository: str, identities: frozenset[Identity]) -> frozenset[Key]:
        """Return the claims that waited for a reading about these identities; they are told only once."""
        return frozenset().union(*(self._waiting.pop((repository, each), set()) for each in identities))


def is_ready(pod: Pod) -> bool:
    """Return whether a reader's pod can be asked."""
    if pod.is_deleting or pod.status is None or pod.status.pod_ip is None:
        return False
    return any(each.type == "Ready" and each.status == "True" for each in pod.status.conditions or ())


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address
