"""The disaster: a cluster is lost with all its volumes, and a new one gets everything back from what lay outside.

HOLDFAST_DISASTER_ENGINE names the engine (kopia). HOLDFAST_DISASTER=full is about 20,000 files and 2 GiB; less will do
otherwise.
"""

import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from holdfast.model.repository import EngineKind
from tests.cluster import processes
from tests.cluster.kubectl import kubectl
from tests.e2e import disaster, shop, town
from tests.e2e.disaster import Saved
from tests.e2e.shop import CLAIMS, DATABASE, HERE, NEWCOMER, Shop
from tests.e2e.town import apply, holdfast
from tests.support.programs import find_program

pytestmark = [pytest.mark.long, pytest.mark.programs, pytest.mark.timeout(600)]

ENGINE: Final = EngineKind(os.environ.get("HOLDFAST_DISASTER_ENGINE", EngineKind.KOPIA))
IS_FULL: Final = os.environ.get("HOLDFAST_DISASTER") == "full"
FILES, MEBIBYTES = (20_000, 2048) if IS_FULL else (500, 32)
FLAGGED_WITHIN: Final = timedelta(seconds=60)
LOCAL_PATH: Final = "local-path"
SCHEDULE: Final = "holdfast.dev/schedule"

Tell = Callable[[str, float, Shop], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rescue:
    """What lies outside of every cluster. The new one's Repository is at `storage`."""

    saved: Saved
    storage: Path
    repository: str


@pytest.fixture(scope="module")
def outside(kubeconfig: Path) -> Iterator[Path]:
    """Return a directory that no cluster owns; it takes gigabytes, so it does not outlive the tests."""
    with tempfile.TemporaryDirectory(prefix="holdfast-disaster-") as directory:
        yield Path(directory)


@pytest.fixture(scope="module")
def rescue(outside: Path) -> Iterator[Rescue]:
    """Run the shop in a first cluster and back it up."""
    find_program(ENGINE.value)
    storage = outside / "storage"
    storage.mkdir()
    town.install()
    repository = holdfast("render", "repository", "--engine", ENGINE.value, "--directory", str(storage))
    apply(repository)
    made = fresh_shop(outside)
    apply(as_text(made.manifests(*CLAIMS)))
    made.wait_for_starts(*CLAIMS)
    made.assert_empty(*CLAIMS)
    made.stock()
    made.pile(files=FILES, megabytes=MEBIBYTES)
    holdfast("backup", "--all", HERE, patience_seconds=500)
    saved = Saved.now(storage, outside / "saved", made.contents())
    yield Rescue(saved=saved, storage=storage, repository=disaster.connecting(repository))
    town.end_namespace(shop.NAME)
    town.lose_holdfast()


@pytest.fixture
def tell(rescue: Rescue, outside: Path, capsys: pytest.CaptureFixture[str]) -> Tell:
    """Print how long it took from the first manifest to the last app, beside the engine alone."""

    def show(what: str, begun: float, made: Shop) -> None:
        each = ", ".join(f"{name} {made.started(name) - begun:.1f}" for name in (*CLAIMS, NEWCOMER))
        alone = {name: rescue.saved.bare_restore(name, ENGINE, rescue.repository, outside) for name in CLAIMS}
        bare = ", ".join(f"{name} {seconds:.1f}" for name, seconds in alone.items())
        with capsys.disabled():
            print(
                f"\n{what} ({ENGINE}, {FILES:,} files, {MEBIBYTES:,} MiB):"
                f" {made.started(*CLAIMS, NEWCOMER) - begun:.1f} s to the last app ({each})"
            )
            print(f"  {ENGINE} alone, one after the other: {sum(alone.values()):.1f} s ({bare})")

    return show


def fresh_shop(outside: Path) -> Shop:
    return Shop(Path(tempfile.mkdtemp(prefix="seen-", dir=outside)))


def as_text(manifests: list[dict[str, Any]]) -> str:
    return "\n---\n".join(map(json.dumps, manifests))


def wait_until_held(**spec: Any) -> None:
    """Wait until the policies are active: about a second after they are made."""
    kubectl("create", "namespace", shop.NAME)
    tried = json.dumps(shop.labelled("tried", **spec))

    def is_held() -> bool:
        made = kubectl("create", HERE, "--dry-run=server", "--output=json", "--filename=-", text=tried)
        return bool({"dataSourceRef", "volumeName"} & json.loads(made)["spec"].keys())

    processes.until(is_held, within=FLAGGED_WITHIN, what="the policies")


def bring_back_armed_first(rescue: Rescue, outside: Path, *rule: str, **spec: Any) -> tuple[Shop, float]:
    """Arm a new cluster, then start the apps, and the operator last; return the shop and when that began."""
    disaster.new_cluster()
    rescue.saved.bring_back(rescue.storage)
    made, begun = fresh_shop(outside), time.time()
    town.arm(*rule)
    wait_until_held(**spec)
    apply(as_text(made.manifests(*CLAIMS, NEWCOMER, **spec)))
    town.start_operator(*rule)
    apply(rescue.repository)
    made.wait_for_starts(*CLAIMS, NEWCOMER)
    made.assert_brought_back(rescue.saved.before, ENGINE)
    made.assert_empty(NEWCOMER)
    return made, begun


def test_arming_goes_first_the_apps_next_the_operator_last(rescue: Rescue, outside: Path, tell: Tell) -> None:
    made, begun = bring_back_armed_first(rescue, outside)
    tell("arming, apps, operator", begun, made)


def test_what_git_holds_waits_for_policies_and_operator(rescue: Rescue, outside: Path, tell: Tell) -> None:
    disaster.new_cluster()
    rescue.saved.bring_back(rescue.storage)
    made, begun = fresh_shop(outside), time.time()
    written = outside / "git"
    (written / "hold").mkdir(parents=True)
    apps = made.manifests(*CLAIMS, NEWCOMER)
    (database,) = (each for each in apps if each["kind"] == "StatefulSet")
    snippet = yaml.safe_load(holdfast("render", "snippet"))
    database["spec"]["volumeClaimTemplates"][0]["spec"] |= snippet["spec"]
    (written / "apps.yaml").write_text(as_text(apps))
    (written / "hold" / "kustomization.yaml").write_text(holdfast("render", "component"))
    (written / "kustomization.yaml").write_text(json.dumps({"resources": ["apps.yaml"], "components": ["hold"]}))
    built = written / "built.yaml"
    built.write_text(kubectl("kustomize", str(written)))
    holdfast("check", "--require-hold", str(built))

    apply(built.read_text())
    town.install()
    apply(rescue.repository)
    made.wait_for_starts(*CLAIMS, NEWCOMER)
    made.assert_brought_back(rescue.saved.before, ENGINE)
    made.assert_empty(NEWCOMER)
    tell("apps held in Git, policies, operator", begun, made)


def test_claims_that_were_there_before_the_policies_are_flagged_and_rearmed(
    rescue: Rescue, outside: Path, tell: Tell
) -> None:
    disaster.new_cluster()
    rescue.saved.bring_back(rescue.storage)
    made = fresh_shop(outside)
    apply(as_text(made.manifests(*CLAIMS, NEWCOMER)))
    made.wait_for_starts(*CLAIMS, NEWCOMER)
    made.assert_empty(*CLAIMS, NEWCOMER)
    kubectl("annotate", "pvc", "--all", HERE, f"{SCHEDULE}=* * * * *")
    town.arm()
    town.start_operator()
    apply(rescue.repository)

    def flagged() -> set[str]:
        return {name for name, status in shop.protections().items() if status.get("state") == "BornUnarmed"}

    processes.until(lambda: flagged() == set(CLAIMS), within=FLAGGED_WITHIN, what="BornUnarmed")

    # All are due every minute. The one that had nothing to miss is backed up, and by then they would have been.
    def newcomer() -> object:
        return shop.protections()[NEWCOMER].get("backup", {}).get("lastID")

    processes.until(lambda: newcomer() is not None, within=2 * FLAGGED_WITHIN, what="the newcomer's backup")
    assert {name: newest(name) for name in CLAIMS} == rescue.saved.snapshots

    kubectl("annotate", "pvc", "--all", HERE, f"{SCHEDULE}-")
    shop.scale(0)
    made.forget()
    begun = time.time()
    for name in CLAIMS:
        holdfast("rearm", f"{shop.NAME}/{name}", "--yes")
    shop.scale(1)
    made.wait_for_starts(*CLAIMS, NEWCOMER)
    made.assert_brought_back(rescue.saved.before, ENGINE)
    tell("rearmed, apps", begun, made)


def newest(name: str) -> str:
    """Return the newest backup of a claim that is in the repository."""
    listed = json.loads(holdfast("snapshots", f"{shop.NAME}/{name}", "--output=json"))
    return str(listed["points"][0]["id"])


def test_claims_that_are_held_by_name_get_their_data_too(rescue: Rescue, outside: Path, tell: Tell) -> None:
    rule = ("--by-name", LOCAL_PATH)
    made, begun = bring_back_armed_first(rescue, outside, *rule, storageClassName=LOCAL_PATH)
    assert (
        kubectl("get", f"pvc/{DATABASE}", HERE, "--output=jsonpath={.spec.volumeName}") == f"holdfast.shop.{DATABASE}"
    )
    tell("arming, apps, operator, on local-path", begun, made)
