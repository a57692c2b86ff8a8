"""What gpyro keeps for each hub: the receive buffer, the workers, the open channels, and the way in from other threads.

The state belongs to the hub of one OS thread and is reached by `hub_state`. It is made at the first use in that
thread, and ends with the thread: a hub that only gpyro caused is then destroyed, so that short threads leave no
descriptor behind.
"""

from __future__ import annotations

import atexit
import os
import sys
import weakref
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from gevent import config as gevent_config
from gevent import get_hub, monkey, sleep
from gevent._hub_local import get_hub_if_exists, set_hub
from gevent.hub import Hub
from gevent.timeout import Timeout
from greenlet import GreenletExit, getcurrent

from gpyro.errors import PyroError
from gpyro.limited_log import RateLimitedLog
from gpyro.logs import LibraryLog
from gpyro.net.workers import WorkerPool

if TYPE_CHECKING:
    from gpyro.net.stream import FrameStream

logger = LibraryLog("gpyro.net")

RECEIVE_SIZE = 256 * 1024
"""Bytes that one read takes at most. One buffer serves all channels of a hub, so that reading allocates nothing."""

FLUSHED_TOGETHER = 16
"""Streams that have read before what they have to say is sent, or the end of the turn if that is sooner.

Sending wakes the other processor and leaves this one's caches cold, so first reading some and then sending them all
is a third quicker than each by itself; waiting for all of them would leave the other end idle meanwhile.
"""

LAST_WORDS = 2.0
"""Seconds that the end of a program may take for sending what it has said."""

MAX_REPORTS = 1000
"""Log entries that may wait for the reporting worker; beyond that they are counted only."""

_all_states: weakref.WeakSet[HubState] = weakref.WeakSet()


class Part(Protocol):
    """Something that lives on a hub as long as gpyro's state there."""

    def __init__(self, state: HubState, /) -> None: ...

    def close(self) -> None:
        """End it. On the hub's own thread."""

    def forked(self) -> None:
        """In the child of a fork: what it has belongs to the parent. Must only mark."""

    def close_inherited(self) -> None:
        """In the child of a fork, when its loop is its own: let go of descriptors."""


P = TypeVar("P", bound=Part)


