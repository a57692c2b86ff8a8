from __future__ import annotations

import re
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpyro.errors import SerializationError, WireError
from gpyro.values import pack_plain
from gpyro.wire.frames import METADATA_LENGTH, METADATA_LIMIT
from gpyro.wire.metadata import CHAIN, prepend, split
from tests.wire.streams import SAME_CASES, attempt

LENGTH = METADATA_LENGTH.pack


def with_length(packed: bytes, body: bytes = b"") -> bytes:
    return LENGTH(len(packed)) + packed + body


@pytest.mark.parametrize("body", [b"", b"x", b"\x00" * 5000])
@pytest.mark.parametrize("fields", [{}, {CHAIN: [b"12345678", b""]}, {"a": 1, "ü": {"b": [None, True, 1.5, "text"]}}])
def test_what_is_put_in_front_comes_off(fields: dict[str, Any], body: bytes) -> None:
    assert split(prepend(fields, body)) == (fields, body)


def test_its_form() -> None:
    assert prepend({"a": 1}, b"rest") == bytes.fromhex("00000004 81 a161 01") + b"rest"


@pytest.mark.parametrize("body", [b"", b"\x00", b"\x00\x00\x00"])
def test_too_short_for_a_length(body: bytes) -> None:
    with pytest.raises(WireError, match=r"cut off \[F5\]"):
        split(body)


@pytest.mark.parametrize("length", [1, 2, METADATA_LIMIT, METADATA_LIMIT + 1, 2**31, 2**32 - 1])
def test_a_length_that_lies(length: int) -> None:
    with pytest.raises(WireError, match=re.escape(f"metadata of {length} bytes [F5]")):
        split(LENGTH(length))


@pytest.mark.parametrize("size", [METADATA_LIMIT, METADATA_LIMIT + 1])
def test_the_limit_on_both_sides(size: int) -> None:
    fields = {"a": b"x" * (size - len(pack_plain({"a": b"x" * 1000})) + 1000)}
    packed = pack_plain(fields)
    assert len(packed) == size
    if size <= METADATA_LIMIT:
        assert split(prepend(fields, b"rest")) == (fields, b"rest")
        return
    with pytest.raises(SerializationError, match="over the limit"):
        prepend(fields, b"rest")
    with pytest.raises(WireError) as caught:
        split(with_length(packed, b"rest"))
    assert caught.value.rule == "F5"


@pytest.mark.parametrize(
    "packed",
    [
        b"", b"\xc0", b"\x01", b"\x90", b"\xa1a", b"\xc4\x01a",  # nothing, and things that are no map
        b"\x81\x01\x02", b"\x81\xc4\x01a\x01", b"\x81\xc0\x01", b"\x81\x90\x01",  # keys that are no text
        b"\x82\xa1a\x01", b"\x81\xa1a", b"\x8f", b"\xdf\xff\xff\xff\xff",  # cut off
        b"\xc1", b"\x81\xa1\xff\x01", b"\x81\xa1a\xc1",  # no msgpack, no UTF-8
        b"\xd4\x01\x90", b"\x81\xa1a\xd4\x05\x90",  # extension values
        b"\x91" * 5000, b"\x81\xa1a" * 3000, b"\xdd\xff\xff\xff\xff", b"\x81\xa1a\xdd\xff\xff\xff\xff",  # bombs
    ],
)  # fmt: skip
def test_what_is_no_map_with_text_keys(packed: bytes) -> None:
    with pytest.raises(WireError) as caught:
        split(with_length(packed, b"rest"))
    assert caught.value.rule == "F5"


def test_what_cannot_travel_is_refused_at_the_sender() -> None:
    with pytest.raises(SerializationError):
        prepend({"a": object()}, b"")


def test_announced_members_take_no_memory() -> None:
    body = with_length(b"\x81\xa1a\xdd\xff\xff\xff\xff")
    tracemalloc.start()
    try:
        with pytest.raises(WireError):
            split(body)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100_000


@SAME_CASES
@given(st.binary(max_size=200), st.binary(max_size=50))
def test_whatever_the_bytes_it_is_a_map_or_a_wire_error(packed: bytes, rest: bytes) -> None:
    for body in (packed, with_length(packed, rest)):
        found, error = attempt(split, body)
        if error is not None:
            assert error.rule == "F5"
            continue
        fields, left = found
        assert all(type(key) is str for key in fields)
        assert body.endswith(left)
