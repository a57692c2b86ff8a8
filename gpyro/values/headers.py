"""Goes through the headers of a msgpack message without unpacking it: how many containers there are, how they nest.

A decoder ignores what follows a value, and the payload of an extension value is a message of its own: so it also
ignores what follows the value in there. Whoever makes a message up may put the header of a long text there, to hide
what comes next from those who take it for one. So nothing here goes beyond the payload that it stands in.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from .codes import RAW_CODES

# Bytes that begin a container: fixmap, fixarray, ext 8-32, fixext 1-16, array 16/32, map 16/32.
_STARTS: Final = bytes((*range(0x80, 0xA0), *range(0xC7, 0xCA), *range(0xD4, 0xD9), *range(0xDC, 0xE0)))
_OTHERS: Final = bytes(byte for byte in range(256) if byte not in _STARTS)

# Bytes after the marker of scalars whose size is fixed.
_FIXED: Final = {
    0xCA: 4, 0xCB: 8, 0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8, 0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8,
}  # fmt: skip
# Width of the length field of strings and bytes, of lists and maps, and of extension values (whose code follows it).
_SIZED: Final = {0xD9: 1, 0xDA: 2, 0xDB: 4, 0xC4: 1, 0xC5: 2, 0xC6: 4}
_COUNTED: Final = {0xDC: 2, 0xDD: 4, 0xDE: 2, 0xDF: 4}
_EXT: Final = {0xC7: 1, 0xC8: 2, 0xC9: 4, **dict.fromkeys(range(0xD4, 0xD9), 0)}
_RAW: Final = re.escape(bytes(sorted(RAW_CODES)))

# Runs of values of one byte are skipped at C speed; without that a list of small numbers would cost 100 ns an element.
_SMALL: Final = re.compile(rb"[\x00-\x7f\xa0\xc0\xc2\xc3\xe0-\xff]+")
# Runs of all values that hold no others and whose length stands in their first byte, then of small containers.
_SMALL_CONTAINERS: Final = re.compile(
    b"(?:%s|%s)*+([\x80-\x9f]*+)"
    % (
        rb"[\x00-\x7f\xc0\xc2\xc3\xe0-\xff]++",
        b"|".join(
            [rb"[\xcc\xd0].", rb"[\xcd\xd1]..", rb"[\xca\xce\xd2].{4}", rb"[\xcb\xcf\xd3].{8}", rb"\xa0"]
            + [b"\\x%x.{%d}" % (0xA0 + length, length) for length in range(1, 32)]
        ),
    ),
    re.DOTALL,
)
# Runs in which a byte that begins a container does begin one, so that they can be counted at C speed: counts and codes
# do not look like it, and payloads consist of values of one byte. A piece at a time, since it is copied.
_ONE: Final = rb"[\x00-\xa0\xc0\xc2\xc3\xe0-\xff]"
_PLAIN: Final = re.compile(
    rb"(?:%(one)s++|\xd4%(code)s%(one)s|\xd5%(code)s%(one)s{2}|\xd6%(code)s%(one)s{4}|\xd7%(code)s%(one)s{8}"
    rb"|\xd8%(code)s%(one)s{16}|[\xdc\xde][\x00-\x7f]{2}|[\xdd\xdf]\x00\x00[\x00-\x7f]{2})++"
    % {b"one": _ONE, b"code": rb"[^%s\x80-\xff]" % _RAW}
)
_PIECE: Final = 64 * 1024
# What may be the header of an extension value of over 64 KiB that holds others: marker, length in four bytes, code.
# Only looked ahead at, since another header may begin inside of what just looks like one.
_LARGE: Final = re.compile(rb"\xc9(?=(?:\x00[^\x00]|[^\x00].)..[^%s])" % _RAW, re.DOTALL)
_LARGE_UNDER_16_MIB: Final = re.compile(rb"\xc9(?=\x00[^\x00]..[^%s])" % _RAW, re.DOTALL)
# With so many of them it is quicker to go through the values.
_MANY: Final = 50_000


def container_bound(body: bytes | bytearray) -> int:
    """An upper bound of the number of containers in a msgpack message, found in one pass at C speed."""
    return len(body.translate(None, _OTHERS))


def count_containers(body: bytes, stop: int) -> int:
    """Count the containers of a msgpack message, also inside extension values, up to somewhat over `stop`.

    Malformed messages are counted as far as they can be understood: the decoder refuses them afterwards. What a decoder
    ignores is counted, too.
    """
    count = 0
    for number, _, _ in containers(body):
        count += number
        if count > stop:
            break
    return count


def containers(body: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield (number, start, size) of one or several containers.

    The size is 0 except for a single extension value that holds a message; then start and size are those of its
    payload, and what that holds comes next.
    """
    position, limit = 0, len(body)
    around: list[int] = []
    match = _SMALL_CONTAINERS.match
    while True:
        while position >= limit:
            if not around:
                return
            position, limit = limit, around.pop()
        first, position = match(body, position, limit).span(1)  # type: ignore[union-attr]
        if first < position:
            yield position - first, position, 0
            continue
        if position >= limit:
            continue
        marker = body[position]
        if marker in _SIZED:
            start = position + 1 + _SIZED[marker]
            position = start + int.from_bytes(body[position + 1 : start], "big")
        elif marker >= 0xD4 and (run := _PLAIN.match(body, position, min(limit, position + _PIECE))) is not None:
            position = run.end()
            yield container_bound(run.group()), position, 0
        elif marker in _EXT:
            start, end, raw = _payload(body, position, marker)
            if end > limit:
                end = limit
            if raw or start >= end:
                yield 1, end, 0
                position = end
            else:
                yield 1, start, end - start
                around.append(limit)
                position, limit = start, end
        elif marker in _COUNTED:
            position += 1 + _COUNTED[marker]
            yield 1, position, 0
        else:
            position = limit  # a value that is cut off, or C1, which is none


