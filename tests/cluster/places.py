"""Where the cluster is: one machine has one, at fixed places and addresses."""

from pathlib import Path
from typing import Final

STATE: Final = Path("/var/lib/holdfast-e2e")
RUN: Final = Path("/run/holdfast-e2e")
LOCK: Final = "\0holdfast-e2e"  # an abstract socket: it ends with its process and leaves no file

RECORD: Final = Path("/var/lib/holdfast-e2e.machine.json")  # outlives an unclean end
KEYS: Final = STATE / "keys"
VOLUMES: Final = STATE / "volumes"
LOGS: Final = STATE / "logs"
KUBELET: Final = STATE / "kubelet"
KUBECONFIG: Final = KEYS / "admin.kubeconfig"
CONTAINERD: Final = RUN / "containerd.sock"
PROTOCOLS: Final = STATE / "protocols"

CHECKOUT: Final = Path(__file__).resolve().parent.parent.parent
PROGRAMS: Final = CHECKOUT / ".venv" / "bin"
MANIFESTS: Final = Path(__file__).parent / "manifests"
CNI_PROGRAMS: Final = Path("/usr/lib/cni")

NODE: Final = "holdfast-e2e"
BRIDGE: Final = "hf-e2e0"
BRIDGE_MAC: Final = "02:68:66:65:32:65"
NODE_ADDRESS: Final = "10.231.0.1"
POD_NETWORK: Final = "10.231.0.0/16"
SERVICE_NETWORK: Final = "10.232.0.0/16"
FIRST_SERVICE: Final = "10.232.0.1"  # the API server itself, as pods see it

# On loopback; away from the usual numbers, so that another control plane on this machine is not in the way.
ETCD_CLIENTS: Final = 32379
ETCD_PEERS: Final = 32380
CONTROLLER_MANAGER: Final = 32257
SCHEDULER: Final = 32259
KUBELET_HEALTH: Final = 32248
PROXY_HEALTH: Final = 32256
PROXY_METRICS: Final = 32249
LOOPBACK_PORTS: Final = (
    ETCD_CLIENTS,
    ETCD_PEERS,
    CONTROLLER_MANAGER,
    SCHEDULER,
    KUBELET_HEALTH,
    PROXY_HEALTH,
    PROXY_METRICS,
)
API_PORT: Final = 6443  # these two at NODE_ADDRESS, which only the bridge has
KUBELET_PORT: Final = 10250

# The CSI driver of the tests, and the same one without snapshots and with fsGroupPolicy None.
DRIVER: Final = "directory.csi.holdfast.dev"
PLAIN_DRIVER: Final = "plain.csi.holdfast.dev"

TOOLBOX_IMAGE: Final = "localhost/toolbox:1"  # busybox; also the pod sandbox
HOLDFAST_IMAGE: Final = "localhost/holdfast:checkout"


def driver_socket(driver: str) -> Path:
    return KUBELET / "plugins" / driver / "csi.sock"


def directory(handle: str) -> Path:
    """Return where the bytes of a volume are that one of the drivers calls so."""
    (found,) = VOLUMES.glob(f"*/*/{handle}/data")
    return found
