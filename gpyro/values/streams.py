"""Streams inside values: each generator or iterator is replaced by a reference, and each reference by an iterator.

A registry of its own does that for a single value, so the codecs know nothing of it: for them a reference is an
instance of a registered class, whose state is the number of the stream.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from gpyro.errors import SerializationError

from .classes import Entry, Registry

NAME: Final = "gpyro.stream"
"""What a reference to a stream is called on the wire."""


def is_streamed(cls: type) -> bool:
    """Whether values of this class, if it is not registered, travel as streams: iterators, but no open files."""
    return issubclass(cls, Iterator) and not hasattr(cls, "readline")


class LeavingStreams(Registry):
    """The registry for one value that is sent. What is in it twice is one stream."""

    def __init__(self, base: Registry, open_stream: Callable[[Iterator[Any]], int]) -> None:
        """`open_stream` takes an iterator and gives the number of its stream."""
        super().__init__()
        self._base = base
        self._open = open_stream
        self._numbers: dict[int, int] = {}
        self._entry = Entry(object, NAME, self.number, None, subclasses=False)

    def number(self, source: Iterator[Any]) -> int:
        """The number of the stream that an iterator becomes; the same each time, since codecs may try twice."""
        number = self._numbers.get(id(source))
        if number is None:
            number = self._numbers[id(source)] = self._open(source)
        return number

    def find(self, cls: type) -> Entry | None:
        """See `Registry.find`."""
        entry = self._base.find(cls)
        return self._entry if entry is None and is_streamed(cls) else entry

    def by_name(self, name: str) -> Entry | None:
        """See `Registry.by_name`."""
        return self._base.by_name(name)

    def reference_to(self, value: Any) -> int | None:
        """What stands for `value` where a codec asks for each part by itself; None if it travels as it is."""
        cls = type(value)
        return self.number(value) if is_streamed(cls) and self._base.find(cls) is None else None


class ArrivingStreams(Registry):
    """The registry for one value that arrives."""

    def __init__(self, base: Registry, iterator: Callable[[Any], Any]) -> None:
        """`iterator` makes what is to be iterated, of the number of a stream; may raise SerializationError."""
        super().__init__()
        self._base = base
        self._entry = Entry(object, NAME, None, iterator, subclasses=False)

    def find(self, cls: type) -> Entry | None:
        """See `Registry.find`."""
        return self._base.find(cls)

    def by_name(self, name: str) -> Entry | None:
        """See `Registry.by_name`."""
        return self._entry if name == NAME else self._base.by_name(name)

    def referred_to(self, reference: Any) -> Any:
        """What `LeavingStreams.reference_to` gave a reference to."""
        assert self._entry.from_state is not None
        return self._entry.from_state(reference)


def check_number(number: Any) -> int:
    """The number in a reference.

    Raises:
        SerializationError: it is none.
    """
    if type(number) is not int:
        raise SerializationError("a reference to a stream is a number")
    return number
