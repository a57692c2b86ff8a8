"""Dialling: from an address to a connected socket."""

from __future__ import annotations

import _socket
import errno
import os
import socket
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol

from gpyro.auth import Identification
from gpyro.errors import NotSentError
from gpyro.net.hub import HubState, limit
from gpyro.net.resolve import Resolver
from gpyro.net.sockets import new_socket, set_options
from gpyro.net.stream import WRITE
from gpyro.settings import Settings
from gpyro.uri import is_unix, unix_path

if TYPE_CHECKING:
    from gpyro.net.channel import Channel


class ServerJudge(Protocol):
    """Judges the server that a client connects to, in a worker; raises ConnectionDeniedError to refuse."""

    def judge_host(self, channel: Channel) -> None:
        """Look at where the connection goes, before anything was said."""

    def judge_server(self, channel: Channel, given: bool, proved: bool) -> None:
        """Look at who is there: whether an identification was given, and whether the server proved to know it."""


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a channel goes; channels are shared by what is equal here.

    Attributes:
        address: host name, IP address or address of a Unix socket (see `gpyro.uri`).
        port: TCP port, 0 for a Unix socket.
        credentials: who connects; proxies with other credentials do not share the connection.
        private: the number of a proxy that has a channel of its own; 0 for the one that is shared.
        settings: how to connect; part of the key because it decides about the serializer.
        judge: judges the server; None for the ordinary rule, that it has to prove what it is given.
    """

    address: str
    port: int
    credentials: Identification | None
    private: int
    settings: Settings
    judge: ServerJudge | None = None

    def __str__(self) -> str:
        if is_unix(self.address):
            return self.address
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


def dial(state: HubState, to: Destination, deadline: float) -> tuple[_socket.socket, Any]:
    """A connected socket: every address of the host is tried, each with its share of the time that is left."""
    settings = to.settings
    if is_unix(to.address):
        endpoints: list[tuple[int, Any]] = [(socket.AF_UNIX, unix_path(to.address))]
    else:
        endpoints = state.part(Resolver).endpoints(to.address, to.port, deadline, settings.PYRO_DNS_CACHE)
    failures = []
    for tried, (family, address) in enumerate(endpoints):
        share = (deadline - monotonic()) / (len(endpoints) - tried)
        try:
            sock = new_socket(family)
        except OSError as error:
            failures.append(f"{error.strerror}")
            continue
        try:
            set_options(sock, settings.PYRO_SOCK_KEEPALIVE)
            code = connect_one(state, sock, address, share)
        except BaseException:
            sock.close()
            raise
        if code == 0:
            return sock, address
        sock.close()
        failures.append(os.strerror(code) if len(endpoints) == 1 else f"{address[0]}: {os.strerror(code)}")
    raise NotSentError(f"connection failed: {to}: {'; '.join(failures)}")


def connect_one(state: HubState, sock: _socket.socket, address: Any, seconds: float) -> int:
    """Connect a socket of `new_socket` within `seconds`; gives the error number, 0 for success."""
    code = sock.connect_ex(address)
    if code == errno.EAGAIN and sock.family == socket.AF_UNIX:
        return errno.ECONNREFUSED  # the daemon's backlog is full, and a Unix socket has no way to wait for room
    if code not in (errno.EINPROGRESS, errno.EWOULDBLOCK):
        return code
    watcher = state.loop.io(sock.fileno(), WRITE)
    try:
        with limit(seconds):
            state.hub.wait(watcher)
            return sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        return errno.ETIMEDOUT
    finally:
        watcher.stop()
        watcher.close()
