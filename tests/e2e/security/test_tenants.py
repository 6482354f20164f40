"""A tenant with the role `edit` in one namespace tries to get at the data of another one, and is refused each time."""

import json
import os
import subprocess
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from holdfast.render import names
from tests.cluster import places, processes
from tests.cluster.kubectl import ask, kubectl
from tests.e2e.test_cluster import claim, job
from tests.e2e.town import HOME, App, apply, holdfast
from tests.support.s3 import S3Server

pytestmark = [pytest.mark.programs, pytest.mark.timeout(300)]

LABELS = {"backup": "manual"}
EDITOR = "editor"  # has the role `edit`, and nothing else
TRUSTED = "trusted"  # was given more: VolumeSnapshots in its own namespace
MORE = ("--verb=*", "--resource=volumesnapshots.snapshot.storage.k8s.io")
TREASURE = os.urandom(8).hex()
NOT_GRANTED = "a cluster administrator must add {from: %s, to: %s} to spec.grants of Repository default"


class Victim(App):
    """Has a protected claim `data`, a volume that it kept, and a VolumeSnapshot of its own."""

    def settle(self) -> None:
        self.create()
        self.claim("data", **LABELS)
        self.claim_with("kept", {}, storageClassName="csi-retain")
        for name in ("data", "kept"):
            self.run(f"fill-{name}", f"echo {TREASURE} > /data/file", on=name)
        holdfast("backup", f"{self.name}/data")
        self.snapshot = self.show("protection/data", ".status.backup.lastID")
        self.kept = self.show("pvc/kept", ".spec.volumeName")
        self.directory = self.volume("kept")
        kubectl("delete", f"--namespace={self.name}", "job/fill-kept", "pvc/kept", "--timeout=60s")
        kubectl("wait", "--for=jsonpath={.status.phase}=Released", f"pv/{self.kept}", "--timeout=60s")
        self.apply(snapshot("own", persistentVolumeClaimName="data"))
        ready = "--for=jsonpath={.status.readyToUse}=true"
        kubectl("wait", f"--namespace={self.name}", ready, "volumesnapshot/own", "--timeout=60s")
        own = self.show("volumesnapshot/own", ".status.boundVolumeSnapshotContentName")
        handle = kubectl("get", f"volumesnapshotcontent/{own}", "--output=jsonpath={.status.snapshotHandle}")
        self.content = f"backup-{self.name}"
        apply(json.dumps(second_content(self.content, handle)))


class Tenant(App):
    """A namespace whose people are no administrators."""

    def settle(self) -> None:
        self.create()
        here = f"--namespace={self.name}"
        kubectl("create", "role", "more", here, *MORE)
        for account, roles in {EDITOR: ("clusterrole=edit",), TRUSTED: ("clusterrole=edit", "role=more")}.items():
            kubectl("create", "serviceaccount", account, here)
            for role in roles:
                binding, subject = f"{account}-{role.replace('=', '-')}", f"--serviceaccount={self.name}:{account}"
                kubectl("create", "rolebinding", binding, here, f"--{role}", subject)

    def ask(self, *arguments: str, text: str = "", who: str = EDITOR) -> subprocess.CompletedProcess[str]:
        """Ask as one of the namespace's accounts."""
        return ask(f"--as=system:serviceaccount:{self.name}:{who}", *arguments, text=text)

    def apply(self, manifest: dict[str, Any], who: str = EDITOR) -> None:
        answer = self.ask("create", f"--namespace={self.name}", "--filename=-", text=json.dumps(manifest), who=who)
        assert answer.returncode == 0, answer.stderr

    def protect(self, name: str, labels: dict[str, str] | None = None, **annotations: str) -> None:
        """Create a claim with our label and annotations of ours."""
        made = claim(name)
        ours = {f"holdfast.dev/{key.replace('_', '-')}": value for key, value in annotations.items()}
        made["metadata"] |= {"labels": LABELS if labels is None else labels, "annotations": ours}
        self.apply(made)

    def restore(self, name: str, **spec: str) -> None:
        """Create a Restore and a claim that names it."""
        made = {"apiVersion": "holdfast.dev/v1alpha1", "kind": "Restore", "metadata": {"name": name}, "spec": spec}
        self.apply(made)
        self.apply(claim(name, dataSourceRef={"apiGroup": "holdfast.dev", "kind": "Restore", "name": name}))

    def say(self, command: str) -> str:
        """Run a command in a pod of the tenant's; return what it printed."""
        self.apply(job("caller", command))
        kubectl("wait", f"--namespace={self.name}", "--for=condition=Complete", "job/caller", "--timeout=60s")
        return kubectl("logs", f"--namespace={self.name}", "job/caller")

    def is_told(self, name: str, words: str) -> None:
        """Wait until the account reads this in an Event of its object."""
        of_it = (f"--namespace={self.name}", f"--field-selector=involvedObject.name={name}")

        def told() -> bool:
            return words in self.ask("get", "events", *of_it, "--output=jsonpath={.items[*].message}").stdout

        processes.until(told, within=timedelta(seconds=60), what=f"an Event: {words}")

    def is_refused(self, name: str, words: str) -> None:
        """Wait until the account reads this of its claim, which gets no volume."""
        self.is_told(name, words)
        assert self.show(f"pvc/{name}", ".status.phase") == "Pending"


