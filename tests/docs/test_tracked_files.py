"""What must stand in no file of ours: hosts of package registries, paths of one machine."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent

# Written in pieces, since this file is tracked too.
HOSTS = ("pypi" + ".org", "python" + "hosted", "proxy." + "golang.org", "sum." + "golang.org", "registry." + "npmjs")
MACHINE = ("/work" + "/main", "/work" + "/shared", "/tmp" + "/venv", "/tmp" + "/build", "/root" + "/.", "/home" + "/")


def tracked_files() -> list[str]:
    answer = subprocess.run(("git", "ls-files", "-z"), cwd=ROOT, capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        pytest.skip("not a git checkout: there are no tracked files to look at")
    return [name for name in answer.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_no_tracked_file_names_a_package_host_or_a_path_of_one_machine() -> None:
    unwanted = re.compile("|".join(map(re.escape, (*HOSTS, *MACHINE))).encode())
    found = [
        f"{name}: {match[0].decode()}"
        for name in tracked_files()
        for match in unwanted.finditer((ROOT / name).read_bytes())
    ]
    assert not found


def test_locked_requirements_pin_every_package_by_hash() -> None:
    for path in sorted((ROOT / "requirements").glob("*.txt")):
        text = path.read_text().replace("\\\n", " ")
        packages = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
        assert packages
        for line in packages:
            assert "==" in line, f"{path.name}: {line}"
            assert "--hash=sha256:" in line, f"{path.name}: {line}"
            assert not line.startswith("-"), f"{path.name} sets an option: {line}"


def test_what_runs_is_a_part_of_what_is_tested() -> None:
    def pins(name: str) -> set[str]:
        return set(re.findall(r"^([\w.-]+==\S+)", (ROOT / "requirements" / name).read_text(), re.MULTILINE))

    assert pins("runtime.txt") <= pins("dev.txt")


def test_the_ci_script_can_be_run() -> None:
    subprocess.run(("bash", "-n", str(ROOT / ".ci" / "run")), check=True)
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111
