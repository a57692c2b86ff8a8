from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gpyro.errors import SerializationError
from gpyro.testing.samples import same
from gpyro.values import JsonSerializer, MsgpackSerializer, Registry, Serializer, arrays

ARRAYS: list[Any] = [
    np.arange(6).reshape(2, 3),
    np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    np.arange(20)[::3],
    np.arange(24).reshape(2, 3, 4).transpose(2, 0, 1),
    np.array(5),
    np.zeros((0, 3)),
    np.zeros((3, 0, 10**6), dtype="i1"),
    np.array([1, 2], dtype=">i4"),
    np.array([True, False]),
    np.array([1 + 2j], dtype="c8"),
    np.array([1.5], dtype="f2"),
    np.array(["ab", "ç"]),
    np.array([b"ab", b"c"]),
    np.array(["2024-01-01", "NaT"], dtype="M8[ns]"),
    np.array([1, 2], dtype="m8[25us]"),
    np.array([(1, 2.0), (3, 4.0)], dtype=[("a", "i4"), ("b", "f8", (1,))]),
    np.zeros(2, dtype=np.dtype([("a", "i1"), ("b", "f8")], align=True)),
    np.zeros(2, dtype=[("outer", [("inner", "u2")]), ("t", "U3")]),
    np.frombuffer(b"\xc4\x01" * 200, dtype="u1"),
]
SCALARS: list[Any] = [
    np.float64(1.5), np.float32(-0.0), np.int8(-1), np.uint64(2**64 - 1), np.bool_(True), np.complex128(1j),
    np.str_("aç"), np.bytes_(b"ab"), np.str_(""), np.datetime64("2024-01-01T00:00", "ns"), np.datetime64("NaT"),
    np.timedelta64(3, "D"), np.float64("nan"), ARRAYS[15][0],
]  # fmt: skip


@pytest.fixture(params=[MsgpackSerializer, JsonSerializer])
def codec(request: pytest.FixtureRequest) -> Serializer:
    return request.param(Registry())


@pytest.mark.parametrize("value", ARRAYS + SCALARS, ids=lambda value: f"{type(value).__name__}-{value.dtype}")
def test_arrays_and_scalars_arrive(codec: Serializer, value: Any) -> None:
    arrived = codec.decode(codec.encode([value, {"k": (value,)}]))
    assert same(arrived, [value, {"k": (value,)}])
    if isinstance(value, np.ndarray):
        assert arrived[0].flags.writeable
        assert arrived[0].flags.f_contiguous == value.flags.f_contiguous or value.size < 2 or not value.flags.forc


def test_scalars_are_keys(codec: Serializer) -> None:
    assert same(codec.decode(codec.encode({np.int64(1): 2})), {np.int64(1): 2})


@pytest.mark.parametrize(
    "value",
    [np.array([object()]), np.array([None, 1]), np.zeros(1, dtype=[("a", "i4"), ("b", "O")])],
)
def test_objects_in_arrays_are_refused(codec: Serializer, value: Any) -> None:
    with pytest.raises(SerializationError, match="dtype object cannot travel") as caught:
        codec.encode({"a": [value]})
    assert caught.value.path == "result['a'][0]"


def test_subclasses_of_arrays_are_refused(codec: Serializer) -> None:
    with pytest.raises(SerializationError, match="not registered"):
        codec.encode(np.ma.masked_array([1]))


@pytest.mark.parametrize(
    "state",
    [
        ["<i8", [2], "C", b"1234567"],
        ["<i8", [2**62, 2**62, 16], "C", b""],
        ["<i8", [2**61], "C", b""],
        ["<i8", [-1], "C", b""],
        ["<i8", [-1, -1], "C", b"12345678"],
        ["<i8", [1.0], "C", b"12345678"],
        ["<i8", [1] * 65, "C", b"12345678"],
        ["<i8", [1], "A", b"12345678"],
        ["<i8", [1], "C", "12345678"],
        ["O", [1], "C", b"12345678"],
        ["|O", [1], "C", b"12345678"],
        ["i4,O", [1], "C", b"123456789012"],
        ["<V0", [10**15], "C", b""],
        ["<U0", [10**15], "C", b""],
        ["<S999999999", [1], "C", b""],
        [["x"], [1], "C", b""],
        [[["a"], ["O"], [0], 8], [1], "C", b"12345678"],
        [[["a"], ["<i8"], [0], 2**40], [1], "C", b"12345678"],
        [[["a"], ["<i8"], [2**40], 8], [1], "C", b"12345678"],
        [[["a", "a"], ["<i4", "<i4"], [0, 4], 8], [1], "C", b"12345678"],
        [["<i8", [2**40]], [1], "C", b"12345678"],
        1,
        [],
        ["<i8"],
    ],
)
def test_a_forged_array_is_refused_without_taking_memory(state: Any) -> None:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - the codec maps whatever it is
        arrays.NDARRAY.from_state(state, 1_000)
    assert not isinstance(caught.value, MemoryError)


def test_a_deep_dtype_is_refused() -> None:
    state: Any = "<i1"
    for _ in range(50):
        state = [state, [1]]
    with pytest.raises(ValueError, match="dtype"):
        arrays.NDARRAY.from_state([state, [1], "C", b"1"], 1_000)


@pytest.mark.parametrize("state", [["<i8", b"1"], ["O", b"12345678"], ["<i8", "x"], [], ["<i8", b"12345678", 1]])
def test_a_forged_scalar_is_refused(state: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        arrays.SCALAR.from_state(state, 1_000)
