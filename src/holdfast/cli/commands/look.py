"""Commands that show, and change nothing."""

import click

from holdfast.cli import options
from holdfast.cli.commands.command import command, finish


@command("status", cluster=True, output=True, epilog="Ends with 0 when all is well and with 3 when a person is needed.")
@click.option("--all", "everything", is_flag=True, help="Show claims without protection and of the past, too.")
@click.pass_context
def status(context: click.Context, everything: bool) -> None:
    """Am I safe? One screen: repositories, claims, the worst first."""
    from holdfast.cli import status_view

    finish(status_view.run(options.asked(context), everything))


@command("explain", cluster=True, output=True, epilog="Ends with 0, or with 3 when the claim waits or would wait.")
@click.argument("claim", metavar="CLAIM")
@click.pass_context
def explain(context: click.Context, claim: str) -> None:
    """Show the decision about CLAIM as it would be made now, and all that it is made from.

    CLAIM is namespace/name, or a name in the namespace of -n or of the kubeconfig. The repository is asked anew: what
    its engine lists and what our own record says are shown side by side.
    """
    from holdfast.cli import explain_view

    finish(explain_view.run(options.asked(context), claim))


@command("snapshots", cluster=True, output=True, epilog="Ends with 3 when the two witnesses disagree.")
@click.argument("claim", metavar="CLAIM")
@click.option("--repository", metavar="NAME", help="Look into this Repository, not into the claim's.")
@click.pass_context
def snapshots(context: click.Context, claim: str, repository: str | None) -> None:
    """List the snapshots of CLAIM, which may be gone: id, time, size, flags."""
    from holdfast.cli import snapshots as listing

    finish(listing.run(options.asked(context), claim, repository))


@command(
    "check", cluster=False, output=True, rule=True, epilog="Ends with 3 when there are errors, with 0 when only notes."
)
@click.argument("files", metavar="FILES…", nargs=-1, required=True)
@click.option("-n", "--namespace", default="", help="The namespace of objects that name none.  [default: default]")
@options.by_name
@click.option("--require-hold", is_flag=True, help="A labelled claim that is not held by its own manifest is an error.")
@click.pass_context
def check(
    context: click.Context, files: tuple[str, ...], namespace: str, by_name: tuple[str, ...], require_hold: bool
) -> None:
    """Check rendered manifests before they are applied; no cluster is asked.

    FILES are files, directories, or - for stdin. A finding reads file:document (object): what is wrong, what to do.
    With --require-hold for clusters without policies, where Git holds the claims.
    """
    from holdfast.cli import check as work

    chosen = options.asked(context)
    raise click.exceptions.Exit(
        work.run(chosen, files, namespace or chosen.namespace or "default", by_name, require_hold=require_hold)
    )
