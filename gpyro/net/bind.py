"""Binding a daemon's socket: which interface, which port, and what URIs say about it."""

from __future__ import annotations

import _socket
import errno
import ipaddress
import socket
from dataclasses import dataclass

from gpyro import uri
from gpyro.errors import DaemonError, URIError
from gpyro.net import unix
from gpyro.net.sockets import literal, new_socket, set_options
from gpyro.settings import Settings

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Bound:
    """A listening socket.

    Attributes:
        sock: the socket.
        hostname: what URIs say.
        port: the port that it has; 0 for a Unix socket.
        unix: the file of a Unix socket.
        exposed: the address, if it can be reached from other machines; '' if not.
    """

    sock: _socket.socket
    hostname: str
    port: int
    unix: unix.UnixPath | None = None
    exposed: str = ""


def bind(host: str, port: int, norange: bool, publish: str | None, settings: Settings) -> Bound:
    """Bind and listen.

    Args:
        host: name, IP address or ``./u:`` and a path; empty for loopback.
        port: where to start; 0 for PYRO_PORT, or with `norange` for one that the system chooses.
        norange: exactly this port, not the next free one.
        publish: what URIs say instead of `host`.
        settings: ports to try, and the backlog.

    Raises:
        DaemonError: it cannot be bound; the text says why.
    """
    try:
        for name in (host, publish):
            if name:
                uri.check_address(name)
    except URIError as error:
        hint = " (a Unix socket is written ./u:/path)" if "/" in f"{host}{publish}" else ""
        raise DaemonError(f"Couldn't start Pyro daemon: {error}{hint}") from error
    if uri.is_unix(host):
        sock, path = unix.bind(uri.unix_path(host))
        sock.listen(settings.PYRO_TCP_LISTEN_BACKLOG)
        return Bound(sock, publish or host, 0, path)
    family, address = _resolve(host)
    sock = _bind_port(family, address, port, norange, settings)
    exposed = "" if ipaddress.ip_address(address.partition("%")[0]).is_loopback else host
    return Bound(sock, publish or _published(host, address), sock.getsockname()[1], exposed=exposed)


def _resolve(host: str) -> tuple[int, str]:
    """Family and address to bind."""
    if not host or host == "localhost":
        return socket.AF_INET, LOOPBACK
    known = literal(host, 0)
    if known is not None:
        family, address = known
        return family, address[0]
    try:
        found = socket.getaddrinfo(host, 0, 0, socket.SOCK_STREAM, 0, socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        text = getattr(error, "strerror", None) or error
        raise DaemonError(f"Couldn't start Pyro daemon: cannot resolve host {host!r}: {text}") from error
    entry = min(found, key=lambda entry: entry[0] != socket.AF_INET)
    return int(entry[0]), str(entry[4][0])


def _bind_port(family: int, address: str, port: int, norange: bool, settings: Settings) -> _socket.socket:
    first = port if norange else port or settings.PYRO_PORT
    if not isinstance(first, int):
        raise DaemonError(f"Couldn't start Pyro daemon: port {first!r} is no number")
    if not 0 <= first <= 65535:
        raise DaemonError(f"Couldn't start Pyro daemon: port {first} is not from 0 to 65535")
    last = first if norange or not first else min(65535, first + settings.PYRO_PORT_RANGE - 1)
    for number in range(first, last + 1):
        try:
            return _listening(family, (address, number), settings)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or number == last:
                where = f"port {first}" if first == last else f"ports {first} to {last}"
                raise DaemonError(f"Couldn't start Pyro daemon: {address} {where}: {error.strerror}") from error
    raise AssertionError("unreachable")


def _listening(family: int, address: tuple[str, int], settings: Settings) -> _socket.socket:
    sock = new_socket(family)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        set_options(sock, settings.PYRO_SOCK_KEEPALIVE)
        sock.bind(address)
        sock.listen(settings.PYRO_TCP_LISTEN_BACKLOG)  # with SO_REUSEADDR a port in use may show only here
    except BaseException:
        sock.close()
        raise
    return sock


def _published(host: str, address: str) -> str:
    if host in ("", "0.0.0.0", "::"):
        return socket.gethostname() if host else address
    return host
