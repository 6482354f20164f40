"""Manifests before they are applied → what would go wrong with them, as one-line findings."""

from collections.abc import Iterator, Mapping, Sequence
from typing import assert_never

from holdfast.decide import admission, intent, protection, request
from holdfast.model.admission import RESERVED, Arm, Creation, LeaveAlone, Refuse, Rule, Unarmed, reserved
from holdfast.model.claim import ClaimRef, Identity
from holdfast.model.finding import Finding, Level
from holdfast.model.intent import PREFIX, Intent, Protect
from holdfast.model.request import AUTO

RESTORE_FIELDS = (*request.FIELDS, "reason")


def claim(found: Creation, rule: Rule, *, require_hold: bool, template: bool = False) -> Iterator[Finding]:
    """Yield what is wrong with a claim, or with a StatefulSet's template of one."""
    wish = intent.read(found, found.namespace_labels, rule.label)
    for problem in wish.problems:
        yield _error("Unreadable", str(problem))
    decided = admission.on_create(found, rule)
    match decided:
        case Refuse(because=because):
            yield _error("NameTooLong", because)
        case Arm(restore=str()) if found.source is not None:
            yield _error(
                "DataSourceTrap",
                "spec.dataSource names a Restore: the API server drops it without a word, and the claim starts empty",
                "Write it as spec.dataSourceRef",
            )
        case Arm() if found.source_ref is not None and found.source_ref.namespace:
            yield _error(
                "DataSourceTrap",
                "spec.dataSourceRef names a Restore of another namespace: the API server drops it without a word, and "
                "the claim starts empty",
                "Leave out its namespace, and create the Restore in the claim's own",
            )
        case Arm():
            yield _not_held(found, decided, require_hold=require_hold, template=template)
        case LeaveAlone(why=why):
            yield from _left_alone(found, wish, why)
        case _:
            assert_never(decided)


def _not_held(found: Creation, arm: Arm, *, require_hold: bool, template: bool) -> Finding:
    level = Level.ERROR if require_hold else Level.NOTE
    if arm.volume is None:
        todo = "To be held without them too, write the lines of `holdfast render snippet` into it"
        return Finding(level=level, reason="NotHeld", what="only the cluster's policies hold it", todo=todo)
    ignores = f"class {found.storage_class} ignores dataSourceRef, so that "
    what = f"{ignores if found.source_ref is not None else ''}only the cluster's policies hold it"
    if template:
        # All replicas would name one volume.
        return Finding(level=level, reason="NotHeld", what=what, todo="A template cannot say it: apply the policies")
    return Finding(level=level, reason="NotHeld", what=what, todo=f"Write spec.volumeName: {arm.volume}")


def _left_alone(found: Creation, wish: Intent, why: Unarmed) -> Iterator[Finding]:
    asked = wish.protect.value in (Protect.YES, Protect.OURS) and why is not Unarmed.NOT_PROTECTED
    match why:
        case Unarmed.NOT_PROTECTED:
            return
        case Unarmed.HELD:
            yield from _never_filled(found)
        case Unarmed.STATIC if found.volume_name.startswith(RESERVED):
            own = reserved(found.namespace, found.name)
            yield _error("NeverFilled", f"no volume {found.volume_name} will come for it", f"Write {own}, or nothing")
        case Unarmed.BLOCK:
            yield _error(
                "NeverArmed",
                "volumeMode Block is neither backed up nor restored",
                "Use volumeMode Filesystem, or label it disabled",
            )
        case Unarmed.STATIC | Unarmed.HAS_SOURCE | Unarmed.OPERATED | Unarmed.MADE_BY_TOOL | Unarmed.NAMELESS if asked:
            yield Finding(level=Level.NOTE, reason="NeverArmed", what=f"is not restored by itself: {_because(why)}")
        case Unarmed.STATIC | Unarmed.HAS_SOURCE | Unarmed.OPERATED | Unarmed.MADE_BY_TOOL | Unarmed.NAMELESS:
            return
        case _:
            assert_never(why)


def _because(why: Unarmed) -> str:
    match why:
        case Unarmed.STATIC:
            return "its volume is chosen by hand (selector, volumeName, or no class)"
        case Unarmed.HAS_SOURCE:
            return "it is filled from another source"
        case Unarmed.OPERATED:
            return (
                f"what owns it makes it anew itself; to restore it all the same, label the claim itself and set "
                f"annotation {PREFIX}restore to auto"
            )
        case Unarmed.MADE_BY_TOOL:
            return "Holdfast or another backup tool makes and fills it"
        case Unarmed.NAMELESS:
            return "its name is made by the API server, so there is no history under it"
        case Unarmed.NOT_PROTECTED | Unarmed.HELD | Unarmed.BLOCK:
            return why.value
        case _:
            assert_never(why)


def _never_filled(found: Creation) -> Iterator[Finding]:
    reasons = [
        reason
        for reason, holds in (
            ("its volumeMode is Block", found.volume_mode == "Block"),
            ("it has a selector", found.has_selector),
            ('its class is ""', found.storage_class == ""),
        )
        if holds
    ]
    if reasons:
        yield _error("NeverFilled", f"it is held, and will wait for ever: {' and '.join(reasons)}", "Take the hold out")


def clashes(claims: Sequence[Creation], rule: Rule) -> Mapping[ClaimRef, Finding]:
    """Return the claims that would write a history that another of them writes."""
    named: dict[ClaimRef, tuple[str, Identity]] = {}
    for each in claims:
        wish = intent.read(each, each.namespace_labels, rule.label)
        if wish.protect.value is Protect.YES and isinstance(wish.identity, Identity | None):
            ref = ClaimRef(namespace=each.namespace, name=each.name)
            own = Identity(namespace=each.namespace, claim=each.name)
            named[ref] = (wish.repository or "", wish.identity or own)
    return {
        ref: _error(
            "IdentityClash",
            f"claim {other} writes the same history {named[ref][1]}: backups of this one will be held",
            f"Remove annotation {PREFIX}identity from one of them",
        )
        for ref, other in protection.clashes(named).items()
    }


def restore(name: str, spec: Mapping[str, object]) -> Iterator[Finding]:
    """Yield what is wrong with a Restore."""
    if name == AUTO:
        yield _error("Invalid", f"the name {AUTO} is reserved for the claim's own newest backup", "Choose another")
    for field in sorted(spec.keys() - set(RESTORE_FIELDS)):
        yield _error("Invalid", f"spec.{field} is unknown and has no effect", f"Known: {', '.join(RESTORE_FIELDS)}")
    try:
        request.read(name, spec)
    except ValueError as error:
        yield _error("Invalid", str(error))


def namespace(labels: Mapping[str, str], rule: Rule) -> Iterator[Finding]:
    """Yield what is wrong with a Namespace's label."""
    value = labels.get(rule.label)
    problem = intent.unreadable_tier(value, f"label {rule.label}") if value is not None else None
    if problem is not None:
        yield _error("Unreadable", str(problem))


def unreadable(why: str) -> Finding:
    """Return the finding for an object of which a field is nonsense."""
    return _error("Invalid", why)


def _error(reason: str, what: str, todo: str = "") -> Finding:
    return Finding(level=Level.ERROR, reason=reason, what=what, todo=todo)
