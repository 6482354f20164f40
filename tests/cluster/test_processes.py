"""Daemons are found and ended, and nobody else is."""

import secrets
import signal
import subprocess
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from tests.cluster import places, processes
from tests.cluster.processes import Daemon
from tests.cluster.trouble import ClusterError

GRACE = timedelta(seconds=10)


@pytest.fixture(autouse=True)
def apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keep these daemons apart from those of a cluster, and of other tests, that may run on this machine."""
    monkeypatch.setattr(processes, "MARK", f"HOLDFAST_TEST_{secrets.token_hex(8).upper()}")
    monkeypatch.setattr(processes, "DAEMONS", tmp_path / "daemons")
    monkeypatch.setattr(places, "LOGS", tmp_path / "logs")
    yield
    processes.kill_all()


def sleeper(name: str, script: str = "sleep 1000; true") -> Daemon:
    return Daemon(name=name, argv=("sh", "-c", f": {name}; {script}"))


def running(name: str) -> bool:
    return name in processes.running()


def test_a_daemon_and_what_it_starts_are_found_and_killed() -> None:
    processes.start(sleeper("parent", "setsid sleep 1000 & sleep 1000"))
    processes.until(lambda: len(processes.running().get("parent", ())) == 3, within=GRACE, what="both children")
    processes.kill_all()
    assert not processes.running()


def test_what_a_daemon_starts_while_it_is_killed_is_killed_too() -> None:
    processes.start(sleeper("busy", "for each in $(seq 300); do setsid sleep 1000 & done; wait"))
    processes.until(lambda: running("busy"), within=GRACE, what="the daemon")
    processes.kill_all()
    assert not processes.running()


def test_only_the_daemons_that_are_named_end() -> None:
    for name in ("one", "other"):
        processes.start(sleeper(name, "sleep 1000; true"))
    processes.end(["one"], grace=GRACE)
    assert processes.ended() == ["one"]


def test_one_that_heeds_no_request_is_killed() -> None:
    processes.start(sleeper("deaf", "trap '' TERM; while :; do sleep 1; done"))
    processes.until(lambda: running("deaf"), within=GRACE, what="the daemon")
    processes.end(["deaf"], grace=timedelta(milliseconds=200))
    assert processes.ended() == ["deaf"]


def test_a_stranger_is_never_touched() -> None:
    processes.start(sleeper("ours", "sleep 1000; true"))
    with subprocess.Popen(("sleep", "1000")) as stranger:
        processes.kill_pids([stranger.pid], ours=lambda _: False)
        processes.kill_all()
        assert stranger.poll() is None
        stranger.send_signal(signal.SIGKILL)


def test_one_that_was_killed_starts_again_as_before() -> None:
    processes.start(sleeper("daemon", "sleep 1000; true"))
    processes.kill("daemon")
    assert processes.ended() == ["daemon"]
    processes.start_again("daemon")
    assert processes.ended() == []


def test_waiting_ends_when_a_daemon_does_and_shows_its_last_words() -> None:
    processes.start(sleeper("brief", "echo no such option; exit 1"))
    with pytest.raises(ClusterError, match=r"(?s)waited for wonders: brief ended.*no such option"):
        processes.until(lambda: False, within=GRACE, what="wonders")


def test_a_daemon_says_of_which_checkout_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert processes.checkouts() == frozenset()
    processes.start(sleeper("ours"))
    monkeypatch.setattr(places, "CHECKOUT", tmp_path)
    processes.start(sleeper("theirs"))
    processes.until(lambda: len(processes.checkouts()) == 2, within=GRACE, what="both")
    assert str(tmp_path) in processes.checkouts()
