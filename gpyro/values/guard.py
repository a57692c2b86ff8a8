"""Limits on what is decoded, checked before memory is taken.

Wire bytes alone are the wrong thing to limit: one MiB of empty lists costs 74 MiB of memory. Counting objects while
decoding would cost more than the decoding. So the number of containers is bounded from above by one pass of
`bytes.translate`, and only a message for which that bound is over the limit is walked.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Hashable, Iterator
from dataclasses import dataclass
from typing import Final

from gpyro.errors import SerializationError

from .codes import RAW_CODES

Buffer = bytes | bytearray | memoryview
USUAL_DEPTH: Final = 100


@dataclass(frozen=True, slots=True)
class Limits:
    """How large and how deep a value may be.

    Attributes:
        max_bytes: size of one encoded value.
        max_containers: lists, maps and extension values in one encoded value. A message cannot hold more containers
            than bytes, so shorter messages are not counted.
        max_hash_collisions: keys or members of one hash in one dict or set; their comparisons grow with the square.
        max_depth: how deep containers and instances may stand in each other. The walk takes up to four Python frames a
            level, so 100 levels leave over half of Python's 1,000 frames to the program. It is what is guaranteed: the
            fast codec lets plain lists and dicts through to about 250. Where it is lower than usual, somebody wants it
            kept: then values that could be deeper are walked when they are sent and when they arrive.
        max_copies: how many times `max_bytes` the extension values that stand in each other may take together. Each is
            copied while it is read, so a megabyte in 200 tuples in each other would take 200.
    """

    max_bytes: int = 16 * 1024 * 1024
    max_containers: int = 250_000
    max_hash_collisions: int = 100
    max_depth: int = USUAL_DEPTH
    max_copies: int = 8

    @property
    def keeps_depth(self) -> bool:
        """Whether every value that is deeper than `max_depth` is refused, and not only where it is noticed anyway."""
        return self.max_depth < USUAL_DEPTH

    @property
    def max_copied(self) -> int:
        """Bytes that the extension values that stand in each other may take together."""
        return self.max_copies * self.max_bytes

    @property
    def max_unchecked(self) -> int:
        """Size up to which `check_message` has nothing to find: so few bytes can go over no limit."""
        return min(self.max_bytes, self.max_containers, self.max_copied // (self.max_wire_depth + _DEPTH_SLACK))

    @property
    def max_wire_depth(self) -> int:
        """Levels in the encoded form: a Python container takes up to four (extension, list, state, field)."""
        return 4 * self.max_depth


# Levels of extension values that are read before the depth is checked, and a few to spare.
_DEPTH_SLACK: Final = 8

DEFAULT_LIMITS: Final = Limits()

# Bytes that begin a container: fixmap, fixarray, ext 8-32, fixext 1-16, array 16/32, map 16/32.
_STARTS: Final = bytes((*range(0x80, 0xA0), *range(0xC7, 0xCA), *range(0xD4, 0xD9), *range(0xDC, 0xE0)))
_OTHERS: Final = bytes(byte for byte in range(256) if byte not in _STARTS)

# Bytes after the marker of scalars and of container headers whose size is fixed.
_FIXED: Final = {
    0xCA: 4, 0xCB: 8, 0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8, 0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8,
}  # fmt: skip
_RAW: Final = frozenset(bytes((code,)) for code in RAW_CODES)
# Width of the length field of strings and bytes, and of extension values (whose type byte follows).
_SIZED: Final = {0xD9: 1, 0xDA: 2, 0xDB: 4, 0xC4: 1, 0xC5: 2, 0xC6: 4}
_EXT: Final = {0xC7: 1, 0xC8: 2, 0xC9: 4}
_ARRAY: Final = {0xDC: 2, 0xDD: 4}
_MAP: Final = {0xDE: 2, 0xDF: 4}
# Runs of values of one byte are skipped at C speed; without that a list of small numbers would cost 100 ns an element.
_SMALL: Final = re.compile(rb"[\x00-\x7f\xa0\xc0\xc2\xc3\xe0-\xff]+")
# Runs of all values that hold no others and whose length stands in their first byte.
_SCALARS: Final = b"(?:%s|%s)*+" % (
    rb"[\x00-\x7f\xc0\xc2\xc3\xe0-\xff]++",
    b"|".join(
        [rb"[\xcc\xd0].", rb"[\xcd\xd1]..", rb"[\xca\xce\xd2].{4}", rb"[\xcb\xcf\xd3].{8}", rb"\xa0"]
        + [b"\\x%x.{%d}" % (0xA0 + length, length) for length in range(1, 32)]
    ),
)
_skip_scalars: Final = re.compile(_SCALARS, re.DOTALL).match
_SMALL_CONTAINERS: Final = re.compile(_SCALARS + rb"([\x80-\x9f]*+)", re.DOTALL)
# Runs in which a byte that begins a container does begin one, so that they can be counted at C speed: no length and no
# code in them looks like it. A piece at a time, since it is copied.
_PLAIN: Final = re.compile(
    rb"(?:[\x00-\xa0\xc0\xc2\xc3\xe0-\xff]++"
    rb"|(?:[\xd4-\xd8]|[\xc7\xdc\xde][\x00-\x7f]|[\xdd\xdf]\x00\x00[\x00-\x7f])[^%s\x80-\xff])++"
    % re.escape(bytes(sorted(RAW_CODES)))
)
_PIECE: Final = 64 * 1024
# What may be the header of an extension value of over 64 KiB that holds others: marker, length in four bytes, code.
# Only looked ahead at, since another header may begin inside of what just looks like one.
_LARGE: Final = re.compile(rb"\xc9(?=(?:\x00[^\x00]|[^\x00].)..[^%s])" % re.escape(bytes(sorted(RAW_CODES))), re.DOTALL)
# With so many of them it is quicker to go through the values.
_MANY: Final = 50_000


def container_bound(body: bytes | bytearray) -> int:
    """An upper bound of the number of containers in a msgpack message, found in one pass at C speed."""
    return len(body.translate(None, _OTHERS))


def check_message(body: Buffer, limits: Limits) -> None:
    """Check a msgpack message that is longer than `limits.max_unchecked` bytes.

    Raises:
        SerializationError: it is too long, holds too many containers, or takes too much memory while it is read.
    """
    check_length(len(body), limits)
    data = bytes(body)
    check_copies(data, limits.max_copied)
    if container_bound(data) > limits.max_containers and (
        count_containers(data, limits.max_containers) > limits.max_containers
    ):
        raise SerializationError(too_many_containers(limits))


def too_many_containers(limits: Limits) -> str:
    """What is said of a value that holds too many containers."""
    return (
        f"the value holds more than {limits.max_containers:,} lists, maps and other containers "
        "(PYRO_MAX_CONTAINERS, on both sides)"
    )


def too_deep(levels: int) -> str:
    """What is said of a value that is nested deeper than so many levels."""
    return f"nested more than {levels} levels deep (PYRO_MAX_DEPTH, on both sides)"


def check_length(size: int, limits: Limits) -> None:
    """Check the length of an encoded value.

    Raises:
        SerializationError: it is too long.
    """
    if size > limits.max_bytes:
        raise SerializationError(
            f"the value takes {size:,} bytes; the limit is {limits.max_bytes:,} (PYRO_MAX_MESSAGE, on both sides)"
        )


def check_keys(keys: Collection[Hashable], limit: int) -> None:
    """Check that not too many of `keys` have one hash, before a dict or set of them is built.

    Raises:
        SerializationError: more than `limit` of them have one hash.
        TypeError: one of them is not hashable.
    """
    if len(keys) > limit and max(Counter(map(hash, keys)).values()) > limit:
        raise SerializationError(f"more than {limit:,} keys of one dict or set have the same hash")


def count_containers(body: bytes, stop: int) -> int:
    """Count the containers of a msgpack message, also inside extension values, up to somewhat over `stop`.

    Malformed messages are counted as far as they can be understood: the decoder refuses them afterwards.
    """
    count = position = 0
    end = len(body)
    while count <= stop:
        found = _SMALL_CONTAINERS.match(body, position)
        first, position = found.span(1)  # type: ignore[union-attr]
        if first < position:
            count += position - first
        elif position >= end:
            break
        elif (width := _SIZED.get(body[position])) is not None:
            position += 1 + width + int.from_bytes(body[position + 1 : position + 1 + width], "big")
        elif (run := _PLAIN.match(body, position, position + _PIECE)) is not None:
            count += container_bound(run.group())
            position = run.end()
        elif (other := _container(body, position)) is not None:
            count += 1
            position = other[0]
        else:
            break
    return count


def check_copies(body: bytes, limit: int) -> None:
    """Check that extension values of a msgpack message that stand in each other have at most `limit` bytes together.

    Raises:
        SerializationError: they have more.
    """
    # First by all that looks like one of them, wherever it stands. Those with a shorter length field are too small to
    # matter at the depth that is allowed.
    if _most_at_once(_maybe_large(body, limit), limit) <= limit or _most_at_once(_containers(body), limit) <= limit:
        return
    raise SerializationError(
        f"values that stand in each other would take more than {limit:,} bytes to read: nest large ones less"
    )


def _most_at_once(payloads: Iterator[tuple[int, int]], stop: int) -> int:
    """The most bytes of (start, size) that stand in each other, or a little over `stop`."""
    most = together = 0
    around: list[tuple[int, int]] = []
    for start, size in payloads:
        while around and around[-1][0] <= start:
            together -= around.pop()[1]
        if size > 0:
            around.append((start + size, size))
            together += size
            if together > most:
                most = together
                if most > stop:
                    break
    return most


def _maybe_large(body: bytes, limit: int) -> Iterator[tuple[int, int]]:
    """Yield (start, size) of all that may be the payload of a large extension value, and of more.

    Where too much looks like one, the last is of over `limit` bytes.
    """
    end = len(body)
    for number, found in enumerate(_LARGE.finditer(body)):
        start = found.end() + 5
        size = int.from_bytes(body[start - 5 : start - 1], "big")
        if number == _MANY:
            size = limit + 1
        elif start + size > end:
            continue
        yield start, size


def _containers(body: bytes) -> Iterator[tuple[int, int]]:
    """Yield (position behind the header, size of the payload) of each container, as `_container` finds them."""
    found = _container(body, 0)
    while found is not None:
        yield found
        found = _container(body, found[0])


def _container(body: bytes, position: int) -> tuple[int, int] | None:
    """The next container: (position behind its header, size of its payload), or None.

    The size is 0 for all but extension values that hold a message; what that holds comes next.
    """
    end = len(body)
    while True:
        position = _skip_scalars(body, position).end()  # type: ignore[union-attr]
        if position >= end:
            return None
        marker = body[position]
        position += 1
        if marker <= 0x9F:
            return position, 0
        if marker in _SIZED:
            width = _SIZED[marker]
            position += width + int.from_bytes(body[position : position + width], "big")
        elif marker in _ARRAY or marker in _MAP:
            return position + (_ARRAY.get(marker) or _MAP[marker]), 0
        elif marker in _EXT or 0xD4 <= marker <= 0xD8:
            width = _EXT.get(marker, 0)
            size = int.from_bytes(body[position : position + width], "big") if width else 1 << (marker - 0xD4)
            position += width + 1
            if body[position - 1 : position] in _RAW:
                return position + size, 0
            return position, size if position + size <= end else 0
        else:
            return None  # a value that is cut off, or C1, which is none


def check_depth(body: bytes, limit: int) -> None:
    """Check that the containers of a msgpack message, extension values included, stand at most `limit` deep.

    Raises:
        SerializationError: they stand deeper.
    """
    if container_bound(body) <= limit:
        return
    open_members: list[int] = []
    for tokens, members in _tokens(body):
        if open_members:
            open_members[-1] -= tokens
        if members > 0:
            open_members.append(members)
            if len(open_members) > limit:
                raise SerializationError(
                    f"the value is nested deeper than PYRO_MAX_DEPTH allows: over {limit} levels in its encoded form"
                )
        while open_members and open_members[-1] <= 0:
            surplus = open_members.pop()
            # A run of small values may end several containers at once; what is left of it belongs to the outer ones.
            if open_members:
                open_members[-1] += surplus


def _tokens(body: bytes) -> Iterator[tuple[int, int]]:
    """Yield (number of values, members): members is -1 for values that are no containers."""
    position, end = 0, len(body)
    small = _SMALL.match
    while position < end:
        run = small(body, position)
        if run is not None:
            yield run.end() - position, -1
            position = run.end()
            continue
        marker = body[position]
        position += 1
        if marker <= 0x8F:
            yield 1, 2 * (marker & 0x0F)
        elif marker <= 0x9F:
            yield 1, marker & 0x0F
        elif marker <= 0xBF:
            position += marker & 0x1F
            yield 1, -1
        elif marker in _FIXED:
            position += _FIXED[marker]
            yield 1, -1
        elif marker in _SIZED:
            width = _SIZED[marker]
            position += width + int.from_bytes(body[position : position + width], "big")
            yield 1, -1
        elif marker in _ARRAY or marker in _MAP:
            width = _ARRAY.get(marker) or _MAP[marker]
            members = int.from_bytes(body[position : position + width], "big")
            position += width
            yield 1, members if marker in _ARRAY else 2 * members
        else:
            if marker in _EXT:
                width = _EXT[marker]
                size = int.from_bytes(body[position : position + width], "big")
                position += width
            else:
                size = 1 << (marker - 0xD4) if marker >= 0xD4 else 0
            code = body[position] if position < end else 0
            position += 1
            if code in RAW_CODES:
                position += size
                yield 1, 0
            else:
                # The payload is a message: going on inside it counts what it holds.
                yield 1, 1