def snapshot(name: str, **source: str) -> dict[str, Any]:
    kind = {"apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshot"}
    return {**kind, "metadata": {"name": name}, "spec": {"source": source}}


def second_content(name: str, handle: str) -> dict[str, Any]:
    """Return what a run makes of the driver's snapshot, to read it in Holdfast's namespace."""
    spec = {
        "driver": places.DRIVER,
        "deletionPolicy": "Retain",
        "source": {"snapshotHandle": handle},
        "sourceVolumeMode": "Filesystem",
        "volumeSnapshotRef": {"namespace": HOME, "name": name},
    }
    kind = {"apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshotContent"}
    return {**kind, "metadata": {"name": name}, "spec": spec}


@pytest.fixture(scope="module")
def victim(cluster: S3Server) -> Iterator[Victim]:
    made = Victim(f"victim-{os.urandom(3).hex()}")
    made.settle()
    yield made
    kubectl("patch", f"pv/{made.kept}", "--type=merge", '--patch={"spec":{"persistentVolumeReclaimPolicy":"Delete"}}')
    kubectl("delete", f"volumesnapshotcontent/{made.content}", "--wait=false")
    kubectl("delete", "namespace", made.name, "--wait=false")


@pytest.fixture(scope="module")
def tenant(victim: Victim) -> Iterator[Tenant]:
    made = Tenant(f"tenant-{os.urandom(3).hex()}")
    made.settle()
    yield made
    kubectl("delete", "namespace", made.name, "--wait=false")


@pytest.fixture(autouse=True)
def no_loot(victim: Victim, tenant: Tenant) -> Iterator[None]:
    """Fail where the treasure is in a volume of the tenant's, or no more where its owner keeps it."""
    yield
    for item in json.loads(kubectl("get", "pv", "--output=json"))["items"]:
        if item["spec"].get("claimRef", {}).get("namespace") == tenant.name:
            found = places.directory(item["spec"]["csi"]["volumeHandle"])
            assert not [path for path in found.rglob("*") if path.is_file() and TREASURE in path.read_text()]
    assert TREASURE in (victim.volume("data") / "file").read_text()
    assert TREASURE in (victim.directory / "file").read_text()


def test_a_claim_that_names_anothers_history_waits(tenant: Tenant, victim: Victim) -> None:
    tenant.protect("thief", identity=f"{victim.name}/data")
    tenant.is_refused("thief", NOT_GRANTED % (tenant.name, victim.name))


def test_a_claim_that_is_given_anothers_history_later_writes_nothing_into_it(tenant: Tenant, victim: Victim) -> None:
    tenant.protect("writer")
    tenant.run("start", "touch /data/own", on="writer")
    asked = {"identity": f"{victim.name}/data", "backup-now": "1"}
    words = [f"holdfast.dev/{key}={value}" for key, value in asked.items()]
    assert tenant.ask("annotate", f"--namespace={tenant.name}", "pvc/writer", *words).returncode == 0

    tenant.is_told("writer", f"Not backed up: namespace {tenant.name} may not use the history of {victim.name}/data")
    holdfast("backup", f"{victim.name}/data")  # nobody else writes this history
    assert tenant.show("protection/writer", ".status.backup.lastID") == ""


def test_a_restore_of_anothers_history_waits(tenant: Tenant, victim: Victim) -> None:
    tenant.restore("by-name", identity=f"{victim.name}/data")
    tenant.is_refused("by-name", NOT_GRANTED % (tenant.name, victim.name))
    assert tenant.show("restore/by-name", ".status.reason") == "IdentityNotGranted"


def test_anothers_snapshot_is_not_found_by_its_id(tenant: Tenant, victim: Victim) -> None:
    tenant.restore("by-id", snapshot=victim.snapshot)
    tenant.is_refused("by-id", f"snapshot {victim.snapshot} is asked for, and there is no backup at all")
    tenant.protect("by-annotation", restore=victim.snapshot)
    tenant.is_refused("by-annotation", f"snapshot {victim.snapshot} is asked for")


