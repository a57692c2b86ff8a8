"""`NameServerStarter`: running a name server, by itself or inside another program."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from typing import Any, Final

from gpyro.constants import NAMESERVER_NAME
from gpyro.discovery import BCReqValidator, BroadcastServer, write_uri_file
from gpyro.errors import ConnectionDeniedError, DaemonError, NamingError, PyroError
from gpyro.hub_daemon import Daemon
from gpyro.locator import NameServerLocator
from gpyro.locks import Event
from gpyro.logs import Log
from gpyro.names import split
from gpyro.naming_server import NameServer, PersistentNameServer
from gpyro.net.foreign_loop import LoopSocket
from gpyro.net.hub import hub_state
from gpyro.pyrouri import PyroURI
from gpyro.settings import Settings, config
from gpyro.startup import initServer
from gpyro.uri import is_own
from gpyro.validators import DefaultConnValidator

HANDSHAKE: Final = 20.0
"""Seconds that a name server gives new connections for each of their first steps."""

Guards = tuple[DefaultConnValidator | None, BCReqValidator | None]


class _Daemon(Daemon):
    """A daemon whose calls overlap, whatever the program wants of its own: many of them wait for something.

    Attributes:
        server: the name server, whose calls are not to wait when the daemon stops.
    """

    server: NameServer | None = None

    def attach(self) -> None:
        """Take the hub of this thread. Raises DaemonError: everybody could connect."""
        self._attach()

    def stop(self, grace: float | None = None) -> None:
        """As `Daemon.stop`."""
        if self.server is not None and self._state is hub_state():
            self.server.let_go()
        super().stop(grace)

    def run_soon(self, function: Callable[[], object]) -> None:
        """Run a function in a greenlet of the loop that serves. From any thread, or signal handler."""
        state = self._state
        if state is not None:
            run: Callable[[Any, Any], Any] = lambda first, second: function()  # noqa: E731
            state.call_soon(lambda: state.start(run))

    def _check_exposure(self) -> None:
        try:
            super()._check_exposure()
        except DaemonError as error:
            raise DaemonError(
                f"Couldn't start Pyro daemon: bound to {self._exposed}, everybody who can reach this machine could "
                "register and remove names. Ask for a passphrase (gpyro-ns --identification-file, "
                "NameServerStarter(identification)), or judge connections (gpyro-ns -s, Guards), or bind the loopback "
                "interface, or say PYRO_ALLOW_OPEN=1"
            ) from error

    def _settings(self) -> Settings:
        return super()._settings().replace(PYRO_MULTITHREADED=True)


class _Denying(BCReqValidator):
    """Where passphrases are asked for, a datagram, which proves nothing, shuts nothing down."""

    def acceptShutdownCmd(self) -> int:
        return 0


def say(text: str) -> None:
    """Print a line of what happens to a name server."""
    with contextlib.suppress(OSError, ValueError):  # nobody reads it
        print(text, flush=True)


def _greet(keep: int, verbose: int) -> None:
    say("*** Pyro Name Server ***")
    initServer(banner=verbose)
    if verbose:
        say(f"Will {'ignore' if keep else 'accept'} shutdown requests.")


def _class_and_file(plugin: object) -> str:
    kind = type(plugin)
    file = getattr(sys.modules.get(kind.__module__), "__file__", None)
    return f"{kind.__qualname__} of {file or kind.__module__}"


class NameServerStarter:
    """Runs a name server.

    `start` blocks; `begin` serves in the gevent loop that runs anyway; and after `initialize` a loop of any kind drives
    it through `getServerSockets` and `handleRequests`.

    Attributes:
        daemon: the daemon, once it was begun.
        server: the name server, likewise.
        uri: the name server's, likewise.
    """

    def __init__(self, identification: str | tuple[str, str] | None = None) -> None:
        """`identification` is the passphrase that clients need; None for none."""
        self._identification = identification
        self._started = Event()
        self._blocking = False
        self.daemon: _Daemon | None = None
        self.server: NameServer | None = None
        self.uri: PyroURI | None = None
        self._broadcast: BroadcastServer | None = None

    def start(self, *args: Any, **kwargs: Any) -> None:
        """Run a name server until somebody ends it: `shutdown`, SIGTERM, Ctrl-C, or a client.

        Arguments and errors are those of `initialize`. What happens is printed.
        """
        self.initialize(*args, **kwargs)
        self._blocking = True
        try:
            self._serve()
            self._daemon().requestLoop()
        except KeyboardInterrupt:
            say("Shutting down on user break signal.")
        finally:
            self._blocking = False
            self.stop()
        say("Name Server gracefully stopped.")

    def begin(self, *args: Any, **kwargs: Any) -> None:
        """Run a name server in the gevent loop of this thread, without blocking, until `stop`.

        Arguments and errors are those of `initialize`.
        """
        self.initialize(*args, **kwargs)
        try:
            self._serve()
            self._daemon().start()
        except BaseException:
            self.stop()
            raise

    def initialize(
        self,
        hostname: str | None = None,
        nsport: int | None = None,
        bcport: int = 0,
        keep: int = 0,
        persistent: int = 0,
        dbdir: str | None = None,
        Guards: Guards = (None, None),
        allowmultiple: int = 0,
        dontlookupother: int = 0,
        verbose: int = 0,
        role: object = None,
        bcaddr: str | None = None,
        nobroadcast: bool = False,
    ) -> None:
        """Make the name server, its daemon and what answers broadcasts; clients are served with the first round.

        Args:
            hostname: host to bind; None for PYRO_HOST.
            nsport: port, 0 for one that the system chooses; None for PYRO_NS_PORT.
            bcport: UDP port of broadcasts; 0 for PYRO_NS_BC_PORT.
            keep: whether requests of clients to shut down are denied.
            persistent: whether names are kept in a file.
            dbdir: the file's directory, as of `PersistentNameServer`.
            Guards: what judges connections, and broadcasts; None for what judges neither.
            allowmultiple: whether another name server on this network is all right.
            dontlookupother: whether not even to look for one.
            verbose: whether to print more.
            role: as of `NameServer`.
            bcaddr: address to listen for broadcasts on; None for PYRO_NS_BC_ADDR, or any. On the loopback interface
                nobody listens unless there is one.
            nobroadcast: whether nobody is to listen for broadcasts.

        Raises:
            NamingError: there is a name server on this network, the role is one of a pair, or broadcasts cannot be
                listened for.
            DaemonError: the port is taken, or cannot be bound for another reason, or everybody could connect.
            StoreError: the names cannot be read from their file.
        """
        if self.daemon is not None:
            raise NamingError("this starter runs a name server already")
        _greet(keep, verbose)
        server = PersistentNameServer(dbdir, role) if persistent else NameServer(role)
        server.keep_running = bool(keep)
        if not dontlookupother:
            self._look_for_others(bool(allowmultiple), bcport, bcaddr)
        daemon = self._bind(hostname, config.PYRO_NS_PORT if nsport is None else nsport)
        try:
            self._guard(daemon, Guards, verbose)
            server.open(self.shutdown)
            self.server, self.daemon, daemon.server = server, daemon, server
            self._listen_for_broadcasts(daemon, bcport or config.PYRO_NS_BC_PORT, bcaddr, nobroadcast, Guards[1])
            self._publish(server, daemon)
        except BaseException:
            self.stop()
            daemon.closedown()
            server.close()
            raise

    def _look_for_others(self, allowed: bool, bcport: int, bcaddr: str | None) -> None:
        try:
            found = NameServerLocator(self._identification).detectNS(port=bcport or None, bcaddr=bcaddr)
            where = f"host: {found.address} port: {found.port}"
        except ConnectionDeniedError as error:
            where = str(error)
        except PyroError:
            return
        say("The Name Server appears to be already running on this segment.")
        say(f"({where})")
        if not allowed:
            raise NamingError("Cannot start multiple Name Servers in the same network segment.")

    def _bind(self, hostname: str | None, port: int) -> _Daemon:
        try:
            return _Daemon(host=hostname, port=port, norange=1)
        except DaemonError as error:
            if "in use" in str(error):
                say("The Name Server appears to be already running on this host.")
                say(f"(port {port}: {error})")
            raise

    def _guard(self, daemon: _Daemon, guards: Guards, verbose: int) -> None:
        daemon.setTimeout(HANDSHAKE)
        connections, _ = guards
        if connections is not None:
            daemon.setNewConnectionValidator(connections)
        for what, guard in zip(("Connections", "Broadcasts"), guards, strict=True):
            if verbose and guard is not None:
                say(f"{what} are judged by {_class_and_file(guard)}.")
        if self._identification is not None:
            daemon.setAllowedIdentifications([self._identification])
            say("Requiring connection authentication.")
        # Now, and not when it begins to serve: by then others would have been told where it is.
        daemon._check_exposure()

    def _listen_for_broadcasts(
        self, daemon: Daemon, port: int, addr: str | None, switched_off: bool, guard: BCReqValidator | None
    ) -> None:
        say(f"Name server listening on: {(daemon.hostname, daemon.port)}")
        addr = addr or config.PYRO_NS_BC_ADDR
        if switched_off or (is_own(daemon.hostname) and not addr):
            return
        if guard is None and self._identification is not None:
            guard = _Denying()
        self._broadcast = BroadcastServer(addr, port, guard)
        say(f"Broadcast server listening on: {self._broadcast.address}")

    def _publish(self, server: NameServer, daemon: Daemon) -> None:
        """Take the name server's own place in its name space, under the URI that it had there, and tell it."""
        node = server.space.look_up(NAMESERVER_NAME)
        if node is not None:
            with contextlib.suppress(PyroError):  # somebody may have put anything there
                before = PyroURI(node.record.uri)
                if (before.protocol, before.address, before.port) == ("PYRO", daemon.hostname, daemon.port):
                    server.setGUID(before.objectID)
        self.uri = uri = daemon.take_in(server, NAMESERVER_NAME)
        server.space.prepare([split(NAMESERVER_NAME)[0]])
        server.space.enrol(NAMESERVER_NAME, uri, replacing="" if node is None else node.record.uri)
        path = config.PYRO_NS_URIFILE
        say(f"URI is: {uri}")
        try:
            write_uri_file(path, str(uri))
            say(f"URI written to: {path}")
        except OSError as error:
            Log.error("name server", f"the URI cannot be written to {path}: {error.strerror}")

    def _serve(self) -> None:
        """Serve from now on, in this thread."""
        daemon, server = self._daemon(), self.server
        daemon.attach()
        if self._broadcast is not None and server is not None:
            self._broadcast.serve(str(self.uri), server.shut_down)
        say("Name Server started.")
        self._started.set()

    def _daemon(self) -> _Daemon:
        if self.daemon is None:
            raise NamingError("the name server was not begun, or is stopped")
        return self.daemon

    # For a loop of another kind

    def getServerSockets(self) -> list[LoopSocket]:
        """What a foreign loop has to wait for; see `Daemon.getServerSockets`."""
        if not self._started.is_set():
            self._serve()
        return list(self._daemon().getServerSockets())

    def handleRequests(self, timeout: float | None = None) -> None:
        """One round of serving; see `Daemon.handleRequests`.

        Raises:
            NamingError: it has ended, as when a client asked for that.
        """
        if not self._started.is_set():
            self._serve()
        self._daemon().handleRequests(timeout)

    # From anywhere

    @property
    def serving(self) -> bool:
        """Whether clients are served, or will be with the next round."""
        return self._started.is_set()

    def waitUntilStarted(self, timeout: float | None = None) -> bool:
        """Wait, in any thread or greenlet, until it serves; whether it does. `timeout` is in seconds, None for ever."""
        return self._started.wait(timeout)

    def shutdown(self, ns: object = None) -> None:
        """Ask the name server to end, from any thread or signal handler; `ns` is not used."""
        daemon = self.daemon
        if daemon is not None and self._blocking:
            daemon.shutdown()
        elif daemon is not None:
            daemon.run_soon(self.stop)

    def stop(self) -> None:
        """End it and wait until all is closed; in the thread that serves. May be repeated."""
        daemon, server, broadcast = self.daemon, self.server, self._broadcast
        self.daemon = self.server = self._broadcast = None
        self._started.clear()
        if broadcast is not None:
            broadcast.close()
        if server is not None:
            server.let_go()
        if daemon is not None:
            daemon.stop()
        if server is not None:
            server.close()
