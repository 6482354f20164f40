"""The Job of one backup, at home or as a guest of the app's namespace."""

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, timedelta
from typing import Any, Final

from holdfast.model import wire
from holdfast.model.backup import Due
from holdfast.model.claim import Claim
from holdfast.model.copying import AsGuest, ByAlias, BySnapshot, Seat
from holdfast.model.intent import CopyMethod
from holdfast.model.protection import Plan
from holdfast.model.settings import Settings
from holdfast.model.workorder import Backup, WorkOrder
from holdfast.render import claims, names, pods

SOURCE: Final = "/data"
SLOT: Final = names.PREFIX + "slot"
NOW_VALUE: Final = names.PREFIX + "backup-now"
METHOD: Final = names.PREFIX + "copy-method"
# Kubernetes clears it away, and its Secret with it, should nobody of ours come back to do so.
LEFT: Final = timedelta(hours=1)


def job(
    name: str,
    settings: Settings,
    cluster_uid: str,
    claim: Claim,
    plan: Plan,
    due: Due,
    way: BySnapshot | ByAlias | AsGuest,
    seat: Seat,
) -> dict[str, Any]:
    """Return the Job that reads the claim in this way and backs it up."""
    repository, identity, guest = plan.repository.value, plan.identity.value, isinstance(way, AsGuest)
    work = Backup(
        identity=identity,
        source=SOURCE,
        claim_uid=claim.uid,
        cluster_uid=cluster_uid,
        capacity_bytes=claim.capacity_bytes,
        exclude=plan.exclude,
    )
    method = CopyMethod.SNAPSHOT if isinstance(way, BySnapshot) else CopyMethod.DIRECT
    annotations = {
        claims.CLAIM: str(claim.ref),
        claims.CLAIM_UID: claim.uid,
        claims.VOLUME: claim.volume_name or "",
        claims.IDENTITY: str(identity),
        claims.ATTEMPT: str(due.attempt),
        SLOT: wire.to_plain(due.slot.astimezone(UTC)),
        METHOD: method.value,
    }
    if due.now_value is not None:
        annotations[NOW_VALUE] = due.now_value
    manifest = pods.mover_job(
        name,
        claim.ref.namespace if guest else settings.namespace,
        settings.image,
        replace(repository, secret=name) if guest else repository,
        WorkOrder(run=name, repository=pods.access(repository), work=work),
        mounts=[pods.Mount(claim=claim.ref.name if guest else name, path=SOURCE, read_only=True)],
        node=seat.node,
        tolerations=seat.tolerations,
        labels={names.KIND: "backup"},
        annotations=annotations,
        run_as=plan.run_as,
    )
    if guest:
        manifest["spec"]["ttlSecondsAfterFinished"] = int(LEFT.total_seconds())
    return manifest


def loan(name: str, namespace: str, job_uid: str, keys: Mapping[str, bytes]) -> dict[str, Any]:
    """Return the Secret that a guest's Job uses, and that goes with it."""
    metadata = names.metadata(name, namespace, "mover")
    metadata["ownerReferences"] = [{"apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": job_uid}]
    data = {key: b64encode(value).decode() for key, value in keys.items()}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata,
        "type": "Opaque",
        "immutable": True,
        "data": data,
    }
