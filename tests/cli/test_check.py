"""`holdfast check`: what is wrong with manifests, in one line each, before anything is applied."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from holdfast.cli.problems import ExitCode
from holdfast.render import git
from tests.cli.test_main import run
from tests.support import arming
from tests.support.arming import DAILY, MINE, OURS, PATH, THEIRS, claim

RESTORE = "holdfast.dev/v1alpha1"


def checked(directory: Path, *items: Any, flags: tuple[str, ...] = ()) -> tuple[int, list[dict[str, Any]]]:
    path = directory / "manifests.yaml"
    path.write_text(yaml.safe_dump_all(items))
    done = run("check", str(path), *flags, "--output", "json")
    return done.exit_code, json.loads(done.stdout)["findings"]


def reasons(found: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(each["finding"]["level"], each["finding"]["reason"]) for each in found]


def stateful(**template: Any) -> dict[str, Any]:
    made = claim("data", "apps", labels=DAILY, **template)
    meta = {"name": "data", "labels": dict(DAILY)}
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": "web", "namespace": "apps"},
        "spec": {"volumeClaimTemplates": [{"metadata": meta, "spec": made["spec"]}]},
    }


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        (claim("data", "apps"), []),
        (claim("data", "apps", labels={"backup": "disabled"}, dataSourceRef=arming.SNAPSHOT), []),
        (claim("data", "apps", labels=DAILY, dataSourceRef=OURS), []),
        (claim("data", "apps", labels=DAILY), [("Note", "NotHeld")]),
        (claim("data", "apps", labels=DAILY | {"backup-exempt": "true"}, dataSourceRef=OURS),
         [("Error", "Unreadable")]),
        (claim("data", "apps", labels={"backup": "dialy"}, dataSourceRef=OURS), [("Error", "Unreadable")]),
        (claim("data", "apps", labels={"backup": True}), [("Error", "Invalid")]),
        (claim("data", "apps", labels=DAILY, annotations={"holdfast.dev/shedule": "x"}, dataSourceRef=OURS),
         [("Error", "Unreadable")]),
        (claim("data", "apps", labels={"backup-exempt": "true"}), [("Error", "Unreadable")]),
        (claim("data", "apps", dataSource=MINE), [("Error", "DataSourceTrap")]),
        (claim("data", "apps", labels=DAILY, dataSource=OURS), [("Error", "DataSourceTrap")]),
        (claim("data", "apps", dataSourceRef=THEIRS), [("Error", "DataSourceTrap")]),
        (claim("data", "apps", labels=DAILY, volumeMode="Block"), [("Error", "NeverArmed")]),
        (claim("data", "apps", labels=DAILY, volumeMode="Block", dataSourceRef=OURS), [("Error", "NeverFilled")]),
        (claim("data", "apps", labels=DAILY, volumeName="holdfast.apps.other"), [("Error", "NeverFilled")]),
        (claim("data", "apps", labels=DAILY, volumeName="pv-1"), [("Note", "NeverArmed")]),
        (claim("data", "apps", labels=DAILY, dataSource=arming.SNAPSHOT), [("Note", "NeverArmed")]),
        (claim("data", "apps", labels=DAILY, owners=(arming.DATABASE,)), [("Note", "NeverArmed")]),
        (claim("", "apps", labels=DAILY, **PATH), [("Note", "NeverArmed")]),
        (claim("data", "apps", labels=DAILY, **PATH), [("Note", "NotHeld")]),
        (claim("data", "apps", labels=DAILY, volumeName="holdfast.apps.data", **PATH), []),
        (claim("data", "apps", labels=DAILY, dataSourceRef=OURS, **PATH), [("Note", "NotHeld")]),
        (claim(arming.LONG, "apps", labels=DAILY, **PATH), [("Error", "NameTooLong")]),
        ({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "x"}}, [("Error", "Invalid")]),
        (stateful(), [("Note", "NotHeld")]),
        (stateful(dataSourceRef=OURS), []),
        (stateful(**PATH), [("Note", "NotHeld")]),
        ({"apiVersion": RESTORE, "kind": "Restore", "metadata": {"name": "mine"}, "spec": {}}, []),
        ({"apiVersion": RESTORE, "kind": "Restore", "metadata": {"name": "auto"}, "spec": {}}, [("Error", "Invalid")]),
        ({"apiVersion": RESTORE, "kind": "Restore", "metadata": {"name": "mine"}, "spec": {"snap": "x"}},
         [("Error", "Invalid")]),
        ({"apiVersion": RESTORE, "kind": "Restore", "metadata": {"name": "mine"}, "spec": {"time": "noon"}},
         [("Error", "Invalid")]),
        ({"apiVersion": RESTORE, "kind": "Restore", "metadata": {"name": "mine"}, "spec": ["x"]},
         [("Error", "Invalid")]),
        ({"apiVersion": RESTORE, "kind": "Repository", "metadata": {"name": "r"}, "spec": {"engine": "borg"}},
         [("Error", "Invalid")] * 3),
        ({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n", "labels": {"backup": "x"}}},
         [("Error", "Unreadable")]),
        ({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}}, []),
    ],
)  # fmt: skip
def test_what_is_found(tmp_path: Path, item: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    code, found = checked(tmp_path, item, flags=("--by-name", "local-path"))
    assert reasons(found) == expected
    bad = any(level == "Error" for level, _ in expected)
    assert code == (ExitCode.ATTENTION if bad else ExitCode.OK)


def test_a_hold_can_be_required(tmp_path: Path) -> None:
    code, found = checked(tmp_path, claim("data", "apps", labels=DAILY), flags=("--require-hold",))
    assert (code, reasons(found)) == (ExitCode.ATTENTION, [("Error", "NotHeld")])


def test_two_claims_must_not_write_one_history(tmp_path: Path) -> None:
    other = claim("b", "apps", labels=DAILY, annotations={"holdfast.dev/identity": "apps/a"}, dataSourceRef=OURS)
    code, found = checked(tmp_path, other, claim("a", "apps", labels=DAILY, dataSourceRef=OURS))
    assert (code, reasons(found)) == (ExitCode.ATTENTION, [("Error", "IdentityClash")])
    assert found[0]["place"]["object"] == "PersistentVolumeClaim apps/b"


def test_a_namespace_of_the_same_files_protects(tmp_path: Path) -> None:
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "apps", "labels": dict(DAILY)}}
    _, found = checked(tmp_path, claim("data", "apps"), namespace)
    assert reasons(found) == [("Note", "NotHeld")]


def test_lists_and_directories_are_read_and_the_place_is_named(tmp_path: Path) -> None:
    items = [claim("a", "apps"), claim("b", "apps", dataSource=MINE)]
    (tmp_path / "deep").mkdir()
    listed = tmp_path / "deep" / "all.yaml"
    listed.write_text("---\nx: 1\n---\n" + yaml.safe_dump({"apiVersion": "v1", "kind": "List", "items": items}))
    (tmp_path / "notes.txt").write_text("{{ no yaml")
    done = run("check", str(tmp_path))
    assert done.exit_code == ExitCode.ATTENTION
    assert done.stdout.startswith(f"{listed}:2 (PersistentVolumeClaim apps/b): error: spec.dataSource names a Restore")
    assert "2 claims: 1 error, 0 notes." in done.stdout


@pytest.mark.parametrize("text", ["{{ .Values.x }}", "- a\n- b", "hello", "a: b: c", "x: 1", "\x00"])
def test_what_is_no_manifest_is_said_in_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(text)
    done = run("check", str(path))
    assert done.exit_code == ExitCode.FAILED
    assert len(done.stderr.splitlines()) == 1
    assert str(path) in done.stderr


def test_what_git_renders_is_held(tmp_path: Path) -> None:
    _, found = checked(tmp_path, claim("data", "apps", labels=DAILY, **git.snippet(None)["spec"]))
    assert found == []
