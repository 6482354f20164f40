"""A cluster on a laptop with the operator in it, and the demo that plays there."""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.markup import escape

from holdfast.assemble import armed
from holdfast.assemble.operator import stop_on_signals
from holdfast.cli import stage
from holdfast.cli.stage import StorageUnusable
from holdfast.cli.story import PromiseBroken, Stage, Story
from holdfast.cli.wiring import DemoOrder, SandboxOrder
from holdfast.kube.client import Kube
from holdfast.model.settings import Settings
from holdfast.render import crds, install
from holdfast.sandbox.cluster import Cluster, utc_now

DEMO: Final = "holdfast-demo-"


def sandbox(
    directory: Path,
    settings: Settings,
    environment: Mapping[str, str] | None = None,
    now: Callable[[], datetime] = utc_now,
) -> Cluster:
    """Return a sandbox, not started, that has our kinds and whose admission is our rule.

    `environment` is what its pods' processes get besides their own; None passes on PATH and the like. `now` is the
    cluster's clock.
    """
    return Cluster(
        directory,
        crds.definitions(),
        admit=lambda *request: armed.admit(settings.rule, *request),
        environment=environment,
        now=now,
    )


@contextlib.asynccontextmanager
async def sandbox_with_operator(directory: Path, settings: Settings) -> AsyncIterator[tuple[Cluster, Kube]]:
    """Run a sandbox with the operator in it, as a Deployment; yield it and a client."""
    async with sandbox(directory, settings) as cluster:
        kube = Kube.connect(cluster.kubeconfig)
        try:
            await deploy_operator(kube, settings)
            yield cluster, kube
        finally:
            await kube.aclose()


async def deploy_operator(kube: Kube, settings: Settings) -> None:
    """Put Holdfast's namespace and the operator's Deployment in place."""
    for manifest in (install.namespace(settings), install.deployment(settings)):
        await kube.apply(manifest)


async def run_sandbox(order: SandboxOrder) -> int:
    """Run a sandbox until SIGTERM or SIGINT, and return the exit code."""
    console = Console(stderr=True)
    _stop_this_on_signals()
    with contextlib.ExitStack() as stack:
        place = order.directory or stack.enter_context(scratch("holdfast-sandbox-"))
        with contextlib.suppress(asyncio.CancelledError):
            async with sandbox_with_operator(place, order.settings) as (cluster, _):
                print(f"export KUBECONFIG={cluster.kubeconfig}", flush=True)  # noqa: T201  # for `eval`
                state = "its state stays there" if order.directory else "its state goes with it"
                console.print(f"A cluster with Holdfast in it runs in {place}; {state}. Ctrl-C ends it.")
                await asyncio.Event().wait()
    return 0


async def run_demo(order: DemoOrder) -> int:
    """Play the story in a sandbox of its own; return 0 when every promise held, 1 as soon as one does not."""
    console = Console()
    _stop_this_on_signals()
    with contextlib.ExitStack() as stack:
        directory = Path(tempfile.mkdtemp(prefix=DEMO)) if order.keep else stack.enter_context(scratch(DEMO))
        try:
            where = stage.place(order.storage, directory)
        except StorageUnusable as error:
            console.print(f"[red]{escape(str(error))}[/red]")
            return 1
        try:
            await _play(order.engine.value, where, directory / "cluster", console)
        except asyncio.CancelledError:
            console.print("\nStopped.")
            return 130
        except PromiseBroken as error:
            console.print(f"\n[bold red]A promise did not hold.[/bold red] {escape(str(error))}", highlight=False)
            return 1
        finally:
            if order.keep:
                console.print(f"\nKept: the repository at {where.where}; go on with", highlight=False)
                console.print(f"    holdfast sandbox --dir {directory / 'cluster'}", highlight=False, soft_wrap=True)
            else:
                await where.remove()
    return 0


def _stop_this_on_signals() -> None:
    current = asyncio.current_task()
    if current is not None:
        stop_on_signals(current)


async def _play(engine: str, where: stage.Place, directory: Path, console: Console) -> None:
    settings = Settings()
    async with sandbox(directory, settings) as cluster:
        kube = Kube.connect(cluster.kubeconfig)

        async def prepare() -> None:
            await deploy_operator(kube, settings)

        async def lose_everything() -> None:
            cluster.lose_everything()

        play = Story(
            stage=Stage(
                kube=kube,
                namespace=settings.namespace,
                engine=engine,
                place=where,
                prepare=prepare,
                lose_everything=lose_everything,
            ),
            console=console,
            secret=stage.secret(engine, where, settings.namespace),
            window=(datetime.now(UTC) + timedelta(hours=1)).isoformat(timespec="seconds"),
        )
        try:
            await play.play()
        finally:
            await kube.aclose()


@contextlib.contextmanager
def scratch(prefix: str) -> Iterator[Path]:
    """Yield a new directory; at the end it goes, with whatever was restored into it."""
    with tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True) as path:
        yield Path(path)
