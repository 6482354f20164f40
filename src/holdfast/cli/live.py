"""What is under way, redrawn on a terminal; elsewhere one line for each change."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, assert_never

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from holdfast.cli import output, runlog, runs
from holdfast.cli.runs import Done, Failed, Running, Starting, State, Waiting

SHOWN: Final = 12  # lines of claims that fit a screen
BAR: Final = 24
STEPS: Final = 4  # a pipe hears of every quarter


@dataclass(slots=True)
class Display:
    """Takes the states of all runs, and shows what changed."""

    console: Console
    live: Live | None
    states: dict[str, State] = field(default_factory=dict)
    told: dict[str, str] = field(default_factory=dict)

    def update(self, states: Mapping[str, State]) -> None:
        """Show the states as they are now."""
        self.states.update(states)
        if self.live is not None:
            self.live.update(table(self.states, self.console.width), refresh=True)
            return
        for name, state in states.items():
            key, line = announcement(state)
            if self.told.get(name) != key:
                self.told[name] = key
                output.write([output.text(f"{name}: {line}")], self.console)


@contextmanager
def display() -> Iterator[Display]:
    """Yield a display on stderr, so that stdout holds the answer alone."""
    console = output.console(stderr=True)
    if not console.is_terminal:
        yield Display(console=console, live=None)
        return
    with Live(console=console, refresh_per_second=4, transient=True) as live:
        yield Display(console=console, live=live)


def announcement(state: State) -> tuple[str, str]:
    """Return what tells a state from the one before, and its line."""
    match state:
        case Waiting(detail=detail):
            return f"waiting {detail}", detail
        case Starting(detail=None):
            return "running", "started"
        case Starting(detail=detail):
            return f"starting {detail}", f"starting: {detail}"
        case Running(progress=progress):
            part = runlog.share(progress) or 0.0
            return f"{progress.phase} {int(part * STEPS)}", runlog.tell(progress)
        case Done() | Failed():
            return "ended", runs.tell(state)
    assert_never(state)


def table(states: Mapping[str, State], width: int) -> Table:
    """Return the runs as a table that fits a screen: the running ones first."""
    made = Table.grid(padding=(0, 2))
    longest = max((output.text(name).cell_len for name in states), default=0)
    made.add_column(no_wrap=True, overflow="ellipsis", min_width=min(longest, width // 3))
    made.add_column(no_wrap=True, min_width=min(BAR, width // 8))
    made.add_column(no_wrap=True, overflow="ellipsis")
    order = (Running, Starting, Waiting, Failed, Done)
    ranked = sorted(states, key=lambda name: (order.index(type(states[name])), name))
    for name in ranked[:SHOWN]:
        bar, line = _cells(states[name], min(BAR, width // 8))
        made.add_row(output.text(name), bar, line)
    if len(ranked) > SHOWN:
        made.add_row(output.text(f"and {len(ranked) - SHOWN} more", "dim"))
    return made


def _cells(state: State, wide: int) -> tuple[ProgressBar | Text, Text]:
    match state:
        case Waiting(detail=detail):
            return Text("waiting", style="dim"), output.text(detail, "dim")
        case Starting(detail=detail):
            return ProgressBar(total=None, width=wide), output.text(
                f"starting: {detail}" if detail else "starting", "dim"
            )
        case Running(progress=progress):
            part = runlog.share(progress)
            bar = ProgressBar(total=1.0 if part is not None else None, completed=part or 0.0, width=wide)
            return bar, output.text(runlog.tell(progress))
        case Done():
            return Text("done", style="green"), output.text(runs.tell(state))
        case Failed():
            return Text("failed", style="bold red"), output.text(runs.tell(state), "red")
    assert_never(state)
