"""The calls that a channel waits for: one small object each, from sending until the answer."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Any

from gevent.hub import Hub
from greenlet import greenlet

from gpyro.errors import TimeoutError

if TYPE_CHECKING:
    from gpyro.wire.frames import Frame


class Told:
    """Stands in the place of the greenlet that waits for an answer, where nobody waits: a function is called with it.

    That saves a greenlet for each of the many calls that a server has out to its clients.
    """

    __slots__ = ("_told", "call")

    call: OutgoingCall

    def __init__(self, told: Callable[[Frame | Exception], object]) -> None:
        self._told = told

    def switch(self) -> None:
        """The answer is there. In the hub."""
        answer = self.call.answer
        del self.call  # the two hold each other
        assert answer is not None
        self._told(answer)


class OutgoingCall:
    """A call that was sent.

    Attributes:
        caller: the greenlet that waits for the answer, or a `Told`; None once it left early, when a late answer is
            only accounted for.
        answer: the frame that answered, or why none will come.
        size: bytes of its body, which the window gets back with the answer.
        position: how many bytes the channel had to send before it; tells whether any of it left.
    """

    answer: Frame | Exception | None = None

    def __init__(self, caller: greenlet | Told, size: int, position: int) -> None:
        self.caller: greenlet | Told | None = caller
        self.size = size
        self.position = position

    def expire(self) -> None:
        """The deadline passed (a timer's callback, in the hub)."""
        self.settle(TimeoutError("the deadline passed while the call was running", "running"))

    def settle(self, answer: Frame | Exception) -> None:
        """Hand over the answer and let the caller go on; only the first one counts. Only from the hub."""
        caller = self.caller
        if self.answer is None and caller is not None:
            self.answer = answer
            caller.switch()


class Turnstile:
    """Greenlets that wait, in order, until they may send: for the peer's credit or for room in the output.

    Each waits in its own greenlet within its own deadline. One passes at a time, and says so with `passed`; while
    anybody waits or is passing, newcomers queue up behind, so the order is that of arrival.
    """

    __slots__ = ("_hub", "_may_pass", "_passing", "_waiting")

    def __init__(self, hub: Hub, may_pass: Callable[[int], bool]) -> None:
        """`may_pass(size)` tells whether something of `size` bytes may be sent now."""
        self._hub = hub
        self._may_pass = may_pass
        self._waiting: deque[_Turn] = deque()
        self._passing: _Turn | None = None

    @property
    def busy(self) -> bool:
        """Whether anybody waits or is passing."""
        return bool(self._waiting) or self._passing is not None

    def wait(self, caller: greenlet, size: int, deadline: float | None) -> None:
        """Wait for this greenlet's turn; on return it is passing and must call `passed` when it has sent.

        Raises:
            TimeoutError: the deadline (monotonic seconds) passed first.
            ProtocolError: the channel closed, as given to `close`.
        """
        turn = _Turn(caller, size)
        timer = None
        if deadline is not None:
            timer = self._hub.loop.timer(max(0.0, deadline - monotonic()))
            timer.start(turn.expire, update=True)  # by the time it is, not when the loop last turned
        self._waiting.append(turn)
        self.advance()
        try:
            while turn.outcome is None:
                self._hub.switch()
            outcome, turn.outcome = turn.outcome, _PASS
            if outcome is not _PASS:
                try:
                    raise outcome
                finally:
                    del outcome  # the error holds this frame, and those above with what they were to send
        except BaseException:
            self._leave(turn)
            raise
        finally:
            if timer is not None:
                timer.stop()
                timer.close()

    def _leave(self, turn: _Turn) -> None:
        turn.caller = None
        if turn is self._passing:
            self.passed()
        elif turn in self._waiting:
            self._waiting.remove(turn)
            self.advance()

    def passed(self) -> None:
        """The one that was passing has sent: the next may, if there is room."""
        self._passing = None
        self.advance()

    def advance(self) -> None:
        """Let the first one pass if it may. To be called whenever room may have come.

        From any greenlet of this thread.
        """
        if self._passing is None and self._waiting and self._may_pass(self._waiting[0].size):
            turn = self._passing = self._waiting.popleft()
            self._hub.loop.run_callback(turn.settle, _PASS)

    def close(self, error: Exception) -> None:
        """Send everybody away with an error like `error`, each with its own, since raising adds a traceback to it."""
        while self._waiting:
            self._hub.loop.run_callback(self._waiting.popleft().settle, type(error)(*error.args))


_PASS = "pass"  # the outcome of a turn that came


class _Turn:
    __slots__ = ("caller", "outcome", "size")

    def __init__(self, caller: greenlet, size: int) -> None:
        self.caller: greenlet | None = caller
        self.size = size
        self.outcome: Any = None

    def expire(self) -> None:
        """The deadline passed (a timer's callback, in the hub)."""
        self.settle(TimeoutError("the deadline passed while the call was queued", "queued"))

    def settle(self, outcome: Any) -> None:
        """Hand over the outcome; only the first counts, and none once the waiting greenlet left. In the hub."""
        caller = self.caller
        if self.outcome is None and caller is not None:
            self.outcome = outcome
            caller.switch()
