"""Identifiers of calls and sessions: the connecting end gives odd ones, the accepting end even ones [I1]."""

from __future__ import annotations

from collections.abc import Container

from gpyro.wire.frames import MAX_ID


class IdSource:
    """Gives the ids of one direction, never one that is in use, also after the numbers have wrapped [I2]."""

    __slots__ = ("_first", "_in_use", "_last")

    def __init__(self, connecting: bool, in_use: Container[int], last: int = 0) -> None:
        """Start after `last` (0 for a new channel); `in_use` is asked before an id is given."""
        self._first = 1 if connecting else 2
        self._in_use = in_use
        self._last = last if last else self._first - 2

    def take(self) -> int:
        """The next free id."""
        number = self._last + 2
        while number > MAX_ID or number in self._in_use:
            number = self._first if number > MAX_ID else number + 2
        self._last = number
        return number


def made_by_connecting_end(number: int) -> bool:
    """Whether an id is of the direction of the connecting end."""
    return number % 2 == 1
