"""Labels and annotations → Intent. Whatever cannot be read becomes a problem, never a silent default."""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, Protocol

from holdfast.decide import schedule
from holdfast.model.claim import Identity, Owner
from holdfast.model.intent import (
    ANNOTATIONS,
    EXEMPT_LABEL,
    LABEL,
    MANAGED_BY,
    MANAGERS,
    OFF,
    PREFIX,
    AsOf,
    Auto,
    ById,
    CopyMethod,
    Intent,
    Never,
    Problem,
    Protect,
    Required,
    RestoreMode,
    RunAs,
    Sourced,
    Tier,
    Unreadable,
)

# A snapshot id is hexadecimal: kopia 32, restic 64 characters or a unique beginning of at least 8.
SHORTEST_ID: Final = 8
_USER: Final = re.compile(r"([0-9]{1,10})(?::([0-9]{1,10}))?")
_HIGHEST: Final = 2**31 - 1  # Kubernetes takes no higher id


class Written(Protocol):
    """The parts of a claim, stored or only written down, that say what is asked for."""

    @property
    def labels(self) -> Mapping[str, str]: ...
    @property
    def annotations(self) -> Mapping[str, str]: ...
    @property
    def owners(self) -> tuple[Owner, ...]: ...


def read(claim: Written, namespace_labels: Mapping[str, str], label: str = LABEL) -> Intent:
    """Return what the claim's labels and annotations, and its namespace's label, ask for."""
    problems: list[Problem] = []
    protect, tier = _protection(claim, namespace_labels, label, problems)
    _report_unknown(claim.annotations, problems)
    return Intent(
        protect=protect,
        tier=tier,
        cron=_cron(_annotation(claim, "schedule"), problems),
        repository=_annotation(claim, "repository"),
        restore=_restore(claim, problems),
        identity=_identity(_annotation(claim, "identity"), problems),
        copy_method=_copy_method(_annotation(claim, "copy-method"), problems),
        exclude=tuple(line.strip() for line in (_annotation(claim, "exclude") or "").splitlines() if line.strip()),
        run_as=_run_as(_annotation(claim, "run-as"), problems),
        accept_partial=_annotation(claim, "accept-partial"),
        backup_now=_annotation(claim, "backup-now"),
        problems=tuple(problems),
    )


def made_by_operator(claim: Written) -> bool:
    """Return whether something rebuilds this claim itself: a Pod (ephemeral), or a controller but StatefulSet."""
    return any(
        (owner.kind == "Pod" and owner.api_version == "v1")
        or (owner.controller and not (owner.kind == "StatefulSet" and owner.api_version.startswith("apps/")))
        for owner in claim.owners
    )


def _protection(
    claim: Written, namespace_labels: Mapping[str, str], label: str, problems: list[Problem]
) -> tuple[Sourced[Protect], Sourced[Tier]]:
    own, inherited = claim.labels.get(label), namespace_labels.get(label)
    exempt = claim.labels.get(EXEMPT_LABEL)
    nothing = Sourced(value=Tier.MANUAL, origin="not protected")
    if claim.labels.get(MANAGED_BY) in MANAGERS:
        return Sourced(value=Protect.OURS, origin=f"label {MANAGED_BY}"), nothing
    if own is not None:
        if exempt is not None:
            problems.append(
                Problem(
                    where=f"label {EXEMPT_LABEL}",
                    what=f"contradicts label {label}: the claim is protected; remove one of the two",
                )
            )
        return _labelled(own, f"label {label}", problems)
    if exempt is not None:
        return _exempt(claim, exempt, problems), nothing
    if inherited is None:
        return Sourced(value=Protect.NOT_ASKED, origin=f"no label {label}"), nothing
    if made_by_operator(claim):
        return Sourced(value=Protect.OPERATED, origin="ownerReferences"), nothing
    return _labelled(inherited, f"namespace label {label}", problems)


def _labelled(value: str, origin: str, problems: list[Problem]) -> tuple[Sourced[Protect], Sourced[Tier]]:
    if value.lower() in OFF:
        return Sourced(value=Protect.OFF, origin=origin), Sourced(value=Tier.MANUAL, origin=origin)
    protected = Sourced(value=Protect.YES, origin=origin)
    problem = unreadable_tier(value, origin)
    if problem is None:
        return protected, Sourced(value=Tier(value.lower()), origin=origin)
    problems.append(problem)
    return protected, Sourced(value=Tier.DAILY, origin=f"{origin}: {value!r} cannot be read")


def unreadable_tier(value: str, origin: str) -> Problem | None:
    """Return what is wrong with the value of our label; None when it is a tier, or off."""
    if value.lower() in OFF or value.lower() in set(Tier):
        return None
    known = ", ".join([*Tier, "disabled"])
    return Problem(where=origin, what=f"{value!r} is none of {known}; backed up daily until it is put right")


