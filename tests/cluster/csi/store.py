"""Volumes and snapshots as directories of this machine.

Each lies in `ID/data`, with its facts beside it. It is made under a hidden name and appears by one rename, so a crash
leaves nothing half made; what was left hidden is made again.
"""

import contextlib
import dataclasses
import json
import shutil
import subprocess
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A volume or a snapshot; `source` is the volume of a snapshot."""

    identity: str
    bytes_size: int
    made_nanoseconds: int
    source: str = ""


class BusyError(Exception):
    """Another operation on the same object is under way."""


class Store:
    """Objects of one kind; operations on one object exclude each other."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._locks: dict[str, threading.Lock] = {}

    def data(self, identity: str) -> Path:
        return self._directory / identity / "data"

    def get(self, identity: str) -> Stored | None:
        if "/" in identity or identity.startswith(".") or not identity:
            return None
        try:
            return Stored(**json.loads((self._directory / identity / "facts.json").read_text()))
        except FileNotFoundError:
            return None

    def all(self) -> Sequence[Stored]:
        found = (self.get(path.name) for path in sorted(self._directory.iterdir()))
        return [each for each in found if each is not None]

    def create(self, stored: Stored, content: Path | None) -> Stored:
        """Make an object with the content of a directory, its own owner and mode included, or empty."""
        new = self._directory / f".{stored.identity}"
        shutil.rmtree(new, ignore_errors=True)
        data = new / "data"
        data.mkdir(parents=True)
        if content is None:
            data.chmod(0o777)  # a pod that is not root writes to it, fsGroup or not
        else:
            subprocess.run(("cp", "--archive", "--reflink=auto", f"{content}/.", str(data)), check=True)
        (new / "facts.json").write_text(json.dumps(dataclasses.asdict(stored)))
        new.rename(self._directory / stored.identity)
        return stored

    def delete(self, identity: str) -> None:
        if self.get(identity) is not None:
            doomed = self._directory / f".{identity}"
            shutil.rmtree(doomed, ignore_errors=True)
            (self._directory / identity).rename(doomed)
            shutil.rmtree(doomed)

    @contextlib.contextmanager
    def alone(self, identity: str) -> Iterator[None]:
        """Exclude other operations on the object; raise BusyError when one lasts."""
        lock = self._locks.setdefault(identity, threading.Lock())
        if not lock.acquire(timeout=2):
            raise BusyError(f"an operation on {identity} is under way")
        try:
            yield
        finally:
            lock.release()
