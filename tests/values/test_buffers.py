"""What travels beside a value: what is taken out of it, and what is made of it again."""

from __future__ import annotations

import sys
from array import array
from collections import OrderedDict

import numpy
import pytest

from gpyro.errors import SerializationError
from gpyro.values import buffers
from gpyro.values.buffers import MAX_PARTS, MIN_SIZE, Aside, holds_large, is_large, make_again, set_aside
from gpyro.values.refusal import Refused

LARGE = [
    bytes(MIN_SIZE),
    bytearray(MIN_SIZE),
    memoryview(bytes(MIN_SIZE)),
    memoryview(array("d", bytes(MIN_SIZE))),
    array("d", bytes(MIN_SIZE)),
    numpy.zeros(MIN_SIZE, "u1"),
    numpy.zeros((8, MIN_SIZE // 8)),
    numpy.zeros(MIN_SIZE, [("a", "<i4"), ("b", "U3")]),
    numpy.zeros(MIN_SIZE, "M8[ns]"),
]
SMALL = [b"x" * (MIN_SIZE - 1), array("d", [1.0]), numpy.zeros(3), "x" * MIN_SIZE, [b"x"], None, numpy.float64(1)]


def taken_apart(value):
    """What is left of a value, and the bytes beside it."""
    kept = []

    def keep(value, data):
        copy = bytearray(memoryview(data).cast("B"))
        kept.append(bytes(copy) if type(value) in (bytes, memoryview) else copy)
        return len(kept) - 1

    return set_aside(value, keep), kept


@pytest.mark.parametrize("value", LARGE, ids=lambda value: type(value).__name__)
def test_what_is_large_is_set_aside_and_made_again(value):
    assert is_large(value)
    left, kept = taken_apart(value)
    assert type(left) is Aside
    again = make_again(left.state, kept.__getitem__)
    if isinstance(value, numpy.ndarray):
        assert numpy.array_equal(again, value)
        assert (again.dtype, again.shape) == (value.dtype, value.shape)
        assert again.flags.writeable
    else:
        assert type(again) is (bytes if type(value) is memoryview else type(value))
        assert bytes(again) == bytes(value)


@pytest.mark.parametrize("value", SMALL, ids=lambda value: type(value).__name__)
def test_what_is_small_stays(value):
    assert not is_large(value)
    left, kept = taken_apart(value)
    assert left is value
    assert not kept


def test_containers_on_the_way_are_copied_and_others_stay():
    deep = {"key": [1, ("two", bytes(MIN_SIZE))]}
    other = [{"small": b"x"}]
    value = [deep, other]
    left, kept = taken_apart(value)
    assert len(kept) == 1
    assert type(left[0]["key"][1][1]) is Aside
    assert type(left[0]["key"][1]) is tuple
    assert left[1] is other
    assert value[0] is deep
    assert deep["key"][1][1] == bytes(MIN_SIZE)


def test_only_the_usual_containers_are_looked_into():
    for value in (OrderedDict(key=bytes(MIN_SIZE)), {bytes(MIN_SIZE)}):
        assert not holds_large((value,))
        assert taken_apart(value) == (value, [])


def test_thousands_of_parts_are_not_looked_at():
    many = [0] * MAX_PARTS + [bytes(MIN_SIZE)]
    assert not holds_large((many,))
    assert taken_apart(many)[0] is many
    assert holds_large((many[1:],))


def test_a_value_in_itself():
    circle = []
    circle.append(circle)
    assert not holds_large((circle,))
    assert taken_apart(circle)[0] is circle


def test_arrays_that_do_not_lie_side_by_side_and_by_column():
    value = numpy.arange(2 * MIN_SIZE)[::2]
    left, kept = taken_apart(value)
    assert numpy.array_equal(make_again(left.state, kept.__getitem__), value)
    value = numpy.asfortranarray(numpy.arange(float(MIN_SIZE)).reshape(8, -1))
    left, kept = taken_apart(value)
    again = make_again(left.state, kept.__getitem__)
    assert numpy.array_equal(again, value)
    assert again.flags.f_contiguous
    assert not again.flags.c_contiguous


@pytest.mark.parametrize("value", [numpy.zeros(MIN_SIZE, object), array("u", "x" * MIN_SIZE)])
def test_what_must_not_travel_stays_for_the_codec_to_refuse(value):
    left, kept = taken_apart([value])
    assert left[0] is value
    assert not kept


def test_what_there_is_no_room_for_stays():
    def keep(value, data):
        raise Refused("no more")

    value = bytes(MIN_SIZE)
    assert set_aside([value], keep)[0] is value


def test_a_subclass_of_an_array_is_none():
    assert not is_large(numpy.zeros(MIN_SIZE).view(numpy.ma.MaskedArray))


def test_numpy_is_not_imported_for_it(monkeypatch):
    monkeypatch.delitem(sys.modules, "numpy")
    monkeypatch.setattr(buffers, "TYPES", {bytes, bytearray, memoryview, array})
    assert not is_large(numpy.zeros(MIN_SIZE))
    assert is_large(bytes(MIN_SIZE))


@pytest.mark.parametrize(
    "state",
    [
        None,
        [],
        [0],
        ["0", "bytes"],
        [True, "bytes", "x"],
        [0, "list"],
        [0, "array"],
        [0, "array", ["d", 8, "<"], 1],
        [0, "array", ["d", 8, "<"]],
        [0, "ndarray", ["<f8", [3], "C"]],
        [0, "ndarray", ["|O", [1], "C"]],
        [0, "ndarray", ["<f8", [-1], "C"]],
        [0, "ndarray", "form"],
    ],
)
def test_a_state_that_is_none(state):
    with pytest.raises(SerializationError):
        make_again(state, [bytearray(5)].__getitem__)


def test_bytes_that_were_announced_as_something_else_are_refused():
    memories = {"bytes": b"12345678", "bytearray": bytearray(b"12345678"), "array": array("d", b"12345678")}
    for announced, memory in memories.items():
        for kind in ("bytes", "bytearray"):
            if kind == announced:
                assert make_again([0, kind], lambda _, memory=memory: memory) is memory
            else:
                with pytest.raises(SerializationError, match="announced as"):
                    make_again([0, kind], lambda _, memory=memory: memory)
    with pytest.raises(SerializationError, match="announced as bytes"):
        make_again([0, "ndarray", ["|S8", [1], "C"]], lambda _: b"12345678")


def test_a_released_memoryview_stays_for_the_codec_to_refuse():
    view = memoryview(bytes(MIN_SIZE))
    view.release()
    assert not is_large(view)
