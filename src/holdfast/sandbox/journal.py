"""The store on disk: a snapshot, and one line for every change since; a torn last line is dropped."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from holdfast.sandbox.store.history import Change, Key, Place
from holdfast.sandbox.store.store import Store
from holdfast.sandbox.store.values import Json

_COMPACT_BYTES: Final = 32 * 1024 * 1024


class Journal:
    """Survives the end of the process at any moment; it does not wait for the disk, so not the end of the machine."""

    def __init__(self, directory: Path, store: Store) -> None:
        self._path: Final = directory / "journal"
        self._store: Final = store
        self._file: int | None = None
        self._bytes = 0

    def open(self) -> bool:
        """Take over what an earlier run left and record all changes from now on; return whether there was anything."""
        found = self._restore()
        self._compact()
        self._store.listeners.add(self._record)
        return found

    def close(self) -> None:
        self._store.listeners.discard(self._record)
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def rewrite(self) -> None:
        """Write down the store as it is, and nothing of what was before."""
        self._compact()

    def _restore(self) -> bool:
        objects: dict[tuple[Key, Place], Json] = {}
        version = 0
        for number, key, place, item in self._lines():
            version = number
            if item is None:
                objects.pop((key, place), None)
            else:
                objects[key, place] = item
        if version:
            self._store.restored(version, sorted(((key, item) for (key, _), item in objects.items()), key=_kinds_first))
        return bool(version)

    def _lines(self) -> Iterator[tuple[int, Key, Place, Json | None]]:
        if not self._path.exists():
            return
        for line in self._path.read_bytes().splitlines():
            try:
                version, key, place, item = msgspec.json.decode(line)
            except (msgspec.DecodeError, ValueError):
                return  # torn: whatever comes after it was never acknowledged in order
            yield version, tuple(key), tuple(place), item

    def _record(self, change: Change) -> None:
        assert self._file is not None
        line = _line(change.version, change.key, change.place, change.new)
        os.write(self._file, line)
        self._bytes += len(line)
        if self._bytes > _COMPACT_BYTES:
            self._compact()

    def _compact(self) -> None:
        """Replace the file by one that holds only what is there now."""
        fresh = self._path.with_suffix(".new")
        file = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
        version = self._store.version
        lines = [
            _line(version, key, place, item)
            for key, objects in self._store.objects.items()
            for place, item in objects.items()
        ]
        os.write(file, b"".join(lines))
        fresh.replace(self._path)
        if self._file is not None:
            os.close(self._file)
        self._file, self._bytes = file, 0


def _line(version: int, key: Key, place: Place, item: Json | None) -> bytes:
    return msgspec.json.encode((version, key, place, item)) + b"\n"


def _kinds_first(entry: tuple[Key, Any]) -> bool:
    return entry[0] != ("apiextensions.k8s.io", "customresourcedefinitions")
