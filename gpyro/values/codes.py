"""Numbers of the extension types; they are part of the wire format, so a number is never given to another type."""

from __future__ import annotations

from typing import Final

TUPLE: Final = 1
SET: Final = 2
FROZENSET: Final = 3
MAP: Final = 4
OBJECT: Final = 5
EXCEPTION: Final = 6
BIG_INT: Final = 7
TEXT: Final = 8
BYTEARRAY: Final = 9
DATETIME: Final = 10
DATE: Final = 11
TIME: Final = 12
TIMEDELTA: Final = 13
TIMEZONE: Final = 14
ZONEINFO: Final = 15
DECIMAL: Final = 16
FRACTION: Final = 17
UUID: Final = 18
COMPLEX: Final = 19
RANGE: Final = 20
SLICE: Final = 21
PATH: Final = 22
ORDERED_DICT: Final = 23
DEFAULT_DICT: Final = 24
DEQUE: Final = 25
COUNTER: Final = 26
ELLIPSIS: Final = 27
NDARRAY: Final = 28
NUMPY_SCALAR: Final = 29
ARRAY: Final = 30

# Types whose payload is bytes as they are; the payload of all others is a message of its own.
RAW_CODES: Final = frozenset({BIG_INT, TEXT, BYTEARRAY, UUID})
