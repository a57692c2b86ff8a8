"""What a foreign event loop waits for, so that it knows when gevent's loop has something to do.

The descriptor of the hub's own loop becomes readable with what that loop waits for: connections, frames, room for
output. Of timers it does not tell, nor of word from other threads (under libev), nor of what is to be sent while it
stands still. A timer of the operating system stands in for them, which is set after each round.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import sys
from collections.abc import Callable
from typing import Any, Final

from gevent import monkey

from gpyro.net.hub import HubState
from gpyro.net.stream import READ

AT_ONCE: Final = 1e-9
"""Seconds until the next round after something was said while gevent's loop stands still."""

ACTIVE: Final = 0.001
"""Seconds until the next round after one that handled something: there may be more that was put off."""

BUSY: Final = 0.01
"""Seconds until the next round while calls run: one that sleeps, or has a deadline, goes on so much late at most. Calls
that wait in `WorkerPool.waiting` do not count."""

QUIET: Final = 0.2
"""Seconds until the next round otherwise: time limits of connections are so much late at most, and a name server looks
at its leases. That has to be well below what it takes for a sign that it stood still (`gpyro.stores.leases`)."""

MAX_FRAMES: Final = 6
"""Callers of `fileno` that are looked at: the functions between it and the waiting one are fewer."""

_poll = monkey.get_original("select", "poll")


class LoopSocket:
    """What `Daemon.getServerSockets` hands out: readable when the daemon's `handleRequests` is to be called.

    Waiting in a loop that knows nothing of gevent stops gevent's; then the hub's descriptor tells of everything. Where
    gevent's loop turns meanwhile, it cannot wait for itself; then a descriptor of its own tells that something was
    handled. Which it has to be shows in who asks for it.

    Attributes:
        embedded: the program runs gevent's loop anyway.
        event: the descriptor that tells that something was handled.
        tells_all: the hub's descriptor was handed out, so gevent's loop stands still between rounds.
    """

    __slots__ = ("_in_round", "_state", "_timer", "_turned", "_watcher", "embedded", "event", "tells_all")

    def __init__(self, state: HubState) -> None:
        """On the hub's thread; to be closed."""
        self._state = state
        state.foreign = True
        self.event = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._timer = _new_timer()
        self._watcher: Any = None
        if self._timer >= 0:
            self._watcher = state.loop.io(self._timer, READ, ref=False)
            self._watcher.start(self._on_timer)
        self.embedded = self.tells_all = self._in_round = self._turned = False
        state.belongings.add(self)

    def fileno(self) -> int:
        """The descriptor to wait for; asked by the function that waits, at each wait."""
        if self.event < 0 or self.embedded or monkey.is_module_patched("select") or _asked_by_gevent():
            self.tells_all = False
            return self.event
        if not self.tells_all:
            self.tells_all = True
            self._state.poke = self._poke
            self._poke()  # there may be something already that the descriptor does not tell of
        return self._state.loop.fileno() or -1

    def __repr__(self) -> str:
        return f"<LoopSocket of {self._state.hub}>"

    def begin_round(self) -> bool:
        """A round begins; gives whether the foreign loop was, or may have been, told that there is something to do."""
        self._in_round = True
        return self.tells_all and (self._turned or self._is_readable())

    def _is_readable(self) -> bool:
        poll = _poll()
        poll.register(self._state.loop.fileno(), select.POLLIN)
        return bool(poll.poll(0))

    def quiet(self) -> None:
        """What was handled so far is told of. What is handled from now on, the round's last look included, is not."""
        if self.event >= 0:
            with contextlib.suppress(BlockingIOError):  # nothing was handled
                os.eventfd_read(self.event)

    def end_round(self, handled: bool) -> None:
        """A round is over: have the next one come when there may be something to do that no descriptor tells of."""
        if self.event < 0:
            return  # closed in the round
        self._in_round = self._turned = False
        self._set_timer(ACTIVE if handled else BUSY if self._state.workers.busy else QUIET)
        self._state.loop.run_callback(self._on_turn)
        self._state.poke = self._poke if self.tells_all else None
        if self._state.called:  # by another thread, before it could know that the loop stands still
            self._poke()

    def signal(self) -> None:
        """Something was handled outside a round. In the hub."""
        with contextlib.suppress(BlockingIOError):  # it is readable as can be
            os.eventfd_write(self.event, 1)

    def _on_turn(self) -> None:
        """The loop turns for the first time since the last round: in the next one, or for somebody else."""
        self._turned = True
        self._state.poke = None
        self._expect_more()

    def _on_timer(self) -> None:
        with contextlib.suppress(OSError):
            os.read(self._timer, 8)
        self._expect_more()

    def _poke(self) -> None:
        self._set_timer(AT_ONCE)

    def _expect_more(self) -> None:
        """What goes on outside a round, such as a call of a proxy, may leave something to do behind."""
        if self.tells_all and not self._in_round:
            self._set_timer(BUSY)

    def _set_timer(self, seconds: float) -> None:
        if self._timer >= 0:
            _set_timer(self._timer, seconds)

    def close(self) -> None:
        """Let go of the descriptors. On the hub's thread."""
        self._state.belongings.discard(self)
        # Its timer is gone, and the foreign loop may wait for others of this hub.
        others = (other for other in self._state.belongings if isinstance(other, LoopSocket) and other.tells_all)
        self._state.poke = next((other._poke for other in others), None)
        self.close_inherited()

    def forked(self) -> None:
        """In the child of a fork: nobody waits for it there."""
        self._state.poke = None

    def close_inherited(self) -> None:
        """In the child of a fork, when its loop is its own: let go of the descriptors."""
        if self._watcher is not None:
            self._watcher.stop()
            self._watcher.close()
            self._watcher = None
        self.close_descriptors()

    def close_descriptors(self) -> None:
        """In the child of a fork, where the loop is another thread's."""
        for descriptor in (self.event, self._timer):
            if descriptor >= 0:
                os.close(descriptor)
        self.event = self._timer = -1


def _asked_by_gevent() -> bool:
    """Whether one of gevent's own functions is about to wait, and with it the loop turns."""
    frame = sys._getframe(2)
    for _ in range(MAX_FRAMES):
        if frame.f_globals.get("__name__", "").partition(".")[0] == "gevent":
            return True
        if frame.f_back is None:
            return False
        frame = frame.f_back
    return False


# ---- the operating system's timer, which Python has from 3.13 on


class _Spec(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_long) for name in ("every_s", "every_ns", "first_s", "first_ns"))


def _c_function(name: str) -> Callable[..., int] | None:
    try:
        return getattr(ctypes.CDLL(None, use_errno=True), name)  # type: ignore[no-any-return]
    except (AttributeError, OSError, TypeError):
        return None  # not Linux


_create, _settime = _c_function("timerfd_create"), _c_function("timerfd_settime")


def _new_timer() -> int:
    """A descriptor that becomes readable when its time has come; -1 where there are none."""
    return -1 if _create is None else _create(1, os.O_NONBLOCK | os.O_CLOEXEC)  # 1 is the monotonic clock


def _set_timer(descriptor: int, seconds: float) -> None:
    if _settime is not None:
        whole = int(seconds)
        spec = _Spec(first_s=whole, first_ns=int((seconds - whole) * 1e9))
        _settime(descriptor, 0, ctypes.byref(spec), None)