class HubState:
    """gpyro's belongings on one hub. Use `hub_state` to get it.

    Attributes:
        hub: the hub.
        loop: its event loop.
        buffer, view: what reads go into; what they leave must be copied out before the callback ends.
        workers: the greenlets that calls run in.
        streams: the open connections of this hub.
        belongings: what else holds descriptors, such as listeners.
        foreign: a loop that is not gevent's may be in charge of this one.
        poke: has the foreign loop that is in charge let this one turn, from any thread; None while none is.
    """

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.loop = hub.loop
        self.buffer = bytearray(RECEIVE_SIZE)
        self.view = memoryview(self.buffer)
        self.workers = WorkerPool(hub, self.escaped)
        self.streams: set[FrameStream] = set()
        self._parts: dict[type[Part], Part] = {}
        self.closed = False
        self.process = os.getpid()
        self._calls: deque[Callable[[], object]] = deque()
        self._reports: deque[Callable[[], object]] = deque()
        self._reporting = False
        self._reports_lost = 0
        self._unflushed: list[FrameStream] = []
        self._flushed_last: FrameStream | None = None
        self._warnings = RateLimitedLog(logger)
        self._wake = self.loop.async_(ref=False)
        self._wake.start(self._run_calls)
        self.foreign = False
        self.poke: Callable[[], object] | None = None
        self.belongings: set[Part] = set()
        _all_states.add(self)

    # In from elsewhere

    def call_soon(self, function: Callable[[], object]) -> None:
        """Run `function` in the hub soon. May be called from any thread, signal handler or finaliser."""
        self._calls.append(function)
        if not self.closed:
            self._wake.send()
        poke = self.poke
        if poke is not None:  # libev's descriptor tells nothing of that while the loop stands still
            poke()

    @property
    def called(self) -> bool:
        """Whether functions wait to be run by `call_soon`."""
        return bool(self._calls)

    def _run_calls(self) -> None:
        while self._calls:
            function = self._calls.popleft()
            try:
                function()
            except BaseException as error:
                self.escaped(error)

    def forget(self, stream: FrameStream) -> None:
        """A stream was closed."""
        self.streams.discard(stream)
        if self._flushed_last is stream:
            self._flushed_last = None

    def is_alone(self, stream: FrameStream) -> bool:
        """Whether a stream seems to have the hub to itself, as with a lone caller: then it waits for no other."""
        return stream is self._flushed_last and not self._unflushed

    def flush_soon(self, stream: FrameStream) -> None:
        """Flush a stream that dealt with what it read, together with others of this turn of the loop."""
        unflushed = self._unflushed
        if stream is self._flushed_last and not unflushed:
            stream.flush()
            return
        self._flushed_last = stream
        unflushed.append(stream)
        if len(unflushed) >= FLUSHED_TOGETHER:
            self._flush()
        elif len(unflushed) == 1:
            self.loop.run_callback(self._flush)

    def _flush(self) -> None:
        streams, self._unflushed = self._unflushed, []
        for stream in streams:
            stream.flush()

    # Work outside the hub

    def start(self, function: Callable[[Any, Any], None], first: Any = None, second: Any = None) -> None:
        """Run ``function(first, second)`` in a worker of its own. Only from the hub."""
        self.workers.start((function, first, second, {}))

    def run_in_hub(self, function: Callable[[], object]) -> None:
        """Run `function` in the hub in this turn of the loop, wherever on this thread the caller is."""
        self.loop.run_callback(self._guarded, function)

    def _guarded(self, function: Callable[[], object]) -> None:
        try:
            function()
        except BaseException as error:
            self.escaped(error)

    def poll(self) -> None:
        """Have the loop look for input and output once, which `gevent.sleep(0)` would not. Not from the hub."""
        timer = self.loop.timer(0)
        try:
            self.hub.wait(timer)
        finally:
            timer.stop()
            timer.close()

    def run_after(self, seconds: float, function: Callable[[], object]) -> None:
        """Run `function` in the hub after `seconds`, which is no reason for the loop to go on.

        With 0 seconds it is one, and the function runs after the loop has polled once, unlike with `run_in_hub`.
        """
        timer = self.loop.timer(seconds, ref=not seconds)

        def run() -> None:
            timer.close()
            self._guarded(function)

        timer.start(run, update=True)

    def warn(self, key: str, text: str, *arguments: object, error: BaseException | None = None) -> None:
        """Log a warning about what a peer does, outside the hub, and at most one a second for each `key`.

        With the traceback of `error`, if there is one.
        """
        left_out = self._warnings.admit(key)
        if left_out is not None:
            text += f" ({left_out} like it left out)" if left_out else ""
            self.report(lambda: logger.warning(text, *arguments, exc_info=error))

    def report(self, log: Callable[..., object], *arguments: Any) -> None:
        """Call a logging function outside the hub, for its handlers may block.

        May be called from anywhere on this thread.
        """
        if len(self._reports) >= MAX_REPORTS:
            self._reports_lost += 1
            return
        self._reports.append(lambda: log(*arguments))
        if not self._reporting:
            self._reporting = True
            self.loop.run_callback(self._start_reporting)

    def _start_reporting(self) -> None:
        self._guarded(lambda: self.start(self._write_reports))

    def _write_reports(self, first: Any, second: Any) -> None:
        try:
            while self._reports:
                try:
                    self._reports.popleft()()
                except Exception:  # a log handler that fails is its owner's to mend
                    continue
            if self._reports_lost:
                lost, self._reports_lost = self._reports_lost, 0
                logger.warning("%d log entries dropped: the log was slower than what it had to say", lost)
        finally:
            self._reporting = False

    # What must not get out

    def escaped(self, error: BaseException) -> None:
        """Deal with an exception that reached a hub callback, or that a worker's task let out.

        Ctrl-C, and the SystemExit of a signal handler, go to the main greenlet; anything else is logged.
        """
        if isinstance(error, self.hub.SYSTEM_ERROR):
            self.interrupt(error)
        elif not isinstance(error, GreenletExit):
            self.report(lambda: logger.error("unexpected error in the hub", exc_info=error))

    def interrupt(self, error: BaseException) -> None:
        """Raise `error` in the main greenlet at the next turn of the loop, as gevent does with what reaches the hub."""
        if not self.closed:
            self.loop.run_callback(self.hub.handle_system_error, type(error), error)

    # The end

    def part(self, kind: type[P]) -> P:
        """The one instance of `kind` on this hub, made if need be; it lives until this state closes."""
        made = self._parts.get(kind)
        if made is None:
            made = self._parts[kind] = kind(self)
        return made  # type: ignore[return-value]

    def close(self) -> None:
        """Close everything on this hub. Only on its own thread."""
        if self.closed:
            return
        self.closed = True
        for stream in list(self.streams):
            stream.flush()
            stream.end_sending()
            stream.close("its thread ended")
        for part in [*self.belongings, *self._parts.values()]:
            part.close()
        self.workers.close()
        self._wake.stop()
        self._wake.close()
        if getattr(self.hub, _ATTRIBUTE, None) is self:
            delattr(self.hub, _ATTRIBUTE)

    def forked(self) -> None:
        """In the child of a fork: what is open belongs to the parent.

        Only marks, for the loop still shares the parent's descriptors until `gevent.reinit`; the descriptors are closed
        at the first turn of the loop, which comes after it.
        """
        self.process = os.getpid()
        self._calls.clear()
        self._reports.clear()
        holding: list[Any] = [*self.streams, *self.belongings]
        inherited: list[Any] = [*holding, *self._parts.values()]
        self.streams.clear()
        self.belongings.clear()
        self._parts.clear()
        for thing in inherited:
            thing.forked()
        if self.hub is get_hub_if_exists():
            self.loop.run_callback(_close_inherited, inherited)
            return
        # Of the thread of this loop there is nothing in this process but its descriptors.
        for thing in holding:
            thing.close_descriptors()


