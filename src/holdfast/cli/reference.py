"""The reference of the command line, made from the commands themselves: `python -m holdfast.cli.reference > FILE`."""

import inspect
from collections.abc import Iterator

import click

from holdfast.cli import main
from holdfast.cli.options import shared
from holdfast.cli.problems import MEANINGS

HEAD = """# Command line

Made from the program by `make docs`; do not edit it by hand.

`CLAIM` is `namespace/name`, or a name in the namespace of `-n` or of the kubeconfig. A snapshot is named by its id, the
beginning of its id (8 characters or more), or a time such as `2026-01-31T12:00:00Z`. Tables are for people and may
change; `--output json` is for programs: every object names its `type`, times are RFC 3339 in UTC, sizes are bytes.
"""


def reference() -> str:
    """Return the whole page."""
    group = main.build()
    parts = [HEAD, "## Exit codes\n", *_codes(), "## Shared options\n"]
    parts += ["They may stand before or after the command; each command shows those that it has.\n"]
    parts += [_options(shared(cluster=True, output=True, first=True), click.Context(group, info_name="holdfast"))]
    for path, command in commands(group):
        parts += _command(path, command)
    return "\n".join(parts)


def commands(group: click.Group, *path: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Yield every command with the words that call it."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, *path, name)
        else:
            yield (*path, name), command


def _codes() -> Iterator[str]:
    yield "| Code | Meaning |\n|---|---|"
    for code, meaning in MEANINGS.items():
        yield f"| {code.value} | {meaning} |"
    yield ""


def _command(path: tuple[str, ...], command: click.Command) -> Iterator[str]:
    context = click.Context(command, info_name=" ".join(("holdfast", *path)))
    yield f"## holdfast {' '.join(path)}\n"
    arguments = [each.make_metavar(context) for each in command.params if isinstance(each, click.Argument)]
    yield "```\n" + " ".join((context.info_name or "", "[OPTIONS]", *arguments)) + "\n```\n"
    yield inspect.cleandoc(command.help or "") + "\n"
    if command.epilog:
        yield command.epilog + "\n"
    common = {option.name for option in shared(cluster=True, output=True)}
    own = [each for each in command.params if isinstance(each, click.Option) and each.name not in common]
    if own:
        yield _options(own, context)


def _options(options: list[click.Parameter] | list[click.Option], context: click.Context) -> str:
    rows = ["| Option | Meaning |", "|---|---|"]
    for option in options:
        written = option.get_help_record(context)
        if written is not None:
            name, meaning = (" ".join(part.split()).replace("|", "\\|") for part in written)
            rows.append(f"| `{name}` | {meaning} |")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    click.echo(reference(), nl=False)
