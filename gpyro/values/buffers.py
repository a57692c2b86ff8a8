"""Large bytes that travel beside a value instead of in it: what they are, and how they are taken out of it."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any, Final

from gpyro.errors import SerializationError

from .arrays import buffer_of, find_numpy, ndarray_of
from .refusal import Refused
from .typed_array import array_format, array_of

BUFFER: Final = "gpyro.buffer"
"""The name on the wire of what stands for a buffer."""

MIN_SIZE: Final = 4_096
"""Bytes from which on something travels as a buffer."""

SEARCHED: Final = 64 * 1024
"""Bytes of an encoded message from which on its value is searched for something large that was in it."""

MAX_PARTS: Final = 1_000
"""Parts of a container that are looked at. It is for the few large things of a message, not for thousands."""

MAX_DEPTH: Final = 8
"""Containers in containers that are looked into."""

TYPES: Final[set[type]] = {bytes, bytearray, memoryview, array}
"""Types whose instances may travel as buffers; numpy's arrays join when the first is seen."""

Keep = Callable[[Any, Any], int]
"""Takes a value and what has its bytes, and gives the number of the buffer that they become."""


class Aside:
    """Stands in a value for something whose bytes travel beside it.

    Attributes:
        state: the number of the buffer, what it is, and what else has to be known to make it again.
    """

    __slots__ = ("state",)

    def __init__(self, state: list[Any]) -> None:
        self.state = state


def size_of(value: Any) -> int:
    """The bytes of an instance of one of `TYPES`."""
    kind = type(value)
    if kind is bytes or kind is bytearray:
        return len(value)
    try:
        return len(value) * value.itemsize if kind is array else int(value.nbytes)
    except ValueError:  # a memoryview that was released: the codec says so
        return 0


def is_large(value: Any) -> bool:
    """Whether something has bytes, and so many that they should travel beside the value."""
    kind = type(value)
    return (kind in TYPES or (kind.__name__ == "ndarray" and _knows(kind))) and size_of(value) >= MIN_SIZE


def holds_large(values: Iterable[Any], depth: int = 0) -> bool:
    """Whether there is something large among values, or in the first containers of containers."""
    for value in islice(values, MAX_PARTS):
        kind = type(value)
        if kind is list or kind is tuple or kind is dict:
            if depth < MAX_DEPTH and holds_large(value.values() if kind is dict else value, depth + 1):
                return True
        elif is_large(value):
            return True
    return False


def _knows(kind: type) -> bool:
    """Whether this is the type of numpy's arrays, which is from now on one of `TYPES`."""
    if find_numpy(kind) is None:
        return False
    TYPES.add(kind)
    return True


def set_aside(value: Any, keep: Keep, depth: int = 0) -> Any:
    """A value with `Aside` in place of what is large in it; itself if there is nothing of that sort.

    Args:
        value: it is not changed: containers on the way are copied.
        keep: see `Keep`. May raise Refused.
        depth: containers around it.
    """
    kind = type(value)
    if is_large(value):
        try:
            return _aside(value, kind, keep)
        except Refused:  # it stays, and the codec says where it stands
            return value
    if (kind is not list and kind is not tuple and kind is not dict) or depth == MAX_DEPTH:
        return value
    if not holds_large((value,), depth):
        return value
    if kind is dict:
        return {key: set_aside(part, keep, depth + 1) for key, part in value.items()}
    return kind([set_aside(part, keep, depth + 1) for part in value])


def _aside(value: Any, kind: type, keep: Keep) -> Any:
    if kind is bytes or kind is bytearray:
        return Aside([keep(value, value), kind.__name__])
    if kind is memoryview:
        return Aside([keep(value, value if value.c_contiguous else value.tobytes()), "bytes"])
    if kind is array:
        form = array_format(value)
        return Aside([keep(value, value), "array", form])
    state, data = buffer_of(value)
    return Aside([keep(value, data), "ndarray", state])


def make_again(state: Any, take: Callable[[int], Any]) -> Any:
    """What an `Aside` with this state stood for.

    Args:
        state: of the `Aside`.
        take: gives what holds the bytes of a buffer. May raise SerializationError.

    Raises:
        SerializationError: it is none.
    """
    if type(state) is not list or len(state) < 2 or type(state[0]) is not int:
        raise SerializationError("not the state of a buffer")
    number, kind, *rest = state
    memory = take(number)
    try:
        if kind in _TYPES and not rest:
            return _of_type(memory, _TYPES[kind])
        (form,) = rest
        if kind == "array":
            return array_of(form, memory)
        return ndarray_of(form, _of_type(memory, bytearray))
    except Refused as error:
        raise SerializationError(error.text) from None
    except Exception as error:
        raise SerializationError(f"no value could be made of a buffer: {error}") from None


_TYPES: Final[dict[Any, type]] = {"bytes": bytes, "bytearray": bytearray}


def _of_type(memory: Any, cls: type) -> Any:
    if type(memory) is not cls:  # no copies: of one buffer a value could ask for any number of them
        raise ValueError(f"it was announced as {type(memory).__name__}")
    return memory
