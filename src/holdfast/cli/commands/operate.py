"""Commands that run Holdfast itself, and the small ones about the program."""

import platform
from pathlib import Path
from typing import Any

import click

import holdfast
from holdfast.cli import options
from holdfast.cli.commands.command import command, finish
from holdfast.cli.options import Asked, Output
from holdfast.cli.problems import Problem
from holdfast.cli.wiring import DemoOrder, SandboxOrder, Wiring
from holdfast.model.repository import EngineKind
from holdfast.model.settings import Settings

ENGINES = click.Choice([EngineKind.KOPIA.value, EngineKind.RESTIC.value])


def wiring(context: click.Context) -> Wiring:
    found = context.find_object(Wiring)
    if found is None:
        raise Problem("This command needs the whole program, and only a part of it was started")
    return found


@command("run", cluster=True, output=False)
@options.settings_options
@click.pass_context
def run(context: click.Context, /, **values: Any) -> None:
    """Be the operator of a cluster: back up, restore, wait.

    It leads under a lease, so that several may run and one acts. It ends on SIGTERM.
    """
    asked = options.asked(context)
    finish(_operate(wiring(context), asked, options.settings(asked, values)))


async def _operate(wired: Wiring, asked: Asked, settings: Settings) -> int:
    await wired.operator(asked.kubeconfig, asked.context, settings)
    return 0


@command("sandbox", cluster=False, output=False)
@click.option(
    "--dir",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    help="Keep the sandbox's state and volumes here, and go on from there the next time.",
)
@options.settings_options
@click.pass_context
def sandbox(context: click.Context, /, directory: Path | None, **values: Any) -> None:
    """Run a cluster on this machine, with the operator in it.

    It prints the line that lets kubectl and holdfast find it, and runs until Ctrl-C. A volume is a directory, a pod is
    a process of yours: no container engine and no root are needed.
    """
    order = SandboxOrder(directory=directory, settings=options.settings(options.asked(context), values))
    finish(_awaited(wiring(context).sandbox(order)))


@command("demo", cluster=False, output=False)
@click.option("--engine", type=ENGINES, default=EngineKind.KOPIA.value, show_default=True, help="The backup program.")
@click.option(
    "--storage",
    metavar="DIR|s3://BUCKET/PREFIX",
    help="Where the repository is made; for S3, AWS_ENDPOINT_URL and AWS_* keys name the server. "
    " [default: a temporary directory]",
)
@click.option("--keep", is_flag=True, help="Leave everything there afterwards, and say where.")
@click.pass_context
def demo(context: click.Context, engine: str, storage: str | None, keep: bool) -> None:
    """Lose everything, get it back: the story, told in this terminal.

    Ends with 1 as soon as a promise does not hold.
    """
    order = DemoOrder(engine=EngineKind(engine), storage=storage, keep=keep)
    finish(_awaited(wiring(context).demo(order)))


async def _awaited(work: Any) -> int:
    code: int = await work
    return code


@command("version", cluster=False, output=True)
@click.pass_context
def version(context: click.Context) -> None:
    """Say which Holdfast and which Python this is."""
    if options.asked(context).output is Output.JSON:
        click.echo(f'{{"holdfast": "{holdfast.__version__}", "python": "{platform.python_version()}"}}')
    else:
        click.echo(f"holdfast {holdfast.__version__} (Python {platform.python_version()})")


@command("completion", cluster=False, output=False, epilog='For bash: eval "$(holdfast completion bash)"')
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the script that completes commands and options in a shell."""
    from click import shell_completion

    found = shell_completion.get_completion_class(shell)
    if found is None:
        raise Problem(f"There is no completion for {shell}")
    click.echo(found(context.find_root().command, {}, "holdfast", "_HOLDFAST_COMPLETE").source())
