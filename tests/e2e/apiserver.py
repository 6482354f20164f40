"""A real kube-apiserver with its etcd, and nothing else: for what the API server alone decides."""

import asyncio
import contextlib
import secrets
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import yaml

from holdfast.kube import errors, objects
from holdfast.kube.client import Kube
from tests.support.programs import find_program

READY_SECONDS: Final = 90


@contextlib.contextmanager
def served(directory: Path) -> Iterator[Path]:
    """Yield the kubeconfig of an administrator; skip the test, saying why, where a program is missing."""
    etcd, server = find_program("etcd"), find_program("kube-apiserver")
    store, peer, port = _free_ports(3)
    token, key = secrets.token_hex(16), directory / "service-accounts.key"
    (directory / "tokens.csv").write_text(f"{token},admin,admin,system:masters\n")
    subprocess.run(("openssl", "genrsa", "-out", str(key), "2048"), check=True, capture_output=True)
    kubeconfig = directory / "kubeconfig"
    kubeconfig.write_text(_kubeconfig(port, token))
    with (
        _process(
            directory / "etcd.log",
            etcd,
            *("--data-dir", str(directory / "etcd"), "--unsafe-no-fsync", "--log-level", "warn"),
            *(
                "--listen-client-urls",
                f"http://127.0.0.1:{store}",
                "--advertise-client-urls",
                f"http://127.0.0.1:{store}",
            ),
            *("--listen-peer-urls", f"http://127.0.0.1:{peer}"),
        ),
        _process(
            directory / "apiserver.log",
            server,
            f"--etcd-servers=http://127.0.0.1:{store}",
            "--bind-address=127.0.0.1",
            f"--secure-port={port}",
            f"--cert-dir={directory / 'certificates'}",
            f"--token-auth-file={directory / 'tokens.csv'}",
            "--authorization-mode=RBAC",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={key}",
            f"--service-account-signing-key-file={key}",
            "--service-cluster-ip-range=10.96.0.0/24",
            "--disable-admission-plugins=ServiceAccount",
        ) as process,
    ):
        _wait_ready(kubeconfig, process, directory / "apiserver.log")
        yield kubeconfig


def _kubeconfig(port: int, token: str) -> str:
    cluster = {"server": f"https://127.0.0.1:{port}", "insecure-skip-tls-verify": True}
    named = {
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": {"token": token}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
    }
    return yaml.safe_dump({"apiVersion": "v1", "kind": "Config", "current-context": "x", **named})


def _free_ports(count: int) -> Sequence[int]:
    with contextlib.ExitStack() as stack:
        found = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in found:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in found]


@contextlib.contextmanager
def _process(log: Path, *argv: str) -> Iterator["subprocess.Popen[bytes]"]:
    with (
        log.open("wb") as output,
        subprocess.Popen(argv, stdout=output, stderr=output, stdin=subprocess.DEVNULL) as child,
    ):
        try:
            yield child
        finally:
            child.terminate()
            try:
                child.wait(20)
            except subprocess.TimeoutExpired:
                child.kill()


def _wait_ready(kubeconfig: Path, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while not asyncio.run(_is_ready(kubeconfig)):
        assert process.poll() is None, f"kube-apiserver ended: {log.read_text()[-2000:]}"
        assert time.monotonic() < deadline, f"kube-apiserver is not ready: {log.read_text()[-2000:]}"
        time.sleep(0.3)


async def _is_ready(kubeconfig: Path) -> bool:
    kube = Kube.connect(kubeconfig)
    try:
        await kube.get(objects.NAMESPACES, "default")
        return (await kube.http.get("/readyz")).is_success
    except errors.KubeError:
        return False
    finally:
        await kube.aclose()
