"""The rendered policies inside a real API server do what the rule says, case by case."""

import asyncio
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from holdfast.kube import errors
from holdfast.kube.client import Kube
from holdfast.model.admission import Refuse
from holdfast.render import admission
from holdfast.render.repository import to_yaml
from tests.e2e import apiserver
from tests.support import arming
from tests.support.arming import CREATES, RULE, UPDATES, Case, Update
from tests.support.programs import find_program

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def kubeconfig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with apiserver.served(tmp_path_factory.mktemp("apiserver")) as found:
        yield found


@pytest.fixture(scope="module")
async def kube(kubeconfig: Path) -> AsyncIterator[Kube]:
    connected = Kube.connect(kubeconfig)
    await arming.furnish(connected.http)
    for manifest in yaml.safe_load_all(to_yaml(admission.manifests(RULE))):
        await apply(connected, manifest)
    await armed(connected)
    yield connected
    await connected.aclose()


async def apply(kube: Kube, manifest: dict[str, Any]) -> None:
    plural = f"{manifest['kind'].lower()}s".replace("policys", "policies")
    path = f"/apis/{manifest['apiVersion']}/{plural}/{manifest['metadata']['name']}"
    answer = await kube.http.patch(
        path,
        params={"fieldManager": "kubectl", "fieldValidation": "Strict"},
        content=yaml.safe_dump(manifest),
        headers={"Content-Type": "application/apply-patch+yaml"},
    )
    assert answer.status_code in (200, 201), answer.text


async def armed(kube: Kube) -> None:
    """Wait until every policy is active: about a second after it was made."""
    last = next(case for case in CREATES if case.expected is Refuse)
    first = CREATES[0]
    async with asyncio.timeout(30):
        while True:
            try:
                for case in (first, last, next(case for case in CREATES if case.name == "trap, no label")):
                    await arming.try_create(kube.http, case)
            except AssertionError:
                await asyncio.sleep(0.3)
            else:
                return


async def test_kubectl_applies_what_is_rendered_and_finds_no_difference(kubeconfig: Path, kube: Kube) -> None:
    rendered = to_yaml(admission.manifests(RULE)).encode()
    kubectl = (find_program("kubectl"), "--kubeconfig", str(kubeconfig))
    for verb in (("apply", "--server-side", "--force-conflicts"), ("diff", "--server-side")):
        argv = (*kubectl, *verb, "-f", "-")
        done = await asyncio.to_thread(subprocess.run, argv, input=rendered, capture_output=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


async def test_the_default_class_counts(kube: Kube) -> None:
    path, name = "/apis/storage.k8s.io/v1/storageclasses", "local-path"
    meta = {"name": name, "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}}
    answer = await kube.http.post(path, json={"metadata": meta, "provisioner": "rancher.io/local-path"})
    assert answer.status_code == 201, answer.text
    item = arming.claim("data", "apps", labels=arming.DAILY)
    del item["spec"]["storageClassName"]
    found = await tried_with_class(kube, item, name)
    assert arming.hold(dict(found)) == (None, "holdfast.apps.data")
    await kube.http.delete(f"{path}/{name}")
    await tried_with_class(kube, item, None)


async def tried_with_class(kube: Kube, item: dict[str, Any], name: str | None) -> Any:
    """Return the claim as it would be made, once the API server knows of the default class: a moment later."""
    async with asyncio.timeout(20):
        while True:
            found = await kube.try_create(item)
            if found["spec"].get("storageClassName") == name:
                return found
            await asyncio.sleep(0.2)


async def test_a_restore_named_auto_is_refused(kube: Kube) -> None:
    item = {"apiVersion": "holdfast.dev/v1alpha1", "kind": "Restore", "metadata": {"name": "auto", "namespace": "apps"}}
    with pytest.raises(errors.Invalid, match="reserved"):
        await kube.try_create(item | {"spec": {}})


@pytest.mark.parametrize("case", CREATES, ids=lambda case: case.name)
async def test_a_claim_is_armed_or_left_alone(kube: Kube, case: Case) -> None:
    await arming.try_create(kube.http, case)


@pytest.mark.parametrize("update", UPDATES, ids=lambda update: update.name)
async def test_a_hold_outlives_every_update(kube: Kube, update: Update) -> None:
    await arming.try_update(kube.http, update, f"updated-{UPDATES.index(update)}")


@pytest.mark.parametrize("spec", [{}, arming.PATH], ids=["by reference", "by name"])
async def test_gitops_tools_see_no_drift(kube: Kube, spec: dict[str, Any]) -> None:
    await arming.try_apply(kube.http, f"applied-{len(spec)}", **spec)


async def test_claims_put_together_at_random_are_judged_as_the_pure_rule_does(kube: Kube) -> None:
    for case in arming.drawn(seed=1, count=600):
        await arming.try_create(kube.http, case)
