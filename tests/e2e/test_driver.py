"""The CSI driver of the tests keeps to the specification."""

import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from tests.cluster import places, processes
from tests.support.programs import find_program


@pytest.fixture(params=[(), ("--without-snapshots",)], ids=["with-snapshots", "without-snapshots"])
def endpoint(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """Start a driver that no cluster uses and return its socket."""
    socket = tmp_path / "csi.sock"
    options = ("--name", "sanity.test", "--node", "here", "--state", str(tmp_path / "state"), "--socket", str(socket))
    argv = (sys.executable, "-m", "tests.cluster.csi.driver", *options, "--protocols", str(places.PROTOCOLS))
    with subprocess.Popen((*argv, *request.param), cwd=places.CHECKOUT) as driver:
        processes.until(socket.exists, within=timedelta(seconds=20), what="the driver's socket")
        yield socket
        driver.terminate()


def test_the_driver_passes_csi_sanity(endpoint: Path, tmp_path: Path) -> None:
    argv = (
        find_program("csi-sanity"),
        f"--csi.endpoint=unix://{endpoint}",
        f"--csi.mountdir={tmp_path / 'target'}",
        f"--csi.stagingdir={tmp_path / 'staging'}",
        "--ginkgo.no-color",
    )
    answer = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout[-4000:]
    assert " 0 Failed" in answer.stdout
