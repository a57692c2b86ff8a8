"""Values in msgpack, put together by hand: no serializer would make what `bombs` is made of."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from gpyro.values import codes


def number(value: int) -> bytes:
    """An integer of up to 64 bits."""
    if 0 <= value < 128:
        return bytes((value,))
    for marker, width in ((b"\xcd", 2), (b"\xce", 4), (b"\xcf", 8)):
        if 0 <= value < 1 << 8 * width:
            return marker + value.to_bytes(width, "big")
    return b"\xd3" + value.to_bytes(8, "big", signed=True)


def text(value: str | bytes) -> bytes:
    """A text; bytes may be no UTF-8."""
    data = value.encode() if isinstance(value, str) else value
    return (bytes((0xA0 | len(data),)) if len(data) < 32 else b"\xdb" + len(data).to_bytes(4, "big")) + data


def binary(data: bytes) -> bytes:
    """Bytes."""
    return b"\xc6" + len(data).to_bytes(4, "big") + data


def array(*members: bytes, count: int | None = None) -> bytes:
    """A list; `count` is what its header says."""
    return _head(0x90, b"\xdd", len(members) if count is None else count) + b"".join(members)


def mapping(*members: bytes) -> bytes:
    """A map of keys and values in turn."""
    return _head(0x80, b"\xdf", len(members) // 2) + b"".join(members)


def _head(small: int, large: bytes, count: int) -> bytes:
    return bytes((small | count,)) if count < 16 else large + count.to_bytes(4, "big")


def extension(code: int, data: bytes) -> bytes:
    """An extension value."""
    if len(data) < 1 << 16:
        return b"\xc8" + len(data).to_bytes(2, "big") + bytes((code,)) + data
    return b"\xc9" + len(data).to_bytes(4, "big") + bytes((code,)) + data


def big(size: int) -> bytes:
    """An integer of so many bytes."""
    return extension(codes.BIG_INT, b"\x01" * size)


def nested(levels: int, code: int, before: bytes, innermost: bytes) -> bytes:
    """Extension values in each other, each with `before` in front of the next."""
    heads, size = [], len(innermost)
    for _ in range(levels):
        size += len(before)
        length = size.to_bytes(2, "big") if size < 1 << 16 else size.to_bytes(4, "big")
        heads.append((b"\xc8" if len(length) == 2 else b"\xc9") + length + bytes((code,)) + before)
        size += len(heads[-1]) - len(before)
    return b"".join(reversed(heads)) + innermost


NIL = b"\xc0"


def record(
    name: str,
    members: list[int] | None = None,
    cause: int | None = None,
    fields: Mapping[str, bytes] = MappingProxyType({}),
) -> bytes:
    """The record of an exception."""
    links = NIL if members is None else array(*map(number, members))
    state = mapping(*(part for key, value in fields.items() for part in (text(key), value)))
    empty = array()
    link = NIL if cause is None else number(cause)
    return array(text(name), text("t"), empty, state, mapping(), empty, link, NIL, b"\xc2", links, empty)


def report(records: list[bytes], *lines: bytes) -> bytes:
    """What a method raised, with the lines of its traceback."""
    return array(array(*records), array(*lines))


def ndarray(dtype: bytes, *shape: int, data: bytes = b"") -> bytes:
    """An array of numpy."""
    return extension(codes.NDARRAY, array(dtype, array(*map(number, shape)), text("C"), binary(data)))


def fields_of(count: int, kind: bytes) -> bytes:
    """A structured dtype of so many fields of one kind."""
    names, kinds, places = (array(*parts) for parts in (
        (text(f"f{at}") for at in range(count)), [kind] * count, [number(0)] * count))  # fmt: skip
    return array(names, kinds, places, number(8))


def tuples_of_one_hash(bits: int) -> bytes:
    """A set of tuples that all have the same hash."""
    # hash(-1) is hash(-2), so all of these tuples have one hash.
    members = []
    for at in range(1 << bits):
        chosen = b"".join(b"\xff" if at >> bit & 1 else b"\xfe" for bit in range(bits))
        members.append(extension(codes.TUPLE, bytes((0xDC, 0, bits)) + chosen))
    return extension(codes.SET, array(*members))


def nested_dtype(levels: int) -> bytes:
    """Structured dtypes in each other."""
    dtype = text("<f8")
    for _ in range(levels):
        dtype = fields_of(1, dtype)
    return dtype


def instance(name: str, state: bytes) -> bytes:
    """An instance of a registered class."""
    return extension(codes.OBJECT, array(text(name), state))
