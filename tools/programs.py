"""The programs that Holdfast drives, each of one exact version: found on PATH, or built from a pinned Go module."""

import contextlib
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tools import places
from tools.progress import Progress, SetupError, Step

FIRST_GO_WITH_TOOLCHAINS = (1, 21, 0)
BUILD_MEGABYTES = 2500
USUAL_GO_DIRECTORIES = ("/usr/local/go/bin", "/usr/lib/go/bin")


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """One program; `version_argument` is None where its own word cannot be relied on, so PATH is not asked.

    `module` is the directory below tools/ that pins it. `variables` are set in the program, as its own build does.
    """

    name: str
    version: str
    package: str
    version_argument: str | None
    module: str
    variables: Mapping[str, str] = field(default_factory=dict)


def alone(name: str, version: str, package: str, version_argument: str | None = None) -> Program:
    """Return a program with a module of its own, so that it moves no other's dependencies."""
    return Program(name=name, version=version, package=package, version_argument=version_argument, module=name)


def kubernetes(name: str) -> Program:
    """Return a part of Kubernetes; without these variables it calls itself v0.0.0."""
    version, prefix = "1.36.4", "k8s.io/component-base/version."
    major, minor, _ = version.split(".")
    return Program(
        name=name,
        version=version,
        package=f"k8s.io/kubernetes/cmd/{name}",
        version_argument=None,
        module="kubernetes",
        variables={f"{prefix}gitVersion": f"v{version}", f"{prefix}gitMajor": major, f"{prefix}gitMinor": minor},
    )


def sidecar(name: str, version: str, repository: str) -> Program:
    """Return a program of the CSI project; it shares the module of Kubernetes, and so nearly all that is compiled."""
    package = f"github.com/kubernetes-csi/{repository}/v{version.partition('.')[0]}/cmd/{name}"
    return Program(name=name, version=version, package=package, version_argument=None, module="kubernetes")


PROGRAMS = (
    alone("kopia", "0.23.1", "github.com/kopia/kopia", "--version"),
    alone("restic", "0.19.1", "github.com/restic/restic/cmd/restic", "version"),
    alone("versitygw", "1.8.0", "github.com/versity/versitygw/cmd/versitygw"),
    # The cluster of the end-to-end tests. Debian's etcd is too old for the API server's consistent watches.
    alone("etcd", "3.6.11", "go.etcd.io/etcd/server/v3"),
    kubernetes("kube-apiserver"),
    kubernetes("kube-controller-manager"),
    kubernetes("kube-scheduler"),
    kubernetes("kube-proxy"),
    kubernetes("kubelet"),
    kubernetes("kubectl"),
    sidecar("csi-provisioner", "6.3.0", "external-provisioner"),
    sidecar("csi-snapshotter", "8.6.0", "external-snapshotter"),
    sidecar("snapshot-controller", "8.6.0", "external-snapshotter"),
    alone("csi-sanity", "5.4.0", "github.com/kubernetes-csi/csi-test/v5/cmd/csi-sanity"),
    alone("local-path-provisioner", "0.0.30", "github.com/rancher/local-path-provisioner"),
)


def find(program: Program, *, cache: Path, environment: Mapping[str, str]) -> Path | None:
    """Return the path of the program: on PATH if it is of the right version, else built earlier, else None."""
    target = built_path(program, cache)
    return on_path(program, environment) or (target if target.exists() else None)


def make(program: Program, *, cache: Path, environment: Mapping[str, str], progress: Progress) -> Path:
    """Build the program and return its path."""
    target = built_path(program, cache)
    with (
        progress.step(f"{program.name} {program.version}") as step,
        places.locked(cache / "build.lock", on_wait=lambda: waiting(step)),
    ):
        if not target.exists():  # another setup may have built it while we waited
            build(program, target, cache=cache, environment=environment, progress=progress, step=step)
        step.detail = f"in {target.parent}"
    return target


def fetch_sources(program: Program, *, cache: Path, environment: Mapping[str, str], progress: Progress) -> None:
    """Download what the program is built from while another one is compiled; its own build says what is wrong."""
    settings = go_environment(environment, cache)
    argv = (find_go(program, settings), "list", "-mod=readonly", "-modcacherw", "-deps", program.package)
    with contextlib.suppress(SetupError):
        progress.run(
            Step(program.name),
            argv,
            directory=places.CHECKOUT / "tools" / program.module,
            environment=settings,
            log=cache / "log" / f"{program.name}-sources.log",
        )


def waiting(step: Step) -> None:
    step.detail = "waiting for another setup that builds"


def on_path(program: Program, environment: Mapping[str, str]) -> Path | None:
    """Return the program on PATH if it says that it is of the exact version; our own links do not count."""
    if program.version_argument is None:
        return None
    directories = environment.get("PATH", "").split(os.pathsep)
    others = [part for part in directories if part and Path(part).absolute() != places.PROGRAMS_DIRECTORY]
    found = shutil.which(program.name, path=os.pathsep.join(others))
    if found is None or reported_version(program, Path(found), environment) != program.version:
        return None
    return Path(found).absolute()


