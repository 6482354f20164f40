"""Times, sizes and names as people read them. Nothing that came from elsewhere reaches a terminal as it is."""

import unicodedata
from datetime import UTC, datetime, timedelta
from typing import Final

# Control, format (bidirectional overrides among them), surrogate, private, line and paragraph separators.
HIDDEN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})


def visible(text: str, keep: str = "") -> str:
    """Return the text with everything that could steer a terminal, or is no text at all, written as an escape.

    Bytes of a name that are not UTF-8 (surrogate escapes) are written as the bytes that they are.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        each if each in keep or unicodedata.category(each) not in HIDDEN else _escaped(each) for each in text
    )


def _escaped(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def span(duration: timedelta) -> str:
    """Return a duration with one or two units: `45 s`, `12 min`, `3 h`, `2 d 4 h`."""
    seconds = int(abs(duration).total_seconds())
    if seconds < 60:
        return f"{seconds} s"
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if minutes < 60:
        return f"{minutes} min"
    if hours < 48:
        rest = minutes % 60
        return f"{hours} h {rest} min" if hours < 10 and rest else f"{hours} h"
    rest = hours % 24
    return f"{days} d {rest} h" if days < 10 and rest else f"{days} d"


def ago(time: datetime, now: datetime) -> str:
    """Return how long ago a time was, or in how long it will be."""
    return f"in {span(time - now)}" if time > now else f"{span(now - time)} ago"


def moment(time: datetime) -> str:
    """Return a time in UTC, to the second."""
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z"


def ended(text: str) -> str:
    """Return a sentence with its end: a full stop, where it has none."""
    stripped = text.strip()
    return stripped if not stripped or stripped[-1] in ".?!" else f"{stripped}."


def counted(number: int, one: str, many: str | None = None) -> str:
    """Return a number with its noun: `1 file`, `3 files`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
