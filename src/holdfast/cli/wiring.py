"""The commands that join parts which the command line must not import: `__main__` hands them in."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from holdfast.model.repository import EngineKind
from holdfast.model.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxOrder:
    """`directory` None: everything is in a temporary directory and goes when the sandbox ends."""

    directory: Path | None
    settings: Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoOrder:
    """`storage` is a directory or `s3://bucket/prefix`; None: a temporary directory. `keep`: leave it all there."""

    engine: EngineKind
    storage: str | None
    keep: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Wiring:
    """`operator` runs until it is told to stop; `sandbox` and `demo` return the exit code."""

    operator: Callable[[Path | None, str | None, Settings], Awaitable[None]]
    sandbox: Callable[[SandboxOrder], Awaitable[int]]
    demo: Callable[[DemoOrder], Awaitable[int]]
