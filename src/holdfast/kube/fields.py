"""Reads fields of an object that a person wrote, and keeps what is wrong with each."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Fields:
    """Reads values out of JSON and notes what is wrong with them."""

    problems: list[str] = field(default_factory=list)

    def problem(self, path: str, what: str, advice: str) -> None:
        self.problems.append(f"{path}: {what}; {advice}")

    def object(self, parent: Mapping[str, Any] | None, name: str, path: str) -> Mapping[str, Any] | None:
        """Return the object; None, which is noted, when it is missing. What is below None is not noted again."""
        value = parent.get(name) if parent is not None else None
        if isinstance(value, Mapping):
            return value
        if value is not None:
            self.problem(f"{path}.{name}", f"{value!r} is no object", "write fields below it")
        elif parent is not None:
            self.problem(f"{path}.{name}", "is missing", "write it (`holdfast render repository` shows an example)")
        return None

    def text(self, parent: Mapping[str, Any] | None, name: str, path: str, *, required: bool = False) -> str:
        """Return the text, "" when it is missing or no text."""
        if parent is None:
            return ""
        value = parent.get(name)
        if isinstance(value, str) and value.strip() == value and (value or not required):
            return value
        if isinstance(value, str) and value.strip():
            self.problem(f"{path}.{name}", f"{value!r} has spaces around it", f"write {value.strip()!r}")
        elif value is not None and not isinstance(value, str):
            self.problem(f"{path}.{name}", f"{value!r} is no text", "put it in quotes")
        elif required:
            self.problem(f"{path}.{name}", "is missing", "give it a value")
        return ""

    def texts(self, parent: Mapping[str, Any], name: str, path: str) -> tuple[str, ...] | None:
        """Return the list of texts, None when it is not given."""
        value = parent.get(name)
        if value is None:
            return None
        if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
            self.problem(f"{path}.{name}", f"{value!r} is no list of names", 'write for example ["media", "home"]')
            return ()
        return tuple(value)

    def flag(self, parent: Mapping[str, Any], name: str, path: str) -> bool | None:
        value = parent.get(name)
        if value is None or isinstance(value, bool):
            return value
        self.problem(f"{path}.{name}", f"{value!r} is neither true nor false", "write true or false, without quotes")
        return None
