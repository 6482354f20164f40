"""Commands that ask Holdfast for something."""

from datetime import timedelta

import click

from holdfast.cli import options
from holdfast.cli.commands.command import command, finish
from holdfast.cli.options import Duration

WAIT = click.option("--wait/--no-wait", default=True, show_default=True, help="Wait for the end, and show progress.")
TIMEOUT = click.option("--timeout", type=Duration(), help="Wait no longer than this, for example 30m; the run goes on.")


@command("backup", cluster=True, output=True, epilog="Ends with 1 when any of them fails. Ctrl-C leaves runs going.")
@click.argument("claims", metavar="CLAIM…", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All protected claims, or those of the namespace of -n.")
@WAIT
@TIMEOUT
@click.pass_context
def backup(
    context: click.Context, claims: tuple[str, ...], everything: bool, wait: bool, timeout: timedelta | None
) -> None:
    """Back up CLAIM… now, whatever the schedule says."""
    from holdfast.cli import backup as work

    if everything == bool(claims):
        raise click.UsageError("Name the claims, or say --all.")
    finish(work.run(options.asked(context), claims, everything=everything, wait=wait, timeout=timeout))


@command("restore", cluster=True, output=True)
@click.argument("claim", metavar="CLAIM")
@click.option("--into", metavar="NEW", required=True, help="The name of the claim to make: NAME or NAMESPACE/NAME.")
@click.option("--snapshot", metavar="ID", help="Exactly this snapshot, by its id or the beginning of it.")
@click.option("--time", metavar="TIME", help="The newest good snapshot of then, such as 2026-01-31T12:00:00Z.")
@click.option("--identity", metavar="NAMESPACE/CLAIM", help="The history of another claim; across namespaces by grant.")
@click.option("--repository", metavar="NAME", help="From this Repository, not from the claim's.")
@click.option("--storage-class", metavar="NAME", help="The new claim's class; default: the class of CLAIM.")
@click.option("--size", metavar="SIZE", help="The new claim's size, such as 10Gi; default: the size of CLAIM.")
@WAIT
@TIMEOUT
@click.pass_context
def restore(
    context: click.Context,
    claim: str,
    into: str,
    snapshot: str | None,
    time: str | None,
    identity: str | None,
    repository: str | None,
    storage_class: str | None,
    size: str | None,
    wait: bool,
    timeout: timedelta | None,
) -> None:
    """Restore a snapshot of CLAIM into a new claim, beside it.

    Without --snapshot and --time it is the newest good one. CLAIM itself is never changed, and may be gone. To restore
    under the same name, delete the claim and create it again.
    """
    from holdfast.cli import restore as work

    wish = work.Wish(
        claim=claim,
        into=into,
        snapshot=snapshot,
        time=time,
        identity=identity,
        repository=repository,
        storage_class=storage_class,
        size=size,
    )
    finish(work.run(options.asked(context), wish, wait=wait, timeout=timeout))


@command(
    "rearm",
    cluster=True,
    output=True,
    epilog="Without --yes: ends with 0 when it can be done, with 3 when something stands against it.",
)
@click.argument("claim", metavar="CLAIM")
@click.option("--yes", is_flag=True, help="Do it. The volume and what is in it now are kept, outside the claim.")
@click.option(
    "--discard-volume", is_flag=True, help="Let the volume go as its reclaim policy says, with what is in it."
)
@options.by_name
@click.pass_context
def rearm(context: click.Context, claim: str, yes: bool, discard_volume: bool, by_name: tuple[str, ...]) -> None:
    """Bring the data of CLAIM back, which was created before the policies could hold it (BornUnarmed).

    Says what would be done and whether it can be: the claim is deleted and created again from its own manifest, held,
    and Holdfast restores into it. Refused while a pod uses the claim; workloads are never touched.
    """
    from holdfast.cli import rearm as work

    finish(work.run(options.asked(context), claim, by_name, yes=yes, discard=discard_volume))
