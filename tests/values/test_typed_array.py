"""Arrays of Python's module array."""

from __future__ import annotations

import sys
from array import array

import pytest

from gpyro.values import JsonSerializer, MsgpackSerializer
from gpyro.values.refusal import Refused
from gpyro.values.typed_array import array_format, array_of, array_state, to_array

CODES = "bBhHiIlLqQfd"
OWN, OTHER = ("<", ">") if sys.byteorder == "little" else (">", "<")


@pytest.mark.parametrize("codec", [MsgpackSerializer(), JsonSerializer()])
@pytest.mark.parametrize("code", CODES)
def test_they_arrive_as_what_they_were(codec, code):
    for value in (array(code), array(code, [0, 1, 127])):
        arrived = codec.decode(codec.encode([value]))[0]
        assert type(arrived) is array
        assert arrived == value
        assert arrived.typecode == code


@pytest.mark.parametrize("code", CODES)
def test_another_byte_order(code):
    value = array(code, [1, 2, 100])
    swapped = array(code, value)
    swapped.byteswap()
    assert array_of([code, value.itemsize, OTHER], swapped.tobytes()) == value


def test_another_machines_sizes():
    arrived = array_of(["l", 4, OWN], array("i", [1, -2]).tobytes())
    assert arrived.itemsize == 4
    assert list(arrived) == [1, -2]
    assert list(array_of(["L", 2, OWN], array("H", [1, 2]).tobytes())) == [1, 2]
    with pytest.raises(ValueError, match="no elements of 3 bytes"):
        array_of(["i", 3, OWN], b"123")


def test_memory_of_the_right_type_is_kept():
    memory = array("d", [1.0, 2.0])
    assert array_of(array_format(memory), memory) is memory
    assert array_of(["q", 8, OWN], memory) is not memory


def test_characters_do_not_travel():
    value = array("u", "text")
    for function in (array_format, array_state):
        with pytest.raises(Refused, match="tounicode"):
            function(value)


@pytest.mark.parametrize(
    "state",
    [
        None,
        [],
        [["d", 8, "<"]],
        [["d", 8, "<"], "text"],
        [["d", 8, "<"], b"1234567"],
        [["x", 8, "<"], b""],
        [["u", 4, "<"], b""],
        [[1, 8, "<"], b""],
        [["d", "8", "<"], b""],
        [["d", 8, "="], b""],
        [["d", 8], b""],
        ["d8<", b""],
    ],
)
def test_what_is_none_is_refused(state):
    with pytest.raises(ValueError, match=r"array|elements|multiple"):
        to_array(state, 0)
