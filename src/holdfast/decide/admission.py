"""The admission rule (static: no network call, no evidence): arm a claim, keep it armed, or leave it alone."""

from collections.abc import Mapping
from typing import Final

from holdfast.model.admission import (
    LONGEST_RESERVED,
    MADE_BY_TOOLS,
    RESERVED,
    Admission,
    Arm,
    Creation,
    LeaveAlone,
    Refuse,
    Rule,
    Unarmed,
    reserved,
)
from holdfast.model.claim import Claim, DataSource
from holdfast.model.intent import EXEMPT_LABEL, OFF, PREFIX
from holdfast.model.request import AUTO, GROUP, KIND

BOUND_BY_CONTROLLER: Final = "pv.kubernetes.io/bound-by-controller"


def is_ours(source: DataSource | None) -> bool:
    """Return whether a data source names a Restore of ours."""
    return source is not None and source.group == GROUP and source.kind == KIND


def is_held(claim: Claim) -> bool:
    """Return whether a claim was created under our hold, by reference or by name."""
    return is_ours(claim.source) or is_held_by_name(claim)


def is_held_by_name(claim: Claim) -> bool:
    """Return whether the claim waits for, or has, the volume that only we make."""
    return claim.volume_name == reserved(claim.ref.namespace, claim.ref.name)


def request_name(claim: Claim) -> str:
    """Return the name of the Restore that a held claim asks for."""
    return claim.source.name if claim.source is not None and is_ours(claim.source) else AUTO


def on_create(claim: Creation, rule: Rule) -> Admission:
    """Return what is done with a claim being created.

    A `dataSource` that names our kind, or a reference into another namespace, would be dropped by the API server and
    the claim be born empty: it is turned into a `dataSourceRef` to the claim's own namespace whatever the labels say.
    """
    if claim.namespace == rule.own_namespace:
        return LeaveAlone(why=Unarmed.MADE_BY_TOOL)
    decided = _named(claim, rule) if _names_us(claim) else _labelled(claim, rule)
    volume = (decided.volume if isinstance(decided, Arm) else None) or claim.volume_name
    if rule.by_name and volume.startswith(RESERVED) and len(volume) > LONGEST_RESERVED:
        return Refuse(because=too_long(volume, rule.label))
    return decided


def on_update(old: Creation, new: Creation, rule: Rule) -> Admission:
    """Return what an update must get back: any difference in a hold of ours takes the old value."""
    if old.namespace == rule.own_namespace:
        return LeaveAlone(why=Unarmed.MADE_BY_TOOL)
    named, kept = old.source_ref, reserved(old.namespace, old.name)
    lost_reference = named is not None and is_ours(named) and new.source_ref != named
    lost_name = old.volume_name == kept and new.volume_name != kept
    if not (lost_reference or lost_name):
        return LeaveAlone(why=Unarmed.HELD if is_ours(named) or old.volume_name == kept else Unarmed.NOT_PROTECTED)
    return Arm(restore=named.name if named is not None and lost_reference else None, volume=kept if lost_name else None)


def again(claim: Claim, namespace_labels: Mapping[str, str], rule: Rule) -> Admission:
    """Return what the rule would do with a claim of today if it were created again as it was written.

    A volume that the binder chose is not what a person wrote.
    """
    chosen = BOUND_BY_CONTROLLER in claim.annotations
    return on_create(
        Creation(
            namespace=claim.ref.namespace,
            name=claim.ref.name,
            namespace_labels=namespace_labels,
            labels=claim.labels,
            annotations=claim.annotations,
            owners=claim.owners,
            source=None,
            source_ref=claim.source,
            volume_name="" if chosen or claim.volume_name is None else claim.volume_name,
            storage_class=claim.storage_class,
            volume_mode=claim.volume_mode,
            has_selector=claim.has_selector,
        ),
        rule,
    )


def too_long(volume: str, label: str) -> str:
    """Return why a claim that would be held under this name is refused, and what to do."""
    return (
        f"the reserved volume name {volume} has {len(volume)} characters, more than {LONGEST_RESERVED}: give the claim "
        f"a shorter name or another class, or label it {label}: disabled"
    )


def _names_us(claim: Creation) -> bool:
    return is_ours(claim.source_ref) or (claim.source_ref is None and is_ours(claim.source))


def _named(claim: Creation, rule: Rule) -> Admission:
    """A claim that names a Restore of ours wants to be held, whatever its labels say."""
    named = claim.source_ref or claim.source
    is_kept = claim.source_ref is not None and not claim.source_ref.namespace
    restore = named.name if named is not None and not is_kept else None
    volume = reserved(claim.namespace, claim.name) if _is_by_name(claim, rule) and _is_plain(claim) else None
    if restore is None and (volume is None or not claim.name):
        return LeaveAlone(why=Unarmed.HELD)
    return Arm(restore=restore, volume=volume if claim.name else None)


def _labelled(claim: Creation, rule: Rule) -> Admission:
    unarmed = _unarmed(claim, rule)
    if unarmed is not None:
        return LeaveAlone(why=unarmed)
    if not _is_by_name(claim, rule):
        return Arm(restore=AUTO)
    return Arm(volume=reserved(claim.namespace, claim.name)) if claim.name else LeaveAlone(why=Unarmed.NAMELESS)


def _unarmed(claim: Creation, rule: Rule) -> Unarmed | None:
    if _is_made_by_tool(claim):
        return Unarmed.MADE_BY_TOOL
    own = claim.labels.get(rule.label)
    wish = own if own is not None else _inherited(claim, rule)
    if wish is None or wish.lower() in OFF:
        return Unarmed.NOT_PROTECTED
    if _is_operated(claim, own is not None):
        return Unarmed.OPERATED
    if claim.name and claim.volume_name == reserved(claim.namespace, claim.name):
        return Unarmed.HELD
    if claim.source is not None or claim.source_ref is not None:
        return Unarmed.HAS_SOURCE
    if claim.has_selector or claim.storage_class == "" or claim.volume_name:
        return Unarmed.STATIC
    return Unarmed.BLOCK if claim.volume_mode == "Block" else None


def _is_by_name(claim: Creation, rule: Rule) -> bool:
    return claim.storage_class in rule.by_name


def _is_plain(claim: Creation) -> bool:
    return not (claim.has_selector or claim.volume_name or claim.volume_mode == "Block")


def _is_made_by_tool(claim: Creation) -> bool:
    return any(
        key in claim.labels and (values is None or claim.labels[key] in values) for key, values in MADE_BY_TOOLS.items()
    )


def _inherited(claim: Creation, rule: Rule) -> str | None:
    return None if EXEMPT_LABEL in claim.labels else claim.namespace_labels.get(rule.label)


def _is_operated(claim: Creation, labelled: bool) -> bool:
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
