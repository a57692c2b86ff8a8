"""The metadata map in front of a body, present only when the frame's flag says so [F5]."""

from __future__ import annotations

from typing import Any

from gpyro.errors import SerializationError, WireError
from gpyro.values import pack_plain, unpack_plain
from gpyro.wire.frames import METADATA_LENGTH, METADATA_LIMIT

CHAIN = "chain"
"""Key of the list of holds on synchronized objects that the call descends from [M1]."""

DEADLINE = "deadline"
"""Key of the milliseconds that are left for the call when it is sent [M2]."""

CORRELATION = "id"
"""Key of the text that the calls of a chain have in common [M3]."""

TRACE = "traceparent"
"""Key of the W3C's trace context [M3]."""

ANNOTATIONS = "annotations"
"""Key of what programs give along [M3]."""

STREAMS = "streams"
"""Key of the numbers of the streams that the value refers to [T1]."""

INHERITED = (CORRELATION, TRACE)
"""What calls made in the course of a call take along by themselves."""


def prepend(metadata: dict[str, Any], body: bytes) -> bytes:
    """`body` with `metadata` in front of it.

    Raises:
        SerializationError: the metadata cannot travel or is too large.
    """
    packed = pack_plain(metadata)
    if len(packed) > METADATA_LIMIT:
        raise SerializationError(f"metadata of {len(packed)} bytes is over the limit of {METADATA_LIMIT}")
    return METADATA_LENGTH.pack(len(packed)) + packed + body


def split(body: bytes) -> tuple[dict[str, Any], bytes]:
    """The metadata and the rest of a body.

    Raises:
        WireError: there is no proper metadata map.
    """
    start = METADATA_LENGTH.size
    if len(body) < start:
        raise WireError("the metadata is cut off", "F5")
    (length,) = METADATA_LENGTH.unpack_from(body)
    if length > METADATA_LIMIT or length > len(body) - start:
        raise WireError(f"metadata of {length} bytes", "F5")
    try:
        metadata = unpack_plain(body[start : start + length])
    except SerializationError as error:
        raise WireError(f"the metadata is no map: {error}", "F5") from None
    if not isinstance(metadata, dict) or not all(isinstance(key, str) for key in metadata):
        raise WireError("the metadata is no map with text keys", "F5")
    return metadata, body[start + length :]
