"""Commands that look into a snapshot."""

from pathlib import Path

import click

from holdfast.cli import options
from holdfast.cli.commands.command import command, finish

POINT = "CLAIM[@SNAPSHOT]"
EPILOG = "SNAPSHOT is an id, its beginning, or a time; without it, the snapshot that a restore would take."
REPOSITORY = click.option("--repository", metavar="NAME", help="Look into this Repository, not into the claim's.")


@command("ls", cluster=True, output=True, epilog=EPILOG)
@click.argument("claim", metavar=POINT)
@click.argument("path", default="")
@REPOSITORY
@click.pass_context
def ls(context: click.Context, claim: str, path: str, repository: str | None) -> None:
    """List a directory of a snapshot."""
    from holdfast.cli import browse

    finish(browse.ls(options.asked(context), claim, path, repository))


@command("cat", cluster=True, output=False, epilog=EPILOG)
@click.argument("claim", metavar=POINT)
@click.argument("path")
@REPOSITORY
@click.pass_context
def cat(context: click.Context, claim: str, path: str, repository: str | None) -> None:
    """Write one file of a snapshot to stdout."""
    from holdfast.cli import browse

    finish(browse.cat(options.asked(context), claim, path, repository))


@command("download", cluster=True, output=False, epilog=EPILOG)
@click.argument("claim", metavar=POINT)
@click.argument("path")
@click.option(
    "-o", "to", metavar="FILE", type=click.Path(path_type=Path), help="Where to; default: its own name, here."
)
@click.option("--force", is_flag=True, help="Replace a file that is there.")
@REPOSITORY
@click.pass_context
def download(
    context: click.Context, claim: str, path: str, to: Path | None, force: bool, repository: str | None
) -> None:
    """Fetch one file of a snapshot. It appears whole, or not at all."""
    from holdfast.cli import browse

    finish(browse.download(options.asked(context), claim, path, to, repository, force))
