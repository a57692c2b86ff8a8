"""Values that are bound to a connection: streams, references and buffers, for each of which a number stands in a value.

A registry of its own does that, so the codecs know nothing of it: for them a reference is an instance of a registered
class, whose state the message gives that is encoded or decoded just then.
"""

from __future__ import annotations

import copy
import functools
import types
from collections.abc import Callable, Iterator
from typing import Any, Final, Protocol

from gpyro.errors import SerializationError

from .buffers import BUFFER, Aside, is_large
from .classes import Entry, Registry
from .refusal import Refused

REFERENCE: Final = "gpyro.reference"
"""The name on the wire of what is passed by reference; classes whose name begins with it travel that way."""

STREAM: Final = "gpyro.stream"
"""The name on the wire of a generator or iterator, whose items follow."""

FUNCTIONS: Final = (types.FunctionType, types.MethodType, types.BuiltinFunctionType, functools.partial)
"""Types whose instances travel by reference; of `functools.partial`, no subclass."""


class ByReference(Refused):
    """An instance cannot travel by value; by reference it can, where a connection is there for that."""


class Message(Protocol):
    """What a bound registry asks about the parts of the message that is encoded or decoded.

    A codec may ask about one part more than once, and is given the same each time. Whatever cannot be done raises
    Refused while the message is encoded, and SerializationError while it is decoded.
    """

    def refer(self, value: Any) -> int:
        """The number of something that is passed by reference."""

    def resolve(self, number: int) -> Any:
        """What a number of `refer` stands for."""

    def open_stream(self, source: Iterator[Any]) -> int:
        """The number of the stream that an iterator becomes."""

    def stream(self, number: Any) -> Any:
        """What is to be iterated, by the number of the stream."""

    def aside(self, value: Any) -> Any:
        """The state of the `Aside` for something that travels beside the message; None if it does not."""

    def remembered(self, value: Any, to_state: Callable[[Any], Any]) -> Any:
        """What `to_state` makes of an instance, with an `Aside` in place of each part that travels beside it."""

    def buffer(self, state: Any) -> Any:
        """What an `Aside` with this state stands for."""


def is_streamed(cls: type) -> bool:
    """Whether values of this class, if it is not registered, travel as streams: iterators, but no open files."""
    return issubclass(cls, Iterator) and not hasattr(cls, "readline")


class BoundRegistry(Registry):
    """A registry for the messages of one connection.

    It is made once for all of them: it is a heap of objects that refer to each other, which would keep what a message
    brought until the garbage collector came by.
    """

    def __init__(self, base: Registry, message: Callable[[], Message]) -> None:
        """`message` gives the one that is encoded or decoded."""
        super().__init__()
        self._base = base
        self._message = message
        self._reference = Entry(object, REFERENCE, self._state_of, self._made_of, subclasses=False)
        self._stream = Entry(
            object, STREAM, lambda source: message().open_stream(source), lambda number: message().stream(number), False
        )
        self._buffer = Entry(Aside, BUFFER, lambda aside: aside.state, lambda state: message().buffer(state), False)
        self._with_buffers: dict[Entry, Entry] = {}

    def register(self, cls: type, **arguments: Any) -> None:
        """See `Registry.register`: it is the registry below that has the classes."""
        self._base.register(cls, **arguments)

    def find(self, cls: type) -> Entry | None:
        """See `Registry.find`."""
        entry = self._base.find(cls)
        if entry is not None:
            return self._reference if entry.name.startswith(REFERENCE) else self._looked_into(entry)
        if cls in FUNCTIONS:
            return self._reference
        if cls is Aside:
            return self._buffer
        return self._stream if is_streamed(cls) else None

    def by_name(self, name: str) -> Entry | None:
        """See `Registry.by_name`."""
        if name == REFERENCE:
            return self._reference
        if name == BUFFER:
            return self._buffer
        return self._stream if name == STREAM else self._base.by_name(name)

    def _looked_into(self, entry: Entry) -> Entry:
        """The entry of a class whose instances may have something large in their state."""
        to_state = entry.to_state
        if to_state is None:
            return entry
        known = self._with_buffers.get(entry)
        if known is None:
            known = self._with_buffers[entry] = copy.copy(entry)
            known.to_state = lambda value: self._message().remembered(value, to_state)
        return known

    def persistent_id(self, value: Any) -> Any:
        """What stands for `value` where a codec, such as pickle, asks for each part by itself; None for itself.

        Such a codec has its own ways for functions and objects, so it passes nothing by reference.
        """
        cls = type(value)
        if is_large(value):
            state = self._message().aside(value)
            return None if state is None else (BUFFER, state)
        if not is_streamed(cls) or self._base.find(cls) is not None:
            return None
        return STREAM, self._message().open_stream(value)

    def persistent_load(self, reference: Any) -> Any:
        """What `persistent_id` gave a reference to."""
        name, state = reference
        entry = self.by_name(name)
        if entry is None or entry.from_state is None:
            raise SerializationError("a reference to nothing that is known")
        return entry.from_state(state)

    def _state_of(self, value: Any) -> Any:
        entry = self._base.find(type(value))
        if entry is not None and entry.to_state is not None:
            try:
                return entry.to_state(value)
            except ByReference:
                pass
        return self._message().refer(value)

    def _made_of(self, state: Any) -> Any:
        if type(state) is int:
            return self._message().resolve(state)
        entry = self._base.by_name(REFERENCE)
        if entry is None or entry.from_state is None:
            raise SerializationError("a reference that is no number")
        return entry.from_state(state)


def check_number(number: Any) -> int:
    """The number in a reference to a stream.

    Raises:
        SerializationError: it is none.
    """
    if type(number) is not int:
        raise SerializationError("a reference to a stream is a number")
    return number
