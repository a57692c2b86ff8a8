"""The answers to several calls in one body [B2]."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

from gpyro.errors import WireError
from gpyro.wire.frames import Kind

_ANSWER: Final = struct.Struct("!BI")
ANSWER_SIZE: Final = _ANSWER.size

SEVERAL: Final = 0
"""What stands in the place of the kind if the value is an array of the results of several calls."""

_ANSWERS: Final = frozenset((SEVERAL, int(Kind.RESULT), int(Kind.ERROR), int(Kind.REJECTED)))


def pack_answer(kind: int, body: bytes) -> bytes:
    """One answer, or several results, in the body of a batch's RESULT."""
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