def _payload(body: bytes, position: int, marker: int) -> tuple[int, int, bool]:
    """Start and end of the payload of the extension value at a position, and whether that is no message."""
    width = _EXT[marker]
    start = position + width + 2
    size = int.from_bytes(body[position + 1 : position + 1 + width], "big") if width else 1 << (marker - 0xD4)
    return start, start + size, start <= len(body) and body[start - 1] in RAW_CODES


def most_in_each_other(body: bytes, stop: int) -> int:
    """The most bytes that payloads of extension values standing in each other have together, if that is over `stop`.

    If it is not, some number up to `stop`.
    """
    # First by all that looks like one of them, wherever it stands. Those with a shorter length field are too small to
    # matter at the depth that is allowed.
    most = _most_at_once(_maybe_large(body, stop), stop)
    if most <= stop:
        return most
    return _most_at_once(((start, size) for _, start, size in containers(body) if size), stop)


def _most_at_once(payloads: Iterator[tuple[int, int]], stop: int) -> int:
    """The most bytes of (start, size) that stand in each other, or a little over `stop`."""
    most = together = 0
    around: list[tuple[int, int]] = []
    for start, size in payloads:
        while around and around[-1][0] <= start:
            together -= around.pop()[1]
        around.append((start + size, size))
        together += size
        if together > most:
            most = together
            if most > stop:
                break
    return most


def _maybe_large(body: bytes, stop: int) -> Iterator[tuple[int, int]]:
    """Yield (start, size) of all that may be the payload of a large extension value, and of more.

    Where too much looks like one, the last is of over `stop` bytes.
    """
    end = len(body)
    pattern = _LARGE if end >= 1 << 24 else _LARGE_UNDER_16_MIB
    for number, found in enumerate(pattern.finditer(body)):
        start = found.end() + 5
        size = int.from_bytes(body[start - 5 : start - 1], "big")
        if number == _MANY:
            size = stop + 1
        elif start + size > end:
            continue
        yield start, size


def is_deeper(body: bytes, limit: int) -> bool:
    """Whether containers of a msgpack message, extension values included, stand more than `limit` deep.

    It follows the message as a decoder does, up to the end of its value or to where it is malformed. An empty container
    is no level.
    """
    missing: list[int] = []  # members of the open containers
    ends: list[int] = []  # where the payloads end, of those that are extension values; 0 of others
    position, end = 0, len(body)
    small = _SMALL.match
    while position < end:
        run = small(body, position, end)
        if run is not None:
            values, members, payload_end = run.end() - position, 0, 0
            position = run.end()
        else:
            values = 1
            position, members, payload_end = _open(body, position)
        if missing:
            missing[-1] -= values
        if members and position <= end and payload_end <= end:
            missing.append(members)
            ends.append(payload_end and end)
            if len(missing) > limit:
                return True
            end = payload_end or end
        while missing and missing[-1] <= 0:
            # A run of small values may end several containers at once: what is left of it belongs to the outer ones,
            # except behind the value of an extension value, where it belongs to nobody.
            surplus, outer = missing.pop(), ends.pop()
            if outer:
                position, end, surplus = end, outer, 0
            if missing:
                missing[-1] += surplus
        if not missing:
            return False
    return False


def _open(body: bytes, position: int) -> tuple[int, int, int]:
    """What one value begins with: (position behind it, or behind its header; its members; the end of its payload).

    Members are 0 for values that are no containers, and for empty ones; the end is 0 for all but extension values that
    hold a message.
    """
    marker = body[position]
    position += 1
    if marker <= 0x8F:
        return position, 2 * (marker & 0x0F), 0
    if marker <= 0x9F:
        return position, marker & 0x0F, 0
    if marker <= 0xBF:
        return position + (marker & 0x1F), 0, 0
    if marker in _FIXED:
        return position + _FIXED[marker], 0, 0
    if marker in _SIZED:
        start = position + _SIZED[marker]
        return start + int.from_bytes(body[position:start], "big"), 0, 0
    if marker in _COUNTED:
        start = position + _COUNTED[marker]
        members = int.from_bytes(body[position:start], "big")
        return start, members if marker < 0xDE else 2 * members, 0
    if marker in _EXT:
        start, end, raw = _payload(body, position - 1, marker)
        return (end, 0, 0) if raw else (start, 1, end)
    return len(body) + 1, 0, 0  # C1, which begins nothing
