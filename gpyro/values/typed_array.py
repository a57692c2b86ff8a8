"""Arrays of Python's module array: the same typecode on arrival, whatever the sizes and byte order of the machines."""

from __future__ import annotations

import sys
from array import array
from typing import Any, Final

from .refusal import Refused

_KINDS: Final = {**dict.fromkeys("bhilq", "i"), **dict.fromkeys("BHILQ", "u"), **dict.fromkeys("fd", "f")}
_SIZES: Final = {code: array(code).itemsize for code in _KINDS}
_OWN_ORDER: Final = "<" if sys.byteorder == "little" else ">"


def array_format(value: array[Any]) -> list[Any]:
    """Typecode, size of an element and byte order of an array.

    Raises:
        Refused: it is one of characters, whose size depends on the machine.
    """
    if value.typecode not in _KINDS:
        raise Refused(f"an array of typecode {value.typecode!r} cannot travel; pass its tounicode()")
    return [value.typecode, value.itemsize, _OWN_ORDER]


def array_of(form: Any, data: bytes | bytearray | array[Any]) -> array[Any]:
    """The array of the bytes that another one with the format `form` had; `data` itself if it is that already.

    Raises:
        ValueError: it is no format, or the bytes do not fit it.
    """
    if type(form) is not list or len(form) != 3:
        raise ValueError("not the format of an array")
    code, size, order = form
    kind = _KINDS.get(code) if type(code) is str else None
    if kind is None or type(size) is not int or order not in ("<", ">"):
        raise ValueError("not the format of an array")
    if _SIZES[code] != size:  # another machine's; there may be another code for that here
        code = next((other for other in _KINDS if _KINDS[other] == kind and _SIZES[other] == size), None)
        if code is None:
            raise ValueError(f"there are no elements of {size} bytes here")
    if type(data) is array and data.typecode == code:
        made = data
    else:
        made = array(code)
        made.frombytes(memoryview(data).cast("B"))
    if order != _OWN_ORDER:
        made.byteswap()
    return made


def array_state(value: array[Any]) -> list[Any]:
    """The format of an array, and its bytes."""
    return [array_format(value), value.tobytes()]


def to_array(state: Any, limit: int) -> array[Any]:
    """The array of a state.

    Raises:
        ValueError: it is none.
    """
    if type(state) is not list or len(state) != 2 or type(state[1]) is not bytes:
        raise ValueError("not an array")
    return array_of(*state)
