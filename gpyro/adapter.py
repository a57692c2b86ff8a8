"""The connection of a proxy as an object, as Pyro 3 programs know it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import gevent
from greenlet import getcurrent

from gpyro.errors import ConnectionDeniedError, NamingError, ProtocolError, TimeoutError
from gpyro.net.hub import hub_state

if TYPE_CHECKING:
    from gpyro.proxy import DynamicProxy
    from gpyro.pyrouri import PyroURI


class PYROAdapter:
    """What ``proxy.adapter`` gives: another handle on the same proxy's connection."""

    __slots__ = ("_proxy",)

    def __init__(self, proxy: DynamicProxy) -> None:
        self._proxy = proxy

    @property
    def URI(self) -> PyroURI:
        """Where the proxy connects to."""
        return self._proxy.URI

    def rebindURI(self, tries: int = sys.maxsize, wait: float = 1) -> None:
        """Connect again to where the proxy points, as after a ConnectionClosedError; the failed call is not repeated.

        A connection to there that other proxies have is good enough, unless it is known to be lost.

        Args:
            tries: how often at most.
            wait: seconds in between.

        Raises:
            TimeoutError: not connected after the last try.
            ConnectionDeniedError: the server is there and refuses.
        """
        self._proxy._release()
        self._hear_of_losses()
        last: ProtocolError | NamingError | None = None
        for left in range(tries - 1, -1, -1):
            try:
                self._proxy._remote.connect(self._deadline())
                return
            except ConnectionDeniedError:
                raise
            except (ProtocolError, NamingError) as error:
                last = error
            if left:
                gevent.sleep(wait)
        raise TimeoutError(
            f"connection lost: not connected to {self.URI} after {max(tries, 0)} tries: {last}", "connecting"
        ) from last

    def bindToURI(self, URI: str | PyroURI) -> None:
        """Point the proxy elsewhere and connect. Raises as a call does that cannot connect."""
        self._proxy.URI = URI
        self._proxy._remote.connect(self._deadline())

    def _hear_of_losses(self) -> None:
        """Let the loop see the end of connections, as it could not in a program that was busy elsewhere until now."""
        state = hub_state()
        if getcurrent() is not state.hub:  # from there, connecting is an error anyway
            state.poll()
            gevent.sleep(0)  # the timer may have come before the others that were due with it

    def _deadline(self) -> float | None:
        return self._proxy._remote.handed_on()[0]

    def connected(self) -> bool:
        """Whether the proxy has a connection now, on any thread."""
        return any(session.channel.usable for session in self._proxy._remote.sessions.values())

    def release(self, nolog: int = 0) -> None:
        """End the proxy's sessions."""
        self._proxy._release()

    def setTimeout(self, secs: float | None) -> None:
        """As the proxy's ``_setTimeout``."""
        self._proxy._setTimeout(secs)

    def setOneway(self, methods: Any) -> None:
        """As the proxy's ``_setOneway``."""
        self._proxy._setOneway(methods)

    def setIdentification(self, ident: Any) -> None:
        """As the proxy's ``_setIdentification``."""
        self._proxy._setIdentification(ident)

    def setNewConnectionValidator(self, validator: Any) -> None:
        """As the proxy's ``_setNewConnectionValidator``."""
        self._proxy._setNewConnectionValidator(validator)

    def getNewConnectionValidator(self) -> Any:
        """As the proxy's ``_getNewConnectionValidator``."""
        return self._proxy._getNewConnectionValidator()
