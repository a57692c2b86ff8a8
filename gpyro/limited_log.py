"""A log that a hostile peer cannot flood."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Hashable
from typing import Final

from gpyro.logs import LibraryLog, log


class RateLimitedLog:
    """Warnings, at most one line per key and interval; the next line tells how many were left out.

    What a peer does may end in a line of log, so a hostile one could fill the disk. The key says what the lines have in
    common (a kind of event, a peer). Keys are bounded too: while `max_keys` keys are within their interval, further
    ones share one line.

    `admit` only decides and never logs, so it may be called from the hub, and never takes a lock.
    """

    __slots__ = ("_clock", "_interval", "_keys", "_logger", "_max_keys")

    _OTHERS: Final = object()
    _NEVER: Final = (-math.inf, 0)

    def __init__(
        self,
        logger: logging.Logger | LibraryLog = log,
        *,
        interval: float = 1.0,
        max_keys: int = 100,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._logger = logger
        self._interval = interval
        self._max_keys = max_keys
        self._clock = clock
        # Key: (when its last line was let through, lines left out since).
        self._keys: dict[Hashable, tuple[float, int]] = {}

    def warn(self, key: Hashable, text: str, *args: object) -> bool:
        """Log a warning as `logging.Logger.warning` does, unless one with this key was just logged; tell which."""
        left_out = self.admit(key)
        if left_out is None:
            return False
        if left_out:
            text += f" ({left_out} like it left out)"
        self._logger.warning(text, *args, stacklevel=2)
        return True

    def admit(self, key: Hashable) -> int | None:
        """How many lines of this key were left out since its last one, if one may be written now; None if not."""
        now = self._clock()
        if key not in self._keys and len(self._keys) >= self._max_keys:
            self._forget(now)
            if len(self._keys) >= self._max_keys:
                key = self._OTHERS
        last, left_out = self._keys.get(key, self._NEVER)
        if now - last < self._interval:
            self._keys[key] = (last, left_out + 1)
            return None
        self._keys[key] = (now, 0)
        return left_out

    def _forget(self, now: float) -> None:
        """Drop the keys whose interval is over, except what was left out: that goes to the shared key's account."""
        untold = 0
        for key, (last, left_out) in list(self._keys.items()):
            if key is not self._OTHERS and now - last >= self._interval:
                self._keys.pop(key, None)
                untold += left_out
        if untold:
            last, left_out = self._keys.get(self._OTHERS, self._NEVER)
            self._keys[self._OTHERS] = (last, left_out + untold)
