"""kubectl, as the administrator of the cluster."""

import subprocess

from tests.cluster import places
from tests.cluster.trouble import ClusterError


def kubectl(*arguments: str, text: str = "") -> str:
    """Return what kubectl prints; raise ClusterError with its complaint."""
    answer = ask(*arguments, text=text)
    if answer.returncode != 0:
        raise ClusterError(f"kubectl {' '.join(arguments)}: {answer.stderr.strip() or answer.stdout.strip()}")
    return answer.stdout


def ask(*arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
    """Return what came of a kubectl that may fail."""
    argv = (str(places.PROGRAMS / "kubectl"), f"--kubeconfig={places.KUBECONFIG}", *arguments)
    return subprocess.run(argv, input=text, capture_output=True, text=True, check=False, timeout=120)
