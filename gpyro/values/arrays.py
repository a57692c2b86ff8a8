"""numpy arrays and scalars. numpy is looked at only where the program, or a value from the peer, already uses it."""

from __future__ import annotations

import importlib
import re
import sys
from typing import Any, Final

from gpyro.errors import NoModuleError

from . import codes
from .refusal import Refused
from .special import Special

# What `dtype.str` gives for types without objects and fields.
_DTYPE: Final = re.compile(r"[<>|=]?[biufcmMSUV][0-9]{1,9}(?:\[[0-9]{0,6}[A-Za-z]{1,2}\])?", re.ASCII)
_MAX_DIMENSIONS: Final = 64
_MAX_FIELDS: Final = 1_000
_MAX_NESTING: Final = 8
# Elements of no size (empty texts) take no bytes, so their number has to be bounded on its own.
_MAX_EMPTY_ELEMENTS: Final = 250_000


def find_numpy(cls: type) -> Special | None:
    """The row for `cls` if it is numpy's array or scalar type, or None."""
    numpy: Any = sys.modules.get("numpy")
    if numpy is None:
        return None
    if cls is numpy.ndarray:
        return NDARRAY
    # Exactly numpy's own: a subclass would lose its type.
    if issubclass(cls, numpy.generic) and cls.__module__ == "numpy":
        return SCALAR
    return None


def _numpy() -> Any:
    try:
        return importlib.import_module("numpy")
    except ImportError as error:
        raise NoModuleError("the value holds a numpy array, and numpy is not installed here") from error


def _dtype_state(dtype: Any) -> Any:
    if dtype.hasobject:
        raise Refused("numpy data of dtype object cannot travel; pass a list, or convert it with astype")
    if dtype.names is not None:
        members = [dtype.fields[name] for name in dtype.names]
        formats = [_dtype_state(member[0]) for member in members]
        return [list(dtype.names), formats, [member[1] for member in members], dtype.itemsize]
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        return [_dtype_state(base), list(shape)]
    if not _DTYPE.fullmatch(dtype.str):
        raise Refused(f"numpy data of dtype {dtype} cannot travel")
    return dtype.str


def _to_dtype(numpy: Any, state: Any, depth: int = 0) -> Any:
    if type(state) is str:
        if not _DTYPE.fullmatch(state):
            raise ValueError("not a numpy dtype")
        return numpy.dtype(state)
    if type(state) is not list or depth > _MAX_NESTING:
        raise ValueError("not a numpy dtype")
    if len(state) == 2:
        return numpy.dtype((_to_dtype(numpy, state[0], depth + 1), tuple(_shape(state[1]))))
    names, formats, offsets, itemsize = state
    if not (type(names) is list and type(formats) is list and len(names) == len(formats) <= _MAX_FIELDS):
        raise ValueError("not a numpy dtype")
    members = [_to_dtype(numpy, member, depth + 1) for member in formats]
    return numpy.dtype(
        {"names": names, "formats": members, "offsets": _shape(offsets, _MAX_FIELDS), "itemsize": itemsize}
    )


def _shape(state: Any, limit: int = _MAX_DIMENSIONS) -> list[int]:
    if type(state) is not list or len(state) > limit or any(type(size) is not int or size < 0 for size in state):
        raise ValueError("not the shape of an array")
    return state


def _form(array: Any) -> list[Any]:
    """Type, shape, and whether it is by row or by column."""
    by_column = array.flags.f_contiguous and not array.flags.c_contiguous
    return [_dtype_state(array.dtype), list(array.shape), "F" if by_column else "C"]


def _array_state(array: Any) -> list[Any]:
    form = _form(array)
    return [*form, array.tobytes(form[2])]


def buffer_of(array: Any) -> tuple[list[Any], Any]:
    """The form of an array, and its bytes, which are copied only if they do not lie side by side.

    Raises:
        Refused: arrays of this dtype do not travel.
    """
    form = _form(array)
    # Read as bytes, since there are types, such as times, that a memoryview does not know.
    return form, array.ravel("K" if form[2] == "F" else "C").view("u1")


def _to_array(state: Any, limit: int) -> Any:
    *form, data = state
    if type(data) is not bytes:
        raise ValueError("not an array")
    # A bytearray, so that the array can be written to.
    return ndarray_of(form, bytearray(data))


def ndarray_of(form: Any, data: bytearray) -> Any:
    """The array with a form, in the memory `data`.

    Raises:
        ValueError: there is no such form, or the bytes do not fit it.
    """
    numpy = _numpy()
    dtype_state, shape_state, order = form
    dtype, shape = _to_dtype(numpy, dtype_state), _shape(shape_state)
    if order not in ("C", "F"):
        raise ValueError("not an array")
    elements = 1
    for size in shape:
        elements *= size
    # Python's numbers do not overflow, so a made-up shape cannot pass for a small one.
    if elements * dtype.itemsize != len(data):
        raise ValueError(f"the array has {len(data)} bytes, which do not fit its shape")
    if not data:
        if elements > _MAX_EMPTY_ELEMENTS:
            raise ValueError("the array has too many elements of no size")
        return numpy.zeros(shape, dtype, order)
    return numpy.ndarray(tuple(shape), dtype, data, order=order)


def _scalar_state(scalar: Any) -> list[Any]:
    # An empty text gives four bytes, although its type has none.
    return [_dtype_state(scalar.dtype), scalar.tobytes() if scalar.dtype.itemsize else b""]


def _to_scalar(state: Any, limit: int) -> Any:
    numpy = _numpy()
    dtype_state, data = state
    dtype = _to_dtype(numpy, dtype_state)
    if type(data) is not bytes or dtype.itemsize != len(data):
        raise ValueError("the bytes of a numpy scalar do not fit its type")
    if not data:
        return dtype.type()
    return numpy.ndarray((1,), dtype, bytearray(data))[0]


NDARRAY: Final = Special(codes.NDARRAY, "ndarray", _array_state, _to_array)
SCALAR: Final = Special(codes.NUMPY_SCALAR, "numpy", _scalar_state, _to_scalar)
