"""Buffers: large bytes that travel ahead of the message that refers to them, in pieces, straight to where they stay.

The rules are numbered in ``docs/wire.md``; the numbers in brackets here are those. Nothing is copied: what arrives is
put into memory that belongs to the program in the end.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from gpyro.errors import WireError
from gpyro.wire.frames import FLAG_METADATA, HEADER, METADATA_LENGTH, Frame, Kind, pack
from gpyro.wire.ids import made_by_connecting_end
from gpyro.wire.memory import Memory, allocate

CHUNK_SIZE: Final = 512 * 1024
"""Bytes of one CHUNK that this end sends while nothing else goes on."""

SMALL_CHUNK_SIZE: Final = 64 * 1024
"""The same while there are other messages, which may have to wait for it."""

MAX_BUFFERS: Final = 512
"""Buffers of one message [D1]."""

LEAST: Final = 4_096
"""Bytes that a buffer counts for at least, since it also costs where it is noted [D3]."""

NUMBER: Final = struct.Struct("!I")
"""How a message says which set of buffers is its own [D4]."""

_ENTRIES: Final = "!%dQ"
_KIND_SHIFT: Final = 56
_SIZE_MASK: Final = (1 << _KIND_SHIFT) - 1


def pack_announcement(number: int, buffers: Sequence[tuple[int, int]]) -> bytes:
    """A BUFFERS frame: kinds and sizes of what is about to come [D1]. With none, what was announced is dropped [D5]."""
    entries = [kind << _KIND_SHIFT | size for kind, size in buffers]
    return pack(Kind.BUFFERS, number, 0, struct.pack(_ENTRIES % len(entries), *entries))


def chunk_header(number: int, size: int) -> bytes:
    """The header of a CHUNK, which `size` bytes of the next buffer follow [D2]."""
    return HEADER.pack(Kind.CHUNK, 0, 0, number, 0, size)


def pieces(buffers: Iterable[memoryview], size: Callable[[], int] = lambda: CHUNK_SIZE) -> Iterator[memoryview]:
    """Buffers, in the pieces in which they are sent; `size` is asked before each one how large it may be."""
    for buffer in buffers:
        start = 0
        while start < len(buffer):
            piece = buffer[start : start + size()]
            start += len(piece)
            yield piece


def number_of(frame: Frame) -> int:
    """The number of the buffers of a message [D4].

    Raises:
        WireError: there is none.
    """
    body, start = frame[4], 0
    if frame[1] & FLAG_METADATA and len(body) >= METADATA_LENGTH.size:
        start = METADATA_LENGTH.size + METADATA_LENGTH.unpack_from(body)[0]
    end = start + NUMBER.size
    if len(body) < end:
        raise WireError("the number of the buffers is cut off", "D4")
    number: int = NUMBER.unpack_from(body, start)[0]
    return number


def cost(sizes: Iterable[int]) -> int:
    """What buffers count for [D3]."""
    return sum(max(size, LEAST) for size in sizes)


class Claimed(bytes):
    """The body of a message that has claimed a set.

    Attributes:
        buffers: those of the set.
    """

    buffers: list[Memory]


class _Set:
    """The buffers of one message."""

    __slots__ = ("_rest", "buffers", "cost")

    def __init__(self, parts: list[tuple[Memory, memoryview]], size: int) -> None:
        self.buffers = [memory for memory, _ in parts]
        self.cost = size
        self._rest = [view for _, view in reversed(parts)]

    @property
    def complete(self) -> bool:
        return not self._rest

    def place(self, size: int) -> memoryview | None:
        """Where the next `size` bytes go; None if they are none of this set."""
        if not self._rest or not 0 < size <= len(self._rest[-1]):
            return None
        rest = self._rest.pop()
        if size < len(rest):
            self._rest.append(rest[size:])
        return rest[:size]


class Arriving:
    """The buffers that have come, or are coming, for messages that have not."""

    __slots__ = ("_connecting", "_limit", "_sets", "cost")

    def __init__(self, connecting: bool, limit: int) -> None:
        """`connecting`: this is the connecting end; `limit`: what may be here at a time [D3]."""
        self._connecting = connecting
        self._limit = limit
        self._sets: dict[int, _Set] = {}
        self.cost = 0

    def announce(self, number: int, body: bytes) -> None:
        """A BUFFERS frame arrived.

        Raises:
            WireError: it breaks a rule.
        """
        if not body:
            self._drop(number)
            return
        if number in self._sets or not number or made_by_connecting_end(number) == self._connecting:
            raise WireError(f"the number {number} of buffers is in use or of the wrong direction", "D1")
        if len(body) % 8:
            raise WireError("a BUFFERS of the wrong length", "D1")
        entries = struct.unpack(_ENTRIES % (len(body) // 8), body)
        sizes = [entry & _SIZE_MASK for entry in entries]
        if not all(sizes):
            raise WireError("a buffer without bytes", "D1")
        size = cost(sizes)
        if self.cost + size > self._limit:
            raise WireError(f"buffers of {self.cost + size} bytes are over the granted {self._limit}", "D3")
        try:
            # The system gives the memory only as it is written to.
            parts = [allocate(entry >> _KIND_SHIFT, one) for entry, one in zip(entries, sizes, strict=True)]
        except ValueError as error:
            raise WireError(str(error), "D1") from None
        except MemoryError:
            raise WireError(f"there is no memory for buffers of {size} bytes", "D3") from None
        self._sets[number] = _Set(parts, size)
        self.cost += size

    def _drop(self, number: int) -> None:
        dropped = self._sets.pop(number, None)
        if dropped is None:
            raise WireError(f"buffers {number} were not announced", "D5")
        self.cost -= dropped.cost

    def place(self, number: int, size: int) -> memoryview:
        """Where the body of a CHUNK goes.

        Raises:
            WireError: nothing like that was announced [D2].
        """
        found = self._sets.get(number)
        place = None if found is None else found.place(size)
        if place is None:
            raise WireError(f"a CHUNK of {size} bytes that were not announced for buffers {number}", "D2")
        return place

    def claim(self, number: int) -> list[Memory]:
        """The buffers of a message that has come.

        Raises:
            WireError: they are not all there [D4].
        """
        found = self._sets.get(number)
        if found is None or not found.complete:
            raise WireError(f"a message with the buffers {number}, which are not there", "D4")
        del self._sets[number]
        self.cost -= found.cost
        return found.buffers
