"""What our client does on any API server: the sandbox's, and that of a real cluster (tests/e2e)."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, Final

import pytest

from holdfast.kube import errors
from holdfast.kube.client import Kube
from holdfast.kube.objects import PROTECTIONS, REPOSITORIES, SECRETS

Portable = Callable[[Kube, str], Awaitable[None]]


def protection(namespace: str, **more: Any) -> dict[str, Any]:
    return {
        "apiVersion": "holdfast.dev/v1alpha1",
        "kind": "Protection",
        "metadata": {"name": "data", "namespace": namespace},
        **more,
    }


def secret(namespace: str, name: str, **metadata: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace} | metadata,
        "data": {"k": "dg=="},
    }


async def writes_mean_what_they_say(kube: Kube, namespace: str) -> None:
    def labelled(**labels: str) -> dict[str, Any]:
        return protection(namespace, metadata={"name": "data", "namespace": namespace, "labels": labels})

    made = await kube.apply(labelled(a="1", b="2"))
    again = await kube.apply(labelled(a="1", b="2"))
    assert again.metadata.resource_version == made.metadata.resource_version
    assert (await kube.apply(labelled(a="1"))).labels == {"a": "1"}
    status = protection(namespace, status={"state": "Protected"})
    await kube.apply_status(status)
    read = await kube.get(PROTECTIONS, "data", namespace)
    assert read.status == {"state": "Protected"}
    assert read.labels == {"a": "1"}
    stale = {"metadata": {"resourceVersion": made.metadata.resource_version, "labels": {"c": "3"}}}
    with pytest.raises(errors.Conflict):
        await kube.patch(PROTECTIONS, "data", namespace, stale)
    with pytest.raises(errors.Conflict):
        await kube.delete(PROTECTIONS, "data", namespace, uid="another")
    assert await kube.delete(PROTECTIONS, "data", namespace, uid=read.metadata.uid) is True
    assert await kube.delete(PROTECTIONS, "data", namespace) is False
    with pytest.raises(errors.NotFound):
        await kube.apply_status(status)


async def refusals_have_their_names(kube: Kube, namespace: str) -> None:
    await kube.create(secret(namespace, "one"))
    with pytest.raises(errors.AlreadyExists):
        await kube.create(secret(namespace, "one"))
    with pytest.raises(errors.Invalid):
        await kube.create(secret(namespace, "Not_A_Name"))
    with pytest.raises(errors.Invalid):
        await kube.create(secret(namespace, "two") | {"colour": "red"})
    with pytest.raises(errors.NotFound):
        await kube.get(SECRETS, "absent", namespace)
    nowhere = replace(REPOSITORIES, group="absent.example.org")
    with pytest.raises(errors.NotServed):
        await kube.list(nowhere)


async def more_than_a_page_is_listed_whole(kube: Kube, namespace: str) -> None:
    names = [f"s{number:04}" for number in range(600)]
    for name in names:
        await kube.create(secret(namespace, name, labels={"portable-odd": str(int(name[1:]) % 2)}))
    assert [item.metadata.name for item in await kube.list(SECRETS, namespace)] == names
    assert len(await kube.list(SECRETS, None, {"portable-odd": "1"})) == 300


ALL: Final[tuple[Portable, ...]] = (
    writes_mean_what_they_say,
    refusals_have_their_names,
    more_than_a_page_is_listed_whole,
)
