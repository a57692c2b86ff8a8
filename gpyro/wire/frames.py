"""The frames of gpyro's wire format: their numbers, their header, and who may send what how large.

The rules are numbered in ``docs/wire.md``; the numbers in brackets here are those.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Final

from gpyro.constants import deniedReasons

MAGIC: Final = b"gPyr"
"""The first four bytes of each direction [P1]."""

HEADER: Final = struct.Struct("!BBHIII")
"""Kind, flags, reserved, call id, session id, length of the body; 16 bytes in network byte order [F1]."""

HEADER_SIZE: Final = HEADER.size
MAX_ID: Final = 0xFFFF_FFFF

Frame = tuple[int, int, int, int, bytes]
"""Kind, flags, call id, session id, body. A plain tuple, because one is made for every frame that arrives."""


class Kind(IntEnum):
    """What a frame is [K1]. Numbers are given for ever, also those that nothing sends yet."""

    HELLO = 0x01
    WELCOME = 0x02
    AUTHENTICATE = 0x03
    REFUSED = 0x04
    BUFFERS = 0x07

    OPEN = 0x08
    CLOSE = 0x09

    CALL = 0x10
    ONEWAY = 0x11
    BATCH = 0x12
    GET = 0x13
    SET = 0x14
    DESCRIBE = 0x15

    RESULT = 0x20
    ERROR = 0x21
    REJECTED = 0x22

    STREAM_OPEN = 0x28
    STREAM_ITEM = 0x29
    STREAM_END = 0x2A
    STREAM_ERROR = 0x2B

    CREDIT = 0x30
    CHUNK = 0x31
    RELEASE = 0x32
    CANCEL = 0x33
    PING = 0x34
    PONG = 0x35
    GOAWAY = 0x36


IGNORABLE: Final = 0x80
"""A kind with this bit may be ignored by a receiver that does not know it [K2]."""

FLAG_METADATA: Final = 0x01
"""The body begins with a metadata map: its length in four bytes, then the map [F5]."""

FLAG_METHOD: Final = 0x02
"""On the answer to a GET: the name is a method, which has no value [C7]."""

FLAG_BATCH: Final = 0x04
"""On a ONEWAY: the body is that of a BATCH [B1]."""

FLAG_REFERENCES: Final = 0x10
"""On a request or a RESULT: in front of the value stands a table of references [R1]."""

FLAG_BUFFERS: Final = 0x20
"""On a request or a RESULT: in front of the value, and of the references, stands the number of its buffers [D4]."""

ATTACHED: Final = FLAG_REFERENCES | FLAG_BUFFERS
"""Flags of messages that bring something besides their value."""

FLAG_COMPRESSED: Final = 0x80
"""Kept for compression; sent 0 and ignored today [F4]."""


class Refusal(IntEnum):
    """Why a connection is refused or ended: the code of REFUSED and GOAWAY [H5]. The first four are Pyro 3's."""

    UNSPECIFIED = 0
    TOO_BUSY = 1
    HOST_BLOCKED = 2
    SECURITY = 3
    VERSION = 4
    SERIALIZER = 5
    BROKEN_RULE = 6
    DRAINING = 7
    IDLE = 8


class Rejection(IntEnum):
    """Why a call was not started: the code of REJECTED [C4]."""

    UNKNOWN_OBJECT = 1
    UNKNOWN_MEMBER = 2
    BUSY = 3
    DRAINING = 4
    UNREADABLE = 5
    CANCELLED = 6
    REENTERED = 7
    LATE = 8


REFUSAL_TEXTS: Final[dict[int, str]] = {
    **deniedReasons,
    Refusal.VERSION: "no common protocol version",
    Refusal.SERIALIZER: "no common serializer",
    Refusal.BROKEN_RULE: "protocol error",
    Refusal.DRAINING: "shutting down",
    Refusal.IDLE: "idle",
}

CREDIT_BODY: Final = struct.Struct("!II")
METADATA_LENGTH: Final = struct.Struct("!I")

HELLO_LIMIT: Final = 4096
"""Bytes of a hello, its answer or an authentication step, before anyone is trusted [H1]."""

SMALL_LIMIT: Final = 4096
"""Bytes of a frame that carries a name, a code or a number [F3]."""

METADATA_LIMIT: Final = 16 * 1024
"""Bytes of a metadata map [F5]."""

MESSAGE = -2  # stands for "as large as the receiver's message limit" in the tables below

BODY_LIMITS: Final[dict[Kind, int]] = {
    Kind.HELLO: HELLO_LIMIT,
    Kind.WELCOME: HELLO_LIMIT,
    Kind.AUTHENTICATE: HELLO_LIMIT,
    Kind.REFUSED: HELLO_LIMIT,
    Kind.BUFFERS: SMALL_LIMIT,
    Kind.OPEN: SMALL_LIMIT,
    Kind.CLOSE: 0,
    Kind.CALL: MESSAGE,
    Kind.ONEWAY: MESSAGE,
    Kind.BATCH: MESSAGE,
    Kind.GET: SMALL_LIMIT,
    Kind.SET: MESSAGE,
    Kind.DESCRIBE: SMALL_LIMIT,
    Kind.RESULT: MESSAGE,
    Kind.ERROR: MESSAGE,
    Kind.REJECTED: SMALL_LIMIT,
    Kind.STREAM_OPEN: MESSAGE,
    Kind.STREAM_ITEM: MESSAGE,
    Kind.STREAM_END: SMALL_LIMIT,
    Kind.STREAM_ERROR: MESSAGE,
    Kind.CREDIT: CREDIT_BODY.size,
    Kind.CHUNK: MESSAGE,
    Kind.RELEASE: SMALL_LIMIT,
    Kind.CANCEL: 0,
    Kind.PING: 8,
    Kind.PONG: 8,
    Kind.GOAWAY: SMALL_LIMIT,
}


def kind_name(kind: int) -> str:
    """The name of a kind for people, also of one that does not exist."""
    try:
        return Kind(kind).name
    except ValueError:
        return f"kind 0x{kind:02x}"


def pack(kind: int, call_id: int = 0, session_id: int = 0, body: bytes = b"", flags: int = 0) -> bytes:
    """One frame as bytes."""
    return HEADER.pack(kind, flags, 0, call_id, session_id, len(body)) + body


def pack_text(kind: int, code: int, text: str, call_id: int = 0, session_id: int = 0) -> bytes:
    """A REFUSED, GOAWAY or REJECTED frame: a code and a text for people, cut so that it fits [F3]."""
    body = bytes((code,)) + text.encode("utf-8", "replace")[: SMALL_LIMIT - 4]
    return pack(kind, call_id, session_id, body)


def unpack_text(body: bytes) -> tuple[int, str]:
    """The code and the text of a REFUSED, GOAWAY or REJECTED frame; an empty body reads as code 0."""
    return (body[0] if body else 0), body[1:].decode("utf-8", "replace")
