"""A volume that is deleted under a mover is never remembered as a small one."""

import shutil
from pathlib import Path

import pytest

from holdfast.engines import choose
from holdfast.engines.choose import Opened
from holdfast.engines.protocol import Engine, EngineFailure
from holdfast.model.claim import Identity
from holdfast.model.failure import FailureKind
from holdfast.model.repository import DirectoryStorage, EngineKind
from holdfast.model.run import Progress
from holdfast.model.workorder import Backup, RepositoryAccess
from holdfast.mover import backup, initialize
from holdfast.mover.bench import Bench
from tests.support.bench import LIMITS, PASSWORD, unheard

pytestmark = pytest.mark.anyio

WORK = Backup(
    identity=Identity(namespace="apps", claim="data"), source="/data", claim_uid="claim-1", cluster_uid="cluster-1"
)


@pytest.mark.parametrize("is_replaced", [False, True], ids=["deleted", "replaced"])
async def test_a_volume_deleted_while_it_is_read_gives_no_backup(tmp_path: Path, is_replaced: bool) -> None:
    for name in ("repository", "data", "work"):
        (tmp_path / name).mkdir()
    (tmp_path / "data/file").write_text("precious")
    access = RepositoryAccess(engine=EngineKind.MEMORY, storage=DirectoryStorage(path="/repository"))
    environment = {choose.PASSWORD: PASSWORD}

    def delete(_: Progress) -> None:
        shutil.rmtree(tmp_path / "data", ignore_errors=True)
        if is_replaced:
            (tmp_path / "data").mkdir(exist_ok=True)

    async with choose.opened(access, tmp_path, environment, tmp_path / "work", LIMITS) as repository:
        await initialize.run(bench(repository, tmp_path))
        deleting = Bench[Engine](run="run-1", repository=repository, root=tmp_path, report=delete)
        with pytest.raises(EngineFailure) as caught:
            await backup.run(deleting, WORK)
        assert caught.value.failure.kind is FailureKind.SOURCE_UNREADABLE
        assert await repository.record(await repository.marker(), WORK.identity) is None


def bench(repository: Opened[Engine], root: Path) -> Bench[Engine]:
    return Bench(run="run-0", repository=repository, root=root, report=unheard)
