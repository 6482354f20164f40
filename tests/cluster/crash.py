"""Lets a cluster crash while a pod uses a volume: `python -m tests.cluster run python -m tests.cluster.crash`.

What matters comes after it: the cluster's end must leave the machine as it was.
"""

import json
from typing import Final

from tests.cluster import places, processes
from tests.cluster.kubectl import kubectl

KILLED: Final = ("apiserver", "kubelet", "containerd", "driver-directory", "etcd")


def main() -> None:
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "held"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "10Mi"}}},
    }
    container = {
        "name": "main",
        "image": places.TOOLBOX_IMAGE,
        "ports": [{"containerPort": 80, "hostPort": 18080}],  # which makes rules in the machine's own tables
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    }
    volume = {"name": "data", "persistentVolumeClaim": {"claimName": "held"}}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "holder"},
        "spec": {"containers": [container], "volumes": [volume]},
    }
    for manifest in (claim, pod):
        kubectl("apply", "--filename=-", text=json.dumps(manifest))
    kubectl("wait", "--for=condition=Ready", "pod/holder", "--timeout=60s")
    for name in KILLED:
        processes.kill(name)


if __name__ == "__main__":
    main()
