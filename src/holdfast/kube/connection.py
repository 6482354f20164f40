"""How the API server is found and how we prove who we are: the only module that knows lightkube."""

import ipaddress
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import httpx2

from holdfast.kube.errors import KubeError

if TYPE_CHECKING:
    from lightkube.config.kubeconfig import KubeConfig

SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
DEFAULT_KUBECONFIG: Final = Path("~/.kube/config")

# Waiting for a connection and connecting together stay below the margin between a lease's renew deadline and its
# duration: the right to write is checked before them.
TIMEOUT: Final = httpx2.Timeout(connect=3, pool=1.5, read=30, write=30)


def connect(
    kubeconfig: Path | None, context: str | None, *, trust_env: bool, transport: httpx2.AsyncBaseTransport | None
) -> tuple[httpx2.AsyncClient, str]:
    """Return an authenticated client and the namespace that the configuration names ("default" otherwise).

    Without a kubeconfig: $KUBECONFIG, the pod's service account, ~/.kube/config, the first that is there.
    Raises KubeError when none can be used. Proxies of the environment are never used on loopback.
    """
    # Importing lightkube takes 250 ms: only commands that speak to a cluster pay for it.
    from lightkube.config import client_adapter
    from lightkube.core.exceptions import ConfigError

    try:
        config = _load(kubeconfig, context).get(context)
        if config is None:
            raise ConfigError("no context is selected")
        parameters = client_adapter.ConnectionParams(
            timeout=TIMEOUT,
            trust_env=trust_env and not is_loopback(config.cluster.server),
            transport=transport,  # type: ignore[arg-type] # lightkube names the synchronous base class for both
        )
        return client_adapter.AsyncClient(config, parameters), config.namespace
    except (ConfigError, OSError, ValueError, KeyError) as error:
        where = kubeconfig or os.environ.get("KUBECONFIG") or DEFAULT_KUBECONFIG
        raise KubeError(
            "NoConfiguration", f"no way to a cluster: {error} ({where}); give --kubeconfig and --context"
        ) from error


def _load(kubeconfig: Path | None, context: str | None) -> "KubeConfig":
    from lightkube.config.kubeconfig import KubeConfig

    named = kubeconfig or os.environ.get("KUBECONFIG")
    if named is None and context is None and (SERVICE_ACCOUNT / "token").exists():
        return KubeConfig.from_service_account(SERVICE_ACCOUNT)
    return KubeConfig.from_file(named or DEFAULT_KUBECONFIG)


def is_loopback(server: str) -> bool:
    """Return whether a URL leads to this machine."""
    host = urlsplit(server).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
