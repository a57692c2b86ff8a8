"""Locks and events for the greenlets of any threads.

A lock of Python's own would hold the whole thread with the greenlet that waits for it, and one of gevent's may lose the
word that it is free where threads have loops of their own that end.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from gevent import monkey
from gevent._hub_local import get_hub_if_exists
from gevent.timeout import Timeout
from greenlet import getcurrent

allocate_lock = monkey.get_original("_thread", "allocate_lock")
"""Makes the guard of a queue: of real threads, also in a patched process, and never held across a switch."""


class Waiter:
    """One who waits in a queue: a greenlet, or a thread that has no loop and so no other greenlets either.

    Attributes:
        granted: what it waits for is its own; set under the guard of the queue.
        gone: it does not wait any more.
    """

    __slots__ = ("_greenlet", "_hub", "_thread", "gone", "granted")

    def __init__(self) -> None:
        self.granted = self.gone = False
        self._greenlet: Any = getcurrent()
        self._hub: Any = get_hub_if_exists()
        self._thread: Any = None
        if self._hub is None:
            self._thread = allocate_lock()
            self._thread.acquire()

    def wait(self) -> None:
        """Return when it was granted. Does not by itself keep a loop alive in which nothing else is to be expected."""
        while not self.granted:
            self._hub.switch()

    def wait_for(self, seconds: float | None) -> None:
        """Return when it was granted, by whatever thread, or after so many seconds."""
        if self._thread is not None:
            self._thread.acquire(True, -1 if seconds is None else seconds)
            return
        expected = self._hub.loop.async_()
        expected.start(_nothing)
        try:
            with Timeout(seconds, False):  # type: ignore[arg-type]
                self.wait()
        finally:
            expected.stop()
            expected.close()

    def wake_soon(self) -> bool:
        """Let it go on; false if there is no thread any more in which it could. Not under the guard."""
        if self._thread is not None:
            self._thread.release()
            return True
        loop = self._hub.loop
        if loop is None:
            return False
        try:
            (loop.run_callback if self._hub is get_hub_if_exists() else loop.run_callback_threadsafe)(self._wake)
        except Exception:  # the loop was destroyed in this moment
            return False
        return True

    def _wake(self) -> None:
        if not self.gone:
            self._greenlet.switch()


def _nothing() -> None:
    """For a watcher that only has to be there."""


class Lock:
    """As `threading.Lock`; those who wait get it in the order of asking."""

    __slots__ = ("_guard", "_held", "_waiting")

    def __init__(self) -> None:
        self._guard = allocate_lock()
        self._held = False
        self._waiting: deque[Waiter] = deque()

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Take the lock, and tell whether that was possible.

        Args:
            blocking: whether to wait for it.
            timeout: seconds to wait at most; negative for ever.
        """
        with self._guard:
            if not self._held:
                self._held = True
                return True
            if not blocking:
                return False
            waiter = Waiter()
            self._waiting.append(waiter)
        try:
            waiter.wait_for(None if timeout < 0 else timeout)
        except BaseException:
            if self._leave(waiter):
                self.release()
            raise
        return self._leave(waiter)

    def _leave(self, waiter: Waiter) -> bool:
        """Take somebody out of the queue; whether the lock is already his."""
        with self._guard:
            waiter.gone = True
            if not waiter.granted:
                self._waiting.remove(waiter)
            return waiter.granted

    def release(self) -> None:
        """Let the next one have it; anybody may do that.

        Raises:
            RuntimeError: nobody holds it.
        """
        while True:
            with self._guard:
                if not self._held:
                    raise RuntimeError("release unlocked lock")
                if not self._waiting:
                    self._held = False
                    return
                waiter = self._waiting.popleft()
                waiter.granted = True
            if waiter.wake_soon():
                return

    def locked(self) -> bool:
        """Whether somebody holds it."""
        return self._held

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *error: object) -> None:
        self.release()


class RLock:
    """As `threading.RLock`, where greenlets are what may take it again."""

    __slots__ = ("_count", "_lock", "_owner")

    def __init__(self) -> None:
        self._lock = Lock()
        self._owner: Any = None
        self._count = 0

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """As `Lock.acquire`, at once for the one who holds it."""
        me = getcurrent()
        if self._owner is me:
            self._count += 1
            return True
        if not self._lock.acquire(blocking, timeout):
            return False
        self._owner, self._count = me, 1
        return True

    def release(self) -> None:
        """Give it up once.

        Raises:
            RuntimeError: somebody else holds it, or nobody.
        """
        if self._owner is not getcurrent():
            raise RuntimeError("cannot release un-acquired lock")
        self._count -= 1
        if not self._count:
            self._owner = None
            self._lock.release()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *error: object) -> None:
        self.release()


class Event:
    """As `threading.Event`."""

    __slots__ = ("_flag", "_guard", "_waiting")

    def __init__(self) -> None:
        self._guard = allocate_lock()
        self._flag = False
        self._waiting: list[Waiter] = []

    def is_set(self) -> bool:
        """Whether it was set, and not cleared since."""
        return self._flag

    isSet = is_set

    def set(self) -> None:
        """Let all go on who wait, and nobody wait from now on."""
        with self._guard:
            self._flag = True
            waiting, self._waiting = self._waiting, []
            for waiter in waiting:
                waiter.granted = True
        for waiter in waiting:
            waiter.wake_soon()

    def clear(self) -> None:
        """Have everybody wait from now on."""
        self._flag = False

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set, or for `timeout` seconds; whether it was set."""
        with self._guard:
            if self._flag:
                return True
            waiter = Waiter()
            self._waiting.append(waiter)
        try:
            waiter.wait_for(None if timeout is None else max(0.0, timeout))
        finally:
            with self._guard:
                waiter.gone = True
                if not waiter.granted:
                    self._waiting.remove(waiter)
        return waiter.granted