def _exempt(claim: Written, value: str, problems: list[Problem]) -> Sourced[Protect]:
    if value.lower() != "true":
        problems.append(Problem(where=f"label {EXEMPT_LABEL}", what=f'{value!r} is not "true": it has no effect'))
        return Sourced(value=Protect.NOT_ASKED, origin=f"label {EXEMPT_LABEL} is not true")
    if not _annotation(claim, "exempt-reason"):
        problems.append(
            Problem(where=f"annotation {PREFIX}exempt-reason", what="missing: write why this claim is unprotected")
        )
    return Sourced(value=Protect.EXEMPT, origin=f"label {EXEMPT_LABEL}")


def _annotation(claim: Written, name: str) -> str | None:
    value = claim.annotations.get(PREFIX + name, "").strip()
    return value or None


def _report_unknown(annotations: Mapping[str, str], problems: list[Problem]) -> None:
    for key in sorted(annotations):
        if key.startswith(PREFIX) and key.removeprefix(PREFIX) not in ANNOTATIONS:
            known = ", ".join(sorted(ANNOTATIONS))
            problems.append(
                Problem(where=f"annotation {key}", what=f"unknown to this version, no effect; known are {known}")
            )


def _cron(text: str | None, problems: list[Problem]) -> str | None:
    if text is None:
        return None
    fault = schedule.fault(text)
    if fault is None:
        return text
    problems.append(Problem(where=f"annotation {PREFIX}schedule", what=f"{fault}; the tier's slot is used"))
    return None


def _identity(text: str | None, problems: list[Problem]) -> Identity | Unreadable | None:
    if text is None:
        return None
    try:
        return Identity.parse(text)
    except ValueError as error:
        problems.append(
            Problem(where=f"annotation {PREFIX}identity", what=f"{error}; neither backed up nor restored until then")
        )
        return Unreadable(text=text)


def _copy_method(text: str | None, problems: list[Problem]) -> CopyMethod:
    if text is None:
        return CopyMethod.AUTO
    found = copy_method(text)
    if found is not None:
        return found
    what = f"{text!r} is none of {', '.join(CopyMethod)}; auto is used"
    problems.append(Problem(where=f"annotation {PREFIX}copy-method", what=what))
    return CopyMethod.AUTO


def _run_as(text: str | None, problems: list[Problem]) -> RunAs | None:
    if text is None:
        return None
    found = _USER.fullmatch(text)
    uid, gid = (int(found[1]), int(found[2] or found[1])) if found is not None else (-1, -1)
    if 0 < uid <= _HIGHEST and 0 <= gid <= _HIGHEST:
        return RunAs(uid=uid, gid=gid)
    what = f"{text!r} is not uid or uid:gid, in numbers and not root; movers run as root with five capabilities"
    problems.append(Problem(where=f"annotation {PREFIX}run-as", what=what))
    return None


def copy_method(text: str) -> CopyMethod | None:
    """Return the method that the text names; None when it names none."""
    return next((method for method in CopyMethod if text.lower() == method.lower()), None)


def _restore(claim: Written, problems: list[Problem]) -> Sourced[RestoreMode]:
    text = _annotation(claim, "restore")
    where = f"annotation {PREFIX}restore"
    if text is None:
        return Sourced(value=Auto(), origin="default")
    mode = parse_restore(text, _annotation(claim, "restore-reason"))
    match mode:
        case Unreadable():
            known = "auto, required, never, a snapshot id, or a time such as 2026-01-31T12:00:00Z"
            problems.append(Problem(where=where, what=f"{text!r} is none of {known}; the claim waits"))
        case Never(reason=None):
            problems.append(
                Problem(where=where, what=f"never needs annotation {PREFIX}restore-reason; the claim waits")
            )
        case _:
            pass
    return Sourced(value=mode, origin=where)


def parse_restore(text: str, reason: str | None) -> RestoreMode:
    """Return the restore mode that the text asks for."""
    match text.lower():
        case "auto":
            return Auto()
        case "required":
            return Required()
        case "never":
            return Never(reason=reason)
        case lower if len(lower) >= SHORTEST_ID and not set(lower) - set("0123456789abcdef"):
            return ById(snapshot=lower)
        case _:
            return _as_of(text)


def _as_of(text: str) -> RestoreMode:
    try:
        time = datetime.fromisoformat(text)
        if time.tzinfo is None or len(text) < len("2026-01-31T12:00Z"):
            return Unreadable(text=text)
        return AsOf(time=time.astimezone(UTC))
    except (ValueError, OverflowError):  # the year 1 has times that are before it in UTC
        return Unreadable(text=text)


def describe(mode: RestoreMode) -> str:
    """Return the mode as a person wrote it."""
    match mode:
        case Auto():
            return "auto"
        case Required():
            return "required"
        case Never():
            return "never"
        case ById(snapshot=snapshot):
            return snapshot
        case AsOf(time=time):
            return time.isoformat()
        case Unreadable(text=text):
            return text


def summary(problems: Sequence[Problem]) -> str:
    """Return all problems as one line."""
    return "; ".join(str(problem) for problem in problems)
