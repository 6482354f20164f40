"""The daemons of Kubernetes itself: etcd, the control plane, containerd, kubelet, kube-proxy."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import yaml

from tests.cluster import keys, places
from tests.cluster.processes import Daemon

API: Final = f"https://{places.NODE_ADDRESS}:{places.API_PORT}"
_CLIENTS: Final = {
    "admin": ("holdfast-e2e-admin", "system:masters"),
    "controller-manager": ("system:kube-controller-manager", None),
    "scheduler": ("system:kube-scheduler", None),
    "kubelet": (f"system:node:{places.NODE}", "system:nodes"),
    "proxy": ("system:kube-proxy", None),
}


def write_keys() -> None:
    """Make all keys of the cluster anew."""
    places.KEYS.mkdir(parents=True, mode=0o700)
    authority = keys.Authority("holdfast-e2e")
    authority.pair.write(places.KEYS, "authority")
    api_names = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", places.FIRST_SERVICE)
    authority.signed("kube-apiserver", serves=(*api_names, places.NODE_ADDRESS)).write(places.KEYS, "apiserver")
    authority.signed("apiserver-to-kubelet", group="system:masters").write(places.KEYS, "to-kubelet")
    kubelet_names = (places.NODE, places.NODE_ADDRESS)
    authority.signed(places.NODE, serves=kubelet_names).write(places.KEYS, "kubelet")
    for file, (name, group) in _CLIENTS.items():
        authority.kubeconfig(_kubeconfig(file), API, authority.signed(name, group=group))
    keys.write_token_keys(places.KEYS)


def etcd() -> Daemon:
    clients = f"http://127.0.0.1:{places.ETCD_CLIENTS}"
    peers = f"http://127.0.0.1:{places.ETCD_PEERS}"
    options = {
        "data-dir": places.STATE / "etcd",
        "name": "e2e",
        "listen-client-urls": clients,
        "advertise-client-urls": clients,
        "listen-peer-urls": peers,
        "initial-advertise-peer-urls": peers,
        "initial-cluster": f"e2e={peers}",
        "log-level": "warn",
    }
    # Nothing outlives the machine, so nothing need be synced: a start is seconds faster.
    return Daemon(name="etcd", argv=(_program("etcd"), *_flags(options), "--unsafe-no-fsync"))


def apiserver() -> Daemon:
    issuer = "https://kubernetes.default.svc"
    options = {
        "etcd-servers": f"http://127.0.0.1:{places.ETCD_CLIENTS}",
        "bind-address": places.NODE_ADDRESS,
        "advertise-address": places.NODE_ADDRESS,
        "secure-port": places.API_PORT,
        "tls-cert-file": places.KEYS / "apiserver.crt",
        "tls-private-key-file": places.KEYS / "apiserver.key",
        "client-ca-file": places.KEYS / "authority.crt",
        "kubelet-client-certificate": places.KEYS / "to-kubelet.crt",
        "kubelet-client-key": places.KEYS / "to-kubelet.key",
        "kubelet-certificate-authority": places.KEYS / "authority.crt",
        "kubelet-preferred-address-types": "InternalIP",
        "service-account-issuer": issuer,
        "api-audiences": issuer,
        "service-account-key-file": places.KEYS / "tokens.pub",
        "service-account-signing-key-file": places.KEYS / "tokens.key",
        "service-cluster-ip-range": places.SERVICE_NETWORK,
        "authorization-mode": "Node,RBAC",
        "enable-admission-plugins": "NodeRestriction",
        "allow-privileged": "true",
    }
    return Daemon(name="apiserver", argv=(_program("kube-apiserver"), *_flags(options)))


def controller_manager() -> Daemon:
    options = {
        "kubeconfig": _kubeconfig("controller-manager"),
        "bind-address": "127.0.0.1",
        "secure-port": places.CONTROLLER_MANAGER,
        "use-service-account-credentials": "true",
        "service-account-private-key-file": places.KEYS / "tokens.key",
        "root-ca-file": places.KEYS / "authority.crt",
        "leader-elect": "false",
    }
    return Daemon(name="controller-manager", argv=(_program("kube-controller-manager"), *_flags(options)))


def scheduler() -> Daemon:
    options = {
        "kubeconfig": _kubeconfig("scheduler"),
        "bind-address": "127.0.0.1",
        "secure-port": places.SCHEDULER,
        "leader-elect": "false",
    }
    return Daemon(name="scheduler", argv=(_program("kube-scheduler"), *_flags(options)))


def proxy() -> Daemon:
    options = {
        "kubeconfig": _kubeconfig("proxy"),
        "proxy-mode": "nftables",
        "cluster-cidr": places.POD_NETWORK,
        "hostname-override": places.NODE,
        "healthz-bind-address": f"127.0.0.1:{places.PROXY_HEALTH}",
        "metrics-bind-address": f"127.0.0.1:{places.PROXY_METRICS}",
        # The machine's connection tracking is not ours to tune.
        "conntrack-max-per-core": 0,
        "conntrack-tcp-timeout-established": "0s",
        "conntrack-tcp-timeout-close-wait": "0s",
    }
    return Daemon(name="proxy", argv=(_program("kube-proxy"), *_flags(options)))


def containerd() -> Daemon:
    """Return the container runtime; its files and sockets lie apart from those of another one on the machine."""
    network = {
        "cniVersion": "1.0.0",
        "name": "holdfast-e2e",
        "plugins": [
            {
                "type": "bridge",
                "bridge": places.BRIDGE,
                "isGateway": True,
                "ipMasq": True,
                "hairpinMode": True,
                "ipam": {
                    "type": "host-local",
                    "dataDir": str(places.STATE / "addresses"),
                    "ranges": [[{"subnet": places.POD_NETWORK}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ],
    }
    cni = places.STATE / "cni"
    cni.mkdir()
    (cni / "10-holdfast-e2e.conflist").write_text(json.dumps(network, indent=1))
    settings = places.STATE / "containerd.toml"
    settings.write_text(
        f"""version = 2
