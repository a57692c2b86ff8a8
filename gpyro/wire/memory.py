"""Memory for what is about to arrive: of the type that the program gets to see, so that nothing has to be copied."""

from __future__ import annotations

import ctypes
from array import array
from typing import Any, Final, Union

BYTEARRAY: Final = 0
BYTES: Final = 1
"""Kinds of memory; others are the typecodes of arrays, as numbers [D1]."""

LARGEST_ARRAY: Final = 1 << 20
"""Bytes of an array that is made at once, and written to; a larger one is made when its bytes are there."""

Memory = Union[bytes, bytearray, "array[Any]"]

_CODES: Final = {ord(code): array(code, [0]) for code in "bBhHiIlLqQfd"}

# What C extensions use for the same purpose. The memory is not cleared before, so nobody may see it until it is full.
_PyBUF_WRITE: Final = 0x200
_new_bytes = ctypes.pythonapi.PyBytes_FromStringAndSize
_new_bytes.argtypes, _new_bytes.restype = (ctypes.c_void_p, ctypes.c_ssize_t), ctypes.py_object
_new_bytearray = ctypes.pythonapi.PyByteArray_FromStringAndSize
_new_bytearray.argtypes, _new_bytearray.restype = (ctypes.c_void_p, ctypes.c_ssize_t), ctypes.py_object
_address_of = ctypes.pythonapi.PyBytes_AsString
_address_of.argtypes, _address_of.restype = (ctypes.py_object,), ctypes.c_void_p
_view_of = ctypes.pythonapi.PyMemoryView_FromMemory
_view_of.argtypes, _view_of.restype = (ctypes.c_void_p, ctypes.c_ssize_t, ctypes.c_int), ctypes.py_object


def kind_of(value: object) -> int:
    """The kind of memory that what is sent is to arrive in."""
    if type(value) is bytes or type(value) is memoryview:
        return BYTES
    return ord(value.typecode) if type(value) is array else BYTEARRAY


def allocate(kind: int, size: int) -> tuple[Memory, memoryview]:
    """Memory to be filled, and the way to fill it, which must not be used any longer than the memory is kept.

    Args:
        kind: see `BYTES`.
        size: in bytes, at least one.

    Raises:
        ValueError: there is no such kind, or its elements do not fit.
        MemoryError: there is not so much.
    """
    if kind == BYTES:
        made: bytes = _new_bytes(None, size)
        view: memoryview = _view_of(_address_of(made), size, _PyBUF_WRITE)
        return made, view
    if kind == BYTEARRAY:
        memory: bytearray = _new_bytearray(None, size)
        return memory, memoryview(memory)
    element = _CODES.get(kind)
    if element is None or size % element.itemsize:
        raise ValueError(f"no memory of kind {kind} has {size} bytes")
    if size > LARGEST_ARRAY:
        return allocate(BYTEARRAY, size)
    numbers = element * (size // element.itemsize)
    return numbers, memoryview(numbers).cast("B")
