from __future__ import annotations

import random
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpyro.values import bytescan
from gpyro.values.packing import OPTIONS, packb

PLAIN = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**63), 2**64 - 1),
        st.integers(-300, 300),
        st.floats(),
        st.text(max_size=80),
        st.text(alphabet="ÄŐŻǅͿ΅ЖՀ߿àa", max_size=60),
        st.binary(max_size=40),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=8), st.dictionaries(st.text(max_size=12), inner, max_size=6)),
    max_leaves=60,
)


def holds_bytes(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(holds_bytes, value.values()))
    if isinstance(value, list):
        return any(map(holds_bytes, value))
    return isinstance(value, bytes)


@pytest.mark.parametrize("examples", [100, pytest.param(300, marks=pytest.mark.long)])
def test_bytes_are_never_overlooked(examples: int) -> None:
    @settings(max_examples=examples, deadline=None, derandomize=True)
    @given(PLAIN)
    def check(value: Any) -> None:
        if holds_bytes(value):
            assert bytescan._may_hold_bytes(packb(value, None, OPTIONS))

    check()


def adversarial(chance: random.Random) -> Any:
    """Numbers full of marker bytes, and texts full of bytes that are markers of numbers."""
    kind = chance.randrange(8)
    tricky = bytes(chance.choice(b"\xc4\xc5\xc6\xca\xcb\xcc\xcd\xce\xcf\xd0\xd3\xd9\x80\xbf\x00\x41") for _ in range(8))
    if kind == 0:
        return struct.unpack(">d", tricky)[0]
    if kind == 1:
        return int.from_bytes(tricky[: chance.choice((1, 2, 4, 8))], "big")
    if kind == 2:
        return "".join(chr(chance.choice((0xC4, 0x100, 0x141, 0x300, 0x2CB, 0x3FF, 0x41, 0x7FF))) for _ in range(12))
    if kind == 3:
        return chance.choice(("a" * 10, "key", None, True, -1))
    if kind == 4:
        return [adversarial(chance) for _ in range(chance.randrange(5))]
    return {f"key{number}": adversarial(chance) for number in range(chance.randrange(4))}


def test_bytes_among_misleading_values_are_never_overlooked() -> None:
    chance = random.Random(7)
    for _ in range(2_000):
        members = [adversarial(chance) for _ in range(chance.randrange(30))]
        members.insert(chance.randrange(len(members) + 1), chance.randbytes(chance.choice((0, 1, 3, 130, 190, 300))))
        assert bytescan._may_hold_bytes(packb(members, None, OPTIONS))


def test_long_bytes_are_never_overlooked() -> None:
    for size in (255, 256, 65_535, 65_536, 70_000):
        assert bytescan._may_hold_bytes(packb(["a" * 40, bytes(size)], None, OPTIONS))


def test_rows_without_bytes_are_told_from_their_packed_form() -> None:
    chance = random.Random(1)
    rows = [
        {"id": number, "name": f"user{number}", "score": chance.random(), "active": True, "tags": ["a", "b"]}
        for number in range(1_000)
    ]
    data = packb(rows, None, OPTIONS)
    assert 0xC4 in data
    assert not bytescan._may_hold_bytes(data)


@pytest.mark.parametrize("value", [bytearray(), [1, [bytearray(b"x")]], {"a": {"b": [0, bytearray(300)]}}])
def test_a_bytearray_is_found(value: Any) -> None:
    data = packb(value, None, OPTIONS)
    assert bytescan.holds_bytearray(data, value, True)
    assert bytescan.holds_bytearray(data, value, False)


@pytest.mark.parametrize("value", [b"", [1, [b"x" * 300]], {"a": {"b": [0, "ÄÖ" * 80]}}, 196])
def test_no_bytearray_is_made_up(value: Any) -> None:
    data = packb(value, None, OPTIONS)
    assert not bytescan.holds_bytearray(data, value, True)
    assert not bytescan.holds_bytearray(data, value, False)


@pytest.mark.parametrize("letter", ["\u0141", "\u0181"])
def test_of_a_text_full_of_markers_the_objects_are_looked_at(letter: str) -> None:
    # Each of them would have to be shown to stand inside the text, which takes a microsecond.
    def may_hold(value: str) -> bool:
        return bytescan._may_hold_bytes(packb([value], None, OPTIONS))

    assert may_hold(letter * 100_000)
    assert not may_hold("x" * 10_000 + letter + "x" * 10_000)
