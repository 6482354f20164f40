"""Kubernetes quantities: `10Gi`, `1.5G`, `500m`."""

import re
from decimal import Decimal
from typing import Final

_FORM: Final = re.compile(r"^(?P<number>[+-]?(?:\d+(?:\.\d*)?|\.\d+))(?P<unit>[KMGTPE]i|[numkMGTPE]|[eE][+-]?\d+)?$")
_BINARY: Final = {f"{letter}i": Decimal(1024) ** power for power, letter in enumerate("KMGTPE", start=1)}
_DECIMAL: Final = {letter: Decimal(1000) ** power for power, letter in enumerate("kMGTPE", start=1)}
_SMALL: Final = {"n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3")}
_FACTORS: Final = {**_BINARY, **_DECIMAL, **_SMALL}


def parse(text: object) -> Decimal:
    """Return the amount; raise ValueError for what is no quantity."""
    found = _FORM.match(str(text))
    if found is None:
        raise ValueError(f"{text!r} is no quantity, such as 10Gi")
    unit = found["unit"]
    if unit is None:
        return Decimal(found["number"])
    return Decimal(found["number"]) * _FACTORS[unit] if unit in _FACTORS else Decimal(f"{found['number']}{unit}")
