"""The command line itself: what it imports, reads and refuses, and with which exit code."""

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from holdfast.cli import main, options, problems
from holdfast.cli.options import Asked, Output
from holdfast.cli.problems import ExitCode, Problem
from holdfast.cli.wiring import DemoOrder, SandboxOrder, Wiring
from holdfast.engines.protocol import EngineFailure
from holdfast.kube import errors
from holdfast.model.failure import FailureKind
from holdfast.model.repository import EngineKind
from holdfast.model.settings import Settings

HEAVY = ("asyncio", "httpx2", "lightkube", "msgspec", "rich", "starlette", "uvicorn", "yaml")


class Calls:
    """Notes what the wired commands were asked."""

    def __init__(self) -> None:
        self.made: list[Any] = []

    async def operator(self, kubeconfig: Path | None, context: str | None, settings: Settings) -> None:
        self.made.append((kubeconfig, context, settings))

    async def sandbox(self, order: SandboxOrder) -> int:
        self.made.append(order)
        return 0

    async def demo(self, order: DemoOrder) -> int:
        self.made.append(order)
        return 1


@pytest.fixture
def calls() -> Calls:
    return Calls()


def run(*arguments: str, calls: Calls | None = None, env: dict[str, str | None] | None = None) -> Result:
    wired = calls or Calls()
    wiring = Wiring(operator=wired.operator, sandbox=wired.sandbox, demo=wired.demo)
    plain: dict[str, str | None] = {"KUBECONFIG": "/nonexistent", "HOME": "/nonexistent"}
    return CliRunner().invoke(main.build(), arguments, obj=wiring, env=plain | (env or {}), prog_name="holdfast")


def commands(group: click.Group, *path: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, *path, name)
        else:
            yield (*path, name), command


ALL = dict(commands(main.build()))


def test_help_imports_nothing_heavy() -> None:
    program = (
        "import sys; sys.argv = ['holdfast', '--help']\n"
        "from holdfast.__main__ import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run((sys.executable, "-c", program), capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
    assert "status" in done.stdout


@pytest.mark.parametrize("path", list(ALL), ids=" ".join)
def test_every_command_has_help(path: tuple[str, ...]) -> None:
    done = run(*path, "--help")
    assert done.exit_code == 0
    assert (ALL[path].help or "").strip()
    for parameter in ALL[path].params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{' '.join(path)} {parameter.opts[0]} has no help"


def test_version_is_told_to_people_and_programs() -> None:
    assert run("version").output.startswith("holdfast ")
    assert set(json.loads(run("version", "--output", "json").output)) == {"holdfast", "python"}


@pytest.mark.parametrize(
    "arguments",
    [
        ("nonsense",),
        ("status", "--nonsense"),
        ("explain",),
        ("backup",),
        ("backup", "a/b", "--all"),
        ("backup", "a/b", "--timeout", "soon"),
        ("restore", "a/b"),
        ("restore", "a/b", "--into", "c", "--snapshot", "zz"),
        ("restore", "a/b", "--into", "c", "--time", "yesterday"),
        ("restore", "a/b", "--into", "c", "--time", "2026-01-31T12:00:00Z", "--snapshot", "0123456789"),
        ("render", "repository"),
        ("render", "repository", "--directory", "relative"),
        ("render", "repository", "--directory", "/a/../b"),
        ("render", "repository", "--directory", "/"),
        ("render", "repository", "--s3", "no-bucket"),
        ("render", "repository", "--s3", "ftp://host/bucket"),
        ("render", "repository", "--directory", "/a", "--s3", "host/bucket"),
        ("render", "repository", "Not A Name", "--directory", "/a"),
        ("demo", "--engine", "borg"),
    ],
    ids=" ".join,
)
def test_what_cannot_be_read_ends_with_2(arguments: tuple[str, ...]) -> None:
    done = run(*arguments)
    assert done.exit_code == ExitCode.USAGE
    assert done.stderr.strip()
    assert not done.stdout


def test_no_way_to_a_cluster_ends_with_4_and_one_line() -> None:
    done = run("status")
    assert done.exit_code == ExitCode.CLUSTER
    assert len(done.stderr.splitlines()) == 1
    assert "--kubeconfig" in done.stderr


def test_debug_shows_where_an_error_came_from() -> None:
    assert "Traceback" in run("status", "--debug").stderr
    assert "Traceback" in run("--debug", "status").stderr


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Problem("it is so"), ExitCode.FAILED),
        (errors.Unreachable("Unreachable", "refused"), ExitCode.CLUSTER),
        (errors.Unauthorized("Unauthorized", "who?"), ExitCode.CLUSTER),
        (errors.Forbidden("Forbidden", "no"), ExitCode.CLUSTER),
        (errors.NotServed("NotServed", "repositories"), ExitCode.FAILED),
        (errors.Conflict("Conflict", "changed"), ExitCode.FAILED),
        (EngineFailure(FailureKind.UNREACHABLE, "refused"), ExitCode.FAILED),
        (FileNotFoundError(2, "No such file or directory", "x"), ExitCode.FAILED),
        (ExceptionGroup("several", [errors.Unreachable("Unreachable", "refused")]), ExitCode.CLUSTER),
        (RuntimeError("surprise\nin two lines"), ExitCode.FAILED),
    ],
)
def test_every_error_is_one_line_and_one_code(error: Exception, code: ExitCode) -> None:
    problem = problems.of(error)
    assert problem.code is code
    assert len(problem.line.splitlines()) == 1
    assert problem.line


