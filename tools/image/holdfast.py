"""The image of Holdfast, from Debian packages, the built engines and our wheel, made without root or a registry.

`Dockerfile` beside it makes the same content from the same list with a container engine.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from tools import places
from tools.image import archive
from tools.progress import SetupError

PACKAGES: Final = Path(__file__).with_name("packages.txt")
REQUIREMENTS: Final = places.CHECKOUT / "requirements" / "runtime.txt"
PYTHON: Final = "python3.11"  # Debian 12's
HOME: Final = Path("opt/holdfast")
SETTINGS: Final[dict[str, Any]] = {
    "Entrypoint": [f"/usr/bin/{PYTHON}", "-m", "holdfast"],
    "User": "65532:65532",
    "Env": [
        "PATH=/usr/local/bin:/usr/bin:/bin",
        f"PYTHONPATH=/{HOME}",
        "PYTHONUNBUFFERED=1",
        "HOME=/tmp",
        "USER=holdfast",
        "KOPIA_CHECK_FOR_UPDATES=false",
    ],
}
_PRUNED: Final = (
    "usr/share/doc",
    "usr/share/man",
    "usr/share/locale",
    "usr/share/lintian",
    f"usr/lib/{PYTHON}/ensurepip",
    f"usr/lib/{PYTHON}/idlelib",
    f"usr/lib/{PYTHON}/lib2to3",
    f"usr/lib/{PYTHON}/pydoc_data",
    f"usr/lib/{PYTHON}/test",
)
_PLATFORMS: Final = ("manylinux_2_36", "manylinux_2_28", "manylinux_2_17", "manylinux2014")  # up to Debian 12's libc

Make = Callable[[Path], None]


def write(reference: str, target: Path) -> None:
    """Write the image as an OCI archive. What changes seldom lies in layers of its own and is kept in the cache."""
    base = _kept("base", (PACKAGES.read_text(), *_available_versions(), _source()), _make_base)
    engines = {name: (places.PROGRAMS_DIRECTORY / name).resolve() for name in ("kopia", "restic")}
    programs = _kept("engines", map(str, engines.values()), lambda path: _make_engines(engines, path))
    packages = _kept("packages", (REQUIREMENTS.read_text(), _source()), lambda path: _make_packages(base, path))
    holdfast = target.with_name("holdfast.layer")
    _make_holdfast(base, holdfast)
    try:
        archive.write(reference, target, layers=[base, programs, packages, holdfast], settings=SETTINGS)
    finally:
        shutil.rmtree(holdfast)


def _kept(name: str, made_from: Iterable[str], make: Make) -> Path:
    """Return a directory in the cache, made once for what it is made from."""
    digest = hashlib.sha256(json.dumps(list(made_from)).encode()).hexdigest()[:12]
    cache = places.cache_directory(os.environ)
    path = cache / "image" / f"{name}-{digest}"
    with places.locked(cache / "image.lock", on_wait=lambda: None):
        if not path.exists():
            unfinished = cache / "unfinished" / path.name
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir(parents=True)
            make(unfinished)
            path.parent.mkdir(exist_ok=True)
            unfinished.replace(path)
    return path


def _source() -> str:
    return Path(__file__).read_text()


def _available_versions() -> Sequence[str]:
    shown = _run("apt-cache", "show", "--no-all-versions", *PACKAGES.read_text().split())
    return [line for line in shown.splitlines() if line.startswith("SHA256:")]


def _make_base(root: Path) -> None:
    """Unpack the Debian packages and do what their scripts would have done, as far as anything needs it."""
    downloads = root.with_name(f"{root.name}.debs")
    shutil.rmtree(downloads, ignore_errors=True)
    downloads.mkdir()
    _run("apt-get", "-o", "APT::Sandbox::User=root", "download", *PACKAGES.read_text().split(), directory=downloads)
    for package in sorted(downloads.glob("*.deb")):
        _run("dpkg-deb", "--extract", str(package), str(root))
    shutil.rmtree(downloads)
    for name in _PRUNED:
        shutil.rmtree(root / name, ignore_errors=True)
    for name in ("proc", "sys", "dev", "tmp", "var/tmp", "usr/local/bin"):
        (root / name).mkdir(parents=True, exist_ok=True)
    for name in ("tmp", "var/tmp"):
        (root / name).chmod(0o1777)
    (root / "usr/bin/python3").symlink_to(PYTHON)
    (root / "bin/sh").symlink_to("busybox")
    accounts = "root:x:0:0:root:/root:/bin/sh\nholdfast:x:65532:65532::/tmp:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n"
    (root / "etc/passwd").write_text(accounts)
    (root / "etc/group").write_text("root:x:0:\nholdfast:x:65532:\nnogroup:x:65534:\n")
    authorities = sorted((root / "usr/share/ca-certificates/mozilla").glob("*.crt"))
    bundle = root / "etc/ssl/certs/ca-certificates.crt"
    bundle.parent.mkdir(parents=True, exist_ok=True)
    bundle.write_bytes(b"".join(path.read_bytes() for path in authorities))
    _compile(root, Path(f"usr/lib/{PYTHON}"), base=root)


def _make_engines(engines: dict[str, Path], root: Path) -> None:
    programs = root / "usr" / "local" / "bin"
    programs.mkdir(parents=True)
    for name, path in engines.items():
        shutil.copy(path, programs / name)


def _make_packages(base: Path, root: Path) -> None:
    """Install the locked packages for the image's Python, whichever runs this."""
    machine = os.uname().machine
    platforms = (f"--platform={name}_{machine}" for name in _PLATFORMS)
    target = root / HOME
    argv = (sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-compile")
    kind = ("--only-binary=:all:", "--implementation=cp", f"--python-version={PYTHON.removeprefix('python')}")
    cache = {"PIP_CACHE_DIR": str(places.cache_directory(os.environ) / "pip"), "PIP_ROOT_USER_ACTION": "ignore"}
    where = ("--target", str(target), "--require-hashes", "--no-deps", "--requirement", str(REQUIREMENTS))
    _run(*argv, *kind, *platforms, *where, more=cache)
    shutil.rmtree(target / "bin", ignore_errors=True)  # scripts that name this machine's Python
    _compile(root, HOME, base=base)


def _make_holdfast(base: Path, root: Path) -> None:
    """Unpack our wheel: what is in the checkout now, without what only the checkout has."""
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    argv = (sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet", "--no-deps", "--no-index")
    _run(*argv, "--no-build-isolation", "--wheel-dir", str(root), str(places.CHECKOUT))
    (wheel,) = root.glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(root / HOME)
    wheel.unlink()
    _compile(root, HOME, base=base)


def _compile(root: Path, below: Path, *, base: Path) -> None:
    """Compile the modules in a layer: root file systems of pods are read-only, so it is now or never.

    It takes the image's own Python, started by its own loader. The compiled modules are believed without comparing,
    since times are lost in a layer.
    """
    (loader,) = base.glob("lib/*-linux-gnu/ld-linux-*.so.*")
    libraries = ":".join(map(str, (*base.glob("lib/*-linux-gnu"), *base.glob("usr/lib/*-linux-gnu"))))
    python = (str(loader), "--library-path", libraries, str(base / "usr" / "bin" / PYTHON), "-m", "compileall")
    names = ("-s", str(root), "-p", "/")  # modules are called by where they will be
    more = {"PYTHONHOME": str(base / "usr")}
    _run(*python, "-q", "--invalidation-mode=unchecked-hash", *names, str(root / below), more=more)


def _run(*argv: str, directory: Path | None = None, more: dict[str, str] | None = None) -> str:
    environment = {**os.environ, "PYTHONHASHSEED": "0", **(more or {})}
    answer = subprocess.run(argv, cwd=directory, env=environment, capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        said = answer.stderr.strip() or answer.stdout.strip()
        advice = "\n  `apt-get update` first?" if argv[0].startswith("apt") else ""
        raise SetupError(f"the image cannot be made: {' '.join(argv[:4])} …: {said[-2000:]}{advice}")
    return answer.stdout
