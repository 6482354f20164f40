"""Values for tests, each with the defaults of an ordinary case."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from holdfast.model.claim import Claim, ClaimPhase, ClaimRef, Identity
from holdfast.model.evidence import Answer, Inventory
from holdfast.model.failure import Failure
from holdfast.model.repository import DirectoryStorage, EngineKind, Marker, Repository
from holdfast.model.snapshot import Flag, Listing, Record, RecordedSnapshot, Snapshot

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
REF = ClaimRef(namespace="apps", name="data")
IDENTITY = Identity(namespace="apps", claim="data")
REPOSITORY_ID = "ab" * 16


def at(hours: float) -> datetime:
    """Return the time so many hours before NOW."""
    return NOW - timedelta(hours=hours)


def claim(**changes: Any) -> Claim:
    plain = Claim(
        ref=REF,
        uid="uid-1",
        created=at(0.01),
        labels={"backup": "hourly"},
        annotations={},
        phase=ClaimPhase.PENDING,
        storage_class="standard",
        access_modes=("ReadWriteOnce",),
        volume_mode="Filesystem",
        requested_bytes=1 << 30,
        capacity_bytes=None,
        volume_name=None,
        source=None,
        owners=(),
        selected_node="laptop",
        has_selector=False,
        deleting=False,
    )
    return replace(plain, **changes)


def repository(**changes: Any) -> Repository:
    plain = Repository(
        name="default",
        uid="uid-r",
        engine=EngineKind.KOPIA,
        storage=DirectoryStorage(path="/backups"),
        secret="default-repository",
    )
    return replace(plain, **changes)


def marker(**changes: Any) -> Marker:
    plain = Marker(version=1, engine=EngineKind.KOPIA, repository_id=REPOSITORY_ID, salt="00", created=at(1000))
    return replace(plain, **changes)


def snapshot(
    id_: str = "a" * 32, hours: float = 1, *, files: int = 3, flags: frozenset[Flag] = frozenset()
) -> Snapshot:
    return Snapshot(id=id_, identity=IDENTITY, time=at(hours), files=files, bytes=files * 10, flags=flags)


def recorded(id_: str = "a" * 32, hours: float = 1, **changes: Any) -> RecordedSnapshot:
    plain = RecordedSnapshot(
        id=id_, time=at(hours), run="run-1", claim_uid="uid-0", cluster_uid="cluster", files=3, bytes=30
    )
    return replace(plain, **changes)


def record(*snapshots: RecordedSnapshot, engine_id: str = REPOSITORY_ID) -> Record:
    return Record(identity=IDENTITY, repository_id=REPOSITORY_ID, engine_id=engine_id, snapshots=snapshots)


def listing(*snapshots: Snapshot, engine_id: str | None = REPOSITORY_ID) -> Listing:
    return Listing(engine_id=engine_id, snapshots=snapshots)


def inventory(
    listed: Listing | Failure,
    known: Record | Failure | None,
    *,
    began: datetime = NOW,
    marker_: Marker | None = None,
    extra: Mapping[Identity, Answer] | None = None,
) -> Inventory:
    answers = {IDENTITY: Answer(listing=listed, record=known), **(extra or {})}
    return Inventory(began=began, marker=marker_ or marker(), recorded=1, answers=answers)