def test_a_restore_of_another_namespace_is_not_reached(tenant: Tenant, victim: Victim) -> None:
    kind = {"apiVersion": "holdfast.dev/v1alpha1", "kind": "Restore"}
    manifest = {**kind, "metadata": {"name": "theirs"}, "spec": {"identity": f"{victim.name}/data"}}
    kubectl("apply", f"--namespace={victim.name}", "--filename=-", text=json.dumps(manifest))
    reference = {"apiGroup": "holdfast.dev", "kind": "Restore", "name": "theirs", "namespace": victim.name}
    tenant.apply(claim("theirs", dataSourceRef=reference))
    tenant.is_refused("theirs", f"there is no Restore {tenant.name}/theirs: create it")


def test_a_claim_dressed_as_one_of_holdfasts_moves_no_volume(tenant: Tenant, victim: Victim) -> None:
    made = claim("dressed", storageClassName="csi-retain", volumeName=victim.kept)
    made["metadata"] |= {
        "labels": {"app.kubernetes.io/managed-by": "holdfast", "app.kubernetes.io/component": "fill"},
        "annotations": {"holdfast.dev/claim": f"{tenant.name}/bait", "holdfast.dev/claim-uid": "x"},
    }
    tenant.apply(made)
    tenant.protect("bait")
    assert tenant.run("eat", "ls -A /data", on="bait") == ""
    policy = kubectl("get", f"pv/{victim.kept}", "--output=jsonpath={.spec.persistentVolumeReclaimPolicy}")
    assert policy == "Retain"
    tenant.is_refused("dressed", "already bound to a different claim")


def test_a_volume_that_another_claim_left_is_not_given_to_who_names_it(tenant: Tenant, victim: Victim) -> None:
    tenant.apply(claim("heir", storageClassName="csi-retain", volumeName=victim.kept))
    tenant.is_refused("heir", "already bound to a different claim")


def test_a_snapshot_of_anothers_volume_is_not_given_to_who_names_it(tenant: Tenant, victim: Victim) -> None:
    tenant.apply(snapshot("stolen", volumeSnapshotContentName=victim.content), who=TRUSTED)
    tenant.is_told("stolen", "is bound to a different snapshot")


def test_the_role_edit_leads_neither_to_our_objects_nor_into_our_namespace(tenant: Tenant, victim: Victim) -> None:
    here, ours = f"--namespace={tenant.name}", f"--namespace={HOME}"
    forged = json.dumps({"status": {"plan": {"identity": f"{victim.name}/data"}}})
    reader = kubectl("get", "pods", ours, "--selector=app.kubernetes.io/component=reader", "--output=name").split()[0]
    attempts = (
        ("delete", here, "protection/writer"),
        ("patch", here, "protection/writer", "--subresource=status", "--type=merge", f"--patch={forged}"),
        ("patch", "repository/default", "--type=merge", '--patch={"spec":{"grants":[]}}'),
        ("get", "secrets", ours),
        ("run", "spy", ours, f"--image={places.TOOLBOX_IMAGE}"),
        ("exec", ours, reader, "--", "env"),
        ("port-forward", ours, reader, "8080"),
        ("get", "volumesnapshotcontents"),
        ("patch", f"pv/{victim.kept}", "--type=merge", '--patch={"spec":{"claimRef":null}}'),
    )
    for attempt in attempts:
        answer = tenant.ask(*attempt)
        assert answer.returncode == 1, attempt
        assert "forbidden" in answer.stderr, (attempt, answer.stderr)


def test_the_role_view_reads_why_a_claim_waits_and_changes_nothing(tenant: Tenant, victim: Victim) -> None:
    here = f"--namespace={tenant.name}"
    kubectl("create", "serviceaccount", "viewer", here)
    kubectl("create", "rolebinding", "viewer", here, "--clusterrole=view", f"--serviceaccount={tenant.name}:viewer")
    seen = tenant.ask("get", "protections,restores", here, "--output=json", who="viewer")
    assert seen.returncode == 0, seen.stderr
    assert {each["kind"] for each in json.loads(seen.stdout)["items"]} == {"Protection", "Restore"}
    for attempt in (("delete", "restores", "--all"), ("delete", "protections", "--all")):
        assert "forbidden" in tenant.ask(*attempt, here, who="viewer").stderr, attempt


def test_a_reader_answers_nobody_without_its_token(tenant: Tenant) -> None:
    selector = f"--selector=app.kubernetes.io/component=reader,holdfast.dev/hash={names.digest('default')}"
    address = kubectl("get", "pods", f"--namespace={HOME}", selector, "--output=jsonpath={.items[0].status.podIP}")
    requests = (
        "GET /healthz HTTP/1.0\\r\\n",
        "GET /statistics HTTP/1.0\\r\\n",
        "POST /inventory HTTP/1.0\\r\\nAuthorization: Bearer 0000\\r\\nContent-Length: 0\\r\\n",
    )
    asked = [f"printf '{each}\\r\\n' | nc -w 10 {address} 8080 | head -n 1" for each in requests]
    answers = [line.split()[1] for line in tenant.say("; ".join(asked)).splitlines()]
    assert answers == ["200", "401", "401"]
