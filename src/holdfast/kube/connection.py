"""How the API server is found and how we prove who we are: the only module that knows lightkube."""

import ipaddress
import json
import os
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import httpx2
import yaml

from holdfast.kube.errors import KubeError, Unauthorized

if TYPE_CHECKING:
    from lightkube.config.kubeconfig import KubeConfig

SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
DEFAULT_KUBECONFIG: Final = Path("~/.kube/config")

# Waiting for a connection and connecting together stay below the margin between a lease's renew deadline and its
# duration: the right to write is checked before them.
TIMEOUT: Final = httpx2.Timeout(connect=3, pool=1.5, read=30, write=30)

_EXEC_VERSION: Final = "client.authentication.k8s.io/v1"
_FILES: Final = ("certificate-authority", "client-certificate", "client-key", "tokenFile")
_Json = dict[str, Any]


def connect(
    kubeconfig: Path | None, context: str | None, *, trust_env: bool, transport: httpx2.AsyncBaseTransport | None
) -> tuple[httpx2.AsyncClient, str]:
    """Return an authenticated client and the namespace that the configuration names ("default" otherwise).

    Without a kubeconfig: those of $KUBECONFIG, the pod's service account, ~/.kube/config, the first that is there.
    Raises KubeError when none can be used. Proxies of the environment are never used on loopback.
    """
    # Importing lightkube takes 250 ms: only commands that speak to a cluster pay for it.
    from lightkube.config import client_adapter
    from lightkube.core.exceptions import ConfigError

    paths = _paths(kubeconfig)
    unnamed = kubeconfig is None and context is None and "KUBECONFIG" not in os.environ
    account = unnamed and (SERVICE_ACCOUNT / "token").exists()
    try:
        config, extra = _service_account() if account else _from_files(paths, context)
        single = config.get(context)
        if single is None:
            raise ConfigError("no context is selected")
        parameters = client_adapter.ConnectionParams(
            timeout=TIMEOUT,
            trust_env=trust_env and not is_loopback(single.cluster.server),
            transport=transport,  # type: ignore[arg-type] # lightkube names the synchronous base class for both
            proxy=extra.get("proxy-url"),
        )
        http = client_adapter.AsyncClient(single, parameters)
    except (ConfigError, OSError, ValueError, TypeError, KeyError, yaml.YAMLError) as error:
        where = SERVICE_ACCOUNT if account else ", ".join(map(str, paths))
        why = f"{error.args[0]} is missing" if isinstance(error, KeyError) else error
        raise KubeError(
            "NoConfiguration", f"no way to a cluster in {where}: {why}; give --kubeconfig and --context"
        ) from error
    if isinstance(http.auth, httpx2.Auth):
        http.auth = _NamedAuth(http.auth)
    if server_name := extra.get("tls-server-name"):
        http.event_hooks = {"request": [_asking_for(server_name)]}
    return http, single.namespace


def is_loopback(server: str) -> bool:
    """Return whether a URL leads to this machine."""
    host = urlsplit(server).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _service_account() -> "tuple[KubeConfig, _Json]":
    from lightkube.config.kubeconfig import KubeConfig

    return KubeConfig.from_service_account(SERVICE_ACCOUNT), {}


def _paths(kubeconfig: Path | None) -> Sequence[Path]:
    if kubeconfig is not None:
        return (kubeconfig.expanduser(),)
    named = [Path(part).expanduser() for part in os.environ.get("KUBECONFIG", "").split(os.pathsep) if part]
    return named or (DEFAULT_KUBECONFIG.expanduser(),)


def _from_files(paths: Sequence[Path], context: str | None) -> "tuple[KubeConfig, _Json]":
    """Return the configuration of all files, the first to name a thing wins, and what lightkube leaves out of it."""
    from lightkube.config.kubeconfig import KubeConfig

    # kubectl passes over files of a list that are not there, and so do we unless none is.
    present = [path for path in paths if path.exists()] or paths[:1]
    documents = [_read(path) for path in present]
    merged: _Json = {
        "current-context": next((each["current-context"] for each in documents if each.get("current-context")), None)
    }
    for what, of_one in (("clusters", "cluster"), ("users", "user"), ("contexts", "context")):
        merged[what] = _first_of_each(item for each in documents for item in each.get(what) or ())
        for item in merged[what]:
            item[of_one] = item.get(of_one) or {}
    for user in merged["users"]:
        _accept_exec_v1(user["user"])
    return KubeConfig.from_dict(merged), _cluster(merged, context)


def _read(path: Path) -> _Json:
    document = yaml.safe_load(path.read_text())
    if not isinstance(document, dict):
        raise ValueError(f"{path} is no kubeconfig")  # the text is wrong, not a type of ours
    for what, of_one in (("clusters", "cluster"), ("users", "user")):
        for item in document.get(what) or ():
            inside = item.get(of_one) or {}
            for name in _FILES:
                if inside.get(name):
                    inside[name] = str(path.absolute().parent / inside[name])
    return document


def _first_of_each(items: Iterable[_Json]) -> list[_Json]:
    found: dict[str, _Json] = {}
    for item in items:
        found.setdefault(item["name"], item)
    return list(found.values())


def _cluster(merged: Mapping[str, Any], context: str | None) -> _Json:
    """Return the selected cluster as it is written; {} where lightkube will say what is missing."""
    selected = context or merged["current-context"]
    contexts = {item["name"]: item["context"] for item in merged["contexts"]}
    clusters: dict[str, _Json] = {item["name"]: item["cluster"] for item in merged["clusters"]}
    return clusters.get(contexts.get(selected, {}).get("cluster", ""), {})


def _accept_exec_v1(user: _Json) -> None:
    """Let lightkube run plugins of the v1 protocol: it knows v1beta1 only, whose answer is the same."""
    plugin = user.get("exec")
    if not isinstance(plugin, dict) or plugin.get("apiVersion") != _EXEC_VERSION:
        return
    request = {"apiVersion": _EXEC_VERSION, "kind": "ExecCredential", "spec": {"interactive": False}}
    plugin["apiVersion"] = f"{_EXEC_VERSION}beta1"
    plugin["env"] = [*(plugin.get("env") or ()), {"name": "KUBERNETES_EXEC_INFO", "value": json.dumps(request)}]


class _NamedAuth(httpx2.Auth):
    """Makes a credential that cannot be had one of our errors, wherever it is asked for."""

    def __init__(self, inner: httpx2.Auth) -> None:
        self._inner = inner

    async def async_auth_flow(self, request: httpx2.Request) -> AsyncGenerator[httpx2.Request, httpx2.Response]:
        from lightkube.core.exceptions import ConfigError

        flow = self._inner.async_auth_flow(request)
        try:
            asked = await anext(flow)
            while True:
                asked = await flow.asend((yield asked))
        except StopAsyncIteration:
            return
        except (ConfigError, OSError, ValueError, KeyError) as error:
            raise Unauthorized("NoCredentials", f"no credential for the cluster: {error}") from error


def _asking_for(server_name: str) -> Any:
    async def ask(request: httpx2.Request) -> None:
        request.extensions = {**request.extensions, "sni_hostname": server_name}

    return ask
