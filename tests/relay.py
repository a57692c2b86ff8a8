"""A relay between a proxy and a daemon that counts the bytes, holds them back, and cuts the line."""

from __future__ import annotations

import contextlib
import socket as sockets
from collections.abc import Iterator
from typing import Any

import gevent
from gevent import socket
from gevent.event import Event

from gpyro import core
from tests.support import serving


def connected(port: int) -> Any:
    """A gevent socket that is connected to a port of this machine."""
    # Connected by the original socket: gevent's would start a thread to look the address up.
    return socket.socket(fileno=sockets.create_connection(("127.0.0.1", port)).detach())


class Relay:
    """Passes on what arrives at `port`.

    Attributes:
        port: where it listens.
        up, down: bytes that went to the server, and to the client.
        connections: how many there were.
        flowing_up, flowing_down: cleared to hold a direction back.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._sock = socket.socket()
        self._sock.bind(("127.0.0.1", 0))
        self._sock.listen()
        self.port: int = self._sock.getsockname()[1]
        self.up = self.down = self.connections = 0
        self.flowing_up, self.flowing_down = Event(), Event()
        self.flowing_up.set()
        self.flowing_down.set()
        self._open: list[Any] = []
        self._greenlets = [gevent.spawn(self._accept)]

    def _accept(self) -> None:
        while True:
            client, _ = self._sock.accept()
            self.connections += 1
            server = connected(self._target)
            self._open += [client, server]
            self._greenlets.append(gevent.spawn(self._pass_on, client, server, True))
            self._greenlets.append(gevent.spawn(self._pass_on, server, client, False))

    def _pass_on(self, source: Any, target: Any, up: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                (self.flowing_up if up else self.flowing_down).wait()
                if up:
                    self.up += len(data)
                else:
                    self.down += len(data)
                target.sendall(data)
            target.shutdown(sockets.SHUT_WR)

    def cut(self) -> None:
        """Close all connections, as a broken line does."""
        for sock in self._open:
            with contextlib.suppress(OSError):
                sock.shutdown(sockets.SHUT_RDWR)
            sock.close()
        self._open.clear()

    def close(self) -> None:
        gevent.killall(self._greenlets)
        self._greenlets.clear()
        self.cut()
        self._sock.close()


@contextlib.contextmanager
def relayed(obj: Any, **arguments: Any) -> Iterator[tuple[core.Daemon, Relay, core.PyroURI]]:
    """A daemon that serves `obj`, a relay before it, and the URI that goes through the relay."""
    with serving(obj, **arguments) as daemon:
        relay = Relay(daemon.port)
        uri = daemon.getProxyForObj(obj).URI
        uri.port = relay.port
        try:
            yield daemon, relay, uri
        finally:
            relay.close()
