"""The documents say what is there: links, commands, keys and limits."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from holdfast.cli import main
from holdfast.model import intent

ROOT = Path(__file__).resolve().parent.parent.parent
DOCUMENTS = sorted(
    path.relative_to(ROOT).as_posix() for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")) if path.is_file()
)
PAGES = [name for name in DOCUMENTS if name.startswith("docs/")]
DECISIONS = [name for name in DOCUMENTS if name.startswith("docs/explanation/adr/")]

FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ +(.+)$", re.MULTILINE)
MAKE = re.compile(r"\bmake ([a-z]+(?:-[a-z]+)*)\b")
KEY = re.compile(r"\bholdfast\.dev/([a-z-]+)\b(?!\d)")
COMMAND = re.compile(r"\bholdfast ([a-z]+)\b")
STARTED_BY_JOBS = {"mover", "reader"}
SOURCE = re.compile(r"`((?:src|tools|docs)/[\w./-]*)`")


def text_of(name: str) -> str:
    return (ROOT / name).read_text()


def prose(text: str) -> str:
    return FENCE.sub("", text)


def code(text: str) -> Iterator[str]:
    """Yield what is written as code: fenced blocks and spans."""
    yield from (match[3] for match in FENCE.finditer(text))
    yield from re.findall(r"`([^`\n]+)`", prose(text))


def anchors(text: str) -> set[str]:
    headings = (heading.lower() for heading in HEADING.findall(prose(text)))
    return {re.sub(r"\s", "-", re.sub(r"[^\w\s-]", "", heading)).strip("-") for heading in headings}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_link_leads_somewhere(name: str) -> None:
    for target in LINK.findall(prose(text_of(name))):
        path, _, anchor = target.partition("#")
        if ":" in path:
            continue  # elsewhere: not ours to keep alive
        linked = (ROOT / name).parent / path if path else ROOT / name
        assert linked.exists(), f"{name} links to {target}, which is not there"
        if anchor:
            assert anchor in anchors(linked.read_text()), f"{name} links to {target}: no such heading"


def test_every_page_is_linked_from_another() -> None:
    linked: set[Path] = set()
    for name in DOCUMENTS:
        for target in LINK.findall(prose(text_of(name))):
            linked.add(((ROOT / name).parent / target.partition("#")[0]).resolve())
    lost = [name for name in PAGES if name != "docs/index.md" and (ROOT / name).resolve() not in linked]
    assert not lost, "no page links to these; docs/index.md is the place"


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_make_target_that_is_named_exists(name: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", text_of("Makefile"), re.MULTILINE))
    for piece in code(text_of(name)):
        missing = set(MAKE.findall(piece)) - targets
        assert not missing, f"{name} names make targets that the Makefile lacks"


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_holdfast_command_that_is_named_exists(name: str) -> None:
    commands = main.build().commands
    for piece in code(text_of(name)):
        named = set(COMMAND.findall(piece)) - STARTED_BY_JOBS
        assert named <= set(commands), f"{name} names commands that holdfast does not have"


def test_the_readme_names_the_two_commands() -> None:
    commands = "\n".join(match[3] for match in FENCE.finditer(text_of("README.md")) if match[2] == "sh")
    assert re.findall(r"^make \w+", commands, re.MULTILINE) == ["make demo", "make test"]


def test_make_help_lists_what_people_start() -> None:
    answer = subprocess.run(("make", "help"), cwd=ROOT, capture_output=True, text=True, check=True)
    listed = re.findall(r"make ([a-z]+)", answer.stdout)
    assert {"setup", "demo", "test", "check", "fmt", "lock", "docs", "clean"} <= set(listed)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_annotation_that_is_named_is_one_that_we_read(name: str) -> None:
    guests = intent.GUESTS.removeprefix(intent.PREFIX)
    known = {*intent.ANNOTATIONS, *intent.CLASS_ANNOTATIONS, guests, "v"}  # "v" begins the API version
    assert set(KEY.findall(text_of(name))) <= known, f"{name} names annotations that nothing reads"


@pytest.mark.parametrize("name", DOCUMENTS)
def test_manifests_are_yaml(name: str) -> None:
    for match in FENCE.finditer(text_of(name)):
        if match[2] == "yaml":
            list(yaml.safe_load_all(match[3]))


def test_contributing_is_short_and_its_starting_points_exist() -> None:
    text = text_of("CONTRIBUTING.md")
    assert len(text.splitlines()) <= 80
    for path in SOURCE.findall(text):
        if "NAME" not in path:
            assert (ROOT / path).exists(), f"CONTRIBUTING.md sends people to {path}"


def test_the_changelog_keeps_its_form() -> None:
    text = text_of("CHANGELOG.md")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE)[0] == "[Unreleased]"
    kinds = set(re.findall(r"^### (.+)$", text, re.MULTILINE))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


@pytest.mark.parametrize("name", DECISIONS)
def test_a_decision_is_one_page_with_its_costs(name: str) -> None:
    text = text_of(name)
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == ["Context", "Decision", "Costs", "Rejected"]
    number = int(Path(name).name[:4])
    assert text.startswith(f"# {number}. ")
    assert len(text.splitlines()) <= 60


def test_decisions_are_numbered_without_a_gap() -> None:
    assert [int(Path(name).name[:4]) for name in DECISIONS] == list(range(1, len(DECISIONS) + 1))


def test_every_direct_dependency_has_its_reason() -> None:
    project = text_of("pyproject.toml")
    names = {name.lower() for name in re.findall(r'^(?:  |lock = \[)"([A-Za-z][\w-]*)[~>]=', project, re.MULTILINE)}
    assert len(names) > 15
    reasons = text_of("docs/explanation/adr/0008-dependencies.md").lower()
    missing = {name for name in names if not re.search(rf"^\|[^|]*\b{re.escape(name)}\b", reasons, re.MULTILINE)}
    assert not missing, "these packages have no row in ADR 8"
