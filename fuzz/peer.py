"""A client, and a server, that say what they are told to, and a server in a process of its own to say it to."""

from __future__ import annotations

import contextlib
import os
import socket as sockets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import gevent
from gevent import socket
from gevent.socket import wait_read

from gpyro import core
from gpyro.values import serializer_by_name
from gpyro.wire.connection import Connection
from gpyro.wire.frames import Frame, Kind, pack, unpack_text
from gpyro.wire.hello import Hello

PATIENCE = 30.0
"""Seconds that an answer may take until the server is called dead."""

ANSWERS = (Kind.RESULT, Kind.ERROR, Kind.REJECTED)


class Dead(Exception):
    """The other side gave no answer, or went away without a word."""


class Target:
    """A `target_server.py` in a process of its own; a context manager that ends it.

    Attributes:
        port: where it listens.
        guid: the id of its object.
        doctor: a proxy for what looks after it.
        proxy: a proxy for the object, on a connection that must survive everything.
    """

    def __init__(self, log: Any = None) -> None:
        """`log` takes what it writes to its standard error; None for nowhere."""
        script = Path(__file__).with_name("target_server.py")
        self.process = subprocess.Popen(
            [sys.executable, str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL if log is None else log,
            start_new_session=True,
        )
        assert self.process.stdout is not None
        line = b""
        with gevent.Timeout(PATIENCE, Dead("the server does not start")):
            while not line.endswith(b"\n"):
                wait_read(self.process.stdout.fileno())
                piece = os.read(self.process.stdout.fileno(), 1000)
                if not piece:
                    raise Dead("the server ended at its start")
                line += piece
        port, self.guid, doctor = line.decode().split()
        self.port = int(port)
        self.proxy = core.getProxyForURI(core.PyroURI("127.0.0.1", self.guid, self.port))
        self.proxy._setTimeout(PATIENCE)
        self.doctor = core.getProxyForURI(core.PyroURI("127.0.0.1", doctor, self.port))
        self.doctor._setTimeout(PATIENCE)
        self.proxy.echo(None)
        self._address = self.doctor.caller()

    def unharmed(self) -> None:
        """Raise `Dead` if it is not as it was: the old connection, and a new one, must work.

        Raises:
            Dead: it is not.
        """
        if self.process.poll() is not None:
            raise Dead(f"the server ended with code {self.process.returncode}")
        if self.proxy.echo(["still", (1,)]) != ["still", (1,)]:
            raise Dead("the server gives wrong answers")
        if self.doctor.caller() != self._address:  # both proxies share the connection
            raise Dead("the connection of a client that did nothing wrong was lost")
        with contextlib.closing(Peer.connect(self.port)) as newcomer:
            newcomer.open(1, self.guid)
            newcomer.call(1, 1, "echo", "new")
            if newcomer.codec.decode(newcomer.expect(Kind.RESULT)[4]) != "new":
                raise Dead("the server gives newcomers wrong answers")

    def __enter__(self) -> Target:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for proxy in (self.proxy, self.doctor):
            proxy._release()
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        for end in (lambda: None, self.process.terminate, self.process.kill):
            end()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(5)
                break
        self.process.stdout.close()


class Peer:
    """One end of a connection, by hand."""

    def __init__(self, sock: Any, connecting: bool = True, serializer: str = "msgpack") -> None:
        self.sock = sock
        self.codec = serializer_by_name(serializer)
        grants: dict[str, Any] = {} if connecting else {"calls": 1024, "size": 16 << 20, "sessions": 1000}
        self.wire = Connection(connecting, Hello(serializers=(serializer,), **grants))
        self._frames: list[Frame] = []

    @classmethod
    def connect(cls, port: int, serializer: str = "msgpack", hello: bool = True) -> Peer:
        """Connect to a server on loopback, and say hello if wanted."""
        # By the original socket: gevent's would start a thread to look the address up.
        plain = sockets.create_connection(("127.0.0.1", port), PATIENCE)
        plain.setsockopt(sockets.IPPROTO_TCP, sockets.TCP_NODELAY, 1)
        peer = cls(socket.socket(fileno=plain.detach()), serializer=serializer)
        if hello:
            peer.send(peer.wire.hello())
            peer.expect(Kind.WELCOME)
        return peer

    def send(self, data: bytes) -> bool:
        """Send bytes; False if the other side closed meanwhile."""
        try:
            with gevent.Timeout(PATIENCE, Dead("the other side does not read")):
                self.sock.sendall(data)
        except OSError:
            return False
        return True

    def open(self, session_id: int, guid: str) -> None:
        """Open a session to an object."""
        self.send(pack(Kind.OPEN, 0, session_id, guid.encode()))

    def call(self, call_id: int, session_id: int, method: str, *arguments: Any) -> None:
        """Send a call."""
        self.send(pack(Kind.CALL, call_id, session_id, self.codec.encode_call(method, arguments, {})))

    def read(self, seconds: float = PATIENCE) -> Frame | None:
        """The next frame; None at the end, also by a reset.

        Raises:
            Dead: there is none in time.
        """
        with gevent.Timeout(seconds, Dead("no answer")):
            while not self._frames:
                try:
                    data = self.sock.recv(65536)
                except ConnectionResetError:
                    return None
                if not data:
                    return None
                self._frames += self.wire.feed(data)
        return self._frames.pop(0)

    def expect(self, *kinds: int) -> Frame:
        """The next frame of one of these kinds.

        Raises:
            Dead: the other side closed before.
        """
        while (frame := self.read()) is not None:
            if frame[0] in kinds:
                return frame
        raise Dead("the connection was closed")

    def last_words(self) -> str:
        """Why the other side closes: the text of its REFUSED or GOAWAY, empty if it says nothing."""
        text = ""
        while (frame := self.read()) is not None:
            if frame[0] in (Kind.REFUSED, Kind.GOAWAY):
                text = unpack_text(frame[4])[1]
        return text

    def close(self) -> None:
        """Close it."""
        self.sock.close()


@contextlib.contextmanager
def server_by_hand(answer: Any) -> Iterator[core.PyroURI]:
    """A server on this thread's loop; gives a URI at which ``answer(peer, frame)`` is called for each request."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    peers: list[Peer] = []

    def serve(peer: Peer) -> None:
        with contextlib.suppress(Dead):
            peer.expect(Kind.HELLO)
            peer.send(peer.wire.welcome(peer.wire.own))
            while (frame := peer.read()) is not None:
                if frame[0] in (Kind.CALL, Kind.GET, Kind.SET, Kind.DESCRIBE):
                    answer(peer, frame)

    greenlets = []

    def accept() -> None:
        while True:
            sock, _ = listener.accept()
            peers.append(Peer(sock, connecting=False))
            greenlets.append(gevent.spawn(serve, peers[-1]))

    greenlets.append(gevent.spawn(accept))
    try:
        yield core.PyroURI("127.0.0.1", "hostile", listener.getsockname()[1])
    finally:
        gevent.killall(greenlets)
        for peer in peers:
            peer.close()
        listener.close()
