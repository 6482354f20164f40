"""Tables of the reference: labels, annotations, settings, reasons. Made from the values that the code reads."""

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from datetime import timedelta
from pathlib import Path
from typing import Final

from holdfast.model.admission import Unarmed
from holdfast.model.evidence import Doubt
from holdfast.model.failure import FailureKind
from holdfast.model.intent import (
    ANNOTATIONS,
    CLASS_ANNOTATIONS,
    EXEMPT_LABEL,
    GUESTS,
    LABEL,
    OFF,
    PREFIX,
    Tier,
)
from holdfast.model.population import Pause
from holdfast.model.protection import Health
from holdfast.model.settings import Settings
from holdfast.model.snapshot import Flag
from holdfast.model.verdict import Hold
from holdfast.render import advice, meanings


def keys() -> str:
    """Return the page of everything that people write on claims and namespaces."""
    tiers = ", ".join(f"`{tier}`" for tier in Tier)
    off = ", ".join(f"`{value}`" for value in sorted(OFF))
    labels = [
        (f"claim: `{LABEL}`", f"{tiers}: protect, at that tier. {off}: off, also where the namespace protects"),
        (f"namespace: `{LABEL}`", "the tier of every claim in it that says nothing itself and is made by no operator"),
        (f"claim: `{EXEMPT_LABEL}`", f'`"true"`: deliberately unprotected; needs `{PREFIX}exempt-reason`'),
    ]
    annotations = [(f"`{PREFIX}{name}`", meaning) for name, meaning in ANNOTATIONS.items()]
    by_administrators = [
        (f"namespace: label `{GUESTS}`", '`"true"`: movers may work in it, for volumes that can be read nowhere else'),
        *((f"StorageClass: annotation `{PREFIX}{name}`", meaning) for name, meaning in CLASS_ANNOTATIONS.items()),
    ]
    return _page(
        "Labels and annotations",
        "Read strictly: a value that cannot be read is an Event on the claim and `NeedsReview` in its Protection.",
        ("Labels", ("Where", "Meaning"), labels),
        ("Annotations on claims", ("Key", "Meaning"), annotations),
        ("On namespaces and StorageClasses, by administrators", ("Where", "Meaning"), by_administrators),
    )


def settings() -> str:
    """Return the page of the operator's settings."""
    rows = [
        (
            f"`--{each.name.replace('_', '-')}`",
            f"`HOLDFAST_{each.name.upper()}`",
            f"`{_default(each.default)}`",
            str(each.metadata["help"]),
        )
        for each in fields(Settings)
    ]
    return _page(
        "Settings of the operator",
        "A flag wins over the environment, the environment over the default.",
        ("", ("Flag of `holdfast run`", "Environment", "Default", "Meaning"), rows),
    )


def reasons() -> str:
    """Return the page of every reason that conditions and Events name, and what to do."""
    failures = [(f"`{kind.value}`", meanings.FAILURES[kind], advice.on(kind)) for kind in FailureKind]
    doubts = [(f"`{why.value}`", meanings.DOUBTS[why], advice.on(why)) for why in Doubt]
    pauses = [(f"`{why.value}`", meanings.PAUSES[why], advice.on(why)) for why in Pause]
    holds = [(f"`{why.value}`", meanings.HOLDS[why], advice.on(why)) for why in Hold]
    return _page(
        "Reasons",
        "What stands in a claim's Events, in `status.restore.reason` of its Protection, and in a Repository's `Ready` "
        "condition. While a claim waits, it is asked again by itself: nothing has to be deleted.",
        ("Storage and engines", ("Reason", "Means", "Do"), failures),
        ("Decisions", ("Reason", "Means", "Do"), [*doubts, *holds]),
        ("Steps of a fill", ("Reason", "Means", "Do"), pauses),
        (
            "Never armed",
            ("Reason", "Means"),
            [(f"`{why.value}`", meanings.UNARMED[why]) for why in Unarmed],
        ),
        ("Flags of a snapshot", ("Flag", "Means"), [(f"`{flag.value}`", meanings.FLAGS[flag]) for flag in Flag]),
        ("States of a Protection", ("State", "Means"), [(f"`{each.value}`", meanings.STATES[each]) for each in Health]),
    )


PAGES: Final[Mapping[str, Callable[[], str]]] = {"keys.md": keys, "settings.md": settings, "reasons.md": reasons}


def main() -> None:
    """Write every page into the directory named on the command line."""
    for name, page in PAGES.items():
        Path(sys.argv[1], name).write_text(page(), encoding="utf-8")


def _default(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(value) or "none"
    if not isinstance(value, timedelta):
        return str(value)
    seconds = int(value.total_seconds())
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds and seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def _page(title: str, opening: str, *tables: tuple[str, Sequence[str], Iterable[Sequence[str]]]) -> str:
    parts = [f"# {title}\n\nMade from the code by `make docs`.\n\n{opening}\n"]
    for heading, columns, rows in tables:
        if heading:
            parts.append(f"\n## {heading}\n")
        lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
        lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
        parts.append("\n" + "\n".join(lines) + "\n")
    return "".join(parts)


if __name__ == "__main__":
    main()
