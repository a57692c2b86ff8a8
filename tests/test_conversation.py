"""What the doctor makes of whatever answers: each in its step, with its text, and in time."""

from __future__ import annotations

from typing import Any

import gevent
import pytest
from gevent.event import Event

from gpyro import checkup, conversation, core
from gpyro.wire.frames import MAGIC, Kind, Refusal, pack, pack_text
from gpyro.wire.hello import Hello
from tests.doctors import SECRET, Thing, answering, ask, listener, wait_for_end, welcoming
from tests.support import eventually, serving, uri_of


@pytest.fixture(autouse=True)
def _patience(monkeypatch):
    """What answers may be slow to do so; who says nothing costs a test the time that is left for it there."""
    monkeypatch.setattr(checkup, "SLACK", 60.0)
    monkeypatch.setattr(conversation, "PROVOKING", 30.0)


# ---- the hello


def reading_lines(sock: Any) -> None:
    """As a web server, which answers when the request's line has ended."""
    got = b""
    while b"\n" not in got:
        got += sock.recv(65536)
    sock.sendall(b"<!DOCTYPE HTML>\n<html><head><title>Error</title></head></html>\n")


REFUSALS = {
    Refusal.TOO_BUSY: "too many connections",
    Refusal.HOST_BLOCKED: "nobody from here",
    Refusal.SECURITY: "wants a passphrase",
    Refusal.VERSION: "version",
    Refusal.SERIALIZER: "serializer",
    Refusal.DRAINING: "shutting down",
    Refusal.UNSPECIFIED: "it refused (it says: because)",
}


@pytest.mark.parametrize(
    ("serve", "expected"),
    [
        (wait_for_end, "accepted the connection, and said nothing"),
        (answering(b"gP"), "said only b'gP'"),
        (lambda sock: None, "without a word"),
        (answering(b"SSH-2.0-OpenSSH_9.6\r\n", first=True), "it began with b'SSH-2.0"),
        (answering(b"\x00\x1b[31m\xff" * 30), r"it began with b'\x00\x1b[31m"),
        (answering(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "it speaks HTTP"),
        (reading_lines, "it speaks HTTP"),
        (answering(b"\x15\x03\x01\x00\x02\x02\x0a"), "encrypted connection"),
        (answering(b"PYRO\x00\x05"), "Pyro itself"),
        (answering(MAGIC + pack(Kind.RESULT)), "breaks the rules"),
        (answering(MAGIC + pack(Kind.WELCOME, body=b"{")), "breaks the rules"),
        (answering(MAGIC + pack(Kind.AUTHENTICATE, body=b"r=x")), "breaks the rules"),
        *(
            (answering(MAGIC + pack_text(Kind.REFUSED, code, "because")), expected)
            for code, expected in REFUSALS.items()
        ),
    ],
)
def test_who_is_no_server_or_lets_nobody_in(serve, expected, monkeypatch):
    waits = "said" in expected or serve is reading_lines
    if waits and serve is not reading_lines:
        monkeypatch.setattr(conversation, "PROVOKING", 0.1)
    with listener(serve) as uri:
        step, text = ask(uri, seconds=1 if waits else 30).failed
        assert step == "hello"
        assert expected in text


def test_it_ends_amid_the_hello():
    def serve(sock: Any) -> None:
        sock.recv(65536)
        sock.sendall(MAGIC + b"\x02")

    with listener(serve) as uri:
        step, text = ask(uri).failed
        assert (step, "closed the connection after it had said" in text) == ("hello", True)


def test_passphrases(tmp_path):
    with serving(thing := Thing()) as daemon:
        uri = uri_of(daemon, thing)
        answer = ask(uri, passphrase=SECRET)
        assert answer.failed[0] == "hello"
        assert "asks for no passphrase" in answer.failed[1]
        daemon.setAllowedIdentifications([SECRET, ("ann", "her secret")])
        answer = ask(uri)
        assert answer.failed[0] == "hello"
        assert "wants a passphrase" in answer.failed[1]
        assert "--identification-file FILE" in answer.hint
        answer = ask(uri, passphrase="wrong")
        assert answer.failed[0] == "hello"
        assert "the passphrase is wrong" in answer.failed[1]
        answer = ask(uri, passphrase=SECRET)
        assert answer.code == 0
        assert "knows the passphrase" in answer.steps["hello"]["text"]
        assert ask(uri, passphrase="ann\nher secret\n").code == 0
        file = tmp_path / "passphrase"
        file.write_text(SECRET + "\n")
        assert ask(uri, "--identification-file", str(file)).code == 0


def test_an_impostor_does_not_prove_anything():
    def serve(sock: Any) -> None:
        sock.recv(65536)
        sock.sendall(MAGIC + pack(Kind.AUTHENTICATE, body=b"garbage"))
        wait_for_end(sock)

    with listener(serve) as uri:
        answer = ask(uri, passphrase=SECRET)
        assert answer.failed[0] == "hello"
        assert "not who it should be" in answer.failed[1]


# ---- the object


def test_objects_that_are_not_there():
    with serving(Thing(), "thing") as daemon:
        answer = ask(f"PYRO://127.0.0.1:{daemon.port}/none")
        assert answer.failed[0] == "object"
        assert "unknown object ID 'none'" in answer.failed[1]
        assert "restarted" in answer.hint
        step, text = ask(f"PYROLOC://127.0.0.1:{daemon.port}/none").failed
        assert step == "object"
        assert "no object found by this name: 'none'" in text


def test_an_object_whose_turn_does_not_come():
    over = Event()

    class Slow(core.SynchronizedObjBase):
        began = False

        def wait(self) -> None:
            self.began = True
            over.wait()

    with serving(slow := Slow()) as daemon:
        proxy = daemon.getProxyForObj(slow)
        caller = gevent.spawn(proxy.wait)
        eventually(lambda: slow.began)
        answer = ask(uri_of(daemon, slow), seconds=1)
        assert answer.failed[0] == "object"
        assert "though the daemon answers a ping" in answer.failed[1]
        assert "do not overlap" in answer.hint
        over.set()
        caller.get()
        proxy._release()


def test_sessions_that_cannot_be_prepared():
    def prepare(storage: Any) -> None:
        raise ValueError("no\x1b[31m disk")

    with serving(thing := Thing()) as daemon:
        daemon.setInitTLS(prepare)
        step, text = ask(uri_of(daemon, thing)).failed
        assert step == "object"
        assert "ValueError: no?[31m disk" in text


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        ((), "does not answer a ping, either"),
        ((pack(Kind.PING, body=b"1"), pack(Kind.CREDIT, body=bytes(8))), "does not answer a ping, either"),
        ((pack_text(Kind.GOAWAY, 7, "over"),), "it ends the connection: over"),
        ((pack(Kind.RESULT, 0xFFFF, 1),), "does not answer a ping, either"),
        ((pack(Kind.ERROR, 1, 1, b"\xff\xff"),), "SerializationError"),
        ((pack_text(Kind.REJECTED, 3, "busy", 1, 1),), "does not carry out calls of the object: busy"),
        ((pack(Kind.HELLO),), "breaks the rules"),
    ],
)
def test_servers_that_behave_oddly(frames, expected, monkeypatch):
    waits = "ping" in expected
    monkeypatch.setattr(conversation, "PROVOKING", 0.1)
    with listener(welcoming(*frames)) as uri:
        step, text = ask(uri, seconds=1 if waits else 30).failed
        assert step == "object"
        assert expected in text


