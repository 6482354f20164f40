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
