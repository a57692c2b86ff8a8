from __future__ import annotations

import os
import random
import socket

import gevent
import pytest

from gpyro import core
from gpyro.discovery import BCReqValidator, BroadcastServer, ask_everybody, read_uri_file, write_uri_file
from gpyro.errors import NamingError, PyroError, URIError
from tests.naming import BROADCAST, free_port

URI = "PYRO://host:7766/id"


@pytest.fixture
def server(request):
    server = BroadcastServer(BROADCAST, 0, getattr(request, "param", None))
    asked = []

    def shut_down():
        asked.append(1)
        return "Will shut down shortly"

    server.serve(URI, shut_down)
    server.asked = asked
    yield server
    server.close()


def ask(server, request: bytes, answers: int = 1) -> list[bytes]:
    with gevent.socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(30)
        sock.sendto(request, ("127.0.0.1", server.address[1]))
        return [sock.recv(1000) for _ in range(answers)]


@pytest.fixture
def anywhere():
    server = BroadcastServer(None, 0)
    server.serve(URI, lambda: "Will shut down shortly")
    yield server
    server.close()


def test_the_requests(anywhere):
    assert ask(anywhere, b"location") == [URI.encode()]
    assert ask(anywhere, b"location\n") == [URI.encode()]
    assert ask(anywhere, b"shutdown") == [b"Will shut down shortly"]


def test_a_broadcast_is_answered(server):
    answers = list(ask_everybody(BROADCAST, server.address[1], 3, 0.2))
    assert answers == [("127.0.0.1", core.PyroURI(URI))]


def test_garbage_is_not_answered(anywhere):
    noise = random.Random(1)
    with gevent.socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(30)
        for size in [0, 1, 8, 999, 1000, 1400] * 50:
            sock.sendto(noise.randbytes(size), ("127.0.0.1", anywhere.address[1]))
        sock.sendto(b"LOCATION", ("127.0.0.1", anywhere.address[1]))
        gevent.sleep(0.01)
        sock.sendto(b"location", ("127.0.0.1", anywhere.address[1]))
        assert sock.recv(1000) == URI.encode()


def test_answers_that_are_no_uris_are_passed_over():
    with gevent.socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.bind((BROADCAST, 0))
        port = stranger.getsockname()[1]

        def answer():
            _, sender = stranger.recvfrom(1000)
            for text in (b"\xff\xfe", b"", b"PYRO://", b"x" * 1400, URI.encode(), URI.encode()):
                stranger.sendto(text, sender)

        answering = gevent.spawn(answer)
        assert list(ask_everybody(BROADCAST, port, 3, 0.2)) == [("127.0.0.1", core.PyroURI(URI))]
        answering.get(timeout=30)


class Guard(BCReqValidator):
    def __init__(self):
        self.seen = []

    def acceptLocationCmd(self):
        self.seen.append(self.addr[0])
        self.reply("hello")
        return 1

    def acceptShutdownCmd(self):
        return 0


class Closed(BCReqValidator):
    def acceptLocationCmd(self):
        raise RuntimeError("never")


def test_a_validator_of_the_programs_own():
    guard = Guard()
    server = BroadcastServer(None, 0, guard)
    server.serve(URI, lambda: "never said")
    try:
        assert ask(server, b"location", 2) == [b"hello", URI.encode()]
        assert guard.seen == ["127.0.0.1"]
        assert ask(server, b"shutdown") == [b"Shutdown request denied"]
    finally:
        server.close()


def test_a_validator_that_fails_does_not_end_the_server():
    server = BroadcastServer(None, 0, Closed())
    server.serve(URI, lambda: "Will shut down shortly")
    try:
        with gevent.socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"location", ("127.0.0.1", server.address[1]))
        assert ask(server, b"shutdown") == [b"Will shut down shortly"]
    finally:
        server.close()


def test_nobody_answers():
    assert list(ask_everybody(BROADCAST, free_port(socket.SOCK_DGRAM), 2, 0.01)) == []
    assert list(ask_everybody("127.0.0.1", free_port(socket.SOCK_DGRAM), 2, 0.01)) == []


def test_where_nothing_can_be_sent():
    with pytest.raises(PyroError, match="cannot be sent"):
        list(ask_everybody("no-such-host.invalid", 9090, 1, 0.01))


def test_a_port_that_is_taken():
    server = BroadcastServer(BROADCAST, 0)
    try:
        with pytest.raises(NamingError, match=f"cannot start broadcast server: {BROADCAST} port .* in use"):
            BroadcastServer(*server.address)
    finally:
        server.close()
        server.close()


def test_the_file_is_replaced_as_a_whole(tmp_path):
    path = str(tmp_path / "uri")
    write_uri_file(path, URI)
    write_uri_file(path, "PYRO://other:1/x")
    assert str(read_uri_file(path)) == "PYRO://other:1/x"
    assert os.listdir(tmp_path) == ["uri"]
    assert os.stat(path).st_mode & 0o777 == 0o644
    with pytest.raises(OSError, match="No such file"):
        write_uri_file(str(tmp_path / "no" / "uri"), URI)
    (tmp_path / "uri").write_bytes(b"\xff\x00nonsense")
    with pytest.raises(URIError):
        read_uri_file(path)
