"""`NameServerStarter`: running a name server, by itself or inside another program."""

from __future__ import annotations

import contextlib

from gpyro.constants import NAMESERVER_NAME
from gpyro.discovery import BCReqValidator, BroadcastServer, write_uri_file
from gpyro.errors import ConnectionDeniedError, DaemonError, NamingError, PyroError
from gpyro.hub_daemon import Daemon
from gpyro.locator import NameServerLocator
from gpyro.logs import Log
from gpyro.names import split
from gpyro.naming_server import NameServer, PersistentNameServer
from gpyro.pyrouri import PyroURI
from gpyro.service_starter import ServiceDaemon, ServiceStarter, class_and_file, say
from gpyro.settings import config
from gpyro.startup import initServer
from gpyro.uri import is_own
from gpyro.validators import DefaultConnValidator

Guards = tuple[DefaultConnValidator | None, BCReqValidator | None]


class _Denying(BCReqValidator):
    """Where passphrases are asked for, a datagram, which proves nothing, shuts nothing down."""

    def acceptShutdownCmd(self) -> int:
        return 0


def _greet(keep: int, verbose: int, guards: Guards) -> None:
    say("*** Pyro Name Server ***")
    initServer(banner=verbose)
    if verbose:
        say(f"Will {'ignore' if keep else 'accept'} shutdown requests.")
        if guards[1] is not None:
            say(f"Broadcasts are judged by {class_and_file(guards[1])}.")


class NameServerStarter(ServiceStarter):
    """Runs a name server.

    Attributes:
        server: the name server, once it was begun.
    """

    _what = "Name Server"
    _error = NamingError
    _exposure = (
        "register and remove names. Ask for a passphrase (gpyro-ns --identification-file, "
        "NameServerStarter(identification)), or judge connections (gpyro-ns -s, Guards)"
    )
    server: NameServer | None

    def __init__(self, identification: str | tuple[str, str] | None = None) -> None:
        """`identification` is the passphrase that clients need; None for none."""
        super().__init__(identification)
        self._broadcast: BroadcastServer | None = None

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
        _greet(keep, verbose, Guards)
        server = PersistentNameServer(dbdir, role) if persistent else NameServer(role)
        server.keep_running = bool(keep)
        if not dontlookupother:
            self._look_for_others(bool(allowmultiple), bcport, bcaddr)
        daemon = self._bind(hostname, config.PYRO_NS_PORT if nsport is None else nsport)
        try:
            self._guard(daemon, Guards[0], verbose)
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

    def _bind(self, hostname: str | None, port: int) -> ServiceDaemon:
        try:
            return ServiceDaemon(host=hostname, port=port, norange=1)
        except DaemonError as error:
            if "in use" in str(error):
                say("The Name Server appears to be already running on this host.")
                say(f"(port {port}: {error})")
            raise

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

    def _begin_to_serve(self) -> None:
        if self._broadcast is not None and self.server is not None:
            self._broadcast.serve(str(self.uri), self.server.shut_down)

    def stop(self) -> None:
        """End it and wait until all is closed; in the thread that serves. May be repeated."""
        broadcast, self._broadcast = self._broadcast, None
        if broadcast is not None:
            broadcast.close()
        super().stop()
