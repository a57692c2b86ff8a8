"""For tests of who may connect: a server that proves nothing, a client by hand, and fixtures."""

from __future__ import annotations

from gevent.server import StreamServer

from gpyro import core
from gpyro.tls import getLocalStorage
from gpyro.wire.frames import Kind, pack
from gpyro.wire.hello import SCRAM, Hello

HELLO = b"gPyr" + pack(Kind.HELLO, body=Hello(capabilities=(SCRAM,)).to_bytes())
"""What a client says that can prove who it is."""

WELCOME = pack(Kind.WELCOME, body=Hello(calls=10, size=10000, sessions=10).to_bytes())


class Thing(core.ObjBase):
    def echo(self, value):
        return value

    def who(self):
        caller = getLocalStorage().caller
        return caller.identity, getattr(caller, "user", None)


class FakeServer:
    """Answers the opening by hand, as somebody who does not know the passphrase."""

    def __init__(self, answers):
        self.answers = answers
        self.heard = b""
        self.server = StreamServer(("127.0.0.1", 0), self.handle)
        self.server.start()

    def handle(self, sock, address):
        sock.sendall(b"gPyr")
        for answer in self.answers:
            before = self.heard
            while self.heard == before:
                data = sock.recv(65536)
                if not data:
                    return
                self.heard += data
            sock.sendall(answer(self.heard) if callable(answer) else answer)
        while sock.recv(65536):
            pass
        sock.close()


def challenge_for(heard, iterations=4096):
    nonce = heard[heard.index(b",r=") + 3 :].split(b",")[0]
    return pack(Kind.AUTHENTICATE, body=b"r=%sabc,s=%s,i=%d" % (nonce, b"A" * 24, iterations))


def receive_frame(sock, magic=False):
    head = receive(sock, 20 if magic else 16)[-16:]
    return receive(sock, int.from_bytes(head[12:], "big"))


def receive(sock, size):
    data = b""
    while len(data) < size:
        part = sock.recv(size - len(data))
        assert part
        data += part
    return data
