"""What stands for objects that stay where they are: the table in front of a body, and the word that they are let go.

The rules are numbered in ``docs/wire.md``; the numbers in brackets here are those.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final, NamedTuple

from gpyro.errors import WireError
from gpyro.wire.frames import FLAG_METADATA, METADATA_LENGTH, Frame, Kind, pack

OBJECT: Final = 1
FUNCTION: Final = 2
OWN: Final = 3
"""What an entry of the table stands for; the last one is an object or function of the receiver's own [R1]."""

FUNCTION_CALL: Final = "call"
"""The method that calls a function [R3]."""

MAX_REFERENCES: Final = 1_000
"""Entries of one table [R1]."""

_HEAD: Final = struct.Struct("!HI")
_RELEASED: Final = struct.Struct("!I")
_MAX_ID: Final = 255


class Table(NamedTuple):
    """What stands in front of a value with references.

    Attributes:
        scope: the session that they are passed for, 0 for the whole connection.
        entries: for each one what it stands for, and its id.
        size: bytes of the table.
    """

    scope: int
    entries: list[tuple[int, str]]
    size: int


def pack_table(scope: int, entries: Sequence[tuple[int, str]]) -> bytes:
    """A table as bytes."""
    parts = [_HEAD.pack(len(entries), scope)]
    for what, reference in entries:
        parts.append(bytes((what, len(reference))) + reference.encode("ascii"))
    return b"".join(parts)


def split_table(frame: Frame, skip: int = 0) -> Table:
    """The table of a frame; metadata stand in front of it, and behind those `skip` bytes of something else.

    Raises:
        WireError: there is no proper table.
    """
    _, flags, _, session_id, body = frame
    start = 0
    if flags & FLAG_METADATA:
        if len(body) < METADATA_LENGTH.size:
            raise WireError("the metadata is cut off", "F5")
        start = METADATA_LENGTH.size + METADATA_LENGTH.unpack_from(body)[0]
    start += skip
    at = start + _HEAD.size
    if len(body) < at:
        raise WireError("the table of references is cut off", "R1")
    count, scope = _HEAD.unpack_from(body, start)
    if count > MAX_REFERENCES:
        raise WireError(f"a table of {count} references is over the limit of {MAX_REFERENCES}", "R1")
    if scope not in (0, session_id):
        raise WireError(f"references for session {scope} on session {session_id}", "R1")
    entries = []
    for _ in range(count):
        if len(body) < at + 2 or len(body) < at + 2 + body[at + 1]:
            raise WireError("the table of references is cut off", "R1")
        what, stop = body[at], at + 2 + body[at + 1]
        if what not in (OBJECT, FUNCTION, OWN):
            raise WireError(f"a reference to something of kind {what}", "R1")
        entries.append((what, _id(body[at + 2 : stop])))
        at = stop
    if len(set(entries)) != count:
        raise WireError("a table of references names one of them twice", "R1")
    return Table(scope, entries, at - start)


def _id(raw: bytes) -> str:
    if not raw or not raw.isascii():
        raise WireError("the id of a reference is no ASCII text", "R1")
    return raw.decode("ascii")


def pack_release(scope: int, reference: str, count: int) -> bytes:
    """A RELEASE frame [R4]."""
    return pack(Kind.RELEASE, 0, scope, _RELEASED.pack(count) + reference.encode("ascii"))


def unpack_release(body: bytes) -> tuple[str, int]:
    """The id and the count of a RELEASE.

    Raises:
        WireError: it is none.
    """
    if not _RELEASED.size < len(body) <= _RELEASED.size + _MAX_ID:
        raise WireError("a RELEASE of the wrong length", "R4")
    return _id(body[_RELEASED.size :]), _RELEASED.unpack_from(body)[0]
