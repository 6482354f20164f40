"""The commands against a cluster: the sandbox with the operator in it, as `holdfast sandbox` runs it."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from holdfast.assemble import laptop
from holdfast.cli.problems import ExitCode
from holdfast.kube import objects
from holdfast.model.settings import Settings
from holdfast.render import names
from tests.support.town import APPS, MovableClock, Town, directory_of

pytestmark = [pytest.mark.anyio, pytest.mark.sandbox("its operator is a process of the sandbox")]

SETTINGS = Settings(first_backup_after=timedelta(0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """A person at a terminal, and the cluster that they ask."""

    town: Town
    home: Path

    async def start(self, *arguments: str) -> asyncio.subprocess.Process:
        kubeconfig = str(self.town.cluster.kubeconfig)
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.home), "KUBECONFIG": kubeconfig}
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "holdfast", *arguments),
            cwd=self.home,
            env=environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def run(self, *arguments: str) -> Answer:
        process = await self.start(*arguments)
        out, err = await process.communicate()
        return Answer(code=process.returncode or 0, out=out.decode(), err=err.decode())

    async def ask(self, *arguments: str) -> Any:
        """Return what a command that must succeed answers as JSON."""
        answer = await self.run(*arguments, "--output", "json")
        assert answer.code == 0, answer.err
        return answer.json


@pytest.fixture(scope="module")
async def desk(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Desk]:
    directory = tmp_path_factory.mktemp("desk")
    for name in ("repository", "home"):
        (directory / name).mkdir()
    async with laptop.sandbox_with_operator(directory / "cluster", SETTINGS) as (cluster, kube):
        clock = MovableClock()  # never moved: the operator here is a process of its own
        town = Town(directory=directory, engine="memory", cluster=cluster, kube=kube, clock=clock, settings=SETTINGS)
        await town.furnish()
        await town.ready()
        yield Desk(town=town, home=directory / "home")


async def filled(desk: Desk, name: str, script: str = "echo treasure > f") -> str:
    """Create a claim, write into it, back it up, and return the claim as commands name it."""
    await desk.town.claim(name)
    await desk.town.run(name, script)
    results = await desk.ask("backup", f"{APPS}/{name}")
    assert results[0]["outcome"]["type"] == "Done"
    return f"{APPS}/{name}"


async def test_a_claim_is_followed_from_its_first_look_to_its_first_backup(desk: Desk) -> None:
    await desk.town.claim("first")
    before = await desk.ask("explain", f"{APPS}/first")
    assert (before["decision"]["verdict"], before["evidence"]["type"]) == ("StartEmpty", "Absent")
    await desk.town.run("first", "echo treasure > f")

    backed_up = await desk.run("backup", f"{APPS}/first")
    assert backed_up.code == 0, backed_up.err
    assert backed_up.out.startswith(f"{APPS}/first: backed up 1 file, 9 B, as ")

    after = await desk.ask("explain", "first", "-n", APPS)
    assert after["decision"]["verdict"] == "Restore"
    assert after["heard"]["engine"]["newest"] == after["heard"]["record"]["newest"]
    assert all(check["holds"] for check in after["heard"]["checks"])
    assert after["volume"]["place"].startswith(str(desk.town.directory))


async def test_a_cluster_that_does_not_answer_is_said_and_the_run_is_followed_again(desk: Desk) -> None:
    claim = await filled(desk, "cut-off")
    process = await desk.start("backup", claim)
    pid = await desk.town.caught("backup-")
    await desk.town.sandbox.outage(2)
    os.kill(pid, signal.SIGCONT)
    out, err = await process.communicate()
    assert process.returncode == 0, err
    assert b"the cluster does not answer" in err
    assert out.decode().startswith(f"{claim}: backed up 1 file")


async def test_what_keeps_a_mover_from_starting_is_said_while_it_does(desk: Desk) -> None:
    claim = await filled(desk, "unmounted")
    item = await desk.town.find(objects.CLAIMS, "unmounted")
    place = directory_of(await desk.town.find(objects.VOLUMES, item.spec.volume_name, None))
    away = place.rename(place.with_name("away"))
    process = await desk.start("backup", claim)
    assert process.stderr is not None
    while b"starting: " not in (line := await process.stderr.readline()):
        assert line
    assert line.decode().startswith(f"{claim}: starting: FailedMount: ")
    assert str(place) in line.decode()
    away.rename(place)
    out, err = await process.communicate()
    assert process.returncode == 0, err
    assert out.decode().startswith(f"{claim}: backed up 1 file")


async def test_why_a_reader_does_not_run_is_explained(desk: Desk) -> None:
    claim, town = await filled(desk, "explained"), desk.town
    away = town.repository.rename(town.directory / "away")
    for pod in await town.kube.list(objects.PODS, SETTINGS.namespace, {names.COMPONENT: "reader"}):
        await town.remove(objects.PODS, pod.metadata.name, SETTINGS.namespace)

    async def said() -> bool:
        found = await desk.run("explain", claim)
        return "The repository's reader does not run: FailedMount: " in found.out and str(town.repository) in found.out

    await town.until("the directory is named", said)
    away.rename(town.repository)

    async def heard() -> bool:
        found = (await desk.run("explain", claim, "-o", "json")).json
        return bool(found["decision"]["verdict"] == "Restore")

    await town.until("the reader answers", heard)


async def test_status_is_well_and_shows_the_line_to_pin(desk: Desk) -> None:
    claim = await filled(desk, "well")
    answer = await desk.run("status", "-n", APPS)
    report = (await desk.run("status", "-n", APPS, "-o", "json")).json
    assert [each["state"] for each in report["claims"] if each["claim"] == claim] == ["Protected"]
    assert report["operatorIsWell"]
    assert f"repositoryID: {report['repositories'][0]['repositoryId']}" in answer.out


async def test_snapshots_are_listed_newest_first(desk: Desk) -> None:
    claim = await filled(desk, "twice")
    await desk.town.run("twice", "echo more > g")
    await desk.ask("backup", claim)
    report = await desk.ask("snapshots", claim)
    assert [each["files"] for each in report["points"]] == [2, 1]
    assert {each["known"] for each in report["points"]} == {"recorded"}
    assert "SNAPSHOT" in (await desk.run("snapshots", claim)).out


async def test_files_are_listed_read_and_fetched(desk: Desk) -> None:
    claim = await filled(desk, "files", "mkdir d; printf 'a\\033b' > d/f; echo top > top")
    names = [each["name"] for each in (await desk.ask("ls", claim))["entries"]]
    assert names == ["d", "top"]
    assert (await desk.run("cat", claim, "d/f")).out == "a\x1bb"
    fetched = await desk.run("download", claim, "d/f", "-o", "copy")
    assert fetched.code == 0, fetched.err
    assert (desk.home / "copy").read_text() == "a\x1bb"


async def test_a_file_that_is_there_is_not_overwritten(desk: Desk) -> None:
    claim = await filled(desk, "careful")
    (desk.home / "f").write_text("mine")
    refused = await desk.run("download", claim, "f")
    assert (refused.code, (desk.home / "f").read_text()) == (ExitCode.FAILED, "mine")
    assert (await desk.run("download", claim, "f", "--force")).code == 0
    assert (desk.home / "f").read_text() == "treasure\n"


async def test_a_path_that_is_not_there_leaves_no_file(desk: Desk) -> None:
    claim = await filled(desk, "nothing")
    missing = await desk.run("download", claim, "absent")
    assert missing.code == ExitCode.FAILED
    assert "PathMissing" in missing.err
    assert not (desk.home / "absent").exists()


async def test_an_earlier_snapshot_is_restored_into_a_new_claim(desk: Desk) -> None:
    claim = await filled(desk, "story")
    first = (await desk.ask("snapshots", claim))["points"][0]["id"]
    await desk.town.run("story", "echo rubbish > f")
    await desk.ask("backup", claim)
    options = ("--snapshot", first[:12], "--storage-class", "immediate")
    made = await desk.ask("restore", claim, "--into", "story-old", *options)
    assert (made["phase"], made["snapshot"]) == ("Done", first)
    assert await desk.town.run("story-old", "cat f") == "treasure"
    assert await desk.town.run("story", "cat f", name="look") == "rubbish"
    item = await desk.town.find(objects.CLAIMS, "story-old")
    assert not item.labels


async def test_the_history_of_a_claim_that_is_gone_can_be_seen_and_restored(desk: Desk) -> None:
    claim = await filled(desk, "gone")
    await desk.town.remove(objects.CLAIMS, "gone")
    assert len((await desk.ask("snapshots", claim))["points"]) == 1
    made = await desk.ask("restore", claim, "--into", "found", "--storage-class", "immediate")
    assert made["phase"] == "Done"


async def test_a_restore_that_needs_a_pod_says_so_and_ends(desk: Desk) -> None:
    claim = await filled(desk, "lazy")
    answer = await desk.run("restore", claim, "--into", "lazy-copy")
    assert answer.code == 0
    assert "as soon as a pod uses the claim" in answer.out


async def test_nothing_is_made_for_a_restore_that_cannot_be(desk: Desk) -> None:
    claim = await filled(desk, "strict")
    restores = len(await desk.town.kube.list(objects.RESTORES))
    for options, sentence in (
        (("--into", "strict"), "a restore never changes a claim that exists"),
        (("--into", "new", "--snapshot", "0123456789abcdef"), "is not in the repository"),
        (("--into", "new", "--time", "2001-01-01T00:00:00Z"), "no backup is as old as"),
        (("--into", "new", "--identity", "other/data"), "must add {from: apps, to: other}"),
        (("--into", "nowhere/new"), "There is no namespace nowhere"),
    ):
        refused = await desk.run("restore", claim, *options)
        assert refused.code == ExitCode.FAILED
        assert sentence in refused.err
    assert len(await desk.town.kube.list(objects.RESTORES)) == restores
    assert await desk.town.find(objects.CLAIMS, "new") is None


async def test_what_cannot_be_backed_up_is_refused_by_name(desk: Desk) -> None:
    await desk.town.claim("unlabelled", labels={})
    await desk.town.claim("pending")
    for name, sentence in (
        ("unlabelled", "no label backup"),
        ("pending", "it is Pending"),
        ("absent", "There is no claim"),
    ):
        refused = await desk.run("backup", f"{APPS}/{name}")
        assert (refused.code, sentence in refused.err) == (ExitCode.FAILED, True), refused.err


async def test_all_protected_claims_are_backed_up_at_once(desk: Desk) -> None:
    claims = {await filled(desk, name) for name in ("many-1", "many-2")}
    results = await desk.ask("backup", "--all", "-n", APPS)
    assert claims <= {each["claim"] for each in results}
    assert {each["outcome"]["type"] for each in results} == {"Done"}


async def test_ctrl_c_leaves_the_run_going_and_says_so(desk: Desk) -> None:
    await desk.town.claim("patient")
    await desk.town.run("patient", "echo treasure > f")
    # A shell's background job ignores Ctrl-C, and so would the command that these tests start from there.
    ignored = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = await desk.start("backup", f"{APPS}/patient")
    finally:
        signal.signal(signal.SIGINT, ignored)
    assert process.stderr is not None
    await process.stderr.readline()
    mover = await desk.town.caught("backup-")
    process.send_signal(signal.SIGINT)
    _, err = await process.communicate()
    os.kill(mover, signal.SIGCONT)
    assert process.returncode == ExitCode.INTERRUPTED
    assert b"the runs go on" in err

    async def counted() -> bool:
        return bool((await desk.town.backup("patient")).get("lastID"))

    await desk.town.until("the run ends without us", counted)


async def test_a_missing_storage_makes_a_new_claim_wait_and_says_what_to_do(desk: Desk) -> None:
    claim = await filled(desk, "doubt")
    away = desk.town.directory / "away"
    desk.town.repository.rename(away)
    try:
        await desk.town.remove(objects.CLAIMS, "doubt")
        await desk.town.claim("doubt")
        answer = await desk.run("explain", claim)
        assert answer.code == ExitCode.ATTENTION
        assert "Wait (" in answer.out
        assert "What to do: " in answer.out
        await desk.town.until("the claim waits", lambda: desk.town.restore("doubt"))
        status = await desk.run("status")
        assert status.code == ExitCode.ATTENTION
        for command in ("snapshots", "ls"):
            assert (await desk.run(command, claim)).code == ExitCode.FAILED
        refused = await desk.run("restore", claim, "--into", "never")
        assert (refused.code, "nothing was created" in refused.err) == (ExitCode.FAILED, True)
    finally:
        away.rename(desk.town.repository)
    assert await desk.town.run("doubt", "cat f") == "treasure"


async def test_a_cluster_that_is_gone_ends_with_4(desk: Desk, tmp_path: Path) -> None:
    config = json.loads(desk.town.cluster.kubeconfig.read_text())
    config["clusters"][0]["cluster"]["server"] = "http://127.0.0.1:9"
    (tmp_path / "config").write_text(json.dumps(config))
    answer = await desk.run("status", "--kubeconfig", str(tmp_path / "config"))
    assert answer.code == ExitCode.CLUSTER
    assert len(answer.err.splitlines()) == 1


async def test_a_token_that_is_not_known_ends_with_4(desk: Desk, tmp_path: Path) -> None:
    config = json.loads(desk.town.cluster.kubeconfig.read_text())
    config["clusters"][0]["cluster"]["server"] = desk.town.sandbox.url
    config["users"][0]["user"]["token"] = "wrong"
    (tmp_path / "config").write_text(json.dumps(config))
    answer = await desk.run("snapshots", "apps/data", "--kubeconfig", str(tmp_path / "config"))
    assert answer.code == ExitCode.CLUSTER
