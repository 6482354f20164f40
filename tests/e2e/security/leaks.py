"""Looks for secrets wherever they must not be: in objects of the cluster, in processes and in logs."""

import base64
import contextlib
import json
import os
import re
import signal
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final

from tests.cluster import places
from tests.cluster.kubectl import kubectl

_POD: Final = re.compile(rb"/pod([0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12})")
_LOGS: Final = (places.LOGS, places.STATE / "pod-logs")
# Only a mover calls an engine with one of these sets of words.
_RUNS: Final = {b"restic": ({b"backup"}, {b"restore"}), b"kopia": ({b"snapshot", b"create"}, {b"snapshot", b"restore"})}


class Secrets:
    """What is looked for, by name."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._forms = {name: _forms(value.encode()) for name, value in values.items()}

    def within(self, data: bytes) -> bool:
        """Return whether any of them is in the data, plainly or in base64."""
        return any(form in data for forms in self._forms.values() for form in forms)


def _forms(value: bytes) -> Sequence[bytes]:
    """Return the value and what base64 makes of it wherever it begins in what is encoded."""
    found = [value]
    for before in range(3):
        encoded = base64.b64encode(b" " * before + value)
        found.append(encoded[-(-8 * before // 6) : (before + len(value)) * 8 // 6])
    return found


def objects() -> Sequence[Mapping[str, Any]]:
    """Return every object of every kind that can be listed, with all of its fields."""
    kinds = kubectl("api-resources", "--verbs=list", "--output=name").split()
    options = ("--all-namespaces", "--show-managed-fields", "--output=json")
    found: Sequence[Mapping[str, Any]] = json.loads(kubectl("get", ",".join(kinds), *options))["items"]
    return found


def named(item: Mapping[str, Any]) -> str:
    """Return an object's kind, namespace and name."""
    meta = item["metadata"]
    return f"{item['kind']} {meta['namespace']}/{meta['name']}" if "namespace" in meta else item["kind"]


def pod_of(pid: int) -> str | None:
    """Return the uid of the pod that a process is of."""
    with contextlib.suppress(OSError):
        found = _POD.search(Path(f"/proc/{pid}/cgroup").read_bytes())
        return found[1].decode().replace("_", "-") if found is not None else None
    return None


def environments(secrets: Secrets) -> Iterator[tuple[int, str]]:
    """Yield the processes that were started with a secret in their environment: number and program."""
    for pid in _pids():
        with contextlib.suppress(OSError):
            if secrets.within(Path(f"/proc/{pid}/environ").read_bytes()):
                yield pid, Path(f"/proc/{pid}/cmdline").read_bytes().partition(b"\0")[0].decode()


def _pids() -> Iterator[int]:
    return (int(entry) for entry in os.listdir("/proc") if entry.isdecimal())  # noqa: PTH208


class Watch:
    """Sees every command line and every log that there is meanwhile, and holds movers' engines still when asked."""

    def __init__(self) -> None:
        self.commands: set[bytes] = set()
        self.held: dict[str, int] = {}  # by the pod's uid
        self._holding = False
        self._logs: dict[tuple[int, int], BinaryIO] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self.let_go()
        for log in self._logs.values():
            log.close()

    def hold(self) -> None:
        """Stop the engine of every mover from now on as soon as it runs."""
        self._holding = True

    def let_go(self) -> None:
        """Let all of them go on."""
        self._holding = False
        while self.held:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.held.popitem()[1], signal.SIGCONT)

    def logs(self) -> Mapping[str, bytes]:
        """Return what is in every log that was seen, also in those that were deleted since."""
        found: dict[str, bytes] = {}
        for log in tuple(self._logs.values()):
            log.seek(0)
            found[log.name] = log.read()
        return found

    def _run(self) -> None:
        while not self._ended.wait(0.05):
            for pid in _pids():
                with contextlib.suppress(OSError):
                    command = Path(f"/proc/{pid}/cmdline").read_bytes()
                    self.commands.add(command)
                    if self._holding and _is_run(command.split(b"\0")):
                        self._hold(pid)
            for root in _LOGS:
                self._open(root)

    def _hold(self, pid: int) -> None:
        pod = pod_of(pid)
        if pod is not None and pod not in self.held:
            os.kill(pid, signal.SIGSTOP)
            self.held[pod] = pid

    def _open(self, root: Path) -> None:
        for folder, _, names in os.walk(root):
            for name in names:
                with contextlib.suppress(OSError):
                    path = Path(folder, name)
                    status = path.stat()
                    if (status.st_dev, status.st_ino) not in self._logs:
                        self._logs[status.st_dev, status.st_ino] = path.open("rb")


def _is_run(command: Collection[bytes]) -> bool:
    words = list(command)
    runs = _RUNS.get(words[0].rpartition(b"/")[2], ())
    return any(run <= set(words) for run in runs)
