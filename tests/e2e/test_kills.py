"""Whoever is killed, at whichever stage of backup and restore: never empty, never wrong bytes, done in the end."""

import asyncio
import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from holdfast.kube.client import Kube
from holdfast.model.claim import ClaimRef
from tests.cluster.kubectl import ask, kubectl
from tests.e2e import victims
from tests.e2e.remains import remains, wait_for_no_more_than
from tests.e2e.test_cluster import job
from tests.e2e.town import App, apply, holdfast, install, lose_holdfast
from tests.e2e.victims import Backup, Daemon, Mover, Pod, Restore, Run, Victim
from tests.support import trees

pytestmark = [pytest.mark.long, pytest.mark.anyio, pytest.mark.programs, pytest.mark.timeout(900)]

BIG: Final = 24 << 20  # bytes of one file: the engine can be met at work
LABELS: Final = {"backup": "manual"}
CLAIMS: Final = ("one", "two", "three")  # each of which has one stage of its run disturbed
LOOK_AROUND: Final = "find . | wc -l; sha256sum < big"
VICTIMS: Final[Mapping[str, Victim]] = {
    "operator": Pod("operator"),
    "mover": Mover(),
    "reader": Pod("reader"),
    "kubelet": Daemon("kubelet"),
    "apiserver": Daemon("apiserver"),
}


@pytest.fixture(scope="module")
def storage(kubeconfig: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Install Holdfast for all tests; return where the repository's objects lie."""
    directory = tmp_path_factory.mktemp("repository")
    install()
    apply(holdfast("render", "repository", "--engine", "kopia", "--directory", str(directory)))
    kubectl("wait", "--for=condition=Ready", "repository/default", "--timeout=120s")
    yield directory
    lose_holdfast()


@pytest.fixture
def app(storage: Path) -> Iterator[App]:
    made = App(f"app-{os.urandom(3).hex()}")
    made.create()
    yield made
    ask("delete", "namespace", made.name, "--wait=false")


@pytest.mark.parametrize("name", VICTIMS)
async def test_every_backup_is_counted_and_every_claim_gets_its_bytes_back(
    kube: Kube, app: App, storage: Path, name: str
) -> None:
    before = remains()
    fill(app)
    backups = [Backup(kube, ref(app, claim), storage, partial(ask_backup, app, claim)) for claim in CLAIMS]
    for number, backup in enumerate(backups):
        await strike(VICTIMS[name], backup, number, name)
    for backup in backups:
        await victims.until(f"the backup of {backup.claim} is counted", backup.is_over)
    kept = {claim: trees.manifest(app.volume(claim)) for claim in CLAIMS}
    seen = {claim: look_around(app.volume(claim)) for claim in CLAIMS}

    lose(app, *CLAIMS)
    for number, claim in enumerate(CLAIMS):
        restore = Restore(kube, ref(app, claim), storage, partial(ask_restore, app, claim))
        await strike(VICTIMS[name], restore, number, name)
    for claim in CLAIMS:
        kubectl("wait", f"--namespace={app.name}", "--for=condition=Complete", f"job/{claim}", "--timeout=120s")
        assert await victims.until(f"what {claim} printed", partial(printed, app, claim)) == seen[claim]
        after = trees.manifest(app.volume(claim))
        assert {path: _content(each) for path, each in after.items()} == {
            path: _content(each) for path, each in kept[claim].items()
        }
    await asyncio.to_thread(wait_for_no_more_than, before)


def fill(app: App) -> None:
    """Make the claims, and let each have data of its own."""
    for claim in CLAIMS:
        app.claim_with(claim, LABELS)
        app.apply(job(claim, "true", claim=claim))
    for number, claim in enumerate(CLAIMS):
        kubectl("wait", f"--namespace={app.name}", "--for=condition=Complete", f"job/{claim}", "--timeout=60s")
        trees.build(app.volume(claim), big=BIG + number)


def ref(app: App, claim: str) -> ClaimRef:
    return ClaimRef(namespace=app.name, name=claim)


def ask_backup(app: App, claim: str) -> None:
    value = f"holdfast.dev/backup-now={os.urandom(4).hex()}"
    kubectl("annotate", f"--namespace={app.name}", f"pvc/{claim}", value, "--overwrite")


def ask_restore(app: App, claim: str) -> None:
    lose(app, claim)
    app.claim_with(claim, LABELS)
    app.apply(job(claim, f"cd /data && {LOOK_AROUND}", claim=claim))


def lose(app: App, *claims: str) -> None:
    kinds = [f"{kind}/{claim}" for kind in ("job", "pvc") for claim in claims]
    kubectl("delete", f"--namespace={app.name}", "--ignore-not-found", "--timeout=60s", *kinds)


async def strike(victim: Victim, run: Run, number: int, name: str) -> None:
    """Kill the victim at this stage of the run."""
    stage = run.stages(name)[number]
    began = time.monotonic()
    await victim.find(run)
    await run.meet(stage)
    victim.kill(run)
    print(f"  killed {name}: {stage.__name__} of {type(run).__name__} after {time.monotonic() - began:.1f} s")
    await victim.help_up(run)


async def printed(app: App, claim: str) -> str:
    """Return what the app printed; a kubelet that has just started does not serve it yet."""
    return ask("logs", f"--namespace={app.name}", f"job/{claim}").stdout


def look_around(volume: Path) -> str:
    return subprocess.run(("sh", "-c", LOOK_AROUND), cwd=volume, capture_output=True, text=True, check=True).stdout


def _content(each: trees.Described) -> tuple[str, str, str, str, bytes]:
    return each.kind, each.mode, each.owner, each.digest, each.target
