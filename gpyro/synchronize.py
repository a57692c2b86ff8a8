"""One call at a time, in order, without the dead stop of a call chain that comes back to where it started."""

from __future__ import annotations

import os
from collections import deque
from itertools import count

from gpyro.errors import SynchronizationError
from gpyro.locks import Waiter, allocate_lock
from gpyro.tls import Call

# A hold's mark: unguessable by other processes and unique among them, since it travels with nested calls.
_prefix = os.urandom(8)
_numbers = count()


def _new_prefix() -> None:
    global _prefix
    _prefix = os.urandom(8)


os.register_at_fork(after_in_child=_new_prefix)


class CallLock:
    """A lock that calls hold, handed on in the order of asking; works among threads, too.

    It is not re-entrant. A call chain that comes back to it while one of its own calls holds it gets an error instead
    of waiting for itself: each hold has a mark, which travels with the calls that are made under it.
    """

    __slots__ = ("_guard", "_held", "_mark", "_waiting")

    def __init__(self) -> None:
        # Protects the fields below among threads; never held across a switch.
        self._guard = allocate_lock()
        self._held = False
        self._mark = b""
        self._waiting: deque[_Waiter] = deque()

    def acquire(self, call: Call) -> None:
        """Hold the lock for `call`, as soon as those who asked before have had it.

        Raises:
            SynchronizationError: the call descends from the one that holds it.
        """
        mark = _prefix + next(_numbers).to_bytes(8, "big")
        self._wait(call, mark)
        call.chain = (*call.chain, mark)

    def _wait(self, call: Call, mark: bytes) -> None:
        with self._guard:
            if not self._held:
                self._held = True
                self._mark = mark
                return
            if self._mark in call.chain:
                raise SynchronizationError("this call comes from one that holds the object: it would wait for itself")
            waiter = _Waiter(mark)
            self._waiting.append(waiter)
        try:
            waiter.wait()
        except BaseException:
            with self._guard:
                granted = waiter.granted
                if not granted:
                    self._waiting.remove(waiter)
            if granted:
                self.release()
            raise
        finally:
            waiter.gone = True

    def is_held_by(self, chain: tuple[bytes, ...]) -> bool:
        """Whether one of the calls of this chain holds it."""
        return bool(self._mark) and self._mark in chain

    def release(self) -> None:
        """Hand the lock on to the next."""
        while True:
            with self._guard:
                if not self._waiting:
                    self._held = False
                    self._mark = b""
                    return
                waiter = self._waiting.popleft()
                self._mark = waiter.mark
                waiter.granted = True
            if waiter.wake_soon():
                return


class _Waiter(Waiter):
    __slots__ = ("mark",)

    def __init__(self, mark: bytes) -> None:
        super().__init__()
        self.mark = mark
