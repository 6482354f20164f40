"""Mover and reader on a real S3 server: the same work, and the server's own log says who wrote."""

from dataclasses import replace

import pytest

from holdfast.engines.protocol import EngineFailure
from holdfast.engines.remote import RemoteReader
from holdfast.model.failure import FailureKind
from holdfast.model.snapshot import Listing
from holdfast.model.workorder import Verify
from tests.support import pods, trees
from tests.support.pods import CLAIM, PASSWORD, TOKEN, Pod
from tests.support.s3 import S3Server

pytestmark = [pytest.mark.anyio, pytest.mark.programs, pytest.mark.storage]


async def test_data_goes_to_a_bucket_and_back_and_only_backups_write(
    pod: Pod, s3_server: S3Server, s3_prefix: str
) -> None:
    place = s3_server.storage(s3_prefix)
    pod = await replace(pod, place=place, extra=s3_server.environment).initialized()
    trees.build(pod.data)
    snapshot = await pod.backed_up()
    asked = len(s3_server.requests())

    restored = await pod.run(pods.restore(snapshot))
    assert restored.code == 0, restored
    kept = {path: each.digest for path, each in trees.manifest(pod.data).items()}
    assert {path: each.digest for path, each in trees.manifest(pod.target).items()} == kept
    assert (await pod.run(Verify(identity=CLAIM))).code == 0
    async with pod.reader() as (url, _):
        reader = RemoteReader(url, TOKEN)
        inventory = await reader.inventory([CLAIM])
        content = b"".join([chunk async for chunk in reader.cat(CLAIM, snapshot.id, "notes.txt")])
        await reader.aclose()
    assert content == b"hold fast\n"
    listing = inventory.answers[CLAIM].listing
    assert isinstance(listing, Listing)
    assert [each.id for each in listing.snapshots] == [snapshot.id]

    later = s3_server.requests()[asked:]
    assert later
    assert {each.operation for each in later if not each.operation.startswith(("Get", "List", "Head"))} == set()
    secrets = (PASSWORD, s3_server.secret_key)
    assert not [secret for secret in secrets if secret in restored.stderr + restored.stdout]


async def test_keys_that_do_not_fit_are_forbidden_not_absent(
    memory_pod: Pod, s3_server: S3Server, s3_prefix: str
) -> None:
    stranger = {**s3_server.environment, "AWS_SECRET_ACCESS_KEY": "another key"}
    pod = replace(memory_pod, place=s3_server.storage(s3_prefix), extra=stranger)
    assert (await pod.run(pods.backup())).failure() == FailureKind.FORBIDDEN
    async with pod.reader() as (url, _):
        reader = RemoteReader(url, TOKEN)
        with pytest.raises(EngineFailure) as raised:
            await reader.inventory([CLAIM])
        await reader.aclose()
    assert raised.value.failure.kind is FailureKind.FORBIDDEN
