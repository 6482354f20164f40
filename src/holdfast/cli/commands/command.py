"""What every command shares: common options, and errors that end as one line and an exit code."""

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import click

from holdfast.cli import options, problems

R = TypeVar("R")


class Command(click.Command):
    """A command whose errors are reported as people need them."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise
        except Exception as error:  # noqa: BLE001  # the edge: whatever it is, a person reads one line
            problems.report(error, debug=options.asked(ctx).debug)


def command(
    name: str, *, cluster: bool, output: bool, rule: bool = False, epilog: str | None = None
) -> Callable[[Callable[..., Any]], Command]:
    """Return a decorator that makes a Command with the shared options after its own."""

    def decorate(function: Callable[..., Any]) -> Command:
        made = click.command(name, cls=Command, epilog=epilog)(function)
        made.params.extend(options.shared(cluster=cluster, output=output, rule=rule))
        return made

    return decorate


def finish(work: Coroutine[Any, Any, int]) -> None:
    """Run the work and end with its exit code; Ctrl-C ends with 130."""
    import asyncio  # 25 ms that `--help` does not pay

    try:
        code = asyncio.run(work)
    except KeyboardInterrupt:
        code = problems.ExitCode.INTERRUPTED
    raise click.exceptions.Exit(code)