def reported_version(program: Program, path: Path, environment: Mapping[str, str]) -> str | None:
    """Return the version that a program reports, without a leading v; None when it cannot be asked."""
    assert program.version_argument is not None
    try:
        answer = subprocess.run(
            (str(path), program.version_argument),
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    match = re.search(r"\bv?(\d+\.\d+\.\d+\S*)", answer.stdout)
    return match[1] if match else None


def built_path(program: Program, cache: Path) -> Path:
    """Return where the built program belongs: its name says from which locked sources and for which machine."""
    digest = hashlib.sha256()
    for part in ("go.mod", "go.sum"):
        digest.update((places.CHECKOUT / "tools" / program.module / part).read_bytes())
    digest.update(f"{sys.platform}/{platform.machine()}".encode())
    return cache / "programs" / f"{program.name}-{program.version}-{digest.hexdigest()[:12]}" / program.name


def build(
    program: Program, target: Path, *, cache: Path, environment: Mapping[str, str], progress: Progress, step: Step
) -> None:
    """Build the program from its locked module and put it in place in one step."""
    settings = go_environment(environment, cache)
    go = find_go(program, settings)
    places.need_space(cache, megabytes=BUILD_MEGABYTES, purpose=f"building {program.name}")
    unfinished = cache / "unfinished" / target.parent.name
    unfinished.mkdir(parents=True, exist_ok=True)
    output = unfinished / program.name
    count = 0

    def show(line: str) -> None:
        nonlocal count
        if line.startswith("go: downloading "):
            step.detail = "downloading " + line.removeprefix("go: downloading ")
        else:
            count += 1
            step.detail = f"compiled {count} packages"

    step.detail = f"building with {go}"
    progress.run(
        step,
        (
            go,
            "build",
            "-v",
            "-mod=readonly",
            "-buildvcs=false",
            "-trimpath",
            "-modcacherw",
            "-gcflags=all=-dwarf=false",  # -w drops it in the end, and making it takes a tenth of the time
            " ".join(("-ldflags=-s -w", *(f"-X {name}={value}" for name, value in program.variables.items()))),
            "-o",
            str(output),
            program.package,
        ),
        directory=places.CHECKOUT / "tools" / program.module,
        environment=settings,
        log=cache / "log" / f"{program.name}.log",
        on_line=show,
    )
    if program.version_argument is not None and reported_version(program, output, environment) != program.version:
        raise SetupError(
            f"{output} was built but does not run as {program.name} {program.version}.\n"
            "  Is its directory mounted noexec? Then set HOLDFAST_CACHE to another one."
        )
    shutil.rmtree(target.parent, ignore_errors=True)
    target.parent.parent.mkdir(parents=True, exist_ok=True)
    unfinished.replace(target.parent)


def go_environment(environment: Mapping[str, str], cache: Path) -> dict[str, str]:
    """Return the environment of a build: pure Go, for this machine, its caches in our directory."""
    ours = {name: value for name, value in environment.items() if name not in ("GOOS", "GOARCH", "GOWORK")}
    return ours | {
        "CGO_ENABLED": "0",
        "GOWORK": "off",
        "GOPATH": str(cache / "go"),
        "GOMODCACHE": str(cache / "go" / "mod"),
        "GOCACHE": str(cache / "go" / "build"),
    }


def find_go(program: Program, settings: Mapping[str, str]) -> str:
    """Return the go command; raise SetupError that says what to install when it is missing or too old."""
    go = shutil.which("go", path=os.pathsep.join((settings.get("PATH", ""), *USUAL_GO_DIRECTORIES)))
    instead = (
        f"or put {program.name} {program.version} itself on PATH" if program.version_argument else "from go.dev/dl"
    )
    oldest = oldest_go(program)
    wanted = ".".join(map(str, oldest))
    if go is None:
        raise SetupError(
            f"{program.name} {program.version} must be built, and there is no Go.\n"
            f"  Install Go {wanted} or newer (from go.dev/dl, or your system's package golang), {instead}."
        )
    version = go_version(go, settings)
    fetches_newer = version >= FIRST_GO_WITH_TOOLCHAINS and go_setting(go, "GOTOOLCHAIN", settings) != "local"
    if version < oldest and not fetches_newer:
        raise SetupError(
            f"{go} is Go {'.'.join(map(str, version))}; building {program.name} needs Go {wanted} or newer.\n"
            f"  Install a newer one (go.dev/dl), {instead}."
        )
    return go


def oldest_go(program: Program) -> tuple[int, int, int]:
    """Return the version of Go that the program's module asks for."""
    module = (places.CHECKOUT / "tools" / program.module / "go.mod").read_text()
    return version_numbers(module.partition("\ngo ")[2])


def go_version(go: str, environment: Mapping[str, str]) -> tuple[int, int, int]:
    answer = go_setting(go, "GOVERSION", environment).removeprefix("go")
    try:
        return version_numbers(answer)
    except ValueError:
        raise SetupError(
            f"{go} does not say its version: `{go} env GOVERSION` answers nothing that can be read."
        ) from None


def version_numbers(text: str) -> tuple[int, int, int]:
    match = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", text)
    if match is None:
        raise ValueError(f"{text[:20]!r} is no version")
    return int(match[1]), int(match[2]), int(match[3] or 0)


def go_setting(go: str, name: str, environment: Mapping[str, str]) -> str:
    answer = subprocess.run(
        (go, "env", name), env=dict(environment), cwd="/", capture_output=True, text=True, check=False
    )
    return answer.stdout.strip()


def module_directory(pinned_by: str, module: str, *, environment: Mapping[str, str] = os.environ) -> Path:
    """Return the directory of a module that tools/`pinned_by` pins; downloaded and checked by hash if need be."""
    settings = go_environment(environment, places.cache_directory(environment))
    go = find_go(next(each for each in PROGRAMS if each.module == pinned_by), settings)
    answer = subprocess.run(
        (go, "mod", "download", "-modcacherw", "-json", module),
        cwd=places.CHECKOUT / "tools" / pinned_by,
        env=settings,
        capture_output=True,
        text=True,
        check=False,
    )
    if answer.returncode != 0:
        raise SetupError(f"{module} cannot be had: {answer.stderr.strip() or answer.stdout.strip()}")
    return Path(json.loads(answer.stdout)["Dir"])
