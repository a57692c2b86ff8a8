"""The daemon.

Makes objects reachable for other processes, with connections and calls as greenlets of one gevent loop.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any

import gevent
from gevent import monkey
from gevent.event import Event
from greenlet import getcurrent

from gpyro.constants import INTERNAL_DAEMON_GUID
from gpyro.dispatch import Dispatcher
from gpyro.errors import DaemonError, ProtocolError
from gpyro.guid import getGUID
from gpyro.net.bind import bind
from gpyro.net.channel import Channel
from gpyro.net.hub import HubState, hub_state
from gpyro.net.listener import Listener
from gpyro.net.stream import READ
from gpyro.objects import ObjBase
from gpyro.proxy import DynamicProxy, DynamicProxyWithAttrs
from gpyro.pyrouri import PyroURI
from gpyro.reaping import Reaper
from gpyro.servant import DaemonServant
from gpyro.settings import config
from gpyro.termination import answered_by
from gpyro.tls import LocalStorage, current_call, getLocalStorage
from gpyro.util import log

# Of real threads, also in a patched process, and such that a signal handler may take it again.
_make_lock = monkey.get_original("threading", "RLock")

DRAIN_INTERVAL = 0.02
"""Seconds between looks at the running calls while a daemon drains."""


PATIENCE = 1.0
"""Seconds beyond the grace that `Daemon.stop` waits for the loop of another thread."""


def _always() -> bool:
    return True


class Daemon:
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
        self.settings = settings = config.snapshot()
        self.protocol = protocol
        self.threaded = settings.PYRO_MULTITHREADED
        host = settings.PYRO_HOST if host is None else host
        bound = bind(host, port or 0, bool(norange), publishhost or settings.PYRO_PUBLISHHOST, settings)
        self.hostname, self.port = bound.hostname, bound.port
        self._process = os.getpid()
        self._dispatcher = Dispatcher(settings)
        self._listener = Listener(bound.sock, settings, self._dispatcher, bound.unix)
        self._closed = False
        self._state: HubState | None = None
        self._ids: dict[int, str] = {}
        self._changing = _make_lock()
        self._reaper = Reaper(self, self._dispatcher)
        self._stop_asked = False
        self._looping = self._interrupted = self._interruptible = False
        self._woken: Event | None = None
        self._stopping: Event | None = None
        self._add(INTERNAL_DAEMON_GUID, "__daemon__", DaemonServant(self._dispatcher))

    def __repr__(self) -> str:
        state = "closed" if self._closed else "running" if self._state else "listening"
        return f"<Daemon at {self.hostname}:{self.port} {state}>"

    def __reduce__(self) -> Any:
        raise pickle.PicklingError("no access to the daemon")

    # Objects

    def connect(self, obj: Any, name: str | None = None) -> PyroURI:
        """Make an object reachable.

        Args:
            obj: an `ObjBase`, or any other object, whose public methods are reachable then.
            name: what to find it by; an object without name is transient, see `setTransientsCleanupAge`.

        Returns:
            The URI for its proxies.

        Raises:
            DaemonError: the name is taken by another object here or no str, `obj` is a class, its ``ObjBase.__init__``
                did not run, or the daemon is closed.
            URIError: the object has an id that no URI can name.
        """
        if isinstance(obj, type):
            raise DaemonError(f"{obj.__name__} is a class; connect an instance of it")
        if name is not None and not isinstance(name, str):
            raise DaemonError(f"the name of an object is a str: {name!r}")
        if self._closed:
            raise DaemonError("the daemon is closed")
        if isinstance(obj, ObjBase) and "objectGUID" not in obj.__dict__:
            raise DaemonError(f"{type(obj).__name__}.__init__ did not call ObjBase.__init__")
        with self._changing:
            known = self._ids.get(id(obj))
            guid = known or (obj.GUID() if isinstance(obj, ObjBase) else getGUID())
            uri = self._uri(guid)
            entry = self._dispatcher.entries.get(guid)
            if entry is not None and entry.obj is not obj:
                raise DaemonError(f"the object id {guid} is taken by another object of this daemon")
            for other in self._dispatcher.entries.values():
                if other.name == name is not None and other is not entry:
                    raise DaemonError(f"the name {name!r} is taken by another object of this daemon")
            if entry is not None:
                entry.name = name
            else:
                self._add(guid, name, obj)
        if name is not None:
            log.info("%r is connected as %r, but no name server is in use", type(obj).__name__, name)
        if isinstance(obj, ObjBase):
            obj.setPyroDaemon(self)
        return uri

    def _add(self, guid: str, name: str | None, obj: Any) -> None:
        self._ids[id(obj)] = guid
        self._dispatcher.add(guid, name, obj)

    def disconnect(self, obj: Any) -> None:
        """Make an object unreachable; calls of it that run go on.

        Args:
            obj: the object or its id.

        Raises:
            KeyError: it is not connected.
        """
        guid = obj if isinstance(obj, str) else self._ids.get(id(obj), "")
        if guid == INTERNAL_DAEMON_GUID:
            return
        with self._changing:
            entry = self._dispatcher.entries.pop(guid, None)
            if entry is None:
                raise KeyError(f"{obj!r} is not connected to this daemon")
            self._ids.pop(id(entry.obj), None)
        if isinstance(entry.obj, ObjBase):
            entry.obj.setPyroDaemon(None)

    def getRegistered(self) -> dict[str, str | None]:
        """Object id -> name of all connected objects, this daemon's own servant included; None for transient ones."""
        return {guid: entry.name for guid, entry in self._dispatcher.entries.copy().items()}

    @property
    def implementations(self) -> dict[str, tuple[Any, str | None]]:
        """Object id -> object and name."""
        return {guid: (entry.obj, entry.name) for guid, entry in self._dispatcher.entries.copy().items()}

    def getLocalObject(self, guid: str) -> Any:
        """The connected object with this id. Raises KeyError if there is none."""
        return self._dispatcher.entries[guid].obj

    def getLocalObjectForProxy(self, proxy: DynamicProxy) -> Any:
        """The connected object that `proxy` stands for. Raises KeyError if there is none."""
        return self.getLocalObject(proxy.objectID)

    def getProxyForObj(self, obj: Any) -> DynamicProxy:
        """A new proxy for a connected object. Raises KeyError if it is not connected."""
        return DynamicProxy(self._uri(self._id_of(obj)))

    def getAttrProxyForObj(self, obj: Any) -> DynamicProxyWithAttrs:
        """A new proxy with attribute access for a connected object. Raises KeyError if it is not connected."""
        return DynamicProxyWithAttrs(self._uri(self._id_of(obj)))

    def _id_of(self, obj: Any) -> str:
        try:
            return self._ids[id(obj)]
        except KeyError:
            raise KeyError(f"{obj!r} is not connected to this daemon") from None

    def _uri(self, guid: str) -> PyroURI:
        return PyroURI(self.hostname, guid, self.port, self.protocol)

    def ResolvePYROLOC(self, name: str) -> str:
        """The id of the object that was connected under this name. Raises NamingError if there is none."""
        return DaemonServant(self._dispatcher).ResolvePYROLOC(name)

    def getLocalStorage(self) -> LocalStorage:
        """The storage of the current call's session, or the one of all calls where calls do not overlap."""
        return self._dispatcher.shared_storage or getLocalStorage()

    def setInitTLS(self, func: Callable[[LocalStorage], object]) -> None:
        """Have ``func(storage)`` prepare the storage of each new session, before its first call.

        Where calls do not overlap there is one storage, which is prepared at once.

        Raises:
            TypeError: it is not callable.
        """
        if not callable(func):
            raise TypeError("initTLS must be callable object")
        self._dispatcher.set_init_tls(func)

    # Transient objects

    def setTransientsCleanupAge(self, secs: float) -> None:
        """Disconnect objects without name that were not called for `secs` seconds.

        And call their ``_gotReaped``; 0 never does.
        """
        self._reaper.set_age(secs)
        if self._state is not None:
            self._reaper.start(self._state)

    def reapUnusedTransients(self) -> None:
        """Disconnect the objects without name that were not called for the set time, and of which no call runs."""
        self._reaper.reap()

    # Running

    @property
    def connections(self) -> list[Channel]:
        """The open connections."""
        return list(self._listener.channels)

    def start(self) -> None:
        """Serve in the loop of the current thread, without blocking; for programs that run gevent's loop anyway.

        Raises:
            DaemonError: the daemon is closed, or runs in another thread.
        """
        self._attach()
        self._listener.keep = self

    def _attach(self) -> HubState:
        if self._closed:
            raise DaemonError("the daemon is closed")
        state = hub_state()
        if self._state is None:
            self._state = state
            # Again: another thread may have closed it before it could know of this hub.
            if not self._closed:
                self._listener.start(state)
            self._reaper.start(state)
        elif self._state is not state:
            raise DaemonError("the daemon runs in another thread")
        return state

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
            others: sockets, pipes or other things with ``fileno()`` to wait for, too.
            callback: called with the list of those that are readable.

        Raises:
            KeyboardInterrupt: Ctrl-C. The daemon is still there: `stop` lets running calls end, `closedown` does not.
            ProtocolError: `others` without `callback`.
        """
        others = list(others)
        if others and callback is None:
            raise ProtocolError("callback required")
        if self._stop_asked:  # before the loop began, as in another thread
            self.stop()
            return
        try:
            state = self._attach()
        except DaemonError:
            if self._stop_asked:  # in this very moment, by another thread
                return
            raise
        self._woken = woken = Event()
        self._looping, self._interrupted = True, False
        self._listener.on_forked = woken.set  # a child has nothing to serve: its copy of this loop ends
        watchers = [state.loop.io(_descriptor(thing), READ) for thing in others]
        ready: list[Any] = []
        try:
            with answered_by(self.shutdown, self._interrupt, state.hub.main_hub):
                while not self._stop_asked and not self._closed and os.getpid() == self._process and condition():
                    for watcher, thing in zip(watchers, others, strict=True):
                        watcher.start(self._other_ready, watcher, thing, ready)
                    if condition is not _always:
                        self._dispatcher.on_activity = woken.set
                    self._wait(woken, timeout)
                    if ready and callback is not None:
                        found = ready[:]
                        ready.clear()
                        callback(found)
        finally:
            self._looping = self._interruptible = False
            self._woken = None
            self._dispatcher.on_activity = None
            self._listener.on_forked = None
            for watcher in watchers:
                watcher.stop()
                watcher.close()
        if self._stop_asked and os.getpid() == self._process:
            self.stop()

    def _wait(self, woken: Event, timeout: float | None) -> None:
        self._interruptible = getcurrent().parent is None
        woken.wait(timeout)
        woken.clear()
        self._interruptible = False
        if self._interrupted:
            self._interrupted = False
            raise KeyboardInterrupt

    def _interrupt(self) -> bool:
        """From a signal handler: end the loop with a KeyboardInterrupt, if it runs in the main greenlet and waits."""
        if self._state is None or self._woken is None or not self._interruptible or self._interrupted:
            return False
        self._interrupted = True
        self._state.call_soon(self._woken.set)
        return True

    def _other_ready(self, watcher: Any, thing: Any, ready: list[Any]) -> None:
        watcher.stop()  # level-triggered: it would fire until the callback has read it
        ready.append(thing)
        if self._woken is not None:
            self._woken.set()

    def shutdown(self, disconnect: bool = False) -> None:
        """Ask the loop to end: running calls are finished, new ones refused. Does not wait, works from anywhere.

        Args:
            disconnect: also forget all objects now.
        """
        self._stop_asked = True
        if disconnect:
            for guid in list(self._dispatcher.entries):
                with contextlib.suppress(KeyError):  # disconnected by somebody else meanwhile
                    self.disconnect(guid)
        state = self._state
        if state is None or self._process != os.getpid():
            self.closedown()
        elif not state.closed:
            state.call_soon(self._shut_down_soon)

    def _shut_down_soon(self) -> None:
        if self._looping:
            if self._woken is not None:
                self._woken.set()
        elif self._state is not None and not self._closed:
            self._state.start(lambda first, second: self.stop())

    def stop(self, grace: float | None = None) -> None:
        """Stop serving: accept no more, tell the clients, finish running calls, then close. May be called again.

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
        state, listener = self._state, self._listener
        if state is None or state.closed or self._process != os.getpid():
            if self._process == os.getpid():
                listener.close()
        elif state is hub_state():
            listener.close()
        else:
            state.call_soon(listener.close)
        if self._woken is not None and state is not None:
            state.call_soon(self._woken.set)

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
            self._state.call_soon(self._listener.close)


def _descriptor(thing: Any) -> int:
    return thing if isinstance(thing, int) else int(thing.fileno())