def test_every_exit_code_has_its_meaning() -> None:
    assert set(problems.MEANINGS) == set(ExitCode)


def test_shared_options_stand_before_or_after_the_command() -> None:
    seen: list[Asked] = []

    def look(context: click.Context) -> None:
        seen.append(options.asked(context))

    group = main.build()
    probe = click.Command("probe", callback=click.pass_context(look), params=options.shared(cluster=True, output=True))
    group.add_command(probe)
    runner = CliRunner()
    environment = {"HOLDFAST_NAMESPACE": "from-environment"}
    runner.invoke(group, ["-n", "one", "probe", "-o", "json"], env=environment)
    runner.invoke(group, ["-n", "one", "--holdfast-namespace", "flag", "probe", "-n", "two"], env=environment)
    assert (seen[0].namespace, seen[0].output, seen[0].holdfast_namespace) == ("one", Output.JSON, "from-environment")
    assert (seen[1].namespace, seen[1].output, seen[1].holdfast_namespace) == ("two", Output.TABLE, "flag")


def test_the_operator_reads_flag_over_environment_over_default(calls: Calls) -> None:
    environment: dict[str, str | None] = {
        "HOLDFAST_NAMESPACE": "backups",
        "HOLDFAST_LABEL": "keep",
        "HOLDFAST_FIRST_BACKUP_AFTER": "7200s",
        "HOLDFAST_CONCURRENT_BACKUPS": "2",
    }
    done = run("run", "--context", "home", "--first-backup-after", "90m", calls=calls, env=environment)
    assert done.exit_code == 0, done.output
    expected = Settings(
        namespace="backups", label="keep", first_backup_after=timedelta(minutes=90), concurrent_backups=2
    )
    assert calls.made == [(None, "home", expected)]


def test_the_operator_without_a_word_has_the_defaults(calls: Calls) -> None:
    run("run", calls=calls)
    assert calls.made == [(None, None, Settings())]


def test_sandbox_and_demo_get_their_orders_and_give_their_codes(calls: Calls) -> None:
    assert run("sandbox", "--dir", "play", calls=calls).exit_code == 0
    assert run("demo", "--engine", "restic", "--storage", "s3://bucket/home", "--keep", calls=calls).exit_code == 1
    assert calls.made == [
        SandboxOrder(directory=Path("play"), settings=Settings()),
        DemoOrder(engine=EngineKind.RESTIC, storage="s3://bucket/home", keep=True),
    ]


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_completion_is_a_script_for_the_shell(shell: str) -> None:
    done = run("completion", shell)
    assert done.exit_code == 0
    assert "_HOLDFAST_COMPLETE" in done.output


def test_commands_are_completed() -> None:
    done = subprocess.run(
        (sys.executable, "-m", "holdfast"),
        env={"_HOLDFAST_COMPLETE": "zsh_complete", "COMP_WORDS": "holdfast re", "COMP_CWORD": "1", "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[1::3] == ["restore", "rearm", "render"]
