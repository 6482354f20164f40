"""The real cluster as the ground of behaviour tests: the operator in the test's process, under its rendered rights."""

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Final

import httpx2
import yaml

from holdfast.kube import objects
from holdfast.kube.client import Kube
from holdfast.model.settings import Settings
from holdfast.render import admission, install
from holdfast.render.repository import to_yaml
from holdfast.sandbox.faults import Fault, FaultKind, Faults, refusal
from holdfast.sandbox.store.messages import Request
from tests.cluster import places, processes
from tests.cluster.kubectl import ask, kubectl
from tests.e2e import victims
from tests.e2e.town import HOME, apply, end_namespace
from tests.support.town import Ground, MovableClock, directory_of

# As the sandbox calls them. The driver without snapshots: the sandbox has none either.
CLASSES: Final = {
    "standard": (places.PLAIN_DRIVER, "WaitForFirstConsumer"),
    "immediate": (places.PLAIN_DRIVER, "Immediate"),
    "ignores-sources": ("rancher.io/local-path", "WaitForFirstConsumer"),
}
CLUSTERS_OWN: Final = ("default", "kube-node-lease", "kube-public", "kube-system", "local-path-storage")
PATIENCE: Final = timedelta(seconds=60)


@dataclass(kw_only=True)
class RealCluster:
    """The cluster of `make cluster`; faults strike the operator's requests before they leave."""

    directory: Path
    settings: Settings
    faults: Faults = field(default_factory=Faults)
    kubeconfig: Path = places.KUBECONFIG

    def arm(self) -> None:
        """Have our kinds and the policies of these settings, and wait until they are at work."""
        for name, (provisioner, mode) in CLASSES.items():
            kind = {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": name}}
            apply(json.dumps({**kind, "provisioner": provisioner, "volumeBindingMode": mode}))
        apply(to_yaml(admission.manifests(self.settings.rule)))
        processes.until(lambda: all(self._holds(each) for each in CLASSES), within=PATIENCE, what="the policies")

    @contextlib.contextmanager
    def unarmed(self) -> Iterator[None]:
        """Take the policies away meanwhile."""
        for manifest in admission.policies(self.settings.rule):
            kubectl("delete", f"{manifest['kind']}/{manifest['metadata']['name']}")
        processes.until(lambda: not any(map(self._holds, CLASSES)), within=PATIENCE, what="the end of the policies")
        try:
            yield
        finally:
            self.arm()

    def _holds(self, storage_class: str) -> bool:
        claim = {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": "tried", "namespace": "default", "labels": {"backup": "manual"}},
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": "1Mi"}},
                "storageClassName": storage_class,
            },
        }
        done = ask("create", "--dry-run=server", "--output=json", "--filename=-", text=json.dumps(claim))
        spec = json.loads(done.stdout)["spec"] if done.returncode == 0 else {}
        return ("volumeName" if storage_class in self.settings.by_name else "dataSourceRef") in spec

    def connect(self) -> Kube:
        """Return a connection with the operator's rendered rights."""
        manifests = (install.namespace(self.settings), *install.rights(self.settings))
        apply("\n---\n".join(map(json.dumps, manifests)))
        token = kubectl("create", "token", install.OPERATOR, f"--namespace={HOME}", "--duration=2h").strip()
        admins = yaml.safe_load(self.kubeconfig.read_text())
        (user,) = admins["users"]
        user["user"] = {"token": token}
        path = self.directory / "operator.kubeconfig"
        path.touch(mode=0o600)
        path.write_text(json.dumps(admins))
        return Kube.connect(path, namespace=HOME, trust_env=False, transport=Faulty(self.faults))

    def pod_pid(self, namespace: str, name: str) -> int | None:
        """Return the process of Holdfast in a pod; None while there is none."""
        uid = ask("get", "pod", name, f"--namespace={namespace}", "--output=jsonpath={.metadata.uid}").stdout
        return next(iter(victims.in_pods([uid])), None) if uid else None

    def lose_everything(self) -> None:
        """Lose every object that a test or Holdfast has made, and every volume."""
        listed = kubectl("get", "namespaces", "--output=jsonpath={.items[*].metadata.name}").split()
        lost = [each for each in listed if each not in CLUSTERS_OWN]
        with ThreadPoolExecutor() as hands:  # each takes its cluster 5 s
            list(hands.map(_lose_namespace, lost))
        for kind in ("protections", "restores", "repositories"):
            kubectl("delete", f"{kind}.holdfast.dev", "--all", "--all-namespaces", "--timeout=60s")
        processes.until(_has_no_volumes, within=PATIENCE, what="the end of all volumes")


