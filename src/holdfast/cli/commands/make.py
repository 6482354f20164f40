"""Commands that print manifests."""

import os
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import click

from holdfast.cli import options, storage
from holdfast.cli.commands.command import command
from holdfast.cli.commands.operate import ENGINES
from holdfast.model.repository import EngineKind

WINDOW: Final = timedelta(days=7)
NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9.]{0,200}[a-z0-9])?")
KEYS: Final = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")


@click.group("render")
def render() -> None:
    """Print manifests, for kubectl or Git."""


@command("crds", cluster=False, output=False)
def render_crds() -> None:
    """Print Holdfast's kinds (CustomResourceDefinitions)."""
    from holdfast.render import crds, repository

    click.echo(repository.to_yaml(crds.definitions()), nl=False)


@command("arm", cluster=False, output=False, rule=True)
@options.by_name
@click.pass_context
def render_arm(context: click.Context, by_name: tuple[str, ...]) -> None:
    """Print what arms a cluster: Holdfast's kinds, and policies that hold claims until their data is back.

    Apply it before any app, and about a second before the first claim: a claim that was created earlier starts
    without its data. The operator may come later. Needs Kubernetes 1.36.
    """
    from holdfast.render import admission, repository

    rule = options.rule_of(options.asked(context), by_name)
    click.echo(repository.to_yaml(admission.manifests(rule)), nl=False)


@command("install", cluster=False, output=False, rule=True)
@options.settings_options
@click.pass_context
def render_install(context: click.Context, /, **values: Any) -> None:
    """Print what runs the operator: its namespace, its account with exactly the rights that it needs, its Deployment.

    Apply what `render arm` prints first.
    """
    from holdfast.render import install, repository

    settings = options.settings(options.asked(context), values)
    click.echo(repository.to_yaml(install.manifests(settings)), nl=False)


@command("guest", cluster=False, output=False)
@click.argument("namespace")
@click.pass_context
def render_guest(context: click.Context, namespace: str) -> None:
    """Print what lets movers work in NAMESPACE, for volumes that can be read nowhere else.

    A backup then brings the credential of the namespace's own Repository (restic, spec.namespaces: [NAMESPACE]) there
    while it runs, for whoever may read Secrets in it.
    """
    from holdfast.model.settings import Settings
    from holdfast.render import install, repository

    settings = Settings(namespace=options.asked(context).holdfast_namespace)
    click.echo(repository.to_yaml(install.guest(settings, namespace)), nl=False)


@command("component", cluster=False, output=False, rule=True)
@click.pass_context
def render_component(context: click.Context) -> None:
    """Print a kustomize component that writes the hold into labelled claims, for clusters without policies."""
    from holdfast.render import git, repository

    click.echo(git.ABOUT + repository.to_yaml([git.component(options.asked(context).label)]), nl=False)


@command("snippet", cluster=False, output=False)
@click.argument("claim", required=False, metavar="[NAMESPACE/CLAIM]")
def render_snippet(claim: str | None) -> None:
    """Print the lines that hold one claim, to be written into its manifest.

    With NAMESPACE/CLAIM: for a storage class whose provisioner ignores dataSourceRef, such as local-path.
    """
    from holdfast.model.claim import ClaimRef
    from holdfast.render import git, repository

    try:
        named = ClaimRef.parse(claim) if claim is not None else None
    except ValueError as error:
        raise click.UsageError(f"{error}.") from error
    click.echo(repository.to_yaml([git.snippet(named)]), nl=False)


@command("repository", cluster=True, output=False)
@click.argument("name", default="default")
@click.option("--engine", type=ENGINES, default=EngineKind.KOPIA.value, show_default=True, help="The backup program.")
@click.option("--directory", type=click.Path(path_type=Path), help="Keep the backups in this directory of the node.")
@click.option("--claim", metavar="NAME[/PATH]", help="Keep the backups in this claim of Holdfast's namespace.")
@click.option("--nfs", metavar="SERVER:/PATH", help="Keep the backups in this export.")
@click.option("--s3", metavar="ENDPOINT/BUCKET[/PREFIX]", help="Keep the backups in this bucket.")
@click.option("--region", default="us-east-1", show_default=True, help="The bucket's region.")
@click.option("--insecure", is_flag=True, help="Speak HTTP to the endpoint, not HTTPS.")
@click.option("--cluster", default="", help="This cluster's name, where clusters share the repository.")
@click.pass_context
def render_repository(
    context: click.Context,
    name: str,
    engine: str,
    directory: Path | None,
    claim: str | None,
    nfs: str | None,
    s3: str | None,
    region: str,
    insecure: bool,
    cluster: str,
) -> None:
    """Print a Repository NAME and its Secret with a new password.

    Claims use the Repository named "default" unless they name another one. Keys of an S3 storage are taken from
    AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN. The repository may be created within seven days;
    directory, claim, export and bucket must exist.
    """
    import secrets

    from holdfast.render import repository

    if not NAME.fullmatch(name):
        raise click.UsageError(f"{name!r} cannot be the name of a Repository: use a-z, 0-9, '-' and '.'.")
    place = storage.place(directory, claim, nfs, s3, region, insecure)
    found = {key: os.environ[key] for key in KEYS if os.environ.get(key)}
    objects = repository.manifests(
        name,
        options.asked(context).holdfast_namespace,
        EngineKind(engine),
        place,
        password=secrets.token_urlsafe(32),
        keys=found,
        initialize_until=datetime.now(UTC) + WINDOW,
        cluster=cluster,
    )
    click.echo(repository.to_yaml(objects), nl=False)
    click.echo(repository.WARNING, err=True)
    missing = [key for key, value in objects[0]["stringData"].items() if value == repository.PLACEHOLDER]
    if missing:
        click.echo(f"Write {' and '.join(missing)} into the Secret: the environment does not name them.", err=True)


render.add_command(render_arm)
render.add_command(render_install)
render.add_command(render_guest)
render.add_command(render_component)
render.add_command(render_snippet)
render.add_command(render_crds)
render.add_command(render_repository)
