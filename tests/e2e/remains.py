"""What Holdfast and the CSI drivers have in the cluster: for tests that nothing is left of a run."""

from typing import Final

from tests.cluster import places
from tests.cluster.kubectl import ask, kubectl
from tests.cluster.trouble import ClusterError
from tests.e2e.town import HOME, OURS, until

KINDS: Final = ("volumesnapshots", "jobs", "persistentvolumeclaims", "secrets")


def remains() -> set[str]:
    """Return what Holdfast made, and what the drivers have that is no volume of an app."""
    found: list[str] = []
    for kind in KINDS:
        found += kubectl("get", kind, "--all-namespaces", OURS, "--output=name").split()
    found += kubectl("get", "persistentvolumes", OURS, "--output=name").split()
    # The cluster's own are unmarked at first.
    found += kubectl("get", "volumesnapshotcontents", "--output=name").split()
    of_apps = f".items[?(@.spec.claimRef.namespace!='{HOME}')].spec.csi.volumeHandle"
    known = kubectl("get", "persistentvolumes", f"--output=jsonpath={{{of_apps}}}").split()
    return {*found, *(each for each in in_drivers() if each.rpartition("/")[2] not in known)}


def picture() -> str:
    """Return what there is of Holdfast, for a person who has to find out why something did not happen."""
    kinds = "pods,jobs,persistentvolumeclaims,persistentvolumes,volumesnapshots,volumesnapshotcontents"
    parts = [
        ask("get", kinds, "--all-namespaces", "--output=wide").stdout,
        ask("get", "volumesnapshots,protections,repositories", "--all-namespaces", "--output=yaml").stdout,
        ask("logs", f"--namespace={HOME}", "deployment/holdfast-operator", "--tail=60").stdout,
    ]
    return "\n".join(parts)


def in_drivers() -> set[str]:
    """Return every volume and snapshot of the CSI drivers, as their storage has them."""
    return {str(each) for each in places.VOLUMES.glob("*/*/*")}


def wait_for_no_more_than(before: set[str]) -> None:
    """Wait until nothing remains but what did before; fail with what does."""
    left: set[str] = set()

    def is_gone() -> bool:
        left.clear()
        left.update(remains() - before)
        return not left

    try:
        until(is_gone, "the end of what was made")
    except ClusterError as error:
        raise AssertionError(f"{error}\nleft: {sorted(left)}") from error
