"""The bootstrap as a person starts it: `python3 -m tools.setup` in a checkout of its own."""

import io
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tools import bootstrap, places
from tools.progress import Progress, SetupError, elapsed, likely_cause


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} did not appear"
        threading.Event().wait(0.02)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a checkout that holds the bootstrap and nothing to install."""
    copy = tmp_path / "checkout"
    shutil.copytree(places.CHECKOUT / "tools", copy / "tools", ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "requirements").mkdir()
    (copy / "requirements" / "dev.txt").write_text("")
    (copy / "pyproject.toml").write_text('[project]\nname = "nothing"\nversion = "0"\n')
    return copy


def run_setup(checkout: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.defpath, "HOME": "", **settings}
    return subprocess.run(
        (sys.executable, "-m", "tools.setup", *arguments),
        cwd=checkout,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_an_unknown_program_is_refused_by_name(checkout: Path) -> None:
    answer = run_setup(checkout, "rsync")
    assert answer.returncode == 2
    assert "rsync is not one of kopia, restic, versitygw" in answer.stderr


def test_a_python_that_is_too_old_is_named_with_what_to_install(checkout: Path) -> None:
    source = (checkout / "tools" / "setup.py").read_text()
    (checkout / "tools" / "setup.py").write_text(source.replace("OLDEST = (3, 11)", "OLDEST = (9, 0)"))
    answer = run_setup(checkout, PATH="/nonexistent")
    assert answer.returncode == 1
    assert "Holdfast needs Python 3.11 or newer" in answer.stderr
    assert "apt-get install python3 python3-venv" in answer.stderr


def test_a_failing_step_ends_setup_with_its_last_lines_and_leaves_nothing_that_passes_for_ready(checkout: Path) -> None:
    (checkout / "requirements" / "dev.txt").write_text("not a requirement !\n")
    answer = run_setup(checkout)
    assert answer.returncode == 1
    assert "setup cannot go on" in answer.stderr
    assert "Invalid requirement" in answer.stderr
    assert str(checkout / ".cache" / "holdfast" / "log" / "pip.log") in answer.stderr
    assert not (checkout / ".venv" / "holdfast-setup.json").exists()


def test_what_is_ready_is_not_made_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(places, "LOCK", tmp_path / "lock")
    monkeypatch.setattr(bootstrap, "is_ready", lambda wanted: wanted == ())
    monkeypatch.setattr(bootstrap, "set_up", pytest.fail)
    before = signal.getsignal(signal.SIGTERM)
    try:
        assert bootstrap.main([]) == 0
    finally:
        signal.signal(signal.SIGTERM, before)


def test_when_one_task_cannot_go_on_the_programs_of_the_other_end(tmp_path: Path) -> None:
    progress = Progress(io.StringIO())
    started = tmp_path / "started"

    def lasting() -> None:
        argv = ("/bin/sh", "-c", f"touch {started}; sleep 1000 & wait")
        with progress.step("lasting") as step:
            progress.run(step, argv, environment={"PATH": os.defpath}, log=tmp_path / "log")

    def failing() -> None:
        wait_for(started)
        raise SetupError("no Go")

    began = time.monotonic()
    with pytest.raises(SetupError, match="no Go"), progress.shown():
        bootstrap.together((lasting, failing), progress)
    assert time.monotonic() - began < 30


def test_a_second_setup_waits_for_the_first_and_for_what_a_killed_one_left_running(tmp_path: Path) -> None:
    lock, started, ended = tmp_path / "lock", tmp_path / "started", tmp_path / "ended"
    first = f"""
import pathlib, subprocess
from tools import places
from tools.progress import Progress
import sys
progress = Progress(sys.stderr)
with places.locked(pathlib.Path({str(lock)!r}), on_wait=lambda: None), progress.step("work") as step:
    progress.run(step, ("/bin/sh", "-c", "touch {started}; sleep 1; touch {ended}"),
                 environment={{"PATH": "/usr/bin:/bin"}}, log=pathlib.Path({str(tmp_path / "log")!r}))
"""
    with subprocess.Popen((sys.executable, "-c", first), cwd=places.CHECKOUT, stderr=subprocess.DEVNULL) as process:
        wait_for(started)
        process.kill()
    waits: list[str] = []
    with places.locked(lock, on_wait=lambda: waits.append("waited")):
        assert ended.exists()
    assert waits == ["waited"]


def test_durations_read_as_people_say_them() -> None:
    assert [elapsed(seconds) for seconds in (0.44, 12, 185)] == ["0.4 s", "12 s", "3 min 05 s"]


@pytest.mark.parametrize(
    ("output", "advice"),
    [
        ("write /x: no space left on device", "disk is full"),
        ("Get: dial tcp 10.0.0.1:443: connect: refused", "check the network"),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES … do not match the hashes", "not what is locked"),
        ("verifying module: checksum mismatch\n\tSECURITY ERROR", "not what is locked"),
        ("Error: Command '… -m ensurepip …' returned", "lacks venv"),
    ],
)
def test_what_the_machine_caused_comes_with_advice(output: str, advice: str) -> None:
    assert advice in str(likely_cause(output))


def test_no_advice_is_made_up() -> None:
    assert likely_cause("undefined: frobnicate") is None
