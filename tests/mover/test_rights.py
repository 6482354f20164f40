"""Movers that are not root: what they cannot read makes a backup partial, and owners are not kept."""

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

import holdfast
from holdfast.model.repository import EngineKind
from holdfast.model.run import Restored
from holdfast.model.snapshot import Flag
from tests.support import pods
from tests.support.pods import Pod
from tests.support.programs import find_program

pytestmark = [pytest.mark.anyio, pytest.mark.programs]

NOBODY = 65_534
PACKAGES = os.pathsep.join(str(Path(each.__file__ or "").parents[1]) for each in (holdfast, msgspec))


@pytest.fixture(params=tuple(EngineKind), ids=str)
def unprivileged(request: pytest.FixtureRequest) -> Iterator[Pod]:
    """Return a pod whose movers run as another user, outside of pytest's private folders."""
    kind: EngineKind = request.param
    program = None if kind is EngineKind.MEMORY else find_program(kind.value)
    if os.geteuid() != 0:
        pytest.skip("only root can start movers as another user")
    python = next((each for each in (sys.executable, "/usr/bin/python3") if _runs_for_anybody(each)), None)
    if python is None:
        pytest.skip("no Python here can be started by another user")
    root = Path(tempfile.mkdtemp(prefix="holdfast-test-"))
    try:
        pod = Pod.create(root, kind)
        # A copy: the program itself may be below a home that only its owner may enter.
        programs = root / "bin"
        programs.mkdir()
        if program is not None:
            shutil.copy2(program, programs)
        for path in (root, *root.iterdir()):
            os.chown(path, NOBODY, NOBODY)
        yield replace(pod, user=NOBODY, python=python, extra={"PYTHONPATH": PACKAGES, "PATH": str(programs)})
    finally:
        shutil.rmtree(root)


def _runs_for_anybody(python: str) -> bool:
    argv = [python, "-c", "import holdfast.mover.main, msgspec"]
    environment = {"PYTHONPATH": PACKAGES}
    try:
        return subprocess.run(argv, user=NOBODY, env=environment, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


async def test_unreadable_files_make_a_backup_partial_and_are_named(unprivileged: Pod) -> None:
    pod = await unprivileged.initialized()
    (pod.data / "open").write_text("readable")
    (pod.data / "closed").write_text("unreadable")
    (pod.data / "closed").chmod(0)
    snapshot = await pod.backed_up()
    assert snapshot.flags == (Flag.PARTIAL,)
    assert snapshot.unreadable == ("closed",)
    ended = await pod.run(pods.restore(snapshot))
    assert isinstance(ended.outcome, Restored), ended
    assert not ended.outcome.owners_kept
    assert [path.name for path in pod.target.iterdir()] == ["open"]
    # What an earlier attempt left goes, also where its directories cannot be written.
    (pod.data / "closed").unlink()
    (pod.data / "folder").mkdir()
    (pod.data / "folder/file").write_text("precious")
    (pod.data / "folder").chmod(0o555)
    whole = await pod.backed_up("run-2")
    assert whole.flags == ()
    for _ in range(2):
        ended = await pod.run(pods.restore(whole), "run-3")
        assert isinstance(ended.outcome, Restored), ended
    assert (pod.target / "folder/file").read_text() == "precious"


async def test_the_root_of_a_volume_stays_somebody_elses(unprivileged: Pod) -> None:
    """It is made by the driver, and let to all: only its owner may set what a snapshot knows of it."""
    pod = await unprivileged.initialized()
    (pod.data / "f").write_text("treasure")
    snapshot = await pod.backed_up()
    pod.target.mkdir(parents=True)
    pod.target.chmod(0o777)
    assert pod.target.stat().st_uid != pod.data.stat().st_uid
    ended = await pod.run(pods.restore(snapshot))
    assert isinstance(ended.outcome, Restored), ended
    assert (pod.target / "f").read_text() == "treasure"
    assert stat.S_IMODE(pod.target.stat().st_mode) == 0o777
