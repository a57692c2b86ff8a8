"""Several calls in one body, and their answers in another [B1, B2]."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import Final

from gpyro.errors import WireError
from gpyro.wire.frames import Kind

_LENGTH: Final = struct.Struct("!I")
_ANSWER: Final = struct.Struct("!BI")
ANSWER_SIZE: Final = _ANSWER.size

_ANSWERS: Final = frozenset((int(Kind.RESULT), int(Kind.ERROR), int(Kind.REJECTED)))


def join(calls: Iterable[bytes]) -> bytes:
    """The body of a BATCH from the bodies of its calls."""
    pieces: list[bytes] = []
    for call in calls:
        pieces += (_LENGTH.pack(len(call)), call)
    return b"".join(pieces)


def split(body: bytes) -> Iterator[bytes]:
    """The bodies of the calls in a BATCH.

    Raises:
        WireError: it is cut off.
    """
    at = 0
    while at < len(body):
        if len(body) - at < _LENGTH.size:
            raise WireError("the batch is cut off", "B1")
        (length,) = _LENGTH.unpack_from(body, at)
        at += _LENGTH.size
        if length > len(body) - at:
            raise WireError("the batch is cut off", "B1")
        yield body[at : at + length]
        at += length


def pack_answer(kind: int, body: bytes) -> bytes:
    """One answer in the body of a batch's RESULT."""
    return _ANSWER.pack(kind, len(body)) + body


def split_answers(body: bytes) -> Iterator[tuple[int, bytes]]:
    """Kind and body of each answer.

    Raises:
        WireError: it is cut off, or has answers of another kind.
    """
    at = 0
    while at < len(body):
        if len(body) - at < _ANSWER.size:
            raise WireError("the answer to a batch is cut off", "B2")
        kind, length = _ANSWER.unpack_from(body, at)
        at += _ANSWER.size
        if length > len(body) - at or kind not in _ANSWERS:
            raise WireError("the answer to a batch is cut off, or of an unknown kind", "B2")
        yield kind, body[at : at + length]
        at += length
