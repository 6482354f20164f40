"""Log lines of movers and readers: one JSON object each on stderr, an event's dotted name and its fields."""

import json
import logging
import sys
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any

from holdfast.engines.program import redact

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "taskName"}


class _Lines(logging.Formatter):
    def __init__(self, secrets: Collection[str]) -> None:
        super().__init__()
        self._secrets = tuple(secrets)

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line of JSON without secrets."""
        fields: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
        }
        fields |= {name: value for name, value in vars(record).items() if name not in _STANDARD}
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(self._redacted(fields))

    def _redacted(self, value: object) -> Any:
        """Return the value as JSON takes it: secrets are removed before escapes can split them."""
        match value:
            case None | bool() | int() | float():
                return value
            case Mapping():
                return {str(name): self._redacted(each) for name, each in value.items()}
            case list() | tuple():
                return [self._redacted(each) for each in value]
            case _:
                return redact(str(value), self._secrets)


def to_stderr(secrets: Collection[str]) -> None:
    """Make every logger of this process write such lines, from INFO on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Lines(secrets))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
