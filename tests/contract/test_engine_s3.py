"""Every engine in a bucket: one story through all that a storage makes different."""

import os
from pathlib import Path

import pytest

from holdfast.engines.protocol import EngineFailure
from holdfast.model.failure import FailureKind
from tests.contract.test_engine_restore import comparable
from tests.support import trees
from tests.support.bench import Bench, fresh_identity, unheard

pytestmark = [pytest.mark.anyio, pytest.mark.storage]


async def test_a_bucket_keeps_what_a_directory_keeps(s3_bench: Bench, tmp_path: Path) -> None:
    identity, other = fresh_identity(), fresh_identity()
    source, target = tmp_path / "source", tmp_path / "data"
    trees.build(source, big=3 << 20)
    assert await s3_bench.listed(identity) == ()
    first = await s3_bench.backup(identity, source)
    second = await s3_bench.backup(identity, source)
    kept = await s3_bench.backup(other, source)
    assert await s3_bench.ids(identity) == (first, second)
    reader = s3_bench.open()
    await reader.restore(identity, second, target, unheard)
    assert comparable(s3_bench.kind, target) == comparable(s3_bench.kind, source)
    assert len(await reader.ls(identity, second, "")) == len(list(source.iterdir()))
    chunks = [chunk async for chunk in reader.cat(identity, second, "big")]
    assert b"".join(chunks) == (source / "big").read_bytes()
    assert (await reader.verify(identity, [first, second], 100, unheard)).read_bytes >= 3 << 20
    with pytest.raises(EngineFailure) as caught:
        await reader.restore(identity, "0" * len(first), tmp_path / "other", unheard)
    assert caught.value.failure.kind is FailureKind.SNAPSHOT_MISSING
    await s3_bench.engine.forget(identity, [first])
    await s3_bench.engine.maintain(identity, full=True)
    assert await s3_bench.ids(identity) == (second,)
    await s3_bench.engine.delete(identity)
    assert await s3_bench.listed(identity) == ()
    assert await s3_bench.ids(other) == (kept,)


async def test_wrong_keys_are_forbidden_and_prove_nothing(s3_bench: Bench, tmp_path: Path) -> None:
    identity = fresh_identity()
    (tmp_path / "a").write_bytes(os.urandom(10))
    await s3_bench.backup(identity, tmp_path)
    async with s3_bench.with_keys({"AWS_ACCESS_KEY_ID": "test-nobody", "AWS_SECRET_ACCESS_KEY": "wrong"}) as engine:
        with pytest.raises(EngineFailure) as caught:
            await engine.listings([identity, fresh_identity()])
    assert caught.value.failure.kind is FailureKind.FORBIDDEN
