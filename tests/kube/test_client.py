"""What the client sends, and what it makes of every kind of answer."""

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from holdfast.kube import connection, errors, objects
from holdfast.kube.client import Kube
from holdfast.kube.connection import is_loopback
from holdfast.kube.objects import CLAIMS, CLASSES, JOBS, PROTECTIONS, REPOSITORIES, SECRETS
from tests.support.chaos_api import (
    Answer,
    End,
    Hangup,
    Reply,
    Request,
    Silence,
    Stream,
    claim,
    listing,
    meta,
    refusal,
    serving,
    status,
)

pytestmark = pytest.mark.anyio

MANIFEST: Mapping[str, Any] = {
    "apiVersion": "holdfast.dev/v1alpha1",
    "kind": "Protection",
    "metadata": {"name": "data", "namespace": "app"},
    "status": {"state": "Protected"},
}


def stored(request: Request) -> Reply:
    return Answer(body={"metadata": meta("data", 7), "spec": {}, "status": {"state": "Protected"}})


async def asked(reply: Reply) -> errors.KubeError:
    """Return the error that a GET becomes when it is answered so."""
    async with serving(lambda _: reply) as (_, kube):
        with pytest.raises(errors.KubeError) as caught:
            await kube.get(CLAIMS, "data", "app")
    return caught.value


UNASKED = status(500, "InternalError") | {
    "message": 'Internal error occurred: failed calling webhook "policies.example.org": failed to call webhook'
}


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (refusal(404, "NotFound"), errors.NotFound),
        (Answer(status=404, body=b"404 page not found\n"), errors.NotServed),
        (refusal(409, "AlreadyExists"), errors.AlreadyExists),
        (refusal(409, "Conflict"), errors.Conflict),
        (refusal(410, "Expired"), errors.Gone),
        (refusal(400, "BadRequest"), errors.Invalid),
        (refusal(422, "Invalid"), errors.Invalid),
        (refusal(401, "Unauthorized"), errors.Unauthorized),
        (Answer(status=401, body=b"Unauthorized\n"), errors.Unauthorized),
        (refusal(403, "Forbidden"), errors.Forbidden),
        (Answer(status=403, body=b"<html>no</html>"), errors.Forbidden),
        (refusal(403, "Forbidden", causes=[{"reason": "NamespaceTerminating"}]), errors.Terminating),
        (refusal(500, "InternalError"), errors.KubeError),
        (Answer(status=500, body=UNASKED), errors.Forbidden),
        (Answer(status=502, body=b"bad gateway"), errors.KubeError),
        (Answer(body=b"<html>welcome</html>"), errors.Undecodable),
        (Answer(body={"metadata": {"name": "data"}}), errors.Undecodable),
        (Answer(body=b""), errors.Undecodable),
        (Answer(status=302, headers={"Location": "http://127.0.0.1:1/"}), errors.KubeError),
        (Hangup(), errors.Unreachable),
    ],
)
async def test_every_refusal_has_its_exception(reply: Reply, error: type[errors.KubeError]) -> None:
    assert type(await asked(reply)) is error


async def test_a_refusal_says_what_and_when_to_come_back() -> None:
    busy = await asked(refusal(429, "TooManyRequests", headers={"Retry-After": "7"}))
    assert (busy.reason, busy.message, busy.status) == ("TooManyRequests", "scripted", 429)
    assert busy.retry_after == timedelta(seconds=7)
    later = await asked(refusal(504, "Timeout", retryAfterSeconds=3))
    assert later.retry_after == timedelta(seconds=3)


async def test_a_conflict_of_managers_names_the_fields() -> None:
    causes = [{"reason": "FieldManagerConflict", "field": ".spec.replicas"}]
    assert ".spec.replicas" in str(await asked(refusal(409, "Conflict", causes=causes)))


async def test_a_server_that_does_not_answer_is_unreachable_after_the_deadline() -> None:
    async with serving(lambda _: Silence()) as (_, kube):
        impatient = replace(kube, deadline=timedelta(milliseconds=30))
        with pytest.raises(errors.Unreachable, match=r"/api/v1/namespaces/app/persistentvolumeclaims/data.*0\.03 s"):
            await impatient.get(CLAIMS, "data", "app")


