"""Flow control: how many calls, and bytes of calls, one end may have unanswered at the other [W1 to W4]."""

from __future__ import annotations


class Window:
    """What this end may still send.

    A call takes from the window when it is sent and gives back when its answer arrives; a one-way call gives back by
    the peer's CREDIT. A single call larger than the whole window may go when nothing else is out [W3], for else it
    never could.
    """

    __slots__ = ("bytes", "calls", "granted_bytes", "granted_calls")

    def __init__(self, calls: int, size: int) -> None:
        """Begin with the grant of the peer's hello: `calls` calls of together `size` bytes."""
        self.calls = self.granted_calls = calls
        self.bytes = self.granted_bytes = size

    def fits(self, size: int) -> bool:
        """Whether a call with a body of `size` bytes may be sent now."""
        return self.calls > 0 and (size <= self.bytes or self.calls == self.granted_calls)

    def take(self, size: int) -> None:
        """Account for a call that is sent."""
        self.calls -= 1
        self.bytes -= size

    def give(self, calls: int, size: int) -> bool:
        """Account for answers or credit; False, and no change, if that is more than was ever taken [W4]."""
        calls += self.calls
        size += self.bytes
        if calls > self.granted_calls or size > self.granted_bytes:
            return False
        self.calls = calls
        self.bytes = size
        return True
