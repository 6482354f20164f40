"""A second node: an object that the scheduler and the provisioners take for real, with no kubelet behind it."""

import contextlib
import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

from tests.cluster import places
from tests.cluster.kubectl import kubectl

BEAT_SECONDS: Final = 5.0
LEASES: Final = "kube-node-lease"


class SecondNode:
    """A node that stays ready as long as its heart beats, and is lost to the cluster 50 s after that."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._silent = threading.Event()
        self._heart = threading.Thread(target=self._beat, daemon=True)

    def join(self) -> None:
        """Make the objects that a kubelet would make, and begin to beat."""
        labels = {"kubernetes.io/hostname": self.name, f"{places.DRIVER}/node": self.name}
        driver = {"name": places.DRIVER, "nodeID": self.name, "topologyKeys": [f"{places.DRIVER}/node"]}
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": self.name, "labels": labels}}
        drivers = {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "CSINode",
            "metadata": {"name": self.name},
            "spec": {"drivers": [driver]},
        }
        _apply(node, drivers, self._lease())
        room = {"cpu": "4", "memory": "8Gi", "ephemeral-storage": "20Gi", "pods": "110"}
        ready = {"type": "Ready", "status": "True", "reason": "Beats", "message": "as a kubelet would say"}
        status = {"capacity": room, "allocatable": room, "conditions": [ready]}
        kubectl("patch", "node", self.name, "--subresource=status", f"--patch={json.dumps({'status': status})}")
        self._heart.start()

    def fall_silent(self) -> None:
        """Stop the heart, as a node does that has lost its power."""
        self._silent.set()
        self._heart.join()

    def leave(self) -> None:
        self.fall_silent()
        kubectl("delete", f"node/{self.name}", f"csinode/{self.name}", "--ignore-not-found")
        kubectl("delete", "lease", self.name, f"--namespace={LEASES}", "--ignore-not-found")

    def _beat(self) -> None:
        while not self._silent.wait(BEAT_SECONDS):
            _apply(self._lease())

    def _lease(self) -> dict[str, Any]:
        now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": self.name, "namespace": LEASES},
            "spec": {"holderIdentity": self.name, "leaseDurationSeconds": 40, "renewTime": now},
        }


@contextlib.contextmanager
def second_node(name: str = "holdfast-e2e-second") -> Iterator[SecondNode]:
    """Have a second node while the block runs."""
    node = SecondNode(name)
    node.join()
    try:
        yield node
    finally:
        node.leave()


def _apply(*manifests: dict[str, Any]) -> None:
    kubectl(
        "apply", "--server-side", "--force-conflicts", "--filename=-", text="\n---\n".join(map(json.dumps, manifests))
    )
