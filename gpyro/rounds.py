"""The rounds of a daemon's loop: waiting until something was handled, or until time is over."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import gevent
from gevent import monkey
from gevent.event import Event
from greenlet import getcurrent

from gpyro.errors import ProtocolError, PyroError
from gpyro.net.foreign_loop import LoopSocket
from gpyro.net.hub import HubState
from gpyro.net.stream import READ

_epoll = monkey.get_original("select", "epoll")

Callback = Callable[[list[Any]], object]


class Source(Protocol):
    """Where what is to end a round comes from.

    Attributes:
        on_activity: to be called, in the hub or in a worker, with each request, or whatever else it is.
    """

    on_activity: Callable[[], None] | None


class Rounds:
    """Waits on behalf of a daemon, or another source, that runs on the hub of `state`, and on its thread.

    Attributes:
        embedded: the program runs gevent's loop anyway.
    """

    def __init__(self, state: HubState, source: Source) -> None:
        self._state = state
        self._source = source
        self._woken = Event()
        self._handled = self._interrupted = self._interruptible = False
        self._socket: LoopSocket | None = None
        self.embedded = False

    def wait(self, timeout: float | None, others: Iterable[Any] = (), callback: Callback | None = None) -> None:
        """Wait until `wake`, what was to `expect`, something of `others`, or the end of the time.

        Args:
            timeout: seconds; None for ever, 0 to look for input and output exactly once.
            others: what else to wait for: sockets, pipes, files, numbers of descriptors.
            callback: called with those that are ready, if any are.

        Raises:
            KeyboardInterrupt: Ctrl-C struck the hub meanwhile.
            ProtocolError: one of `others` cannot be waited for.
            PyroError: called from the hub, which cannot wait.
        """
        self._check_greenlet()
        ready: list[Any] = []
        watched: list[_Watched] = []
        try:
            for thing in others:
                watched.append(_Watched(self._state, thing, ready, self._woken.set))
            self._wait(0 if ready else timeout)
        finally:
            for one in watched:
                one.close()
        if ready and callback is not None:
            callback(ready)

    def wait_once(self, timeout: float | None, others: Iterable[Any], callback: Callback | None) -> None:
        """A round by itself: the loop may stand still until the next one.

        It does not wait if something was handled since the last one, or if a foreign loop was told that something is
        there to be. Arguments and errors are those of `wait`.
        """
        self._check_greenlet()
        socket = self._socket
        told = socket is not None and socket.begin_round()
        self.expect()
        try:
            self.wait(0 if told or self._handled else timeout, others, callback)
        finally:
            gevent.sleep(0)  # answers leave at the end of the turn that made them
            handled, self._handled = self._handled, False
            self._woken.clear()
            self.expect()
            if socket is not None:
                socket.quiet()
                # A watcher that was made in this turn counts only from the loop's next look at the descriptors.
                self._state.poll()
                socket.end_round(handled or self._handled)

    def _check_greenlet(self) -> None:
        if getcurrent() is self._state.hub:
            raise PyroError("a loop callback cannot wait for requests: spawn a greenlet for it")

    def _wait(self, timeout: float | None) -> None:
        is_main = getcurrent().parent is None
        if is_main:
            self._interruptible = True
        try:
            if timeout is not None and timeout <= 0:
                self._state.poll()
                gevent.sleep(0)  # the timer may have come before the others that were due with it
            else:
                self._woken.wait(timeout)
        finally:
            self._woken.clear()
            if is_main:
                self._interruptible = False
        if is_main and self._interrupted:
            self._interrupted = False
            raise KeyboardInterrupt

    def socket(self) -> LoopSocket:
        """What a foreign loop is to wait for. From now on each round leaves it ready for the next."""
        if self._socket is None:
            self._socket = LoopSocket(self._state)
            self.expect()
            self._state.poll()
            self._socket.end_round(False)
        self._socket.embedded = self.embedded
        return self._socket

    def expect(self) -> None:
        """Have the next request, or new session, end the round."""
        self._source.on_activity = self._on_activity

    def expect_no_more(self) -> None:
        """Let what is handled not end a round."""
        self._source.on_activity = None

    def _on_activity(self) -> None:
        self._handled = True
        self._woken.set()
        if self._socket is not None:
            self._socket.signal()

    def wake(self) -> None:
        """End the round. On the hub's thread."""
        self._woken.set()

    def interrupt(self) -> bool:
        """From a signal handler: end the round with a KeyboardInterrupt, if the main greenlet waits in it."""
        if not self._interruptible or self._interrupted:
            return False
        self._interrupted = True
        self._state.call_soon(self._woken.set)
        return True

    def close(self) -> None:
        """End the round, and let go of what foreign loops wait for. On the hub's thread."""
        self.expect_no_more()
        self.wake()
        if self._socket is not None:
            self._socket.close()


class _Watched:
    """Something that is waited for besides."""

    def __init__(self, state: HubState, thing: Any, ready: list[Any], wake: Callable[[], object]) -> None:
        self._watcher: Any = None
        try:
            descriptor = _descriptor(thing)
            always = _is_always_ready(descriptor)
            if descriptor == state.loop.fileno():
                raise ValueError("it is the loop that would wait for it")
        except (AttributeError, TypeError, ValueError, OSError) as error:
            raise ProtocolError(f"cannot wait for {thing!r}: {error}") from error
        if always:
            ready.append(thing)
            return

        def on_ready() -> None:
            self._watcher.stop()  # level-triggered: it would fire until the callback has read it
            ready.append(thing)
            wake()

        self._watcher = state.loop.io(descriptor, READ)
        self._watcher.start(on_ready)

    def close(self) -> None:
        if self._watcher is not None:
            self._watcher.stop()
            self._watcher.close()


def _is_always_ready(descriptor: int) -> bool:
    """Whether this is a file, or a device such as the null device, for which the system has no way to wait."""
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISSOCK(mode) or stat.S_ISFIFO(mode):
        return False
    epoll = _epoll()
    try:
        epoll.register(descriptor, 0)
        return False
    except PermissionError:
        return True
    finally:
        epoll.close()


def _descriptor(thing: Any) -> int:
    if isinstance(thing, LoopSocket):
        return thing.event
    return thing if isinstance(thing, int) else int(thing.fileno())
