"""Repositories that were lost, damaged or replaced in part, on a directory and in a bucket."""

import pytest

from holdfast.model.repository import EngineKind
from tests.evidence import damage
from tests.evidence.cases import Kind
from tests.evidence.conftest import Copy, Note, Templates
from tests.evidence.damage import Damage
from tests.support import evidence
from tests.support.s3 import S3Server

pytestmark = [pytest.mark.anyio, pytest.mark.programs, pytest.mark.storage]


def name_of(value: object) -> str:
    return value.situation if isinstance(value, Damage) else str(value)


@pytest.mark.parametrize(("engine", "kind", "what"), damage.EACH, ids=name_of)
async def test_a_damaged_repository_is_read_for_what_it_is(
    engine: EngineKind, kind: Kind, what: Damage, templates: Templates, copy: Copy, s3_server: S3Server, note: Note
) -> None:
    place = copy(engine, kind)
    reached = what.do(place, templates(engine, kind, 1)) or place
    files, requests = evidence.tree(place.files), len(s3_server.requests())

    judged = await evidence.judge(reached)

    note(what.row(engine, kind), judged)
    assert evidence.tree(place.files) == files
    operations = {each.operation for each in s3_server.requests()[requests:]}
    assert not [each for each in operations if not each.startswith(("Get", "Head", "List"))]
