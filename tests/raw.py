"""A client that says on a socket whatever it is told to."""

from __future__ import annotations

from gpyro.wire.connection import Connection
from gpyro.wire.frames import Kind, pack
from gpyro.wire.hello import Hello
from tests.relay import connected


class RawClient:
    """One connection with one session, whose id is 1."""

    def __init__(self, daemon, object_id, opened=True):
        self.sock = connected(daemon.port)
        self.wire = Connection(True, Hello())
        self._frames = []
        self.sock.sendall(self.wire.hello())
        self._next(Kind.WELCOME)
        if opened:
            self.sock.sendall(pack(Kind.OPEN, 0, 1, object_id.encode()))
        self.calls = 1

    def ask(self, kind, body):
        """Send a request; gives the kind and the body of its answer."""
        self.calls += 2
        self.sock.sendall(pack(kind, self.calls, 1, body))
        return self.answers(1)[0]

    def answers(self, count):
        """Wait for so many answers; gives the kind and the body of each."""
        return [self._next(Kind.RESULT, Kind.ERROR, Kind.REJECTED) for _ in range(count)]

    def _next(self, *kinds):
        while True:
            while self._frames:
                frame = self._frames.pop(0)
                if frame[0] in kinds:
                    return frame[0], frame[4]
            data = self.sock.recv(65536)
            assert data, "the server closed the connection"
            self._frames += self.wire.feed(data)

    def close(self):
        self.sock.close()
