"""The names of Pyro 3's ``Pyro.protocol`` that programs use: validators, connections and local storage."""

from __future__ import annotations

import gevent.socket

from gpyro.adapter import PYROAdapter
from gpyro.tls import LocalStorage
from gpyro.validators import DefaultConnValidator, TCPConnection, Token

__all__ = [
    "DefaultConnValidator",
    "LocalStorage",
    "PYROAdapter",
    "TCPConnection",
    "Token",
    "getHostname",
    "getIPAddress",
]


def getHostname(ip: str | None = None) -> str | None:
    """The name of the host with this address, or of this machine; None if there is none."""
    try:
        return gevent.socket.gethostname() if ip is None else str(gevent.socket.gethostbyaddr(ip)[0])
    except (OSError, UnicodeError):
        return None


def getIPAddress(host: str | None = None) -> str | None:
    """The IPv4 address of this host, or of this machine; None if it cannot be found."""
    try:
        return str(gevent.socket.gethostbyname(host or gevent.socket.gethostname()))
    except (OSError, UnicodeError):
        return None