def _lose_namespace(name: str) -> None:
    _let_go_of_claims(name)
    end_namespace(name)


def _let_go_of_claims(namespace: str) -> None:
    """Take away the finalizers by which a test has held claims; Kubernetes' own stay."""
    for each in json.loads(kubectl("get", "pvc", f"--namespace={namespace}", "--output=json"))["items"]:
        kept = [name for name in each["metadata"].get("finalizers", ()) if not name.startswith("example.com/")]
        patch = f"--patch={json.dumps({'metadata': {'finalizers': kept}})}"
        ask("patch", f"pvc/{each['metadata']['name']}", f"--namespace={namespace}", "--type=merge", patch)


def _has_no_volumes() -> bool:
    """Say whether all volumes have gone; those that no provisioner has made are deleted, and none is kept."""
    found = json.loads(kubectl("get", "persistentvolumes", "--output=json"))["items"]
    for each in found:
        name = each["metadata"]["name"]
        if "pv.kubernetes.io/provisioned-by" not in each["metadata"].get("annotations", {}):
            ask("delete", f"pv/{name}", "--wait=false")
        elif each["spec"]["persistentVolumeReclaimPolicy"] != "Delete":
            patch = {"spec": {"persistentVolumeReclaimPolicy": "Delete"}}
            ask("patch", f"pv/{name}", "--type=merge", f"--patch={json.dumps(patch)}")
    return not found


def bytes_of(volume: objects.PersistentVolume) -> Path:
    """Return where the bytes of a volume of a test driver or of local-path are."""
    if volume.spec.csi is None:
        return directory_of(volume)
    return places.directory(volume.spec.csi["volumeHandle"])


@contextlib.asynccontextmanager
async def on_cluster(directory: Path, settings: Settings, clock: MovableClock) -> AsyncIterator[Ground]:
    """Yield the real cluster, as empty as a new one."""
    found = RealCluster(directory=directory, settings=replace(settings, namespace=HOME, image=places.HOLDFAST_IMAGE))
    await asyncio.to_thread(found.arm)
    await asyncio.to_thread(found.lose_everything)
    try:
        yield Ground(
            cluster=found,
            settings=found.settings,
            as_operator=found.connect,
            image=places.TOOLBOX_IMAGE,
            unarmed=found.unarmed,
            bytes_of=bytes_of,
            admit=lambda manifest: apply(json.dumps(manifest)),
        )
    finally:
        await asyncio.to_thread(found.lose_everything)


class Faulty(httpx2.AsyncBaseTransport):
    """The way to the API server, on which what a test asked for happens."""

    def __init__(self, faults: Faults) -> None:
        authority = ssl.create_default_context(cafile=places.KEYS / "authority.crt")
        self._faults, self._way = faults, httpx2.AsyncHTTPTransport(verify=authority)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        target = request.url.raw_path.decode()
        fault = self._faults.take(Request.read(request.method, target, {}, b""))
        if fault is None:
            return await self._way.handle_async_request(request)
        return self._struck(fault, request)

    def _struck(self, fault: Fault, request: httpx2.Request) -> httpx2.Response:
        if fault.kind is FaultKind.REFUSE:
            raise httpx2.ConnectError("refused", request=request)
        refused = refusal(fault.kind)
        assert refused is not None, f"no test asks for {fault.kind} on a real cluster"
        return httpx2.Response(refused.code, json=refused.status(), request=request)

    async def aclose(self) -> None:
        await self._way.aclose()
