"""Bad input to a daemon: each is one clear error on the right side, and nobody else notices."""

from __future__ import annotations

import random
import socket
import ssl
import struct
import time

import gevent
import gevent.socket
import pytest

from gpyro import core
from gpyro.errors import PyroError
from gpyro.net import stream as streams
from gpyro.settings import config
from gpyro.wire.frames import HEADER, MAGIC, Kind, Refusal, pack, unpack_text
from gpyro.wire.hello import Hello
from tests.net.peers import CALLING, CODEC, Raw, connection, read_all
from tests.programs import program
from tests.support import eventually, serving, turns
from tests.targets import Target, lines, plain, session, unharmed


@pytest.fixture
def obj():
    return Target()


@pytest.fixture
def daemon(obj):
    with unharmed(obj) as made:
        yield made


# Before the hello


@pytest.mark.parametrize(
    "request_",
    [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"POST /x HTTP/1.0\r\n\r\n" + b"x" * 100_000],
    ids=["GET", "POST"],
)
def test_http_gets_an_answer_in_its_own_language(daemon, request_, caplog):
    sock = plain(daemon)
    sock.sendall(request_)
    answer = read_all(sock)
    sock.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"Content-Length: %d" % len(body) in head
    assert b"gpyro" in body
    assert body.strip().endswith(b".")
    (line,) = lines(caplog)
    assert "speaks HTTP" in line


def test_a_client_that_wants_encryption_gets_an_alert(daemon, caplog):
    sock = plain(daemon)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.create_default_context()
    client = context.wrap_bio(incoming, outgoing, server_hostname="x")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    sock.sendall(outgoing.read())
    incoming.write(read_all(sock))
    sock.close()
    with pytest.raises(ssl.SSLError, match=r"(?i)alert"):
        client.do_handshake()
    (line,) = lines(caplog)
    assert "encrypted" in line


@pytest.mark.parametrize("seed", range(10))
def test_garbage(daemon, seed, caplog):
    sock = plain(daemon)
    sock.sendall(b"\x00" + random.Random(seed).randbytes(5000))
    assert read_all(sock) == b""
    sock.close()
    assert len(lines(caplog)) == 1


@pytest.mark.parametrize("seed", range(10))
def test_garbage_after_the_magic(daemon, seed, caplog):
    sock = plain(daemon)
    sock.sendall(MAGIC + random.Random(seed).randbytes(5000))
    assert read_all(sock).startswith(MAGIC + bytes((Kind.REFUSED,)))
    sock.close()
    assert len(lines(caplog)) == 1


def test_garbage_after_the_hello(daemon, caplog):
    began = time.monotonic()
    for seed in range(10):
        raw = Raw.connect(daemon.port)
        raw.send(b"\x7f" + random.Random(seed).randbytes(5000))
        (frame,) = raw.rest()
        assert frame[0] == Kind.GOAWAY
        raw.close()
    assert 1 <= len(lines(caplog)) <= 3 + (time.monotonic() - began), "one line a second for many of a kind"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b"\xff",
        b"[" * 4000,
        b'{"versions":[1,1],"calls":-1}',
        b'{"versions":[1,1],"serializers":"x"}',
    ],
    ids=lambda body: repr(body[:12]),
)
def test_a_malformed_hello_is_refused_with_the_reason(daemon, body, caplog):
    raw = Raw.connect(daemon.port, hello=False)
    raw.send(MAGIC + pack(Kind.HELLO, body=body))
    (frame,) = raw.rest()
    assert frame[0] == Kind.REFUSED
    code, text = unpack_text(frame[4])
    assert code == Refusal.BROKEN_RULE
    assert "hello" in text
    raw.close()
    assert len(lines(caplog)) == 1


def test_a_hello_byte_by_byte(daemon, obj):
    raw = Raw.connect(daemon.port, hello=False)
    for byte in raw.wire.hello():
        raw.send(bytes((byte,)))
        turns(1)
    assert raw.read()[0] == Kind.WELCOME
    raw.open(1, daemon.getProxyForObj(obj).objectID)
    raw.call(1, 1, "echo", "slowly")
    assert CODEC.decode(raw.read()[4]) == "slowly"
    raw.close()


def test_a_hello_that_is_too_long(daemon):
    raw = Raw.connect(daemon.port, hello=False)
    raw.send(MAGIC + HEADER.pack(Kind.HELLO, 0, 0, 0, 0, 4097))
    (frame,) = raw.rest()
    assert frame[0] == Kind.REFUSED
    assert b"4096" in frame[4]
    raw.close()


