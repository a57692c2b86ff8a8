r"""Finds out whether a bytearray was packed, which ormsgpack packs like bytes, and has no option not to.

Looking at every object would cost several times what packing costs. So the packed data is looked at first: the
markers of bytes are C4, C5 and C6, and where none of these stands, or each of them stands inside a number, nothing is
to be found.

How one of them is shown to stand inside a number: call N the bytes that are whole values, headers of short strings,
or parts of strings (00-C3, E0-FF). Everything longer has a header of at most nine bytes that begins with no N, so
after eight N in a row we are either between two values or inside a string. In a string a byte C4-DF is followed by
one in 80-BF; so a marker that is followed by another one begins a value, whose size is known, and if it is followed
by one in 80-BF, it makes no difference which of the two it is as long as the rest of the value consists of N. Going
on like that from the eight N, if the C4 is passed over, it stood inside. That holds unless bytes stand before it, and
then the first of these was not passed over; and unless an extension value whose payload is no msgpack stands before
it, which the caller excludes.
"""

from __future__ import annotations

import re
from typing import Any, Final

_N: Final = rb"[\x00-\xc3\xe0-\xff]"
# Markers by the number of bytes after them: each is followed either by no continuation byte, or by nothing but N.
_VALUES: Final = (
    rb"(?:" + _N + rb"++"
    rb"|[\xcc\xd0\xd9]."
    rb"|[\xcd\xd1\xda\xdc\xde](?:[^\x80-\xbf].|." + _N + rb")"
    rb"|[\xca\xce\xd2\xdb\xdd\xdf](?:[^\x80-\xbf].{3}|." + _N + rb"{3})"
    rb"|[\xcb\xcf\xd3](?:[^\x80-\xbf].{7}|." + _N + rb"{7}))*+"
)  # fmt: skip
_FROM_START: Final = re.compile(_VALUES, re.DOTALL)
_FROM_EIGHT: Final = re.compile(_N + rb"{8}" + _VALUES, re.DOTALL)
_LOOK_BACK: Final = 48
_LONGEST: Final = 9
# Where markers stand closer than this on average, it is cheaper to look at the objects.
_DENSE: Final = 64
_SMALL: Final = 1_000
# Marker, width of its length field, and the shortest bytes that it is used for.
_MARKERS: Final = ((b"\xc4", 1, 0), (b"\xc5", 2, 0x100), (b"\xc6", 4, 0x10000))


def holds_bytearray(data: bytes, value: Any, all_msgpack: bool) -> bool:
    """Whether a bytearray stands in the lists and dicts of `value`, from which `data` was packed.

    Args:
        data: the packed value.
        value: the value.
        all_msgpack: whether the payloads of all extension values in `data` are msgpack.
    """
    if all_msgpack and not _may_hold_bytes(data):
        return False
    return _objects_hold_bytearray(value)


def _may_hold_bytes(data: bytes) -> bool:
    size = len(data)
    if size > _SMALL and data.count(b"\xc4") * _DENSE > size:
        return True
    # The others are rarer; but somebody may send a text, or numbers, full of them.
    left = max(_SMALL, size) // _DENSE
    for marker, width, least in _MARKERS:
        last = size - width - least
        position = data.find(marker, 0, last)
        while position >= 0:
            left -= 1
            if not left:
                return True
            length = int.from_bytes(data[position + 1 : position + 1 + width], "big")
            if least <= length < size - position - width and not _is_passed_over(data, position):
                return True
            position = data.find(marker, position + 1, last)
    return False


def _is_passed_over(data: bytes, position: int) -> bool:
    start = position - _LOOK_BACK
    end = position + _LONGEST
    found = _FROM_START.match(data, 0, end) if start <= 0 else _FROM_EIGHT.search(data, start, end)
    # Eight N that begin after the position would prove nothing; they cannot contain it.
    return found is not None and found.start() < position < found.end()


def _objects_hold_bytearray(value: Any) -> bool:
    # Level by level, each in a few loops in C; the value is no circle, since it was packed.
    level = [value]
    while level:
        kinds = set(map(type, level))
        if bytearray in kinds:
            return True
        below: list[Any] = []
        if list in kinds:
            for member in level:
                if type(member) is list:
                    below += member
        if dict in kinds:
            for member in level:
                if type(member) is dict:
                    below += member.values()
        level = below
    return False