async def test_a_port_where_nobody_listens_is_unreachable() -> None:
    async with serving(stored) as (api, kube):
        await api.stop()
        with pytest.raises(errors.Unreachable):
            await kube.get(CLAIMS, "data", "app")
        await api.start()


async def test_a_list_is_read_to_its_end() -> None:
    pages = [listing(5, claim("a", 1), proceed="t1"), listing(5, claim("b", 2), proceed="t2"), listing(5)]
    async with serving(lambda _: pages.pop(0)) as (api, kube):
        found = await kube.list(CLAIMS, "app", {"app": "x", "tier": "y"})
    assert [item.metadata.name for item in found] == ["a", "b"]
    assert [request.query.get("continue") for request in api.requests] == [None, "t1", "t2"]
    assert {request.query["labelSelector"] for request in api.requests} == {"app=x,tier=y"}
    assert {request.path for request in api.requests} == {"/api/v1/namespaces/app/persistentvolumeclaims"}


async def test_a_list_that_expires_midway_begins_again_and_never_mixes_versions() -> None:
    mixed = Answer(status=410, body=status(410, "Expired") | {"metadata": {"continue": "inconsistent"}})
    replies: list[Reply] = [listing(5, claim("old", 1), proceed="t1"), mixed, listing(9, claim("a", 6))]
    async with serving(lambda _: replies.pop(0)) as (api, kube):
        found = await kube.list(CLAIMS)
    assert [item.metadata.name for item in found] == ["a"]
    assert [request.query.get("continue") for request in api.requests] == [None, "t1", None]


async def test_a_list_that_always_expires_fails() -> None:
    async with serving(lambda _: refusal(410, "Expired")) as (api, kube):
        with pytest.raises(errors.Gone):
            await kube.list(CLAIMS)
    assert len(api.requests) == 3


async def test_a_list_with_an_unreadable_item_is_not_complete_and_names_it() -> None:
    bad = {"metadata": meta("bad", 3), "spec": "none"}
    async with serving(lambda _: listing(5, claim("a", 1), bad)) as (_, kube):
        with pytest.raises(errors.Undecodable, match="app/bad"):
            await kube.list(CLAIMS)


async def test_an_answer_of_another_shape_is_no_empty_list() -> None:
    async with serving(lambda _: Answer(body={"metadata": {}, "items": []})) as (_, kube):
        with pytest.raises(errors.Undecodable, match="no list of persistentvolumeclaims"):
            await kube.list(CLAIMS)
    async with serving(lambda _: Answer(body={"metadata": {"resourceVersion": "4"}, "items": None})) as (_, kube):
        assert list(await kube.list(CLAIMS)) == []


async def test_apply_is_a_server_side_apply_as_holdfast() -> None:
    async with serving(stored) as (api, kube):
        applied = await kube.apply(MANIFEST)
        await kube.apply(MANIFEST, force=False)
        await kube.apply_status(MANIFEST)
    assert isinstance(applied, objects.Protection)
    path = "/apis/holdfast.dev/v1alpha1/namespaces/app/protections/data"
    assert [request.path for request in api.requests] == [path, path, f"{path}/status"]
    assert [request.query["force"] for request in api.requests] == ["true", "false", "true"]
    for request in api.requests:
        assert request.method == "PATCH"
        assert request.headers["content-type"] == "application/apply-patch+yaml"
        assert request.query["fieldManager"] == "holdfast"
        assert "fieldValidation" not in request.query
        assert request.body == MANIFEST