def test_a_call_before_the_welcome(daemon, obj):
    raw = Raw.connect(daemon.port, hello=False)
    raw.send(MAGIC + pack(Kind.CALL, 1, 1))
    (frame,) = raw.rest()
    assert frame[0] == Kind.REFUSED
    raw.close()
    assert obj.calls == 1


# Connections that end


def reset(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


@pytest.mark.parametrize("hello", [False, True])
def test_reset_connections(daemon, obj, hello, capsys):
    for _ in range(5):
        raw = Raw.connect(daemon.port, hello=hello)
        if hello:
            raw.open(1, daemon.getProxyForObj(obj).objectID)
            raw.call(1, 1, "echo", "x")
        reset(raw.sock)
    eventually(lambda: len(daemon.connections) == 1)
    assert capsys.readouterr().err == ""


def test_half_closed_connections(daemon, obj):
    for hello in (False, True):
        raw = Raw.connect(daemon.port, hello=hello)
        raw.sock.shutdown(socket.SHUT_WR)
        assert raw.rest() == []
        raw.close()


def test_a_frame_that_is_never_completed(daemon, obj):
    raw = session(daemon, obj)
    raw.send(pack(Kind.CALL, 1, 1, b"x" * 1000)[:500])
    turns(3)
    raw.close()
    eventually(lambda: len(daemon.connections) == 1)


# Frames


@pytest.mark.parametrize("length", [(1 << 24) + 1, 0xFFFF_FFFF])
def test_a_lying_length_takes_no_memory(daemon, obj, length):
    raw = session(daemon, obj)
    raw.send(HEADER.pack(Kind.CALL, 0, 0, 1, 1, length))
    (frame,) = raw.rest()
    assert frame[0] == Kind.GOAWAY
    assert b"over the limit of 16777216" in frame[4]
    raw.close()


@pytest.mark.parametrize("kind", [Kind.CANCEL, Kind.CLOSE, Kind.OPEN, Kind.GET, Kind.PING, Kind.CREDIT])
def test_a_small_frame_must_be_small(daemon, obj, kind):
    raw = session(daemon, obj)
    raw.send(HEADER.pack(kind, 0, 0, 1, 1, 5000))
    assert raw.rest()[-1][0] == Kind.GOAWAY
    raw.close()


@pytest.mark.parametrize(
    ("frames", "text"),
    [
        (pack(Kind.CALL, 1, 99), "session 99, which is not open"),
        (pack(Kind.ONEWAY, 0, 99), "session 99, which is not open"),
        (pack(Kind.CLOSE, 0, 99), "session 99 is not open"),
        (pack(Kind.RESULT, 77), "call 77, which is not out"),
        (pack(Kind.REJECTED, 77, body=b"\x01"), "call 77, which is not out"),
        (pack(Kind.CREDIT, body=struct.pack("!II", 1, 1)), "CREDIT|credit"),
        (pack(Kind.STREAM_OPEN, 1), "STREAM_OPEN"),
        (pack(0x70), "0x70"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_broken_rule_is_told_to_its_sender_and_the_log(daemon, frames, text, caplog):
    raw = Raw.connect(daemon.port)
    raw.send(frames)
    (frame,) = raw.rest()
    assert frame[0] == Kind.GOAWAY
    assert any(part in frame[4].decode() for part in text.split("|"))
    raw.close()
    (line,) = lines(caplog)
    assert any(part in line for part in text.split("|"))


def test_a_call_id_twice(daemon, obj):
    raw = session(daemon, obj)
    body = CODEC.encode_call("echo", (1,), {})
    go = gevent.event.Event()
    obj.echo = lambda value=None: go.wait() and value
    raw.send(pack(Kind.CALL, 1, 1, body) * 2)
    frame = raw.rest()[-1]
    assert b"call id 1 is in use" in frame[4]
    raw.close()
    go.set()
    del obj.echo


def test_cancelling_what_is_not_there_is_no_harm(daemon, obj):
    raw = session(daemon, obj)
    raw.send(pack(Kind.CANCEL, 5))
    raw.call(1, 1, "echo", 1)
    assert raw.read()[0] == Kind.RESULT
    raw.send(pack(Kind.CANCEL, 1))
    raw.call(3, 1, "echo", 2)
    assert CODEC.decode(raw.read()[4]) == 2
    raw.close()


def test_more_calls_than_granted(obj):
    before = config.PYRO_MAX_CALLS
    config.PYRO_MAX_CALLS = 10
    try:
        daemon_made = serving(obj)
        daemon = daemon_made.__enter__()
    finally:
        config.PYRO_MAX_CALLS = before
    try:
        go = gevent.event.Event()
        obj.echo = lambda value=None: go.wait()
        raw = session(daemon, obj)
        for number in range(11):
            raw.call(2 * number + 1, 1, "echo")
        frame = raw.rest()[-1]
        assert b"more than the granted 10 calls" in frame[4]
        raw.close()
        go.set()
    finally:
        daemon_made.__exit__(None, None, None)


def test_more_sessions_than_granted(daemon, obj):
    raw = Raw.connect(daemon.port)
    limit = config.PYRO_MAX_SESSIONS
    raw.send(b"".join(pack(Kind.OPEN, 0, 2 * number + 1, b"x") for number in range(limit + 1)))
    assert b"granted 10000 sessions" in raw.rest()[-1][4]
    raw.close()


# Many


def test_a_crowd_that_breaks_the_rules_fills_no_log(daemon, caplog, monkeypatch):
    monkeypatch.setattr(streams, "GOODBYE", 0.05)
    began = time.monotonic()
    for _ in range(100):
        sock = plain(daemon)
        sock.sendall(b"\x00\x01\x02\x03 nonsense")
        sock.close()
    eventually(lambda: len(daemon.connections) == 1)
    assert 1 <= len(lines(caplog)) <= 4 + (time.monotonic() - began)


def test_connections_that_say_nothing_are_closed_in_time(obj):
    before = config.PYRO_HANDSHAKE_TIMEOUT
    config.PYRO_HANDSHAKE_TIMEOUT = 0.05
    try:
        with serving(obj) as daemon:
            socks = [plain(daemon) for _ in range(20)]
            socks[0].sendall(CALLING.to_bytes()[:3])
            for sock in socks:
                read_all(sock)
                sock.close()
            eventually(lambda: not daemon.connections)
    finally:
        config.PYRO_HANDSHAKE_TIMEOUT = before


EXHAUSTED = """
    import os, resource, sys, time
    resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
    from gpyro import core
    class Echo(core.ObjBase):
        def echo(self, value):
            return value
        def used(self):
            return time.process_time()
    daemon = core.Daemon(port=0, norange=1)
    print(daemon.connect(Echo()), flush=True)
    daemon.requestLoop()
    """


def test_no_descriptors_left_at_accept():
    with program(EXHAUSTED) as server:
        uri = core.PyroURI(server.line())
        began = time.monotonic()
        old = core.getProxyForURI(uri)
        assert old.echo("before") == "before"
        raws = []
        refused = None
        while refused is None:
            raw = Raw(connection(uri.port), hello=CALLING)
            raws.append(raw)
            raw.send(raw.wire.hello())
            frame = raw.read()
            if frame[0] == Kind.REFUSED:
                refused = unpack_text(frame[4])
            assert len(raws) < 60
        code, text = refused
        assert code == Refusal.TOO_BUSY
        assert "too busy" in text
        assert "Too many open files" in text
        waiting = [connection(uri.port) for _ in range(5)]
        used = old.used()
        gevent.sleep(0.5)
        assert old.used() - used < 0.25, "it does not spin"
        for raw in raws:
            raw.close()
        for sock in waiting:
            sock.close()
        newcomer = core.getProxyForURI(uri)
        newcomer._setPrivateChannel(True)

        def served():
            try:
                return newcomer.echo("after") == "after"
            except PyroError:
                return False

        eventually(served)
        assert old.echo("still") == "still"
        server.send_signal(15)
        code, _, err = server.end()
        assert code == 0
        assert err.count("Too many open files") <= 5 + (time.monotonic() - began)


def test_hellos_offer_what_they_like(daemon, obj):
    hello = Hello(serializers=(*(f"codec{number}" for number in range(100)), "msgpack"), agent="x\n\x1b[31m" * 20)
    raw = Raw.connect(daemon.port, hello=False)
    raw.send(MAGIC + pack(Kind.HELLO, body=hello.to_bytes()))
    assert raw.read()[0] == Kind.WELCOME
    raw.close()
