"""Sockets as gpyro uses them: the interpreter's own, never blocking, never patched."""

from __future__ import annotations

import _socket
import contextlib
import ipaddress
import socket
import struct
import sys
from typing import Any, NamedTuple

KEEPALIVE_IDLE = 5
"""Seconds of silence after which the system probes whether the peer is still there."""

KEEPALIVE_INTERVAL = 3
KEEPALIVE_COUNT = 3
"""Unanswered probes after which the peer is dead: an idle one is noticed after 5 + 3 * 3 = 14 s."""

_CREDENTIALS = struct.Struct("3i")


class Credentials(NamedTuple):
    """Who is at the other end of a Unix socket, by the word of the kernel."""

    pid: int
    uid: int
    gid: int


def new_socket(family: int) -> _socket.socket:
    """A new stream socket that does not block."""
    sock = _socket.socket(family, socket.SOCK_STREAM, 0)
    sock.setblocking(False)
    return sock


def adopt(listener: _socket.socket, descriptor: int) -> _socket.socket:
    """The socket of a connection that was accepted on `listener`."""
    sock = _socket.socket(listener.family, listener.type, listener.proto, fileno=descriptor)
    sock.setblocking(False)
    return sock


def set_options(sock: _socket.socket, keepalive: bool) -> None:
    """What every connection wants; set on a listening socket, accepted ones inherit it on Linux."""
    if sock.family == socket.AF_UNIX:
        return
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if not keepalive:
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (
        ("TCP_KEEPIDLE", KEEPALIVE_IDLE),
        ("TCP_KEEPINTVL", KEEPALIVE_INTERVAL),
        ("TCP_KEEPCNT", KEEPALIVE_COUNT),
    ):
        if hasattr(socket, option):  # not everywhere
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


def peer_credentials(sock: _socket.socket) -> Credentials | None:
    """Process and user at the other end of a Unix socket; None where the system does not tell."""
    option = getattr(socket, "SO_PEERCRED", None)
    if sock.family != socket.AF_UNIX or option is None:
        return None
    return Credentials(*_CREDENTIALS.unpack(sock.getsockopt(socket.SOL_SOCKET, option, _CREDENTIALS.size)))


def literal(host: str, port: int) -> tuple[int, Any] | None:
    """Family and socket address if `host` is an IP address, which needs no look-up; else None."""
    if ":" in host:
        address, _, zone = host.partition("%")
        try:
            socket.inet_pton(socket.AF_INET6, address)
            scope = 0 if not zone else int(zone) if zone.isdigit() else socket.if_nametoindex(zone)
        except OSError:
            return None
        return socket.AF_INET6, (address, port, 0, scope)
    try:
        socket.inet_pton(socket.AF_INET, host)
    except OSError:
        return None
    return socket.AF_INET, (host, port)


def origin_of(address: Any) -> str:
    """Who a peer's address stands for: itself, or of IPv6 the network of 64 bits that one customer is given.

    '' for a Unix socket.
    """
    if not isinstance(address, tuple) or not address:
        return ""
    known = ipaddress.ip_address(str(address[0]).partition("%")[0])
    if known.version == 4:
        return str(known)
    return str(
        known.ipv4_mapped or ("::1" if known.is_loopback else ipaddress.ip_network((int(known) >> 64 << 64, 64)))
    )


LEAST_WINDOW = 1024 * 1024
"""Bytes that the kernel may keep at least for a connection that is not read quickly enough."""

_FASTEST = 1250  # bytes a microsecond: 10 Gbit/s
_WINDOW_CLAMP, _NOTSENT_LOWAT = 10, 25  # Linux; Python has no names for them yet
_SHORTEST_RTT = 148  # offset of the shortest round trip so far, in microseconds, in the kernel's struct tcp_info
_UNSENT = 128 * 1024


def bound_unread(sock: _socket.socket) -> None:
    """Let the kernel keep no more unread bytes than the network holds in a round trip.

    It would take tens of MiB, and behind those a small message waits for as long as the program takes to read them.
    """
    if sys.platform == "linux" and sock.family != socket.AF_UNIX:
        with contextlib.suppress(OSError, struct.error):
            info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _SHORTEST_RTT + 4)
            (round_trip,) = struct.unpack_from("=I", info, _SHORTEST_RTT)
            window = max(LEAST_WINDOW, min(round_trip * _FASTEST, 1 << 30))
            sock.setsockopt(socket.IPPROTO_TCP, _WINDOW_CLAMP, window)


def bound_unsent(sock: _socket.socket, bounded: bool) -> None:
    """Let the kernel keep few bytes that it has not sent, behind which others would wait; or as many as ever."""
    if sys.platform == "linux" and sock.family != socket.AF_UNIX:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, _NOTSENT_LOWAT, _UNSENT if bounded else 0)
