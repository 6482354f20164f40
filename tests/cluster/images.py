"""The images of the pods: there is no registry, so containerd is given archives."""

import shutil
import subprocess
import tempfile
from datetime import timedelta
from pathlib import Path

from tests.cluster import places, processes
from tests.cluster.trouble import ClusterError
from tools.image import archive, holdfast


def bring_toolbox() -> None:
    """Let pods use busybox, the sandbox of all pods included."""
    with tempfile.TemporaryDirectory(dir=places.STATE) as directory:
        root = Path(directory, "toolbox")
        programs = root / "bin"
        programs.mkdir(parents=True)
        busybox = shutil.which("busybox")
        assert busybox is not None  # requirements.py has seen it
        shutil.copy(busybox, programs / "busybox")
        listed = subprocess.run((busybox, "--list"), capture_output=True, text=True, check=True).stdout
        for name in set(listed.split()) - {"busybox"}:
            (programs / name).symlink_to("busybox")
        (root / "tmp").mkdir()
        (root / "tmp").chmod(0o1777)
        target = Path(directory, "toolbox.tar")
        # As the sandbox of a pod it has to do nothing, for ever.
        settings = {"Cmd": ["/bin/sleep", "2147483647"], "Env": ["PATH=/bin"]}
        archive.write(places.TOOLBOX_IMAGE, target, layers=[root], settings=settings)
        _bring(target)


def bring_holdfast() -> None:
    """Let pods use Holdfast as it is in the checkout now; pods that run keep what they have."""
    with tempfile.TemporaryDirectory(dir=places.STATE) as directory:
        target = Path(directory, "holdfast.tar")
        holdfast.write(places.HOLDFAST_IMAGE, target)
        _bring(target)


def _bring(target: Path) -> None:
    processes.until(places.CONTAINERD.exists, within=timedelta(seconds=60), what="containerd")
    argv = ("ctr", f"--address={places.CONTAINERD}", "--namespace=k8s.io", "images", "import", str(target))
    answer = subprocess.run(argv, capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        raise ClusterError(f"{target.name} cannot be imported: {answer.stderr.strip()}")
