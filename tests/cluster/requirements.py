"""Why a cluster cannot run here: everything is looked at before anything is started."""

import os
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from tests.cluster import machine, places

DISK_MEGABYTES: Final = 6000
MEMORY_MEGABYTES: Final = 2000
# By Debian package, what is used of it.
SYSTEM_PROGRAMS: Final = {
    "containerd": "containerd",
    "runc": "runc",
    "containernetworking-plugins": str(places.CNI_PROGRAMS / "bridge"),
    "iptables": "iptables-restore",
    "nftables": "nft",
    "iproute2": "ip",
    "conntrack": "conntrack",
    "socat": "socat",
    "busybox-static": "busybox",
    "xfsprogs": "mkfs.xfs",
}
BUILT_PROGRAMS: Final = (
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kube-proxy",
    "kubelet",
    "kubectl",
    "csi-provisioner",
    "csi-snapshotter",
    "snapshot-controller",
    "local-path-provisioner",
)
CAPABILITIES: Final = {
    "CAP_DAC_OVERRIDE": 1,
    "CAP_KILL": 5,
    "CAP_NET_ADMIN": 12,
    "CAP_NET_RAW": 13,
    "CAP_SYS_CHROOT": 18,
    "CAP_SYS_PTRACE": 19,
    "CAP_SYS_ADMIN": 21,
    "CAP_MKNOD": 27,
}
CONTROLLERS: Final = ("cpu", "memory", "pids")


def problems() -> Sequence[str]:
    """Return what is in the way on this machine, each with what to do; nothing is changed by asking."""
    if os.uname().sysname != "Linux":
        return ["Pods need Linux, and this is " + os.uname().sysname + ". Use a Linux machine or a virtual one."]
    if os.geteuid() != 0:
        return ["It must run as root, on a machine (or a virtual or privileged one) of its own: sudo make cluster"]
    return [*_capabilities(), *_programs(), *_space(), *_cgroups(), *_kernel(), *_others()]


def unbuilt() -> Sequence[str]:
    """Return what must be built before."""
    missing = [name for name in BUILT_PROGRAMS if not (places.PROGRAMS / name).exists()]
    return [f"{', '.join(missing)}: not built yet; `make cluster` does it."] if missing else []


def _capabilities() -> Iterator[str]:
    status = Path("/proc/self/status").read_text()
    held = int(re.findall(r"^CapEff:\s*(\w+)$", status, re.MULTILINE)[0], 16)
    lacking = [name for name, bit in CAPABILITIES.items() if not held >> bit & 1]
    if lacking:
        yield f"This root lacks {', '.join(lacking)}: the container around it must be a privileged one."


def _programs() -> Iterator[str]:
    missing = [package for package, program in SYSTEM_PROGRAMS.items() if shutil.which(program) is None]
    if missing:
        yield f"Programs are missing: apt-get install --no-install-recommends {' '.join(missing)}"


def _space() -> Iterator[str]:
    free = shutil.disk_usage(places.STATE.parent).free // 2**20
    if free < DISK_MEGABYTES:
        yield f"{places.STATE.parent} has {free} MiB free; {DISK_MEGABYTES} are needed."
    available = re.findall(r"^MemAvailable:\s*(\d+) kB$", Path("/proc/meminfo").read_text(), re.MULTILINE)
    if available and int(available[0]) // 2**10 < MEMORY_MEGABYTES:
        yield f"{int(available[0]) // 2**10} MiB of memory are available; {MEMORY_MEGABYTES} are needed."


def _cgroups() -> Iterator[str]:
    unified = machine.CGROUPS / "cgroup.controllers"
    if unified.exists():
        available = unified.read_text().split()
        places_to_try = [machine.CGROUPS]
    else:
        available = [path.name for path in machine.CGROUPS.glob("*")]
        places_to_try = [machine.CGROUPS / name for name in CONTROLLERS if name in available]
    lacking = [name for name in CONTROLLERS if name not in available]
    if lacking:
        yield f"cgroup controllers are missing below {machine.CGROUPS}: {', '.join(lacking)}. The kernel needs them on."
    for path in places_to_try:
        probe = path / "holdfast-e2e-probe"
        try:
            probe.mkdir()
            probe.rmdir()
        except OSError as error:
            yield f"No cgroup can be made in {path} ({error.strerror}): mount it writable."


def _kernel() -> Iterator[str]:
    if "\toverlay\n" not in Path("/proc/filesystems").read_text():
        yield "The kernel has no overlay file system: modprobe overlay"
    answer = subprocess.run(("nft", "list", "tables"), capture_output=True, text=True, check=False)
    if shutil.which("nft") and answer.returncode != 0:
        yield f"nftables cannot be used: {answer.stderr.strip() or 'modprobe nf_tables'}"


def _others() -> Iterator[str]:
    if machine.pods_are_here():
        yield f"Pods of another Kubernetes run here (cgroup {machine.PODS}): a machine has room for one kubelet."
    if places.POD_NETWORK.removesuffix("0.0/16") in Path("/proc/net/fib_trie").read_text():
        yield f"{places.POD_NETWORK} is in use on this machine."
    for port in places.LOOPBACK_PORTS:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                yield f"Port {port} of 127.0.0.1 is taken: `ss -ltnp sport = {port}` says by whom."