def check_not_in_hub(hub: Any) -> None:
    """Raise PyroError in the hub, which cannot wait for a call."""
    if getcurrent() is hub:
        raise PyroError("a proxy cannot be called from the hub (a loop callback): spawn a greenlet for it")


def limit(seconds: float | None) -> Timeout:
    """A ``with`` block that ends quietly after `seconds`; None for no limit."""
    return Timeout(None if seconds is None else max(0.0, seconds), False)  # type: ignore[arg-type]


_ATTRIBUTE = "gpyro_state"
_is_finalizing = sys.is_finalizing


class _ThreadEnd:
    """Sits in a thread's local storage and closes that thread's state when the thread ends."""

    def __init__(self, state: HubState, owns_hub: bool) -> None:
        self.state = state
        self.owns_hub = owns_hub

    def __del__(self) -> None:
        # When the process ends, what its threads left behind is cleared away in the main thread, without a greenlet.
        if self.state.process != os.getpid() or _is_finalizing():
            return
        hub = self.state.hub
        # gevent's own thread-local may be gone already; what closes here must not make a second hub.
        set_hub(hub)
        self.state.close()
        if self.owns_hub and hub.loop is not None:
            hub.destroy(destroy_loop=True)
        set_hub(None)  # type: ignore[arg-type]


# Real threads, also in a patched process: there `threading.local` would be the greenlet's.
_thread_local = monkey.get_original("threading", "local")()


def hub_state() -> HubState:
    """gpyro's state on the hub of the current thread, made if need be."""
    hub = get_hub_if_exists()
    if hub is not None:
        state: HubState | None = getattr(hub, _ATTRIBUTE, None)
        if state is not None:
            return state
    return _make_state(hub is None)


def _make_default_loop() -> None:
    """Make libuv's default loop, if gevent runs on libuv, before there are threads.

    Each new loop of gevent's asks libuv for the default one, which the first to ask makes, without a lock: two threads
    that begin at the same moment crash the process, or spin for ever.
    """
    if gevent_config.loop.__module__ == "gevent.libuv.loop":
        from gevent.libuv.loop import libuv  # type: ignore[attr-defined]

        libuv.uv_default_loop()


_make_default_loop()


def _make_state(owns_hub: bool) -> HubState:
    hub = get_hub()
    state = HubState(hub)
    setattr(hub, _ATTRIBUTE, state)
    _end_with(hub)
    if not hub.main_hub:
        _thread_local.end = _ThreadEnd(state, owns_hub)
    return state


def _end_with(hub: Hub) -> None:
    """Have gpyro's state closed when somebody else, such as gevent's thread pool, destroys the hub.

    Afterwards would be too late: the watchers cannot be stopped without their loop.
    """
    if "destroy" in hub.__dict__:
        return
    destroy = hub.destroy

    def destroy_with_state(destroy_loop: bool | None = None) -> None:
        del hub.destroy
        state: HubState | None = getattr(hub, _ATTRIBUTE, None)
        if state is not None and state.process == os.getpid():
            state.close()
        destroy(destroy_loop)

    hub.destroy = destroy_with_state  # type: ignore[method-assign]


def _close_inherited(things: list[Any]) -> None:
    for thing in things:
        thing.close_inherited()


def _send_the_rest() -> None:
    """At the end of the program: what was said, such as one-way calls, has to leave."""
    hub = get_hub_if_exists()
    state: HubState | None = getattr(hub, _ATTRIBUTE, None) if hub is not None else None
    if state is None or state.closed or state.process != os.getpid():
        return
    sending = [stream for stream in state.streams if stream.out.size and not stream.deaf]
    with limit(LAST_WORDS):
        for stream in sending:
            stream.flush()
            while stream.out.size and not stream.closed:
                sleep(0.005)
            stream.dismiss(b"", "the program ended")
        # Till the peer has read it all: the rest would be lost if the system had to reset the connection.
        while any(not stream.closed for stream in sending):
            sleep(0.005)


def _mark_forked() -> None:
    """In the child of a fork, before any other code of it."""
    for state in list(_all_states):
        state.forked()


atexit.register(_send_the_rest)
os.register_at_fork(after_in_child=_mark_forked)
