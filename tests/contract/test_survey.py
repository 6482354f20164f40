"""What the walk over a volume counts."""

import os
from pathlib import Path

import pytest

from holdfast.engines.protocol import EngineFailure
from holdfast.engines.survey import survey
from holdfast.model.failure import FailureKind
from holdfast.model.run import Survey
from holdfast.model.snapshot import Loss
from tests.support import trees

# How many names `trees.add_lossy` makes of each kind.
MADE = {loss: 2 if loss in (Loss.HARD_LINKS, Loss.NOT_UTF8) else 1 for loss in Loss}


def test_an_empty_directory_has_nothing(tmp_path: Path) -> None:
    assert survey(tmp_path) == Survey(files=0, bytes=0)


def test_regular_files_and_their_bytes_are_counted(tmp_path: Path) -> None:
    trees.build(tmp_path)
    files = [each for each in trees.manifest(tmp_path).values() if each.kind == "f"]
    assert survey(tmp_path) == Survey(files=len(files), bytes=sum(each.size or 0 for each in files))


@pytest.mark.parametrize("loss", list(Loss))
def test_each_loss_is_counted_and_no_other(tmp_path: Path, loss: Loss) -> None:
    if not trees.add_lossy(tmp_path, loss):
        pytest.skip(f"this file system, or this user, cannot make {loss}")
    assert survey(tmp_path).losses == {loss: MADE[loss]}


def test_a_directorys_attributes_are_counted(tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    try:
        os.setxattr(inner, "user.note", b"x")
        os.setxattr(tmp_path, "user.note", b"x")
    except OSError:
        pytest.skip("this file system has no extended attributes")
    assert survey(tmp_path).losses == {Loss.XATTRS: 2}


def test_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "self").symlink_to(".")
    (tmp_path / "away").symlink_to("/etc")
    assert survey(tmp_path) == Survey(files=0, bytes=0)


def test_what_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root can read everything")
    (tmp_path / "file").write_text("12345")
    (tmp_path / "closed").mkdir(mode=0)
    assert survey(tmp_path) == Survey(files=1, bytes=5)


def test_a_root_that_is_not_there_is_unreadable(tmp_path: Path) -> None:
    with pytest.raises(EngineFailure) as caught:
        survey(tmp_path / "absent")
    assert caught.value.failure.kind is FailureKind.SOURCE_UNREADABLE
