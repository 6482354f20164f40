"""What a cluster leaves on a machine: recorded before it starts, undone and compared after it has gone."""

import contextlib
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from tests.cluster import places, processes

Facts = frozenset[str]

CGROUPS: Final = Path("/sys/fs/cgroup")
PODS: Final = "kubepods"  # kubelet's root of all pods, in each hierarchy
SYSCTLS: Final = Path("/proc/sys")
# kubelet, containerd, mount and the network plugins write these whatever their configuration says.
SHARED: Final = (
    Path("/var/lib/kubelet"),
    Path("/var/lib/cni"),
    Path("/var/log/containers"),
    Path("/var/log/pods"),
    Path("/run/containerd"),
    Path("/run/netns"),
    Path("/run/mount"),
    Path("/etc/cni"),
    Path("/opt/cni"),
    Path("/opt/containerd"),
    Path("/usr/libexec/kubernetes"),
    places.STATE,
    places.RUN,
)
# What kubelet and the network plugins set; ip_forward comes last, since it resets what it implies.
CHANGED_SYSCTLS: Final = (
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
    "net/ipv4/conf/all/route_localnet",
    "net/ipv4/ip_forward",
)
# Mounts that come and go with people who log in and with other container engines.
_OF_OTHERS: Final = re.compile(r"/run/user/|/run/credentials/|/run/docker/|/var/lib/docker/|/tmp/")
_CHAIN_OF_OURS: Final = re.compile(r"\b(KUBE|CNI)-")


def facts() -> Facts:
    """Return the machine as far as a cluster could change it, one line for each fact."""
    return frozenset((*_mounts(), *_loops(), *_links(), *_tables(), *_cgroups(), *_sysctls(), *_files()))


def record() -> None:
    """Write down how the machine is; a record that is there stays, since it is older."""
    if not places.RECORD.exists():
        before = sorted(facts())
        unfinished = places.RECORD.with_suffix(".new")
        unfinished.write_text(json.dumps(before, indent=0))
        unfinished.replace(places.RECORD)


def recorded() -> Facts | None:
    try:
        return frozenset(json.loads(places.RECORD.read_text()))
    except FileNotFoundError:
        return None


def differences(before: Facts) -> Sequence[str]:
    """Return what is on the machine and was not, or was and is not."""
    now = facts()
    return [f"new: {fact}" for fact in sorted(now - before)] + [f"gone: {fact}" for fact in sorted(before - now)]


def clean(before: Facts) -> None:
    """Undo all that a cluster did to the machine; its daemons must have ended."""
    _kill_pods()
    _unmount()
    _remove_network(before)
    _remove_cgroups()
    _restore_sysctls(before)
    _remove_files(before)


def pods_are_here() -> bool:
    """Say whether there are pods of some kubelet on this machine."""
    return any(_pod_cgroups())


# Facts


