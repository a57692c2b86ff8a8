"""Memory of the types that programs get to see, filled from outside."""

from __future__ import annotations

from array import array

import pytest

from gpyro.wire.memory import BYTEARRAY, BYTES, LARGEST_ARRAY, allocate, kind_of


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (BYTES, b"0123456789abcdef"),
        (BYTEARRAY, bytearray(b"0123456789abcdef")),
        (ord("B"), array("B", b"0123456789abcdef")),
        (ord("d"), array("d", b"0123456789abcdef")),
    ],
)
def test_what_is_put_in_is_what_it_holds(kind, expected):
    made, view = allocate(kind, 16)
    view[:7] = b"0123456"
    view[7:] = b"789abcdef"
    assert type(made) is type(expected)
    assert made == expected
    assert getattr(made, "typecode", "") == getattr(expected, "typecode", "")
    assert kind_of(made) == kind


def test_bytes_of_any_size_are_whole():
    for size in (1, 2, 100, 4096, 1_000_003):
        made, view = allocate(BYTES, size)
        view[:] = bytes(range(256)) * (size // 256) + bytes(size % 256)
        assert len(made) == size == len(view)
        assert hash(made) == hash(bytes(view))


def test_bytes_that_are_there_already_do_not_change():
    empty, one = b"", b"\x00"
    made, view = allocate(BYTES, 1)
    view[0] = 7
    assert (empty, one, bytes([0]), made) == (b"", b"\x00", b"\x00", b"\x07")


@pytest.mark.parametrize(("kind", "size"), [(2, 8), (ord("u"), 8), (ord("d"), 12), (255, 1)])
def test_no_such_memory(kind, size):
    with pytest.raises(ValueError, match=f"no memory of kind {kind} has {size} bytes"):
        allocate(kind, size)


def test_more_than_there_is():
    for kind in (BYTES, BYTEARRAY, ord("B")):
        with pytest.raises(MemoryError):
            allocate(kind, 1 << 55)


def test_a_large_array_is_no_array_yet():
    made, view = allocate(ord("d"), LARGEST_ARRAY + 8)
    assert type(made) is bytearray
    assert len(view) == LARGEST_ARRAY + 8


def test_kinds_of_what_is_sent():
    assert kind_of(memoryview(b"x")) == BYTES
    assert kind_of(memoryview(bytearray(b"x"))) == BYTES
    assert kind_of(array("i")) == ord("i")
