"""The daemons of storage: the CSI driver of the tests with its sidecars, twice, and local-path."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tests.cluster import places
from tests.cluster.processes import Daemon
from tools import programs

DISK_BYTES: Final = 32 * 2**30
# What is published as files of Go modules that tools/kubernetes pins, and used as it is.
SPECIFICATION: Final = "github.com/container-storage-interface/spec"
KUBELET_API: Final = "k8s.io/kubelet"
SNAPSHOT_KINDS: Final = "github.com/kubernetes-csi/external-snapshotter/client/v8"


def snapshot_kinds() -> Path:
    """Return the directory of the definitions of VolumeSnapshot and its relatives."""
    return module_directory(SNAPSHOT_KINDS) / "config" / "crd"


def write_protocols() -> None:
    """Put the .proto files that the driver speaks where it finds them."""
    places.PROTOCOLS.mkdir()
    for file in (
        module_directory(SPECIFICATION) / "csi.proto",
        module_directory(KUBELET_API) / "pkg" / "apis" / "pluginregistration" / "v1" / "api.proto",
    ):
        (places.PROTOCOLS / file.name).write_bytes(file.read_bytes())


def share_blocks(say: Callable[[str], None]) -> None:
    """Mount a file system for volumes in which a copy shares blocks; without it each snapshot copies its bytes."""
    places.VOLUMES.mkdir()
    disk = places.STATE / "volumes.xfs"
    with disk.open("xb") as file:
        file.truncate(min(DISK_BYTES, shutil.disk_usage(places.STATE).free))  # takes space as it is written to
    for argv in (("mkfs.xfs", "-q", str(disk)), ("mount", "-o", "loop", str(disk), str(places.VOLUMES))):
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            say(f"snapshots will copy bytes: {' '.join(done.stderr.split())}")
            return


def driver(name: str, *, snapshots: bool) -> Daemon:
    argv = (
        *(sys.executable, "-m", "tests.cluster.csi.driver"),
        *("--name", name, "--node", places.NODE, "--protocols", str(places.PROTOCOLS)),
        *("--state", str(places.VOLUMES / name), "--socket", str(places.driver_socket(name))),
        *("--registry", str(places.KUBELET / "plugins_registry")),
    )
    environment = {"PYTHONPATH": str(places.CHECKOUT), "PYTHONUNBUFFERED": "1"}
    more = () if snapshots else ("--without-snapshots",)
    return Daemon(name=f"driver-{_short(name)}", argv=(*argv, *more), environment=environment)


def provisioner(name: str) -> Daemon:
    argv = _sidecar("csi-provisioner", name, "--feature-gates=Topology=true", "--extra-create-metadata", "-v=4")
    return Daemon(name=f"provisioner-{_short(name)}", argv=argv, environment={"NODE_NAME": places.NODE})


def snapshotter(name: str) -> Daemon:
    return Daemon(name=f"snapshotter-{_short(name)}", argv=_sidecar("csi-snapshotter", name, "-v=4"))


def snapshot_controller() -> Daemon:
    argv = (str(places.PROGRAMS / "snapshot-controller"), f"--kubeconfig={places.KUBECONFIG}", "-v=4")
    return Daemon(name="snapshot-controller", argv=argv)


def local_path() -> Daemon:
    """Return the provisioner of local-path volumes; its settings are in the cluster too, for its helper pods."""
    settings = places.STATE / "local-path.json"
    settings.write_text(local_path_settings())
    options = {
        "config": settings,
        "kubeconfig": places.KUBECONFIG,
        "namespace": "local-path-storage",
        "helper-image": places.TOOLBOX_IMAGE,
        "helper-pod-file": places.MANIFESTS / "local-path-pod.yaml",
        "configmap-name": "local-path-config",
    }
    flags = tuple(part for name, value in options.items() for part in (f"--{name}", str(value)))
    return Daemon(name="local-path", argv=(str(places.PROGRAMS / "local-path-provisioner"), "start", *flags))


def local_path_settings() -> str:
    node = {"node": "DEFAULT_PATH_FOR_NON_LISTED_NODES", "paths": [str(places.STATE / "local-path")]}
    return json.dumps({"nodePathMap": [node]})


def _sidecar(program: str, driver_name: str, *flags: str) -> tuple[str, ...]:
    address = f"--csi-address={places.driver_socket(driver_name)}"
    # A volume of gigabytes from a snapshot is a copy of them.
    return (str(places.PROGRAMS / program), f"--kubeconfig={places.KUBECONFIG}", address, "--timeout=60s", *flags)


def _short(driver_name: str) -> str:
    return driver_name.partition(".")[0]


def module_directory(module: str) -> Path:
    """Return where the files of a Go module are, of the version that tools/kubernetes pins; fetched if need be."""
    return programs.module_directory("kubernetes", module)
