"""Limits on what is decoded, checked before memory is taken.

Wire bytes alone are the wrong thing to limit: one MiB of empty lists costs 74 MiB of memory. Counting objects while
decoding would cost more than the decoding. So the number of containers is bounded from above by one pass of
`bytes.translate`, and only a message for which that bound is over the limit is walked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Hashable
from dataclasses import dataclass
from typing import Final

from gpyro.errors import SerializationError

from .headers import container_bound, count_containers, is_deeper, most_in_each_other

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


def check_copies(body: bytes, limit: int) -> None:
    """Check that extension values of a msgpack message that stand in each other have at most `limit` bytes together.

    Raises:
        SerializationError: they have more.
    """
    if most_in_each_other(body, limit) > limit:
        raise SerializationError(
            f"values that stand in each other would take more than {limit:,} bytes to read: nest large ones less"
        )


def check_depth(body: bytes, limit: int) -> None:
    """Check that the containers of a msgpack message, extension values included, stand at most `limit` deep.

    Raises:
        SerializationError: they stand deeper.
    """
    if container_bound(body) > limit and is_deeper(body, limit):
        raise SerializationError(
            f"the value is nested deeper than PYRO_MAX_DEPTH allows: over {limit} levels in its encoded form"
        )
