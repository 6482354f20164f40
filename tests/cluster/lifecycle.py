"""Starting the cluster and taking it away. There is one way down, and it does not care what still works."""

import contextlib
import os
import socket
import subprocess
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Final

from tests.cluster import machine, places, processes
from tests.cluster.trouble import ClusterError

Say = Callable[[str], None]

_START: Final = timedelta(seconds=120)
# These end last, in this order: an API server with clients drains them for as long as it is let.
_LAST: Final = (("containerd", "apiserver"), ("etcd",))


@contextlib.contextmanager
def locked() -> Iterator[None]:
    """Be the only one on this machine who starts or ends a cluster; raise ClusterError when another does."""
    with socket.socket(socket.AF_UNIX) as lock:
        try:
            lock.bind(places.LOCK)
        except OSError:
            raise ClusterError("another process is starting or ending the cluster of this machine") from None
        yield


def refuse_anothers() -> None:
    """Raise ClusterError when the cluster of this machine belongs to another checkout that is still there."""
    for owner in processes.checkouts() - {str(places.CHECKOUT)}:
        if Path(owner).exists():
            raise ClusterError(f"the cluster of {owner} runs on this machine; `make cluster-down` there ends it")


def is_up() -> bool:
    """Say whether the whole cluster runs."""
    return (places.RUN / "ready").exists() and not processes.ended()


def up(say: Say) -> None:
    """Start a cluster, or say that it runs; what is left of an earlier one is taken away first."""
    from tests.cluster import control, images, requirements, storage
    from tests.cluster.kubectl import ask, kubectl

    refuse_anothers()
    if is_up():
        say("the cluster runs already")
        return
    if places.RECORD.exists():
        say("an earlier cluster did not end well: taking it away")
        if left := down(say):
            raise ClusterError("\n  ".join(("An earlier cluster cannot be taken away whole.", *left)))
    if problems := [*requirements.problems(), *requirements.unbuilt()]:
        raise ClusterError("A cluster cannot run here.\n" + "\n".join(f"  - {each}" for each in problems))
    machine.record()
    for directory in (places.STATE, places.RUN, places.KUBELET):
        directory.mkdir(parents=True)
    control.write_keys()
    _make_bridge()
    for daemon in (control.etcd(), control.containerd(), control.apiserver()):
        processes.start(daemon)
    storage.write_protocols()
    storage.share_blocks(say)
    for name, snapshots in ((places.DRIVER, True), (places.PLAIN_DRIVER, False)):
        processes.start(storage.driver(name, snapshots=snapshots))
    images.bring_toolbox()
    images.bring_holdfast()
    say("images are in place")
    processes.until(lambda: ask("get", "--raw", "/readyz").returncode == 0, within=_START, what="the API server")
    say("the API server answers")
    for daemon in (control.controller_manager(), control.scheduler(), control.kubelet(), control.proxy()):
        processes.start(daemon)
    definitions = sorted(storage.snapshot_kinds().glob("snapshot.*.yaml"))
    kubectl("apply", "--server-side", *(f"--filename={path}" for path in definitions))
    kubectl("wait", "--for=condition=Established", "customresourcedefinitions", "--all", "--timeout=60s")
    for file in ("storage.yaml", "local-path.yaml"):
        kubectl("apply", "--server-side", f"--filename={places.MANIFESTS / file}")
    _write_local_path_settings()
    for daemon in (
        storage.provisioner(places.DRIVER),
        storage.provisioner(places.PLAIN_DRIVER),
        storage.snapshotter(places.DRIVER),
        storage.snapshot_controller(),
        storage.local_path(),
    ):
        processes.start(daemon)
    processes.until(_is_ready, within=_START, what="the node, its drivers and the first service account")
    (places.RUN / "ready").touch()


def _is_ready() -> bool:
    from tests.cluster.kubectl import ask

    def shown(*arguments: str) -> str:
        return ask("get", *arguments).stdout

    drivers = shown("csinode", places.NODE, "--output=jsonpath={.spec.drivers[*].name}")
    ready = '--output=jsonpath={.status.conditions[?(@.type=="Ready")].status}'
    return (
        {places.DRIVER, places.PLAIN_DRIVER} <= set(drivers.split())
        and shown("node", places.NODE, ready) == "True"
        and "default" in shown("serviceaccount", "--output=name")
    )


def _make_bridge() -> None:
    """Make the bridge of all pods: the node's address is on it. A made-up MAC keeps it from changing with each pod."""
    prefix = places.POD_NETWORK.partition("/")[2]
    for command in (
        f"link add {places.BRIDGE} address {places.BRIDGE_MAC} type bridge",
        f"address add {places.NODE_ADDRESS}/{prefix} dev {places.BRIDGE}",
        f"link set {places.BRIDGE} up",
    ):
        subprocess.run(("ip", *command.split()), check=True)


def _write_local_path_settings() -> None:
    from tests.cluster import storage
    from tests.cluster.kubectl import kubectl

    content = {
        "config.json": storage.local_path_settings(),
        "helperPod.yaml": (places.MANIFESTS / "local-path-pod.yaml").read_text(),
        "setup": '#!/bin/sh\nset -eu\nmkdir -m 0777 -p "$VOL_DIR"\n',
        "teardown": '#!/bin/sh\nset -eu\nrm -rf "$VOL_DIR"\n',
    }
    literals = (f"--from-literal={name}={text}" for name, text in content.items())
    kubectl("create", "configmap", "local-path-config", "--namespace=local-path-storage", *literals)


def down(say: Say) -> Sequence[str]:
    """Take the cluster away, also one that has crashed; return what is left of it on the machine, or [] if nothing."""
    refuse_anothers()
    before = machine.recorded()
    if before is None:
        say("there is no cluster")
        return []
    first = set(processes.names()).difference(*_LAST)
    for group in (first, *_LAST):
        processes.end(group, grace=timedelta(seconds=10))
    processes.kill_all()
    machine.clean(before)
    left = machine.differences(before)
    if not left:
        places.RECORD.unlink()
    return left


def status() -> Sequence[str]:
    """Return one line for each daemon."""
    ended = processes.ended()
    return [f"{name}: {'has ended' if name in ended else 'runs'}" for name in processes.names()]


def environment() -> dict[str, str]:
    """Return the environment in which programs use the cluster."""
    path = os.pathsep.join((str(places.PROGRAMS), os.environ.get("PATH", "")))
    return {**os.environ, "KUBECONFIG": str(places.KUBECONFIG), "HOLDFAST_E2E": "1", "PATH": path}
