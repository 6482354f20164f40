"""A bucket that misbehaves in every way we know, at three moments: nobody is empty, and all heals at once."""

from dataclasses import replace

import pytest

from holdfast.model.repository import EngineKind, S3Storage
from tests.evidence import cases
from tests.evidence.cases import Kind, Moment
from tests.evidence.conftest import Note, Templates
from tests.support import evidence
from tests.support.evidence import HASTY, Place
from tests.support.misbehaving import Misbehaviour, Proxy, every_request, misbehaving
from tests.support.processes import children
from tests.support.s3 import S3Server

pytestmark = [pytest.mark.anyio, pytest.mark.programs, pytest.mark.storage]

CLOSED = "127.0.0.1:1"  # nobody listens there


class FromTheEngineOn:
    """Means every request since the first that is about the engine's own objects, whoever asks."""

    def __init__(self, place: Place) -> None:
        assert isinstance(place.where, S3Storage)
        own = place.where.prefix + f"{place.engine}/"
        self._written = (f"/{own}".encode(), own.replace("/", "%2F").encode())
        self._begun = False

    def __call__(self, head: bytes) -> bool:
        line = head.split(b"\r\n", 1)[0]
        self._begun = self._begun or any(own in line for own in self._written) or is_of_a_program(head)
        return self._begun


def is_of_a_program(head: bytes) -> bool:
    """Tell whether kopia or restic asks: both use the same client, and we another."""
    return b"minio-go" in head.lower()


async def spoil(proxy: Proxy, place: Place, mode: Misbehaviour, moment: Moment) -> Place:
    """Let the server misbehave so, and return the repository as it is reached then."""
    if mode is Misbehaviour.REFUSED and moment is Moment.PROGRAM:
        await proxy.be(Misbehaviour.HEALTHY)
        assert isinstance(place.where, S3Storage)
        return replace(place, of_program=replace(place.where, endpoint=CLOSED))
    match moment:
        case Moment.START:
            await proxy.be(mode, of=every_request)
        case Moment.ENGINE:
            await proxy.be(mode, of=FromTheEngineOn(place))
        case Moment.PROGRAM:
            await proxy.be(mode, of=is_of_a_program)
    return place


def is_endless(engine: EngineKind, mode: Misbehaviour) -> bool:
    """Tell whether only a deadline ends it: a test waits for a short one."""
    never_ends = mode is Misbehaviour.SILENT or mode in cases.ENDLESS
    return never_ends or (engine is EngineKind.RESTIC and mode in cases.RETRIED_BY_RESTIC)


@pytest.mark.parametrize("mode", cases.MODES, ids=str)
@pytest.mark.parametrize("engine", tuple(EngineKind), ids=str)
async def test_a_misbehaving_bucket_is_waited_for(
    engine: EngineKind, mode: Misbehaviour, templates: Templates, s3_server: S3Server, note: Note
) -> None:
    template = templates(engine, Kind.S3, 0)
    assert isinstance(template.where, S3Storage)
    async with misbehaving(s3_server.endpoint) as proxy:
        healthy = replace(template, where=replace(template.where, endpoint=proxy.endpoint))
        place = replace(healthy, patience=HASTY) if is_endless(engine, mode) else healthy
        for moment in cases.moments(engine, mode):
            spoilt = await spoil(proxy, place, mode, moment)
            before = children()
            note(cases.of_misbehaviour(engine, mode, moment), await evidence.judge(spoilt))
            assert children() == before
        await proxy.be(Misbehaviour.HEALTHY)
        mended = await evidence.judge(healthy)
        assert mended.words == ("Restore", "StartEmpty"), mended
        assert {each.split(" ")[0] for each in proxy.requests} <= {"GET", "HEAD"}
