"""The daemon.

Makes objects reachable for other processes, with connections and calls as greenlets of one gevent loop.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import time
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Any

import gevent
from gevent._hub_local import get_hub_if_exists
from gevent.event import Event
from greenlet import getcurrent

from gpyro.constants import INTERNAL_DAEMON_GUID
from gpyro.errors import DaemonError, ProtocolError
from gpyro.hosting import ObjectHost
from gpyro.logs import log
from gpyro.net.bind import bind
from gpyro.net.blocking import watch_for_blocking
from gpyro.net.foreign_loop import LoopSocket
from gpyro.net.hub import HubState, hub_state
from gpyro.net.listener import Listener
from gpyro.rounds import Rounds
from gpyro.settings import Settings, config
from gpyro.startup import initServer
from gpyro.termination import answered_by
from gpyro.tls import current_call
from gpyro.validators import DaemonsDoorkeeper, DefaultConnValidator, check

DRAIN_INTERVAL = 0.02
"""Seconds between looks at the running calls while a daemon drains."""


PATIENCE = 1.0
"""Seconds beyond the grace that `Daemon.stop` waits for the loop of another thread."""


def _always() -> bool:
    return True


class Daemon(ObjectHost):
    """Serves objects to other processes.

    It listens from its making on, and answers as soon as a loop runs: `requestLoop` in the main program, `start`
        inside a program that runs gevent's loop anyway. The hub is taken then, so a daemon may be made in one thread
        and run in another. Connecting and disconnecting objects and `shutdown` work from any thread, and from signal
        handlers.

    Keep a reference to it: an unreferenced daemon that is not running is closed by Python's garbage collection.

    Attributes:
        hostname: what its URIs say as host.
        port: the port it listens on; 0 for a Unix socket.
        protocol: ``PYRO``.
        threaded: whether calls overlap (PYRO_MULTITHREADED).
    """

    def __init__(
        self,
        protocol: str = "PYRO",
        host: str | None = None,
        port: int = 0,
        norange: int = 0,
        publishhost: str | None = None,
    ) -> None:
        """Bind and listen.

        Args:
            protocol: only ``PYRO``.
            host: interface to bind: a name, an IP address, or ``./u:`` and the path of a Unix socket. None stands for
                PYRO_HOST, and an empty one for the loopback interface.
            port: first port to try; 0 for PYRO_PORT, and with `norange` for one that the system chooses.
            norange: true for exactly that port, instead of the next free one of PYRO_PORT_RANGE.
            publishhost: the host that URIs say, for NAT; None for PYRO_PUBLISHHOST, else `host`.

        Raises:
            DaemonError: it cannot be bound; the text says why.
            ProtocolError: an unsupported protocol.
        """
        if protocol != "PYRO":
            raise ProtocolError(f"unsupported protocol: {protocol!r}")
        self._closed = True  # as long as there is nothing to close
        initServer(storageCheck=0)  # a daemon itself needs no storage
        settings = self._settings()
        host = settings.PYRO_HOST if host is None else host
        bound = bind(host, port or 0, bool(norange), publishhost or settings.PYRO_PUBLISHHOST, settings)
        super().__init__(settings)
        self.protocol, self.hostname, self.port = protocol, bound.hostname, bound.port
        self.threaded = settings.PYRO_MULTITHREADED
        self._process = os.getpid()
        self._exposed = bound.exposed
        self._doorkeeper = DaemonsDoorkeeper(self)
        self._listener = Listener(bound.sock, settings, self._dispatcher, bound.unix, self._doorkeeper)
        self._rounds: Rounds | None = None
        self._stop_asked = self._looping = False
        self._stopping: Event | None = None

    def __repr__(self) -> str:
        state = "closed" if self._closed else "running" if self._state else "listening"
        return f"<Daemon at {self.hostname}:{self.port} {state}>"

    def __reduce__(self) -> Any:
        raise pickle.PicklingError("no access to the daemon")

    def _settings(self) -> Settings:
        """The configuration that it takes over."""
        return config.snapshot()

    # Who may connect

    def setAllowedIdentifications(self, ids: Sequence[str | tuple[str, str]] | None) -> None:
        """Serve only clients who prove one of these passphrases, or pairs of a user's name and a passphrase.

        None serves all. Connections that are open stay.

        Raises:
            TypeError: it is no list or tuple, or something in it is no identification.
            ValueError: a passphrase, or name, is empty or has characters that it cannot have.
            DaemonError: the daemon runs and is reachable from elsewhere, so it needs passphrases.
        """
        before = self._doorkeeper.validator.allowed
        self._doorkeeper.validator.setAllowedIdentifications(ids)
        try:
            if self._rounds is not None:
                self._check_exposure()
        except DaemonError:
            self._doorkeeper.validator.allowed = before
            raise

    def setNewConnectionValidator(self, validator: DefaultConnValidator) -> None:
        """Have `validator` judge new connections, with the passphrases that were set on it.

        Raises:
            TypeError: it is no `DefaultConnValidator`.
            DaemonError: the daemon runs and is reachable from elsewhere, and the validator accepts everybody.
        """
        asked = self._doorkeeper.asks
        before, self._doorkeeper.validator = self._doorkeeper.validator, check(validator)
        try:
            if self._rounds is not None:
                self._check_exposure()
        except DaemonError:
            self._doorkeeper.validator = before
            raise
        if asked and not self._doorkeeper.asks:
            log.warning("the new validator of %r asks for no identification, unlike the one before it", self)

    def getNewConnectionValidator(self) -> DefaultConnValidator:
        """What judges new connections."""
        return self._doorkeeper.validator

    def setTimeout(self, secs: float | None) -> None:
        """Give each new connection so many seconds for each of its first steps; None for PYRO_HANDSHAKE_TIMEOUT.

        Connections that are established have no such limit: a dead peer is found by the operating system.

        Raises:
            ValueError: it is not a positive number.
        """
        if secs is not None and not secs > 0:
            raise ValueError(f"a timeout is a positive number of seconds, or None: {secs!r}")
        self._listener.admission.patience = secs or self.settings.PYRO_HANDSHAKE_TIMEOUT

    def _check_exposure(self) -> None:
        """A daemon that can be reached from elsewhere is not to be open to everybody by oversight."""
        doorkeeper = self._doorkeeper
        if self._exposed and not (self.settings.PYRO_ALLOW_OPEN or doorkeeper.asks or doorkeeper.judges_hosts):
            raise DaemonError(
                f"Couldn't start Pyro daemon: bound to {self._exposed}, everybody who can reach this machine could "
                "call its objects. Ask for passphrases (daemon.setAllowedIdentifications), or judge connections "
                "(daemon.setNewConnectionValidator), or bind the loopback interface (host '') or a Unix socket "
                "(host './u:/path'), or say PYRO_ALLOW_OPEN=1"
            )

    # Running

    def start(self) -> None:
        """Serve in the loop of the current thread, without blocking; for programs that run gevent's loop anyway.

        Raises:
            DaemonError: the daemon is closed, or runs in another thread.
        """
        self._attach().embedded = True
        self._listener.keep = self

    def _attach(self) -> Rounds:
        """Take the hub of this thread, if that has not been done yet."""
        if self._process != os.getpid():
            raise DaemonError("the daemon belongs to another process, from which this one was forked")
        if self._closed:
            if self._state is not None and self._state is hub_state():
                self._let_go()  # word of that from another thread may still wait for a turn of the loop
            raise DaemonError("the daemon is closed")
        state = hub_state()
        if self._rounds is None:
            self._check_exposure()
            self._state = state
            self._rounds = Rounds(state, self._dispatcher)
            # Again: another thread may have closed it before it could know of this hub.
            if not self._closed:
                self._listener.start(state)
            self._reaper.start(state)
            watch_for_blocking(state, self.settings.PYRO_MAX_BLOCKING)
            for registry in self._registries:
                registry.run(state)
        elif self._state is not state:
            raise DaemonError("the daemon runs in another thread")
        return self._rounds

    def requestLoop(
        self,
        condition: Callable[[], Any] = _always,
        timeout: float | None = 3,
        others: Iterable[Any] = (),
        callback: Callable[[list[Any]], object] | None = None,
    ) -> None:
        """Serve until `shutdown`, SIGTERM (which drains), or until `condition` is false.

        Args:
            condition: looked at after each turn of the loop in which something arrived, and every `timeout` seconds.
            timeout: seconds; None for ever.
            others: sockets, pipes, files or other things with ``fileno()`` to wait for, too.
            callback: called with the list of those that are readable.

        Raises:
            KeyboardInterrupt: Ctrl-C. The daemon is still there: `stop` lets running calls end, `closedown` does not.
            ProtocolError: `others` without `callback`, or what cannot be waited for.
        """
        others = _checked(others, callback)
        if self._stop_asked:  # before the loop began, as in another thread
            self.stop()
            return
        try:
            rounds = self._attach()
        except DaemonError:
            if self._stop_asked:  # in this very moment, by another thread
                return
            raise
        self._looping = True
        self._listener.on_forked = rounds.wake  # a child has nothing to serve: its copy of this loop ends
        try:
            with answered_by(self.shutdown, rounds.interrupt):
                while not self._stop_asked and not self._closed and os.getpid() == self._process and condition():
                    if condition is not _always:
                        rounds.expect()
                    rounds.wait(timeout, others, callback)
        finally:
            self._looping = False
            rounds.expect_no_more()
            self._listener.on_forked = None
        if self._stop_asked and os.getpid() == self._process:
            self.stop()

    def handleRequests(
        self,
        timeout: float | None = None,
        others: Iterable[Any] = (),
        callback: Callable[[list[Any]], object] | None = None,
    ) -> None:
        """One round of serving, for a program with a loop of its own: wait until something was handled, then return.

        It returns after the first turn of gevent's loop in which a session was opened, a request arrived, or one of
        `others` was readable, and at once if that was so since it last returned, or if the sockets of
        `getServerSockets` tell that there is something to do. Calls that block go on in later rounds.

        Args:
            timeout: seconds to wait at most; 0 to look for input and output exactly once, None to wait for ever.
            others: sockets, pipes, files or other things with ``fileno()`` to wait for, too.
            callback: called once with the list of those that are readable, if any are.

        Raises:
            KeyboardInterrupt: Ctrl-C.
            DaemonError: the daemon is closed, or runs in another thread.
            ProtocolError: `others` without `callback`, or what cannot be waited for.
        """
        others = _checked(others, callback)
        rounds = self._attach()
        with answered_by(None, rounds.interrupt):
            rounds.wait_once(timeout, others, callback)

    def getServerSockets(self) -> list[LoopSocket]:
        """What a foreign event loop has to wait for: when one is readable, call `handleRequests`.

        There is one, with a ``fileno()``, and it tells of everything that the daemon, and all of gpyro on this thread,
        has to do: connections and requests at once, calls that sleep or wait within 10 ms, time limits within a second.

        Raises:
            DaemonError: the daemon is closed, or runs in another thread.
        """
        return [self._attach().socket()]

    def shutdown(self, disconnect: bool = False) -> None:
        """Ask the loop to end: running calls are finished, new ones refused. Does not wait, works from anywhere.

        Args:
            disconnect: also forget all objects now, and withdraw their names, which otherwise is done when the loop
                ends. Those of `connectPersistent` stay.
        """
        self._stop_asked = True
        state = self._state
        if disconnect:
            for guid in list(self._dispatcher.entries):
                with contextlib.suppress(KeyError):  # disconnected by somebody else meanwhile
                    if guid != INTERNAL_DAEMON_GUID:
                        self._forget(guid)
            self._registered.clear()
            if state is not None and not state.closed and self._process == os.getpid():
                for registry in self._registries:
                    state.call_soon(registry.withdraw_soon)
        if state is None or self._process != os.getpid():
            self.closedown()
        elif not state.closed:
            state.call_soon(self._shut_down_soon)

    def _shut_down_soon(self) -> None:
        if self._looping and self._rounds is not None:
            self._rounds.wake()
        elif self._state is not None and not self._closed:
            self._state.start(lambda first, second: self.stop())

    def stop(self, grace: float | None = None) -> None:
        """Stop serving: withdraw all names, accept no more, tell the clients, finish running calls, then close.

        May be called again. Names of `connectPersistent` stay.

        In another thread than the daemon's it waits there until that is done. In a call of the daemon's own, which is
        one of those to be finished, it returns at once and the stopping goes on behind it.

        Args:
            grace: seconds that running calls get; None for PYRO_DRAIN_TIMEOUT.
        """
        if self._closed:
            return
        state = self._state
        if state is None or state.closed or os.getpid() != self._process:
            self.closedown()
            return
        grace = self.settings.PYRO_DRAIN_TIMEOUT if grace is None else grace
        if state is not hub_state():
            self._stop_there(state, grace)
            return
        call = current_call()
        if call is not None and call.session.channel.acceptor is self._dispatcher:
            state.run_in_hub(lambda: state.start(lambda first, second: self.stop(grace)))
            return
        if self._stopping is not None:
            self._stopping.wait()
            return
        self._stopping = stopped = Event()
        try:
            for registry in self._registries:
                registry.end()
            self._listener.stop_accepting()
            self._dispatcher.draining = True
            self._listener.say_goodbye()
            limit = time.monotonic() + grace
            while self._busy():
                left = limit - time.monotonic()
                if left <= 0:
                    break
                gevent.sleep(min(left, DRAIN_INTERVAL))
        finally:
            self.closedown()
            stopped.set()

    def _busy(self) -> bool:
        """Whether calls run, or answers are not sent yet."""
        channels = self._listener.channels
        return bool(self._dispatcher.unheard) or any(one.serving or one.in_calls or one.out.size for one in channels)

    def _stop_there(self, state: HubState, grace: float) -> None:
        """Stop from another thread than that of the daemon's hub."""
        over = Event()

        def stop(first: Any, second: Any) -> None:
            self.stop(grace)
            over.set()

        state.call_soon(lambda: state.start(stop))
        over.wait(grace + PATIENCE)
        self.closedown()

    def closedown(self, nolog: int = 0) -> None:
        """Close at once: the listening socket and all connections. May be called again, and from any thread."""
        if self._closed:
            return
        self._closed = True
        self._reaper.set_age(0)
        self._listener.keep = None
        state = self._state
        if state is None or state.closed or self._process != os.getpid():
            if self._process == os.getpid():
                self._listener.close()
                self._end_registrations()
        elif state is hub_state():
            self._let_go()
        else:
            state.call_soon(self._let_go)

    def _end_registrations(self) -> None:
        """Of a daemon that no loop runs, or runs any more."""
        hub = get_hub_if_exists()
        if hub is None or getcurrent() is not hub:
            for registry in self._registries:
                registry.end()

    def _let_go(self) -> None:
        """On the hub's thread."""
        for registry in self._registries:
            registry.end_soon()
        self._listener.close()
        if self._rounds is not None:
            self._rounds.close()

    def __enter__(self) -> Daemon:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def __del__(self) -> None:
        # In the process that made it only; in any thread, so the hub is left word.
        if getattr(self, "_closed", True) or self._process != os.getpid():
            return
        self._closed = True
        if self._state is None:
            self._listener.close()
        elif not self._state.closed:
            listener, rounds = self._listener, self._rounds
            self._state.call_soon(listener.close)
            for registry in self._registries:
                self._state.call_soon(registry.end_soon)
            if rounds is not None:
                self._state.call_soon(rounds.close)


def _checked(others: Iterable[Any], callback: object) -> list[Any]:
    others = list(others)
    if others and callback is None:
        raise ProtocolError("callback required")
    return others
