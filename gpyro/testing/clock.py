"""A clock that goes when it is told."""

from __future__ import annotations


class FakeClock:
    """Call it for the time, in seconds; it stands still but for `advance`.

    Attributes:
        now: the time.
    """

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        """Let so many seconds pass at once."""
        self.now += seconds