async def test_create_posts_to_the_kinds_own_path() -> None:
    async with serving(stored) as (api, kube):
        await kube.create({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j", "namespace": "app"}})
    request = api.requests[0]
    assert (request.method, request.path) == ("POST", "/apis/batch/v1/namespaces/app/jobs")


async def test_a_merge_patch_carries_its_preconditions() -> None:
    body = {"metadata": {"resourceVersion": "6", "labels": {"x": None}}}
    async with serving(stored) as (api, kube):
        patched = await kube.patch(PROTECTIONS, "data", "app", body)
        await kube.patch(PROTECTIONS, "data", "app", body, subresource="status")
    assert patched.metadata.resource_version == "7"
    assert api.requests[0].headers["content-type"] == "application/merge-patch+json"
    assert api.requests[0].body == body
    assert api.requests[1].path.endswith("/protections/data/status")


async def test_delete_takes_dependents_along_and_checks_the_uid() -> None:
    async with serving(lambda _: Answer(body=status(200, "Success"))) as (api, kube):
        assert await kube.delete(JOBS, "run", "app", uid="u1") is True
        assert await kube.delete(JOBS, "run", "app") is True
    assert api.requests[0].body["propagationPolicy"] == "Background"
    assert api.requests[0].body["preconditions"] == {"uid": "u1"}
    assert "preconditions" not in api.requests[1].body


async def test_deleting_what_is_not_there_is_said_and_another_uid_is_a_conflict() -> None:
    async with serving(lambda _: refusal(404, "NotFound")) as (_, kube):
        assert await kube.delete(JOBS, "run", "app") is False
    async with serving(lambda _: refusal(409, "Conflict")) as (_, kube):
        with pytest.raises(errors.Conflict):
            await kube.delete(JOBS, "run", "app", uid="old")
    async with serving(lambda _: Answer(status=404, body=b"404 page not found")) as (_, kube):
        with pytest.raises(errors.NotServed):
            await kube.delete(PROTECTIONS, "data", "app")


async def test_strict_writes_ask_for_strict_validation() -> None:
    async with serving(stored) as (api, kube):
        await replace(kube, strict=True).apply(MANIFEST)
    assert api.requests[0].query["fieldValidation"] == "Strict"


async def test_no_write_is_sent_without_the_right_to_write_and_reads_go_on() -> None:
    may_write = True
    async with serving(stored) as (api, plain):
        kube = plain.guarded(lambda: may_write)
        await kube.apply(MANIFEST)
        may_write = False
        for write in (
            kube.create(MANIFEST),
            kube.apply(MANIFEST),
            kube.apply_status(MANIFEST),
            kube.patch(PROTECTIONS, "data", "app", {}),
            kube.delete(PROTECTIONS, "data", "app"),
        ):
            with pytest.raises(errors.NotLeading):
                await write
        await kube.get(PROTECTIONS, "data", "app")
        assert [request.method for request in api.requests] == ["PATCH", "GET"]


async def test_a_log_comes_line_by_line_and_its_last_line_may_lack_an_end() -> None:
    log = Stream(pieces=[b"one\ntw", b"o \xff\nthree"])
    async with serving(lambda _: log) as (api, kube):
        assert [line async for line in kube.logs("app", "pod", follow=True)] == ["one", "two �", "three"]
    assert api.requests[0].path == "/api/v1/namespaces/app/pods/pod/log"
    assert api.requests[0].query == {"follow": "true"}


async def test_a_log_that_is_cut_is_not_a_log_that_ends() -> None:
    async with serving(lambda _: Stream(pieces=[b"one\n"], end=End.CUT)) as (_, kube):
        lines = []
        with pytest.raises(errors.Unreachable):
            async for line in kube.logs("app", "pod", follow=False):
                lines.append(line)  # what came before the cut counts
        assert lines == ["one"]


async def test_a_silent_watch_ends_as_unreachable() -> None:
    async with serving(lambda _: Stream(end=End.HANG)) as (_, kube):
        watch = kube.watch(
            CLAIMS, resource_version="1", duration=timedelta(seconds=60), quiet=timedelta(milliseconds=30)
        )
        with pytest.raises(errors.Unreachable):
            await anext(watch)


async def test_a_watch_can_be_left_midway() -> None:
    stream = Stream(pieces=[{"type": "ADDED", "object": claim("a", 2)}], end=End.HANG)
    async with serving(lambda _: stream) as (_, kube):
        watch = kube.watch(CLAIMS, resource_version="1", duration=timedelta(seconds=60))
        async with asyncio.timeout(5), contextlib.aclosing(watch):
            await anext(watch)


def test_paths_follow_group_scope_and_namespace() -> None:
    assert CLAIMS.path("app", "data", "status") == "/api/v1/namespaces/app/persistentvolumeclaims/data/status"
    assert CLAIMS.path(None) == "/api/v1/persistentvolumeclaims"
    assert CLASSES.path("ignored", "fast") == "/apis/storage.k8s.io/v1/storageclasses/fast"
    assert REPOSITORIES.path(None, "main") == "/apis/holdfast.dev/v1alpha1/repositories/main"
    with pytest.raises(ValueError, match="a namespace is needed"):
        CLAIMS.path(None, "data")


async def test_a_manifest_of_an_unknown_kind_is_refused_here() -> None:
    async with serving(stored) as (api, kube):
        with pytest.raises(ValueError, match="no kind 'Widget'"):
            await kube.apply({"apiVersion": "v1", "kind": "Widget", "metadata": {"name": "x"}})
    assert api.requests == []


async def test_a_secret_is_decoded_and_never_shown() -> None:
    body = {"metadata": meta("keys", 3), "data": {"KOPIA_PASSWORD": "aHVudGVyMg=="}, "type": "Opaque"}
    async with serving(lambda _: Answer(body=body)) as (_, kube):
        secret = await kube.get(SECRETS, "keys", "holdfast")
    assert secret.data == {"KOPIA_PASSWORD": b"hunter2"}
    assert "hunter2" not in repr(secret)
    assert "KOPIA_PASSWORD" in repr(secret)


KUBECONFIG = """
apiVersion: v1
kind: Config
current-context: here
clusters: [{{name: c, cluster: {{server: {url}}}}}]
users: [{{name: u, user: {{token: t0ken}}}}]
contexts:
- {{name: here, context: {{cluster: c, user: u, namespace: mine}}}}
- {{name: bare, context: {{cluster: c, user: u}}}}
"""


async def test_a_kubeconfig_leads_to_its_cluster_with_its_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    async with serving(stored) as (api, _):
        config = tmp_path / "config"
        config.write_text(KUBECONFIG.format(url=api.url))
        kube = Kube.connect(config)
        try:
            await kube.get(PROTECTIONS, "data", "app")
        finally:
            await kube.aclose()
        assert api.requests[0].headers["authorization"] == "Bearer t0ken"
        assert kube.namespace == "mine"
        for other, namespace in ((Kube.connect(config, "bare"), "default"), (Kube.connect(config, None, "x"), "x")):
            assert other.namespace == namespace
            await other.aclose()


A_CERTIFICATE = """-----BEGIN CERTIFICATE-----
MIIBdTCCARugAwIBAgIUGVoMlRKj9CTp9RxrzrRR3hRoGiYwCgYIKoZIzj0EAwIw
DzENMAsGA1UEAwwEdGVzdDAgFw0yNjExMjUwNDI4MjdaGA8yMTI2MTEwMTA0Mjgy
N1owDzENMAsGA1UEAwwEdGVzdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABAi7
Pwb+jr7misACZYFX44YiK58uqguYLzrpk3SWMmBlj10qDb3WCkKapMebVgmjk86+
uaUpY3mW+sDEotCYj1+jUzBRMB0GA1UdDgQWBBRVsojlGxEKXRd3cgSFWaYaLjqG
KzAfBgNVHSMEGDAWgBRVsojlGxEKXRd3cgSFWaYaLjqGKzAPBgNVHRMBAf8EBTAD
AQH/MAoGCCqGSM49BAMCA0gAMEUCIQDit1SNZ41z0xASDPzmZ1njZSIUXEFnijzL
WhkMZM9N9wIgaqjwoAwavqLt0ur7pVo/EPLcTtCacMljiCzVrie2Yqc=
-----END CERTIFICATE-----
"""


async def test_a_pod_uses_its_service_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    monkeypatch.setattr(connection, "SERVICE_ACCOUNT", tmp_path)  # where the kubelet mounts it
    for name, text in (("token", "t"), ("namespace", "holdfast"), ("ca.crt", A_CERTIFICATE)):
        (tmp_path / name).write_text(text)
    kube = Kube.connect()
    assert (str(kube.http.base_url), kube.namespace) == ("https://[fd00::1]", "holdfast")
    await kube.aclose()
    (tmp_path / "ca.crt").write_text("cut off")
    with pytest.raises(errors.KubeError, match=str(tmp_path)):
        Kube.connect()


def test_importing_the_client_does_not_import_lightkube() -> None:
    program = "import sys, holdfast.kube.client; sys.exit('lightkube' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


async def test_a_server_below_a_path_keeps_its_path(tmp_path: Path) -> None:
    async with serving(stored) as (api, _):
        config = tmp_path / "config"
        config.write_text(KUBECONFIG.format(url=f"{api.url}/k8s/clusters/c1"))
        kube = Kube.connect(config)
        await kube.get(PROTECTIONS, "data", "app")
        await kube.aclose()
        assert api.requests[0].path.startswith("/k8s/clusters/c1/apis/holdfast.dev/")


async def test_the_first_kubeconfig_to_name_a_thing_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(stored) as (api, _):
        first, second = tmp_path / "first", tmp_path / "second"
        first.write_text(KUBECONFIG.format(url=api.url))
        second.write_text(KUBECONFIG.format(url="http://127.0.0.1:1").replace("bare", "other").replace("t0k", "x"))
        monkeypatch.setenv("KUBECONFIG", f"{tmp_path / 'absent'}:{first}:{second}")
        kube = Kube.connect(context="other")
        try:
            await kube.get(PROTECTIONS, "data", "app")
        finally:
            await kube.aclose()
        assert api.requests[0].headers["authorization"] == "Bearer t0ken"


PLUGIN = "{exec: {apiVersion: client.authentication.k8s.io/v1, command: sh, args: [-c, 'SCRIPT']}}"
ANSWER = 'echo "$KUBERNETES_EXEC_INFO" | grep -q authentication.k8s.io/v1.,'
ANSWER += ' && echo "{\\"status\\": {\\"token\\": \\"fresh\\"}}"'


@pytest.mark.parametrize(
    ("script", "token"),
    [
        (ANSWER, "fresh"),
        ("exit 3", None),
        ("echo nothing", None),
        ("echo {}", None),
    ],
)
async def test_a_credential_plugin_is_run_and_its_failure_named(tmp_path: Path, script: str, token: str | None) -> None:
    async with serving(stored) as (api, _):
        config = tmp_path / "config"
        text = KUBECONFIG.format(url=api.url).replace("{token: t0ken}", PLUGIN.replace("SCRIPT", script))
        config.write_text(text)
        kube = Kube.connect(config)
        try:
            if token is None:
                with pytest.raises(errors.Unauthorized, match="no credential"):
                    await kube.get(PROTECTIONS, "data", "app")
            else:
                await kube.get(PROTECTIONS, "data", "app")
                assert api.requests[0].headers["authorization"] == f"Bearer {token}"
        finally:
            await kube.aclose()


@pytest.mark.parametrize(
    ("text", "context"),
    [("{}", None), ("not: [yaml", None), (KUBECONFIG.format(url="http://127.0.0.1:1"), "absent"), ("[]", None)],
)
def test_a_kubeconfig_that_cannot_be_used_says_which_one(tmp_path: Path, text: str, context: str | None) -> None:
    config = tmp_path / "config"
    config.write_text(text)
    with pytest.raises(errors.KubeError, match=str(config)):
        Kube.connect(config, context)


def test_a_missing_kubeconfig_says_which_one(tmp_path: Path) -> None:
    with pytest.raises(errors.KubeError, match="absent"):
        Kube.connect(tmp_path / "absent")


@pytest.mark.parametrize(
    ("server", "loopback"),
    [
        ("http://127.0.0.1:8080", True),
        ("https://[::1]:6443", True),
        ("https://localhost:6443", True),
        ("https://10.0.0.1", False),
        ("https://localhost.example.org", False),
    ],
)
def test_loopback_is_known_by_its_address(server: str, loopback: bool) -> None:
    assert is_loopback(server) is loopback
