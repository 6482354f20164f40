"""An answer is whole, or a failure, or an error: never a short one."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.engines import answer
from holdfast.engines.protocol import EngineFailure
from holdfast.model.failure import Failure, FailureKind

TOKEN = "a token"
NONCE = "0123456789abcdef" * 2

failures = st.builds(Failure, kind=st.sampled_from(FailureKind), detail=st.text(max_size=50))
contents = st.lists(st.binary(max_size=40), max_size=5)


async def _stream(chunks: list[bytes], failure: Failure | None = None) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk
    if failure is not None:
        raise EngineFailure(failure.kind, failure.detail)


async def _encoded(chunks: list[bytes], failure: Failure | None, nonce: str = NONCE) -> bytes:
    return b"".join([frame async for frame in answer.encode(_stream(chunks, failure), token=TOKEN, nonce=nonce)])


async def _decoded(received: list[bytes], token: str = TOKEN, nonce: str = NONCE) -> bytes | Failure:
    data = answer.decode(_stream(received), token=token, nonce=nonce)
    try:
        return await answer.collect(data, 1 << 20)
    except EngineFailure as error:
        return error.failure


def _is_broken(decoded: bytes | Failure) -> bool:
    return isinstance(decoded, Failure) and decoded.kind is FailureKind.READER_DOWN


def _parts(whole: bytes, size: int) -> Iterator[bytes]:
    return (whole[start : start + size] for start in range(0, len(whole), size))


@given(chunks=contents, failure=st.none() | failures, size=st.integers(1, 50))
def test_what_was_said_is_what_is_heard_however_it_is_cut_into_packets(
    chunks: list[bytes], failure: Failure | None, size: int
) -> None:
    async def scenario() -> None:
        encoded = await _encoded(chunks, failure)
        assert await _decoded(list(_parts(encoded, size))) == (b"".join(chunks) if failure is None else failure)

    asyncio.run(scenario())


@given(chunks=contents, failure=st.none() | failures)
def test_an_answer_cut_at_any_byte_is_an_error(chunks: list[bytes], failure: Failure | None) -> None:
    async def scenario() -> None:
        encoded = await _encoded(chunks, failure)
        for end in range(len(encoded)):
            assert _is_broken(await _decoded([encoded[:end]]))

    asyncio.run(scenario())


@given(chunks=contents, failure=st.none() | failures, flip=st.integers(1, 255))
def test_an_answer_altered_at_any_byte_is_an_error(chunks: list[bytes], failure: Failure | None, flip: int) -> None:
    async def scenario() -> None:
        encoded = await _encoded(chunks, failure)
        for place in range(len(encoded)):
            altered = bytes([*encoded[:place], encoded[place] ^ flip, *encoded[place + 1 :]])
            assert _is_broken(await _decoded([altered]))

    asyncio.run(scenario())


@pytest.mark.parametrize("failure", [None, Failure(kind=FailureKind.LOCKED, detail="by another")])
def test_an_answer_to_another_question_or_with_another_token_is_an_error(failure: Failure | None) -> None:
    async def scenario() -> None:
        encoded = await _encoded([b"data"], failure)
        assert _is_broken(await _decoded([encoded], nonce="f" * 32))
        assert _is_broken(await _decoded([encoded], token="stolen"))

    asyncio.run(scenario())


def test_a_frame_or_an_answer_beyond_its_limit_is_an_error() -> None:
    async def scenario() -> None:
        assert _is_broken(await _decoded([b"D" + (answer.FRAME_LIMIT + 1).to_bytes(4, "big")]))
        assert _is_broken(await _decoded([await _encoded([bytes(answer.PIECE)] * 17, None)]))
        assert await _decoded([await _encoded([bytes(answer.PIECE * 3 + 1)], None)]) == bytes(answer.PIECE * 3 + 1)

    asyncio.run(scenario())
