"""The admission rule (static: no network call, no evidence): arm a claim, keep it armed, or leave it alone."""

from holdfast.decide.intent import MANAGED_BY, MANAGERS
from holdfast.model.admission import Admission, Arm, Creation, LeaveAlone, Unarmed
from holdfast.model.claim import DataSource
from holdfast.model.intent import EXEMPT_LABEL, LABEL, OFF, PREFIX
from holdfast.model.request import AUTO, GROUP, KIND


def is_ours(source: DataSource | None) -> bool:
    """Return whether a data source names a Restore of ours."""
    return source is not None and source.group == GROUP and source.kind == KIND


def on_create(claim: Creation, *, own_namespace: str, label: str = LABEL) -> Admission:
    """Return whether a claim being created is armed.

    A `dataSource` that names our kind would be dropped by the API server and the claim be born empty: it is turned
    into a `dataSourceRef` whatever the labels say.
    """
    if claim.source_ref is None and is_ours(claim.source) and claim.source is not None:
        return Arm(restore=claim.source.name)
    unarmed = _unarmed(claim, own_namespace, label)
    return LeaveAlone(why=unarmed) if unarmed else Arm(restore=AUTO)


def on_update(old: DataSource | None, new: DataSource | None) -> Admission:
    """Return whether an update must get the old reference back: any difference in a reference of ours."""
    if old is not None and is_ours(old) and new != old:
        return Arm(restore=old.name)
    return LeaveAlone(why=Unarmed.HAS_SOURCE if new is not None else Unarmed.NOT_PROTECTED)


def _unarmed(claim: Creation, own_namespace: str, label: str) -> Unarmed | None:
    if claim.namespace == own_namespace or claim.labels.get(MANAGED_BY) in MANAGERS:
        return Unarmed.OURS
    own = claim.labels.get(label)
    wish = own if own is not None else _inherited(claim, label)
    if wish is None or wish.lower() in OFF:
        return Unarmed.NOT_PROTECTED
    if _operated(claim, own is not None):
        return Unarmed.OPERATED
    if claim.source is not None or claim.source_ref is not None:
        return Unarmed.HAS_SOURCE
    if claim.has_selector or claim.storage_class == "" or claim.volume_name:
        return Unarmed.STATIC
    return Unarmed.BLOCK if claim.volume_mode == "Block" else None


def _inherited(claim: Creation, label: str) -> str | None:
    return None if EXEMPT_LABEL in claim.labels else claim.namespace_labels.get(label)


def _operated(claim: Creation, labelled: bool) -> bool:
    insists = labelled and claim.annotations.get(PREFIX + "restore") == "auto"
    return any(
        (owner.kind == "Pod" and owner.api_version == "v1")
        or (
            owner.controller
            and not insists
            and not (owner.kind == "StatefulSet" and owner.api_version.startswith("apps/"))
        )
        for owner in claim.owners
    )
