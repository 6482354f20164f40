"""A Protection's status as values: what the operator last wrote of a claim."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from holdfast.kube import objects
from holdfast.model.evidence import Remembered
from holdfast.model.protection import BackupMemory


@dataclass(frozen=True, slots=True, kw_only=True)
class Restoring:
    """How far a claim's data is, as told by the operator; `phase` "" when there is nothing to tell."""

    phase: str
    reason: str
    message: str
    snapshot: str | None
    snapshot_time: datetime | None
    skipped: tuple[str, ...]
    finished: datetime | None
    started_empty: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row of the ledger. `restoring` is of the claim with uid `restored_uid`."""

    state: str
    message: str
    claim_uid: str
    repository: str | None
    identity: str | None
    schedule: str | None
    copy_method: str | None
    copy_method_from: str | None
    next_run: datetime | None
    problems: tuple[str, ...]
    memory: BackupMemory
    running: str | None
    lossy: str | None
    restored_uid: str
    restoring: Restoring


def row(item: objects.Protection) -> Row:
    """Return what the Protection says."""
    return read_status(item.status or {})


def read_status(status: Mapping[str, Any]) -> Row:
    """Return what a Protection's status says; what cannot be read is as if it were not there."""
    plan, backup, restore = (_part(status, name) for name in ("plan", "backup", "restore"))
    return Row(
        state=_text(status, "state") or "",
        message=_text(status, "message") or "",
        claim_uid=_text(status, "claimUID") or "",
        repository=_text(plan, "repository"),
        identity=_text(plan, "identity"),
        schedule=_text(plan, "schedule"),
        copy_method=_text(plan, "copyMethod"),
        copy_method_from=_text(plan, "copyMethodFrom"),
        next_run=_time(plan, "nextRun"),
        problems=_texts(status, "problems"),
        memory=BackupMemory(
            last_id=_text(backup, "lastID"),
            last_time=_time(backup, "lastTime"),
            flags=_texts(backup, "flags"),
            files=_count(backup, "files"),
            bytes=_count(backup, "bytes"),
            slot=_time(backup, "slot"),
            served_now=_text(backup, "servedNow"),
            attempt=_count(backup, "attempt") or 0,
            retry_at=_time(backup, "retryAt"),
            failure=_text(backup, "failure"),
            failed_now=_text(backup, "failedNow"),
        ),
        running=_text(backup, "running"),
        lossy=_text(backup, "lossy"),
        restored_uid=_text(restore, "claimUID") or "",
        restoring=restoring(restore),
    )


def restoring(status: Mapping[str, Any]) -> Restoring:
    """Return what a Restore's status, or the restore part of a Protection's, says."""
    return Restoring(
        phase=_text(status, "phase") or "",
        reason=_text(status, "reason") or "",
        message=_text(status, "message") or "",
        snapshot=_text(status, "snapshot"),
        snapshot_time=_time(status, "snapshotTime"),
        skipped=_texts(status, "skipped"),
        finished=_time(status, "finished"),
        started_empty=_time(status, "startedEmpty"),
    )


def remembered(item: objects.Protection | None, repository: str, identity: str) -> Remembered | None:
    """Return the last snapshot that counted, if the Protection was about this repository and identity."""
    if item is None:
        return None
    known = row(item)
    if (known.repository, known.identity) != (repository, identity):
        return None
    if known.memory.last_id is None or known.memory.last_time is None:
        return None
    return Remembered(id=known.memory.last_id, time=known.memory.last_time)


def _part(status: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = status.get(name)
    return found if isinstance(found, dict) else {}


def _text(part: Mapping[str, Any], name: str) -> str | None:
    value = part.get(name)
    return value if isinstance(value, str) and value else None


def _texts(part: Mapping[str, Any], name: str) -> tuple[str, ...]:
    value = part.get(name)
    return tuple(str(each) for each in value) if isinstance(value, list) else ()


def _count(part: Mapping[str, Any], name: str) -> int | None:
    value = part.get(name)
    return value if isinstance(value, int) else None


def _time(part: Mapping[str, Any], name: str) -> datetime | None:
    value = _text(part, name)
    try:
        time = datetime.fromisoformat(value) if value is not None else None
    except ValueError:
        return None
    return time if time is not None and time.tzinfo is not None else None
