"""The command line: every command's name, options and help. What a command does is imported when it runs."""

import click

from holdfast.cli import options
from holdfast.cli.commands import browse, change, look, make, operate
from holdfast.cli.wiring import Wiring

EPILOG = "Exit codes: 0 done, 1 failed, 2 usage, 3 needs attention, 4 cluster unreachable. See docs/reference/cli.md."


class Commands(click.Group):
    """Lists commands in the order in which they are of use."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        return list(self.commands)


def build() -> click.Group:
    """Return the whole command line."""
    group = Commands(
        name="holdfast",
        help="Volumes whose data holds fast: one label, spread backups, data back before the app starts.",
        epilog=EPILOG,
        params=options.shared(cluster=True, output=True, first=True),
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
        subcommand_metavar="COMMAND …",
    )
    for command in (
        look.status,
        look.explain,
        look.snapshots,
        change.backup,
        change.restore,
        change.rearm,
        browse.ls,
        browse.cat,
        browse.download,
        look.check,
        make.render,
        operate.demo,
        operate.sandbox,
        operate.run,
        operate.completion,
        operate.version,
    ):
        group.add_command(command)
    return group


def main(wiring: Wiring) -> None:
    """Read the command line, do what it says, and exit."""
    build()(prog_name="holdfast", obj=wiring)
