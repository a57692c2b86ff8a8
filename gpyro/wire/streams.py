"""The items of streams, and the credit for them [T3 to T5]."""

from __future__ import annotations

import struct
from typing import Final

from gpyro.errors import WireError

_COUNT: Final = struct.Struct("!I")
_MOST: Final = 0xFFFF_FFFF


class ItemCredit:
    """What may still be sent of one stream; kept by both ends.

    Attributes:
        items: how many items.
        bytes: bytes of bodies; below 0 after a single item that was larger.
        granted_items, granted_bytes: the first grant, which tells how much the reader keeps.
    """

    __slots__ = ("bytes", "granted_bytes", "granted_items", "items")

    def __init__(self) -> None:
        self.items = self.bytes = 0
        self.granted_items = self.granted_bytes = 0

    def give(self, items: int, size: int) -> bool:
        """Account for a grant; False, and no change, if it is more than can be counted [T4]."""
        if self.items + items > _MOST or self.bytes + size > _MOST:
            return False
        if not self.granted_items:
            self.granted_items, self.granted_bytes = items, size
        self.items += items
        self.bytes += size
        return True

    def covers(self, items: int, size: int) -> bool:
        """Whether a body of `size` bytes with so many items may be sent [T5]."""
        return items <= self.items and self.bytes > 0 and (items == 1 or size <= self.bytes)

    def take(self, items: int, size: int) -> None:
        """Account for a body that is sent."""
        self.items -= items
        self.bytes -= size


def pack_items(count: int, values: bytes) -> bytes:
    """The body of a STREAM_ITEM: how many items, and the list of them as a value."""
    return _COUNT.pack(count) + values


def unpack_items(body: bytes) -> int:
    """How many items a STREAM_ITEM has.

    Raises:
        WireError: none, or it is cut off.
    """
    if len(body) <= _COUNT.size:
        raise WireError("a STREAM_ITEM that is cut off", "T3")
    count: int = _COUNT.unpack_from(body)[0]
    if not count:
        raise WireError("a STREAM_ITEM without items", "T3")
    return count
