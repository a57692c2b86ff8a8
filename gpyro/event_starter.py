"""`EventServiceStarter`: running an event server, by itself or inside another program."""

from __future__ import annotations

import contextlib

from gpyro.constants import EVENTSERVER_NAME
from gpyro.errors import NamingError, ProtocolError
from gpyro.event_server import EventService
from gpyro.locator import NameServerLocator
from gpyro.naming_proxy import NameServerProxy
from gpyro.service_starter import ServiceDaemon, ServiceStarter, say
from gpyro.startup import initServer
from gpyro.uri import is_own

EVENTSERVER_GUID = "c0000000021000001000000010000003"
"""The object's id, the same after each start: a URI that somebody has stays good as long as host and port do."""


class EventServiceStarter(ServiceStarter):
    """Runs an event server.

    Attributes:
        server: the event server, once it was begun.
    """

    _what = "Event Server"
    _exposure = (
        "publish and read events. Ask for a passphrase (gpyro-es --identification-file, "
        "EventServiceStarter(identification))"
    )
    server: EventService | None

    def initialize(
        self,
        hostname: str | None = None,
        port: int | None = None,
        startloop: int = 0,
        useNameServer: int = 1,
        norange: int = 0,
        verbose: int = 0,
    ) -> None:
        """Make the event server and its daemon, and register it; clients are served with the first round.

        Args:
            hostname: host to bind; None or empty for PYRO_HOST.
            port: first port to try; None for PYRO_PORT, and 0 for one that the system chooses.
            startloop: not used; `start` runs the loop, and `begin` and this do not.
            useNameServer: whether it is registered at a name server, which is looked for.
            norange: true for exactly that port, instead of the next free one of PYRO_PORT_RANGE.
            verbose: whether to print more.

        Raises:
            NamingError: there is no name server, or it knows of an event server that is still there.
            DaemonError: it cannot be bound, or everybody could connect.
            ProtocolError: the name server cannot be asked.
        """
        if self.daemon is not None:
            raise NamingError("this starter runs an event server already")
        say("*** Pyro Event Server ***")
        initServer(banner=verbose, storageCheck=0)
        ns = NameServerLocator(identification=self._identification).getNS() if useNameServer else None
        if ns is not None and verbose:
            say(f"Name Server: {ns.URI}")
        # No host is what PYRO_HOST says, as ever in gpyro; Pyro 3's '' bound all there are.
        daemon = ServiceDaemon(host=hostname or None, port=port or 0, norange=norange or port == 0)
        server = EventService()
        try:
            self._guard(daemon, None, 0)
            server.setGUID(EVENTSERVER_GUID)
            daemon.useNameServer(ns)
            if ns is None:
                self.uri = daemon.take_in(server, EVENTSERVER_NAME)
            else:
                self.uri = daemon.connect(server, EVENTSERVER_NAME)
            self.server, self.daemon, daemon.server = server, daemon, server
        except NamingError as error:
            daemon.closedown()
            if error.args[0] == "name already exists":
                where = "" if ns is None else _registered_at(ns)
                raise NamingError(*error.args, f"an event server is registered, and still there{where}") from error
            raise
        except BaseException:
            daemon.closedown()
            raise
        say(f"URI= {self.uri}")
        if verbose:
            events, size, policy = server.limits.events, server.limits.size, server.limits.policy
            say(f"Queues of subscribers: {events or 'any number of'} events, {size or 'any number of'} bytes, {policy}")
        if is_own(daemon.hostname):  # other names are looked up by those who use them
            say(f"WARNING: URIs of this server are of no use on other machines: {daemon.hostname} leads to itself")


def _registered_at(ns: NameServerProxy) -> str:
    with contextlib.suppress(NamingError, ProtocolError):  # it may have gone by now
        return f": {ns.resolve(EVENTSERVER_NAME)}"
    return ""
