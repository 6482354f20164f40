"""The virtual environment: every package from the hash-locked list, Holdfast itself editable."""

import hashlib
import importlib.util
import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from tools import places
from tools.progress import Progress, SetupError

REQUIREMENTS = places.CHECKOUT / "requirements" / "dev.txt"
STAMP = places.ENVIRONMENT / "holdfast-setup.json"
ENVIRONMENT_MEGABYTES = 400
# The Python behind an activated environment: with .venv active, `python3` is the very thing that may be made anew.
PYTHON = str(Path(getattr(sys, "_base_executable", sys.executable)).resolve())


def digest() -> str:
    """Return what the environment is made from, so that a difference means: make it again."""
    made_from = hashlib.sha256()
    for path in (REQUIREMENTS, places.CHECKOUT / "pyproject.toml"):
        made_from.update(path.read_bytes())
    made_from.update(f"{PYTHON} {sys.version} {places.CHECKOUT}".encode())
    return made_from.hexdigest()


def is_ready() -> bool:
    """Say whether a finished environment is there, made from what is in the checkout now."""
    return read_stamp().get("environment") == digest() and (places.ENVIRONMENT / "bin" / "python").exists()


def provide(*, cache: Path, environment: Mapping[str, str], progress: Progress) -> None:
    """Make the environment anew; the stamp comes last, so an unfinished one is never taken for ready."""
    need_venv()
    places.need_space(places.CHECKOUT, megabytes=ENVIRONMENT_MEGABYTES, purpose="the Python environment")
    with progress.step(f"Python {sys.version_info.major}.{sys.version_info.minor} environment") as step:
        discard(places.ENVIRONMENT)
        step.detail = "making .venv"
        argv: tuple[str, ...] = (PYTHON, "-m", "venv", str(places.ENVIRONMENT))
        progress.run(step, argv, environment=environment, log=cache / "log" / "venv.log")

        def show(line: str) -> None:
            if line.startswith("Collecting "):
                step.detail = "fetching " + line.split()[1]
            elif line.startswith("Installing collected packages"):
                step.detail = f"installing {line.count(',') + 1} packages"

        pip = (str(places.ENVIRONMENT / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install")
        quiet = {"PIP_CACHE_DIR": str(cache / "pip"), "PIP_ROOT_USER_ACTION": "ignore"}
        argv = (*pip, "--no-compile", "--require-hashes", "-r", str(REQUIREMENTS))
        log = cache / "log" / "pip.log"
        progress.run(step, argv, environment={**environment, **quiet}, log=log, on_line=show)
        # Everything the build needs is installed by now, so nothing is fetched outside the lock.
        argv = (*pip, "--no-deps", "--no-build-isolation", "--no-index", "-e", str(places.CHECKOUT))
        log = cache / "log" / "holdfast.log"
        progress.run(step, argv, environment={**environment, **quiet}, log=log)
        write_stamp({"environment": digest()})
        step.detail = ".venv"


def need_venv() -> None:
    """Raise SetupError when this Python cannot make environments with pip (Debian packages that apart)."""
    for module in ("venv", "ensurepip"):
        if importlib.util.find_spec(module) is None:
            version = f"{sys.version_info.major}.{sys.version_info.minor}"
            raise SetupError(
                f"{PYTHON} (Python {version}) has no module {module}.\n"
                f"  Debian and Ubuntu: apt-get install python{version}-venv; or name another Python:\n"
                "  make setup PYTHON=/path/to/python3.11"
            )


def discard(path: Path) -> None:
    """Remove a directory; it vanishes under its own name at once, so an interruption leaves no half of it."""
    if not path.exists() and not path.is_symlink():
        return
    if path.is_symlink() or not path.is_dir():
        path.unlink()
        return
    doomed = path.with_name(path.name + ".discarded")
    shutil.rmtree(doomed, ignore_errors=True)
    path.replace(doomed)
    shutil.rmtree(doomed, ignore_errors=True)


def link_program(name: str, target: Path, *, made_from: str) -> None:
    """Make `.venv/bin/<name>` lead to the program, and remember which sources asked for it."""
    link = places.PROGRAMS_DIRECTORY / name
    new = link.with_name(f".{name}.new")
    new.unlink(missing_ok=True)
    new.symlink_to(target)
    new.replace(link)
    write_stamp(read_stamp() | {name: f"{made_from} {fingerprint(link)}"})


def has_program(name: str, *, made_from: str) -> bool:
    """Say whether the link still leads to the very file that was provided for these sources."""
    link = places.PROGRAMS_DIRECTORY / name
    return link.exists() and read_stamp().get(name) == f"{made_from} {fingerprint(link)}"


def fingerprint(link: Path) -> str:
    found = link.resolve()
    about = found.stat()
    return f"{found} {about.st_size} {about.st_mtime_ns}"


def read_stamp() -> dict[str, str]:
    try:
        content = json.loads(STAMP.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def write_stamp(content: Mapping[str, str]) -> None:
    new = STAMP.with_suffix(".new")
    new.write_text(json.dumps(content, indent=1) + "\n")
    new.replace(STAMP)