def test_a_peer_that_floods_is_not_listened_to_for_longer(monkeypatch):
    monkeypatch.setattr(conversation, "PROVOKING", 0.1)

    def serve(sock: Any) -> None:
        welcome(sock)
        while True:
            sock.sendall(pack(0x90, body=bytes(100)) * 50)

    def welcome(sock: Any) -> None:
        sock.recv(65536)
        sock.sendall(MAGIC + pack(Kind.WELCOME, body=Hello(calls=1, size=1, sessions=1).to_bytes()))

    with listener(serve) as uri:
        assert ask(uri, seconds=1).failed[0] == "object"


def test_a_server_that_serves_nothing_or_leaves():
    def client(sock: Any) -> None:
        sock.recv(65536)
        sock.sendall(MAGIC + pack(Kind.WELCOME, body=Hello().to_bytes()))
        wait_for_end(sock)

    def leaving(sock: Any) -> None:
        sock.recv(65536)
        sock.sendall(MAGIC + pack(Kind.WELCOME, body=Hello(calls=1, size=1, sessions=1).to_bytes()))
        sock.recv(65536)

    with listener(client) as uri:
        assert ask(uri).failed == ("object", "it serves no objects")
    with listener(leaving) as uri:
        assert ask(uri).failed == ("object", "it closed the connection")


def test_a_server_that_stops_answering_while_its_time_is_taken(monkeypatch):
    monkeypatch.setattr(conversation, "PROVOKING", 0.1)
    with listener(welcoming(pack(Kind.RESULT, 1, 1, b"\0"))) as uri:
        assert ask(uri, seconds=1).failed[0] == "time"


def test_connected_classes_make_no_instance():
    made = []
    with serving(Thing()) as daemon:
        for mode in ("single", "session", "call"):
            uri = daemon.connect_class(Thing, instances=mode, creator=lambda: made.append(1))
            assert ask(uri).code == 0
    assert not made
