"""What `tools/setup.py` does once a new enough Python runs it."""

import argparse
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType

from tools import environment, places, programs
from tools.progress import Progress, SetupError, elapsed

Task = Callable[[], None]


def main(arguments: Sequence[str]) -> int:
    """Set up what is missing; return the exit code: 0 ready, 1 cannot go on, 130 stopped by a person."""
    wanted = parse(arguments)
    started = time.monotonic()
    progress = Progress(sys.stderr)
    signal.signal(signal.SIGTERM, stop)
    try:
        with places.locked(places.LOCK, on_wait=lambda: progress.say("  another setup of this checkout runs: waiting")):
            if is_ready(wanted):
                return 0
            set_up(wanted, progress)
    except SetupError as problem:
        progress.say(f"✗ setup cannot go on\n  {problem}")
        return 1
    except KeyboardInterrupt:
        progress.say("✗ setup was stopped; `make setup` goes on from here")
        return 130
    progress.say(f"✓ ready after {elapsed(time.monotonic() - started)}")
    return 0


def stop(_signal_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def parse(arguments: Sequence[str]) -> tuple[programs.Program, ...]:
    """Return the programs that are asked for."""
    parser = argparse.ArgumentParser(
        prog="tools.setup", description="Set up Holdfast in .venv, with the programs it drives."
    )
    names = [program.name for program in programs.PROGRAMS]
    parser.add_argument("programs", nargs="*", metavar="PROGRAM", help=f"any of: {', '.join(names)}; none by default")
    chosen = parser.parse_args(arguments).programs
    for name in chosen:
        if name not in names:
            parser.error(f"{name} is not one of {', '.join(names)}")
    return tuple(program for program in programs.PROGRAMS if program.name in chosen)


def source(program: programs.Program) -> str:
    """Return what identifies the locked sources of a program; the directory does not matter."""
    return programs.built_path(program, Path()).parent.name


def is_ready(wanted: Sequence[programs.Program]) -> bool:
    return environment.is_ready() and not missing_programs(wanted)


def missing_programs(wanted: Sequence[programs.Program]) -> tuple[programs.Program, ...]:
    return tuple(each for each in wanted if not environment.has_program(each.name, made_from=source(each)))


def set_up(wanted: Sequence[programs.Program], progress: Progress) -> None:
    """Make the environment and the programs side by side: one waits for the network while the other compiles."""
    cache = places.cache_directory(os.environ)
    settings = dict(os.environ)
    missing = missing_programs(wanted) if environment.is_ready() else tuple(wanted)
    found: dict[str, Path] = {}
    progress.say(f"Setting up Holdfast: Python packages in .venv, programs in {cache}")
    for each in missing:
        path = programs.find(each, cache=cache, environment=settings)
        if path is not None:
            found[each.name] = path
            progress.say(f"✓ {each.name} {each.version}: found at {path}")
    unbuilt = [each for each in missing if each.name not in found]

    def packages() -> None:
        if not environment.is_ready():
            environment.provide(cache=cache, environment=settings, progress=progress)

    def build() -> None:
        for each in unbuilt:
            found[each.name] = programs.make(each, cache=cache, environment=settings, progress=progress)

    def fetch_ahead() -> None:
        for each in unbuilt[1:]:
            programs.fetch_sources(each, cache=cache, environment=settings, progress=progress)

    with progress.shown():
        together((packages, build, fetch_ahead), progress)
    for each in missing:
        environment.link_program(each.name, found[each.name], made_from=source(each))


def together(tasks: Sequence[Task], progress: Progress) -> None:
    """Run tasks side by side; when one cannot go on, stop the others and raise what it raised."""
    problems: list[BaseException] = []

    def run(task: Task) -> None:
        try:
            task()
        except BaseException as problem:  # noqa: BLE001  # raised again below, in the main thread
            problems.append(problem)
            progress.stop_children()

    threads = [threading.Thread(target=run, args=(task,), daemon=True) for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if problems:
        raise problems[0]
