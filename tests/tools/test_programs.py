import io
import os
import re
from pathlib import Path

import pytest

from tools import places, programs
from tools.progress import Progress, SetupError

KOPIA, RESTIC, VERSITYGW = programs.PROGRAMS[:3]


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("program", "says"),
    [
        (KOPIA, "v0.23.1 build: -(unknown_revision) from: "),
        (KOPIA, "0.23.1 build: 9c7f2a from: kopia/kopia"),
        (RESTIC, "restic 0.19.1 compiled with go1.26.8 on linux/amd64"),
    ],
)
def test_a_program_of_the_right_version_on_path_is_used(program: programs.Program, says: str, tmp_path: Path) -> None:
    found = script(tmp_path / program.name, f"echo '{says}'")
    assert programs.on_path(program, {"PATH": str(tmp_path)}) == found


@pytest.mark.parametrize(
    "body", ["echo 'restic 0.19.10 compiled'", "echo 'restic 0.19.1-dev compiled'", "echo 0.18.0", "exit 1", "echo"]
)
def test_a_program_of_any_other_version_on_path_is_not_used(body: str, tmp_path: Path) -> None:
    script(tmp_path / "restic", body)
    assert programs.on_path(RESTIC, {"PATH": str(tmp_path)}) is None


def test_our_own_links_do_not_count_as_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "PROGRAMS_DIRECTORY", tmp_path)
    script(tmp_path / "restic", "echo 'restic 0.19.1 compiled'")
    assert programs.on_path(RESTIC, {"PATH": str(tmp_path)}) is None


def test_a_program_whose_own_word_cannot_be_relied_on_is_always_built(tmp_path: Path) -> None:
    script(tmp_path / "versitygw", "echo 'Version  : v1.8.0'")
    assert programs.on_path(VERSITYGW, {"PATH": str(tmp_path)}) is None


@pytest.mark.parametrize("program", programs.PROGRAMS, ids=lambda program: program.name)
def test_each_program_is_pinned_by_its_module(program: programs.Program) -> None:
    module = (places.CHECKOUT / "tools" / program.module / "go.mod").read_text()
    assert re.search(rf"^(tool |\t){re.escape(program.package)}$", module, re.MULTILINE)
    pinned = re.findall(rf"^(?:require )?\s*(\S+) v{re.escape(program.version)}(?: |$)", module, re.MULTILINE)
    assert any(f"{program.package}/".startswith(f"{each}/") for each in pinned)


def test_other_locked_sources_are_another_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = tmp_path / "tools" / "kopia"
    module.mkdir(parents=True)
    monkeypatch.setattr(places, "CHECKOUT", tmp_path)
    paths = set()
    for content in ("one", "other"):
        (module / "go.mod").write_text(content)
        (module / "go.sum").write_text("")
        paths.add(programs.built_path(KOPIA, tmp_path))
    assert len(paths) == 2


def test_without_go_the_message_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "USUAL_GO_DIRECTORIES", ())
    with pytest.raises(SetupError) as refused:
        programs.find_go(KOPIA, {"PATH": str(tmp_path)})
    assert "there is no Go" in str(refused.value)
    assert "Install Go 1.25.8 or newer" in str(refused.value)
    assert "or put kopia 0.23.1 itself on PATH" in str(refused.value)


def go(directory: Path, *, version: str, toolchain: str) -> dict[str, str]:
    script(directory / "go", f'case "$2" in GOVERSION) echo {version};; GOTOOLCHAIN) echo {toolchain};; esac')
    return {"PATH": os.pathsep.join((str(directory), "/usr/bin", "/bin"))}


def test_a_go_that_is_too_old_and_fetches_no_newer_is_refused_with_its_version(tmp_path: Path) -> None:
    for version, toolchain in (("go1.19.8", ""), ("go1.24.3", "local")):
        with pytest.raises(SetupError, match=rf"is Go {version[2:]}; building kopia needs Go 1\.25\.8"):
            programs.find_go(KOPIA, go(tmp_path, version=version, toolchain=toolchain))


def test_a_new_go_and_one_that_fetches_the_newer_are_used(tmp_path: Path) -> None:
    for version, toolchain in (("go1.26", "local"), ("go1.25.8", "local"), ("go1.24.3", "auto")):
        environment = go(tmp_path, version=version, toolchain=toolchain)
        assert programs.find_go(KOPIA, environment) == str(tmp_path / "go")


def test_a_build_sees_our_caches_and_no_leftover_target(tmp_path: Path) -> None:
    settings = programs.go_environment({"GOOS": "plan9", "GOARCH": "mips", "GOPROXY": "theirs"}, tmp_path)
    assert "GOOS" not in settings
    assert "GOARCH" not in settings
    assert settings["GOPROXY"] == "theirs"
    assert settings["CGO_ENABLED"] == "0"
    assert all(settings[name].startswith(str(tmp_path)) for name in ("GOPATH", "GOMODCACHE", "GOCACHE"))


def test_a_build_that_fails_leaves_no_program_and_names_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs, "BUILD_MEGABYTES", 0)
    fake = go(tmp_path / "bin", version="go1.26.1", toolchain="local")
    script(
        tmp_path / "bin" / "go",
        'case "$1 $2" in "env GOVERSION") echo go1.26.1;; build*) echo "dial tcp: i/o timeout"; exit 1;; esac',
    )
    cache = tmp_path / "cache"
    progress = Progress(io.StringIO())
    with pytest.raises(SetupError) as refused, progress.shown():
        programs.make(VERSITYGW, cache=cache, environment=fake, progress=progress)
    assert "go ended with exit code 1" in str(refused.value)
    assert "check the network" in str(refused.value)
    assert str(cache / "log" / "versitygw.log") in str(refused.value)
    assert not programs.built_path(VERSITYGW, cache).exists()
