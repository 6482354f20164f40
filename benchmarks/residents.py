"""How much memory the operator needs for many protected claims, as its own process in a sandbox.

python -m benchmarks.residents --claims 1000
"""

import argparse
import asyncio
import os
import tempfile
import time
from pathlib import Path

from holdfast.assemble import laptop
from holdfast.kube import objects
from holdfast.kube.client import Kube
from holdfast.model.settings import Settings
from holdfast.render import install
from holdfast.sandbox.cluster import Cluster
from tests.support.town import APPS


def resident(pid: int) -> float:
    """Return a process's resident memory in MiB."""
    line = next(each for each in Path(f"/proc/{pid}/status").read_text().splitlines() if each.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def cpu_seconds(pid: int) -> float:
    """Return the processor time that a process has used."""
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


async def operator_pid(cluster: Cluster, kube: Kube, namespace: str) -> int:
    """Return the operator's process, once it runs."""
    while True:
        for pod in await kube.list(objects.PODS, namespace):
            pid = cluster.pod_pid(namespace, pod.metadata.name)
            if pod.metadata.name.startswith(install.OPERATOR) and pid is not None:
                return pid
        await asyncio.sleep(0.1)


async def measure(count: int, base: Path) -> None:
    """Create the claims and wait until each has its Protection."""
    (base / "repository").mkdir()
    settings = Settings()
    async with laptop.sandbox_with_operator(base / "cluster", settings) as (cluster, kube):
        await kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": APPS}})
        secret = {"metadata": {"name": "s", "namespace": settings.namespace}, "stringData": {"HOLDFAST_PASSWORD": "x"}}
        await kube.create({"apiVersion": "v1", "kind": "Secret", **secret})
        spec = {
            "engine": "memory",
            "storage": {"filesystem": {"hostPath": str(base / "repository")}},
            "credentials": {"secretRef": {"name": "s"}},
            "initializeUntil": "2999-01-01T00:00:00Z",
        }
        await kube.create(
            {"apiVersion": "holdfast.dev/v1alpha1", "kind": "Repository", "metadata": {"name": "default"}, "spec": spec}
        )
        pid = await operator_pid(cluster, kube, settings.namespace)
        await asyncio.sleep(5)
        print(f"operator with no claim: {resident(pid):.0f} MiB")
        start = time.monotonic()
        for number in range(count):
            meta = {"name": f"claim-{number:05}", "namespace": APPS, "labels": {"backup": "daily"}}
            claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
            await kube.create({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": meta, "spec": claim})
        while True:
            known = await kube.list(objects.PROTECTIONS)
            if len(known) == count and all((each.status or {}).get("restore") for each in known):
                break
            print(f"  {len(known)} in the ledger, operator {resident(pid):.0f} MiB", flush=True)
            await asyncio.sleep(10)
        print(f"{count} claims created, decided and in the ledger after {time.monotonic() - start:.0f} s")
        print(f"operator with {count} claims: {resident(pid):.0f} MiB")
        before = cpu_seconds(pid)
        await asyncio.sleep(30)
        print(f"30 s later: {resident(pid):.0f} MiB, {cpu_seconds(pid) - before:.2f} s of CPU meanwhile")


async def main() -> None:
    """Read the command line and measure."""
    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reader.add_argument("--claims", type=int, default=1000)
    asked = reader.parse_args()
    with tempfile.TemporaryDirectory(prefix="holdfast-residents-") as base:
        await measure(asked.claims, Path(base))


if __name__ == "__main__":
    asyncio.run(main())
