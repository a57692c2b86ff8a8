"""`NameServerLocator`: where the name server is."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any, Final

import gevent
from gevent.event import AsyncResult

from gpyro.context import deadline, time_left
from gpyro.discovery import EVERYWHERE, LOCATION, SHUTDOWN, ask_everybody, read_uri_file
from gpyro.errors import ConnectionDeniedError, NamingError, PyroError, URIError
from gpyro.logs import Log
from gpyro.naming_proxy import NameServerProxy, patience
from gpyro.net.hub import check_not_in_hub, hub_state, limit
from gpyro.pyrouri import PyroURI
from gpyro.settings import Settings, config
from gpyro.startup import initClient
from gpyro.uri import is_unix

NS_SYSCMD_LOCATION: Final = LOCATION
NS_SYSCMD_SHUTDOWN: Final = SHUTDOWN

USUAL_PORT: Final = 9090
"""Where a name server is asked for if PYRO_NS_PORT is 0."""

NO_NAME_SERVER: Final = "could not find NameServer"
"""What an error begins with that says so."""

BETWEEN_TRIES: Final = 0.2
"""Seconds between two attempts at one place: a name server may just be starting."""

ANEW: Final = 1.0
"""Seconds between two broadcasts at most where a name server is lost: it may be back, and leases run, long before
PYRO_BC_TIMEOUT is over."""

FOREVER: Final = 86400.0


class NameServerLocator:
    """Finds the name server. It changes nothing of the configuration.

    Where a host is given, or PYRO_NS_HOSTNAME is set, only that one is asked. Otherwise this machine, the file
    PYRO_NS_URIFILE and a broadcast are asked at the same time, and whoever proves first to be a name server is taken.
    """

    def __init__(self, identification: str | tuple[str, str] | None = None) -> None:
        """`identification` says who asks; then only a name server that proves to know the passphrase is taken."""
        initClient()
        self._identification = identification

    def getNS(
        self, host: str | None = None, port: int | None = None, trace: int = 0, bcaddr: str | None = None
    ) -> NameServerProxy:
        """The name server, connected.

        Args:
            host: where it is; None to search, unless PYRO_NS_HOSTNAME says it.
            port: its port, None for PYRO_NS_PORT; without a host the port of broadcasts, and then nothing but a
                broadcast is tried.
            trace: whether to print what is tried.
            bcaddr: where to send the broadcast; None for PYRO_NS_BC_ADDR, or everywhere. If given, only that is tried.

        Raises:
            NamingError: there is none; the text tells what was tried.
            PyroError: with a port and no host: nobody answered.
            ProtocolError: with host and port: as a call does that cannot connect.
            ConnectionDeniedError: there is one, but not for this identification.
        """
        search = Search(self._identification, host, port, trace, bcaddr)
        return search.run()

    def detectNS(
        self, host: str | None = None, port: int | None = None, trace: int = 0, bcaddr: str | None = None
    ) -> PyroURI:
        """Where the name server is. Arguments and errors are those of `getNS`; nothing is logged."""
        found = Search(self._identification, host, port, trace, bcaddr).run()
        uri = found.URI
        found._release()
        return uri

    def sendSysCommand(
        self,
        request: str,
        host: str | None = None,
        port: int | None = None,
        trace: int = 0,
        logerrors: int = 1,
        bcaddr: str | None = None,
    ) -> str:
        """Find the name server and ask it something.

        Args:
            request: ``location``, for its URI, or ``shutdown``.
            host: as in `getNS`.
            port: as in `getNS`.
            trace: as in `getNS`.
            logerrors: whether the system log is told when it is not found.
            bcaddr: as in `getNS`.

        Raises:
            ValueError: another request.
            NamingError: as `getNS`, and likewise its other errors.
        """
        if request not in (LOCATION, SHUTDOWN):
            raise ValueError(f"a request is {LOCATION!r} or {SHUTDOWN!r}, not {request!r}")
        try:
            found = self.getNS(host, port, trace, bcaddr)
        except PyroError as error:
            if logerrors:
                Log.error("locator", f"no name server for the request {request!r}:", error)
            raise
        try:
            return str(found.URI) if request == LOCATION else found._shutdown()
        finally:
            found._release()


class Search:
    """One search, and what is to be searched for again.

    Attributes:
        tried: the ways that did not lead to a name server so far, and why.
    """

    def __init__(self, identification: Any, host: str | None, port: int | None, trace: int, bcaddr: str | None) -> None:
        """The arguments are those of `NameServerLocator` and its `getNS`."""
        self._identification = identification
        self._given = host, port, bcaddr
        self._trace = trace
        self._is_lost = False
        self._settings: Settings = config.snapshot()
        self.tried: dict[str, str] = {}
        self._denied: ConnectionDeniedError | None = None

    def run(self) -> NameServerProxy:
        """The name server, connected. Raises as `NameServerLocator.getNS`."""
        check_not_in_hub(hub_state().hub)
        self._settings = config.snapshot()
        host, port, bcaddr = self._given
        host = host or (None if bcaddr else self._settings.PYRO_NS_HOSTNAME)
        if host:
            return self._contact(host, port)
        self._say("searching Pyro Name Server...")
        self.tried, self._denied = {}, None
        found = self._race(self._ways(port, bcaddr))
        if found is not None:
            return found
        if self._denied is not None:
            raise self._denied
        tried = "; ".join(f"{where}: {reason}" for where, reason in self.tried.items())
        if port:
            raise PyroError(f"Name Server not responding: {tried}")
        raise NamingError(f"{NO_NAME_SERVER}; tried {tried}")

    def search_again(self) -> PyroURI:
        """Where it is now; for a `NameServerProxy` that lost it. Raises as `NameServerLocator.getNS`."""
        search = Search(self._identification, *self._given[:2], 0, self._given[2])
        search._is_lost = True
        found = search.run()
        uri = found.URI
        found._release()
        return uri

    def _say(self, text: str) -> None:
        if self._trace:
            print(f"Locator: {text}", flush=True)

    def _contact(self, host: str, port: int | None) -> NameServerProxy:
        """Ask one host."""
        self._say("contacting Pyro Name Server...")
        try:
            return self._proxy(self._place(host, port), None)
        except ConnectionDeniedError:
            raise
        except PyroError as error:
            if port:
                raise
            raise NamingError(f"{NO_NAME_SERVER} on host {host}: {error}") from error

    def _place(self, host: str, port: int | None = None) -> PyroURI:
        number = 0 if is_unix(host) else port or self._settings.PYRO_NS_PORT or USUAL_PORT
        return PyroURI(host, "x", number)

    def _proxy(self, place: PyroURI, search: Any) -> NameServerProxy:
        """A proxy, after the name server there answered. Raises as `NameServerProxy` does."""
        return NameServerProxy(place, self._identification, search=search)

    # Several ways at the same time

    def _ways(self, port: int | None, bcaddr: str | None) -> list[tuple[Callable[..., None], Any]]:
        broadcast = (
            self._broadcast,
            (bcaddr or self._settings.PYRO_NS_BC_ADDR, port or self._settings.PYRO_NS_BC_PORT),
        )
        if port or bcaddr:
            return [broadcast]
        here = [(self._try_host, (host,)) for host in dict.fromkeys(("localhost", socket.gethostname()))]
        return [*here, (self._try_file, ()), broadcast]

    def _race(self, ways: list[tuple[Callable[..., None], Any]]) -> NameServerProxy | None:
        result: AsyncResult[NameServerProxy | None] = AsyncResult()
        settings = self._settings
        endless = settings.PYRO_BC_RETRIES < 0 or settings.PYRO_BC_TIMEOUT < 0
        left = time_left()
        seconds = min(FOREVER if endless else patience(), FOREVER if left is None else left)
        running = [gevent.spawn(way, result, seconds, *arguments) for way, arguments in ways]

        def end() -> None:
            gevent.joinall(running)
            if not result.ready():
                result.set(None)

        over = gevent.spawn(end)
        try:
            with limit(seconds):
                return result.get()
        finally:
            gevent.killall([over, *running])
        return None

    def _try(self, where: str, place: PyroURI, result: AsyncResult[NameServerProxy | None], seconds: float) -> None:
        """Ask at one place; the first that answers is the result."""
        try:
            with deadline(seconds):
                found = self._proxy(place, self.search_again)
        except ConnectionDeniedError as error:
            self._denied = error
            self.tried[where] = str(error)
        except (PyroError, OSError) as error:
            self.tried[where] = str(error)
        else:
            if not result.ready():
                result.set(found)

    def _try_host(self, result: AsyncResult[NameServerProxy | None], seconds: float, host: str) -> None:
        place = self._place(host)
        self._say(f"trying host {host}")
        while not result.ready():
            self._try(f"{host}:{place.port}", place, result, seconds)
            gevent.sleep(BETWEEN_TRIES)

    def _try_file(self, result: AsyncResult[NameServerProxy | None], seconds: float) -> None:
        path = self._settings.PYRO_NS_URIFILE
        while not result.ready():
            try:
                self._try(f"the URI in {path}", read_uri_file(path), result, seconds)
            except OSError as error:
                self.tried[f"the file {path}"] = str(error.strerror)
            except URIError as error:
                self.tried[f"the file {path}"] = str(error)
            gevent.sleep(BETWEEN_TRIES)

    def _broadcast(
        self, result: AsyncResult[NameServerProxy | None], seconds: float, addr: str | None, port: int
    ) -> None:
        where = f"a broadcast to {addr or EVERYWHERE}:{port}"
        self.tried[where] = "no answer"
        tries = -1 if self._settings.PYRO_BC_RETRIES < 0 else 1 + self._settings.PYRO_BC_RETRIES
        every = self._settings.PYRO_BC_TIMEOUT
        if self._is_lost and not 0 <= every <= ANEW:
            tries, every = -1, ANEW  # as long as the search lasts
        checks = []
        try:
            for sender, uri in ask_everybody(addr, port, tries, every):
                self._say(f"answer from {sender}: {uri}")
                # Each by itself: somebody who answers first and then says nothing must not hold up the others.
                checks.append(gevent.spawn(self._try, f"{uri}, which {sender} answered", uri, result, seconds))
            gevent.joinall(checks)
        except PyroError as error:
            self.tried[where] = str(error)
        finally:
            gevent.killall(checks)
