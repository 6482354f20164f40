"""How a reader's answer travels: frames that end in a seal or a failure, so that a cut answer is never a short one.

A frame is one letter, the length of its payload (four bytes, big-endian) and the payload:
`D` data; `S` the seal: the count of data bytes (eight bytes) and an HMAC; `F` a failure: an HMAC and `Failure` as JSON.
The HMAC is keyed by the token and covers the caller's nonce, all data and the ending itself.
"""

import hashlib
import hmac
import re
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterator
from contextlib import aclosing
from typing import Final

from holdfast.engines.protocol import EngineFailure
from holdfast.model import wire
from holdfast.model.failure import Failure, FailureKind

NONCE_HEADER: Final = "x-holdfast-nonce"
FRAME_LIMIT: Final = 1 << 20
PIECE: Final = 1 << 16  # data is cut to this size: what one slow receiver holds in memory

_HEAD: Final = 5
_DIGEST: Final = 32
_DETAIL_LIMIT: Final = 16_384
_NONCE: Final = re.compile(r"[0-9a-f]{32,128}")


def is_nonce(text: str) -> bool:
    """Return whether `text` is hex of at least 16 bytes."""
    return _NONCE.fullmatch(text) is not None


class _Digest:
    """Counts and authenticates the data of one answer."""

    def __init__(self, token: str, nonce: str) -> None:
        self.count = 0
        self._mac = hmac.new(token.encode(), f"holdfast answer {nonce}\n".encode(), hashlib.sha256)

    def add(self, data: bytes) -> None:
        self.count += len(data)
        self._mac.update(data)

    def end(self, letter: bytes, payload: bytes) -> bytes:
        """Return the HMAC of everything so far and of this ending; the data's length keeps the two apart."""
        mac = self._mac.copy()
        mac.update(letter + self.count.to_bytes(8, "big") + payload)
        return mac.digest()


async def encode(data: AsyncIterator[bytes], *, token: str, nonce: str) -> AsyncGenerator[bytes, None]:
    """Yield the frames of an answer; an EngineFailure raised by `data` becomes the answer's end."""
    digest = _Digest(token, nonce)
    try:
        async for chunk in data:
            for piece in _pieces(chunk):
                digest.add(piece)
                yield _frame(b"D", piece)
    except EngineFailure as error:
        plain = wire.encode(Failure(kind=error.failure.kind, detail=error.failure.detail[:_DETAIL_LIMIT]))
        yield _frame(b"F", digest.end(b"F", plain) + plain)
        return
    count = digest.count.to_bytes(8, "big")
    yield _frame(b"S", count + digest.end(b"S", count))


async def decode(received: AsyncIterable[bytes], *, token: str, nonce: str) -> AsyncGenerator[bytes, None]:
    """Yield the data of an answer; only an end without exception says that it was whole.

    Raises EngineFailure: what the reader answered, or READER_DOWN for an answer that is cut or altered.
    """
    digest = _Digest(token, nonce)
    async with aclosing(_frames(received)) as frames:
        async for letter, payload in frames:
            match letter:
                case b"D":
                    digest.add(payload)
                    yield payload
                case b"S":
                    _check_seal(digest, payload)
                    return
                case b"F":
                    raise _failure(digest, payload)
                case _:
                    raise broken(f"has a frame of the unknown kind {letter!r}")
    raise broken("ended before its seal")


async def collect(data: AsyncIterator[bytes], limit_bytes: int) -> bytes:
    """Return a whole answer's data; raise READER_DOWN when it is longer than `limit_bytes`."""
    whole = bytearray()
    async for chunk in data:
        whole += chunk
        if len(whole) > limit_bytes:
            raise broken(f"is longer than {limit_bytes} bytes")
    return bytes(whole)


def broken(what: str) -> EngineFailure:
    """Return the failure for an answer that cannot be believed."""
    return EngineFailure(FailureKind.READER_DOWN, f"The answer of the repository's reader {what}; it is asked again.")


def _frame(letter: bytes, payload: bytes) -> bytes:
    return letter + len(payload).to_bytes(4, "big") + payload


def _pieces(chunk: bytes) -> Iterator[bytes]:
    return (chunk[start : start + PIECE] for start in range(0, len(chunk), PIECE))


async def _frames(received: AsyncIterable[bytes]) -> AsyncGenerator[tuple[bytes, bytes], None]:
    """Yield whole frames; bytes after the last whole one are an error."""
    waiting = bytearray()
    async for chunk in received:
        waiting += chunk
        start = 0
        while len(waiting) - start >= _HEAD:
            length = int.from_bytes(waiting[start + 1 : start + _HEAD], "big")
            if length > FRAME_LIMIT:
                raise broken(f"has a frame of {length} bytes")
            end = start + _HEAD + length
            if len(waiting) < end:
                break
            yield bytes(waiting[start : start + 1]), bytes(waiting[start + _HEAD : end])
            start = end
        del waiting[:start]
    if waiting:
        raise broken("ended in the middle of a frame")


def _check_seal(digest: _Digest, payload: bytes) -> None:
    count, mac = payload[:8], payload[8:]
    if int.from_bytes(count, "big") != digest.count:
        raise broken("has another length than its seal says")
    if not hmac.compare_digest(mac, digest.end(b"S", count)):
        raise broken("does not match its seal")


def _failure(digest: _Digest, payload: bytes) -> EngineFailure:
    mac, plain = payload[:_DIGEST], payload[_DIGEST:]
    if not hmac.compare_digest(mac, digest.end(b"F", plain)):
        return broken("ends in a failure that does not match its seal")
    try:
        failure = wire.decode(Failure, plain)
    except wire.WireError as error:
        return broken(f"ends in a failure that cannot be read ({error})")
    return EngineFailure(failure.kind, failure.detail)