root = "{places.STATE}/containerd"
state = "{places.RUN}/containerd"

[grpc]
address = "{places.CONTAINERD}"

[plugins."io.containerd.internal.v1.opt"]
path = "{places.STATE}/opt"

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{places.TOOLBOX_IMAGE}"
# Without CAP_SYS_RESOURCE, which root in a container often lacks, runc cannot lower a score.
restrict_oom_score_adj = true

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{places.CNI_PROGRAMS}"
conf_dir = "{cni}"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
SystemdCgroup = false
Root = "{places.RUN}/runc"
"""
    )
    return Daemon(name="containerd", argv=("containerd", "--config", str(settings)))


def kubelet() -> Daemon:
    settings = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": places.NODE_ADDRESS,
        "port": places.KUBELET_PORT,
        "healthzBindAddress": "127.0.0.1",
        "healthzPort": places.KUBELET_HEALTH,
        "tlsCertFile": str(places.KEYS / "kubelet.crt"),
        "tlsPrivateKeyFile": str(places.KEYS / "kubelet.key"),
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(places.KEYS / "authority.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "containerRuntimeEndpoint": f"unix://{places.CONTAINERD}",
        "cgroupDriver": "cgroupfs",
        "failCgroupV1": False,
        "failSwapOn": False,
        "enforceNodeAllocatable": [],
        "hairpinMode": "hairpin-veth",
        # Images are imported by hand and cannot be pulled again: never collect them.
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1Gi", "imagefs.available": "1Gi"},
        "eventRecordQPS": 0,
        "podLogsDir": str(places.STATE / "pod-logs"),
        "volumePluginDir": str(places.STATE / "volume-plugins"),
    }
    file = places.STATE / "kubelet.yaml"
    file.write_text(yaml.safe_dump(settings))
    options = {
        "config": file,
        "kubeconfig": _kubeconfig("kubelet"),
        "root-dir": places.KUBELET,
        "cert-dir": places.KUBELET / "pki",
        "hostname-override": places.NODE,
        "node-ip": places.NODE_ADDRESS,
        "v": 2,
    }
    return Daemon(name="kubelet", argv=(_program("kubelet"), *_flags(options)))


def _kubeconfig(client: str) -> Path:
    return places.KEYS / f"{client}.kubeconfig"


def _program(name: str) -> str:
    return str(places.PROGRAMS / name)


def _flags(options: Mapping[str, object]) -> tuple[str, ...]:
    return tuple(f"--{name}={value}" for name, value in options.items())
