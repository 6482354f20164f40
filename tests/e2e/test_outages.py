"""While nobody can tell, claims wait and say why; once the cause is mended they get their data, and no hand is moved.

`HOLDFAST_OUTAGE_SECONDS=300` lets every outage last so long; without it each ends when its reason was told.
"""

import copy
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.cluster import processes
from tests.cluster.kubectl import kubectl
from tests.e2e import store
from tests.e2e.store import Door
from tests.e2e.test_cluster import job
from tests.e2e.town import App, apply, holdfast, install, lose_holdfast
from tests.support import trees
from tests.support.misbehaving import Misbehaviour
from tests.support.s3 import S3Server

LASTS: Final = timedelta(seconds=int(os.environ.get("HOLDFAST_OUTAGE_SECONDS", "0")))
LABELS: Final = {"backup": "manual"}
IN_USE: Final = "backups"
COPIED: Final = "copied"
CLOSED: Final = "2020-01-01T00:00:00Z"

pytestmark = [pytest.mark.long, pytest.mark.programs, pytest.mark.storage, pytest.mark.timeout(600 + LASTS.seconds)]


class Site:
    """A store with three doors, a disk, and what a person keeps in Git about them."""

    def __init__(self, directory: Path, server: S3Server, doors: tuple[Door, ...]) -> None:
        self.server = server
        self.door, self.unreliable, self.strange = doors
        self.disk, self._platters = directory / "disk", directory / "platters"
        self._away = directory / "away"
        for each in (self.disk, self._platters, self._away):
            each.mkdir()
        rendered = holdfast("render", "repository", *self._bucket(), environment=server.environment)
        self._secret, self._plain = yaml.safe_load_all(rendered)
        self.pinned = ""  # the repository's id, which a person would write down once it is known

    def _bucket(self) -> tuple[str, ...]:
        return "--s3", f"{self.door.endpoint}/{self.server.bucket}/{IN_USE}", "--insecure"

    def repository(self, name: str = "default", **spec: Any) -> None:
        """Apply a Repository at the store; `spec` is what is otherwise than usual."""
        made = copy.deepcopy(self._plain)
        made["metadata"]["name"] = name
        made["spec"] |= spec
        apply(yaml.safe_dump(made))

    def through(self, door: Door, prefix: str = IN_USE) -> dict[str, Any]:
        """Return the storage behind a door."""
        s3 = self._plain["spec"]["storage"]["s3"]
        return {"s3": {**s3, "endpoint": door.endpoint, "prefix": f"{prefix}/"}}

    def keep(self, name: str, password: str | None = None) -> None:
        """Apply a Secret of the Repositories."""
        made = copy.deepcopy(self._secret)
        made["metadata"]["name"] = name
        if password is not None:
            made["stringData"]["KOPIA_PASSWORD"] = password
        apply(yaml.safe_dump(made))

    def mount(self) -> None:
        subprocess.run(("mount", "--bind", self._platters, self.disk), check=True)

    def unmount(self, *, check: bool = True) -> None:
        subprocess.run(("umount", self.disk), check=check, capture_output=not check)

    def copy_bucket(self) -> None:
        """Copy what is backed up to another prefix; the server keeps its own notes in attributes, which come along."""
        shutil.copytree(self.server.data / IN_USE, self.server.data / COPIED)

    def lose_indexes(self) -> None:
        for path in (self.server.data / COPIED / "kopia").glob("x*"):
            path.rename(self._away / path.name)

    def bring_indexes_back(self) -> None:
        for path in self._away.iterdir():
            path.rename(self.server.data / COPIED / "kopia" / path.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """What is wrong with the Repository of a name, the reason that claims give, and how a person mends it."""

    reason: str
    begin: Callable[[Site, str], None]
    mend: Callable[[Site, str], None]


def refuse(site: Site, name: str) -> None:
    site.unreliable.be(Misbehaviour.REFUSED)
    site.repository(name, storage=site.through(site.unreliable))


def answer_not_found(site: Site, name: str) -> None:
    site.strange.be(Misbehaviour.NOT_FOUND_PLAIN)
    site.repository(name, storage=site.through(site.strange))


def mistake_the_password(site: Site, name: str) -> None:
    site.keep("mistaken", password="another horse")
    site.repository(name, credentials={"secretRef": {"name": "mistaken"}})


def mistake_the_prefix(site: Site, name: str) -> None:
    site.repository(name, storage=site.through(site.door, "backup"), repositoryID=site.pinned)


def lose_the_mount(site: Site, name: str) -> None:
    site.unmount()
    site.repository(name, storage={"filesystem": {"hostPath": str(site.disk)}}, initializeUntil=CLOSED)


def lose_the_indexes(site: Site, name: str) -> None:
    site.lose_indexes()
    site.repository(name, storage=site.through(site.door, COPIED))


OUTAGES: Final[Mapping[str, Outage]] = {
    "refused": Outage(
        reason="Unreachable", begin=refuse, mend=lambda site, _: site.unreliable.be(Misbehaviour.HEALTHY)
    ),
    "strange": Outage(
        reason="Misdirected", begin=answer_not_found, mend=lambda site, _: site.strange.be(Misbehaviour.HEALTHY)
    ),
    "password": Outage(reason="WrongPassword", begin=mistake_the_password, mend=lambda site, _: site.keep("mistaken")),
    "prefix": Outage(
        reason="NoMarker",
        begin=mistake_the_prefix,
        mend=lambda site, name: site.repository(name, repositoryID=site.pinned),
    ),
    "mount": Outage(reason="NoMarker", begin=lose_the_mount, mend=lambda site, _: site.mount()),
    "indexes": Outage(reason="PartialListing", begin=lose_the_indexes, mend=lambda site, _: site.bring_indexes_back()),
}


@pytest.fixture
def site(kubeconfig: Path, tmp_path: Path) -> Iterator[Site]:
    (tmp_path / "store").mkdir()
    install()
    with store.opened(tmp_path / "store", doors=3) as (server, doors):
        made = Site(tmp_path, server, doors)
        made.mount()
        yield made
        made.unmount(check=False)
    lose_holdfast()


def claim(app: App, name: str, repository: str) -> None:
    app.claim_with(name, LABELS, annotations={"holdfast.dev/repository": repository})


def jobs_complete(app: App) -> None:
    for each in kubectl("get", "jobs", f"--namespace={app.name}", "--output=name").split():
        kubectl("wait", f"--namespace={app.name}", "--for=condition=Complete", each, "--timeout=110s")


def items(app: App, *what: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(kubectl("get", *what, f"--namespace={app.name}", "--output=json"))["items"]
    return found


def told(app: App) -> set[tuple[str, str]]:
    """Return the claims' Events that say why they wait: whose, and the reason."""
    events = items(app, "events", "--field-selector=involvedObject.kind=PersistentVolumeClaim,type=Warning")
    return {
        (each["involvedObject"]["name"], each["reason"]) for each in events if each["message"].startswith("Waiting: ")
    }


def expect_all_to_wait(app: App) -> None:
    """Nothing is bound, and no app has started."""
    found = [(each["metadata"]["name"], each["status"]["phase"]) for each in items(app, "pvc,pods")]
    assert len(found) == 4 * len(OUTAGES)
    assert [each for each in found if each[1] != "Pending"] == []


def test_claims_wait_and_say_why_and_heal_by_themselves(site: Site, app: App) -> None:
    site.keep("repository-default")
    site.repository()
    site.repository("mount", storage={"filesystem": {"hostPath": str(site.disk)}})
    for name in ("default", "mount"):
        kubectl("wait", "--for=condition=Ready", f"repository/{name}", "--timeout=110s")
    site.pinned = kubectl("get", "repository/default", "--output=jsonpath={.status.repositoryID}")
    for name in OUTAGES:
        claim(app, name, "mount" if name == "mount" else "default")
        app.apply(job(f"first-{name}", "touch /data/started", claim=name))
    jobs_complete(app)
    for name in OUTAGES:
        trees.build(app.volume(name))
    before = {name: trees.manifest(app.volume(name)) for name in OUTAGES}
    holdfast("backup", *(f"{app.name}/{name}" for name in OUTAGES))

    app.lose()
    lose_holdfast()
    site.copy_bucket()
    install()
    site.keep("repository-default")
    for name, outage in OUTAGES.items():
        outage.begin(site, name)
    app.create()
    for name in OUTAGES:
        for each, command in ((name, "test -e /data/started"), (f"new-{name}", 'test -z "$(ls -A /data)"')):
            claim(app, each, name)
            app.apply(job(f"app-{each}", command, claim=each))
    expected = {(each, outage.reason) for name, outage in OUTAGES.items() for each in (name, f"new-{name}")}
    processes.until(lambda: expected <= told(app), within=timedelta(seconds=120), what="the reasons on the claims")
    ends = time.monotonic() + LASTS.total_seconds()
    expect_all_to_wait(app)
    while time.monotonic() < ends:
        expect_all_to_wait(app)
        time.sleep(1)

    for name, outage in OUTAGES.items():
        outage.mend(site, name)
    jobs_complete(app)
    for name in OUTAGES:
        after = trees.manifest(app.volume(name))
        assert {path: (each.digest, each.mode, each.owner) for path, each in after.items()} == {
            path: (each.digest, each.mode, each.owner) for path, each in before[name].items()
        }, name