def _mount_points() -> Sequence[str]:
    """Return the mount points, in the order in which they were made."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [re.sub(r"\\(\d{3})", lambda found: chr(int(found[1], 8)), line.split()[4]) for line in lines]


def _mounts() -> Iterator[str]:
    return (f"mount {point}" for point in _mount_points() if not _OF_OTHERS.match(point))


def _loops() -> Iterator[str]:
    """Yield the files that stand for disks."""
    return (f"loop {each.read_text().strip()}" for each in Path("/sys/block").glob("loop*/loop/backing_file"))


def _links() -> Iterator[str]:
    return (f"link {name}" for name in os.listdir("/sys/class/net"))  # noqa: PTH208


def _tables() -> Iterator[str]:
    """Yield every table, chain and rule of nftables with what it is in."""
    within: list[str] = []
    for line in _output("nft", "--stateless", "list", "ruleset").splitlines():
        text = line.strip()
        if text == "}":
            within.pop()
        elif text:
            yield " > ".join(("nft", *within, text.removesuffix(" {")))
            if text.endswith("{"):
                within.append(text.removesuffix(" {"))


def _pod_cgroups() -> Iterator[Path]:
    """Yield the cgroups of pods, those inside another before it."""
    for directory, _, _ in os.walk(CGROUPS, topdown=False):
        if PODS in directory:
            yield Path(directory)


def _cgroups() -> Iterator[str]:
    return (f"cgroup {path.relative_to(CGROUPS)}" for path in _pod_cgroups())


def _sysctls() -> Iterator[str]:
    for name in CHANGED_SYSCTLS:
        with contextlib.suppress(OSError):
            yield f"sysctl {name}={(SYSCTLS / name).read_text().strip()}"
    for family in ("ipv4", "ipv6"):
        for path in sorted((SYSCTLS / "net" / family / "conf").glob("*/*")):
            with contextlib.suppress(OSError):
                yield f"sysctl {path.relative_to(SYSCTLS)}={path.read_text().strip()}"


def _files() -> Iterator[str]:
    """Yield what lies in the shared directories, two levels deep."""
    for top in SHARED:
        if top.exists():
            yield f"file {top}"
            for path in (*top.glob("*"), *top.glob("*/*")):
                yield f"file {path}"


# Undoing


def _kill_pods() -> None:
    """Kill every process in a pod; at the next look, those that it started meanwhile."""
    for _ in range(50):
        pids = {int(pid) for path in _pod_cgroups() for pid in (path / "cgroup.procs").read_text().split()}
        if not pids:
            return
        processes.kill_pids(pids, ours=lambda pid: PODS in Path(f"/proc/{pid}/cgroup").read_text())


def _unmount() -> None:
    """Unmount what is below our directories, the youngest first, and the network namespaces of pods."""
    ours = (f"{places.STATE}/", f"{places.RUN}/", "/run/netns/cni-", "/run/containerd/")
    for point in reversed(_mount_points()):
        if point.startswith(ours) and _run("umount", point) != 0:
            _run("umount", "--lazy", point)
    for name in Path("/run/netns").glob("cni-*"):
        name.unlink(missing_ok=True)


def _remove_network(before: Facts) -> None:
    if Path("/sys/class/net", places.BRIDGE).exists():
        _run("ip", "link", "delete", places.BRIDGE)
    for family in ("ip", "ip6"):
        _run("nft", "delete", "table", family, "kube-proxy")
    for program in ("iptables", "ip6tables"):
        for table in ("nat", "filter", "mangle"):
            _remove_chains(program, table)
    for line in _output("nft", "list", "tables").splitlines():
        _, family, name = line.split()
        if f"nft > {line}" not in before and not _has_rules(family, name):
            _run("nft", "delete", "table", family, name)


def _remove_chains(program: str, table: str) -> None:
    """Remove the chains of kubelet and the network plugins, and the jumps to them."""
    family = "ip" if program == "iptables" else "ip6"
    if f"table {family} {table}" not in _output("nft", "list", "tables"):
        return  # asking iptables would make it
    rules = _output(program, "--wait", "--table", table, "--list-rules").splitlines()
    chains = [rule.split()[1] for rule in rules if rule.startswith("-N") and _CHAIN_OF_OURS.search(rule)]
    jumps = [rule for rule in rules if rule.startswith("-A") and rule.split()[1] not in chains]
    commands = [f"-D {rule[3:]}" for rule in jumps if _CHAIN_OF_OURS.search(rule)]
    commands += [f"{action} {chain}" for action in ("-F", "-X") for chain in chains]
    if commands:
        text = "\n".join((f"*{table}", *commands, "COMMIT", ""))
        _run(f"{program}-restore", "--wait", "--noflush", text=text)


def _has_rules(family: str, name: str) -> bool:
    """Say whether a table holds more than empty chains."""
    inside = _output("nft", "--stateless", "list", "table", family, name).splitlines()
    structure = re.compile(r"\s*(table .*\{|chain .*\{|type .* hook .*|\}|)$")
    return any(not structure.match(line) for line in inside)


def _remove_cgroups() -> None:
    for _ in range(50):
        for path in _pod_cgroups():
            with contextlib.suppress(OSError):
                path.rmdir()
        if not pods_are_here():
            return
        time.sleep(0.1)  # a cgroup stays for a moment after its last process


def _restore_sysctls(before: Facts) -> None:
    values = dict(fact.removeprefix("sysctl ").split("=", 1) for fact in before if fact.startswith("sysctl "))
    for name in CHANGED_SYSCTLS:
        path = SYSCTLS / name
        if name in values and path.read_text().strip() != values[name]:
            path.write_text(values[name])


def _remove_files(before: Facts) -> None:
    """Remove what was not there; never through a mount that is left, since it may hold somebody's data."""
    mounted = _mount_points()
    for fact in sorted(fact for fact in facts() - before if fact.startswith("file ")):
        path = Path(fact.removeprefix("file "))
        if any(point == str(path) or point.startswith(f"{path}/") for point in mounted):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _output(*argv: str) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=False).stdout


def _run(*argv: str, text: str = "") -> int:
    """Return the exit code; what a command could not do is found by comparing."""
    return subprocess.run(argv, input=text, capture_output=True, text=True, check=False).returncode
