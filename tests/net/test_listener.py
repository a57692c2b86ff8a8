from __future__ import annotations

import errno
import gc
import socket
import weakref
from time import monotonic

import gevent
import gevent.socket
import pytest

from gpyro import core
from gpyro.errors import ConnectionDeniedError, NotSentError
from gpyro.net import listener as listening
from gpyro.settings import config
from gpyro.wire.frames import MAGIC, Kind, Refusal, pack
from gpyro.wire.hello import Hello
from tests.net.peers import CALLING, Raw
from tests.support import eventually, serving, turns


class Echo(core.ObjBase):
    def echo(self, value):
        return value


@pytest.fixture
def obj():
    return Echo()


@pytest.fixture
def setting():
    """Set configuration items for a test."""
    before = dict(config.snapshot())

    def set_to(**items):
        for name, value in items.items():
            setattr(config, name, value)

    yield set_to
    for name, value in before.items():
        if getattr(config, name) != value:
            setattr(config, name, value)


def test_nothing_is_served_before_the_loop_runs_and_all_when_it_does(obj):
    daemon = core.Daemon(port=0, norange=1)
    uri = daemon.connect(obj)
    caller = gevent.spawn(core.getProxyForURI(uri).echo, 1)
    turns(5)
    assert not caller.ready()
    daemon.start()
    assert caller.get(timeout=30) == 1
    daemon.stop()


def test_the_hello_tells_what_is_granted(obj, setting):
    setting(PYRO_MAX_CALLS=7, PYRO_MAX_BYTES=70_000, PYRO_MAX_MESSAGE=7000, PYRO_MAX_SESSIONS=77)
    with serving(obj) as daemon:
        raw = Raw.connect(daemon.port)
        peer = raw.wire.peer
        assert (peer.calls, peer.size, peer.message, peer.sessions) == (7, 70_000, 7000, 77)
        assert peer.serializers == ("msgpack",)
        raw.close()


@pytest.mark.parametrize(
    ("hello", "code", "text"),
    [
        (Hello(versions=(2, 9)), Refusal.VERSION, "no common protocol version: offered 2 to 9"),
        (Hello(serializers=("pickle", "marshal")), Refusal.SERIALIZER, "accepted msgpack; offered pickle, marshal"),
        (Hello(serializers=()), Refusal.SERIALIZER, "accepted msgpack"),
    ],
    ids=["version", "serializer", "none"],
)
def test_what_does_not_fit_is_refused_with_the_reason(obj, hello, code, text, caplog):
    with serving(obj) as daemon:
        raw = Raw.connect(daemon.port, hello=False)
        raw.send(MAGIC + pack(Kind.HELLO, body=hello.to_bytes()))
        (frame,) = raw.rest()
        assert frame[0] == Kind.REFUSED
        assert frame[4][0] == code
        assert text in frame[4].decode()
        eventually(lambda: text in caplog.text)
        turns(3)
        assert len(caplog.records) == 1
        raw.close()
        assert daemon.getProxyForObj(obj).echo(1) == 1


def test_more_than_the_allowed_connections_are_refused_and_there_is_room_again(obj, setting, caplog):
    setting(PYRO_MAXCONNECTIONS=2)
    with serving(obj) as daemon:
        raws = [Raw.connect(daemon.port) for _ in range(2)]
        with pytest.raises(ConnectionDeniedError, match="too busy"):
            daemon.getProxyForObj(obj).echo(1)
        eventually(lambda: "PYRO_MAXCONNECTIONS" in caplog.text)
        raws.pop().close()
        eventually(lambda: len(daemon.connections) == 1)
        assert daemon.getProxyForObj(obj).echo(1) == 1
        raws.pop().close()


def test_one_line_of_log_however_many_are_refused(obj, setting, caplog):
    setting(PYRO_MAXCONNECTIONS=1)
    with serving(obj) as daemon:
        keep = Raw.connect(daemon.port)
        began = monotonic()
        for _ in range(20):
            raw = Raw.connect(daemon.port, hello=False)
            raw.send(raw.wire.hello())
            assert raw.read()[0] == Kind.REFUSED
            raw.close()
        turns(3)
        assert 1 <= len(caplog.records) <= 2 + (monotonic() - began)
        keep.close()


def test_a_hello_that_does_not_come_in_time(obj, caplog):
    with serving(obj) as daemon:
        good = Raw.connect(daemon.port)
        daemon.setTimeout(0.05)
        silent = Raw.connect(daemon.port, hello=False)
        begun = Raw.connect(daemon.port, hello=False)
        begun.send(begun.wire.hello()[:10])
        for raw in (silent, begun):
            (frame,) = raw.rest()
            assert frame[0] == Kind.REFUSED
            assert frame[4][0] == Refusal.IDLE
            assert b"no hello within 0.05 s" in frame[4]
            raw.close()
        good.send(pack(Kind.PING))
        assert good.read()[0] == Kind.PONG
        good.close()
        turns(3)
        assert len(caplog.records) == 1


def test_a_crowd_of_newcomers_is_let_in_by_and_by(obj):
    with serving(obj) as daemon:
        raws = []
        for _ in range(listening.ACCEPTS_PER_TURN * 2 + 10):
            sock = socket.socket()
            sock.connect(("127.0.0.1", daemon.port))
            raws.append(sock)
        eventually(lambda: len(daemon.connections) == len(raws))
        for sock in raws:
            sock.close()
        eventually(lambda: not daemon.connections)


class Failing:
    """A listening socket on which accepting fails."""

    def __init__(self, sock):
        self._sock = sock
        self.errors = []
        self.asked = 0

    def __getattr__(self, name):
        return getattr(self._sock, name)

    def _accept(self):
        self.asked += 1
        if self.errors:
            error = self.errors.pop(0)
            if error is not None:
                raise error
        return self._sock._accept()


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
def test_without_descriptors_one_is_told_and_accepting_pauses(obj, number, caplog):
    with serving(obj) as daemon:
        sock = daemon._listener.sock = Failing(daemon._listener.sock)
        old = Raw.connect(daemon.port)
        turns(3)
        sock.errors = [OSError(number, "exhausted"), None] + [OSError(number, "exhausted")] * 3
        before = sock.asked
        told = Raw.connect(daemon.port, hello=False)
        told.send(told.wire.hello())
        (frame,) = told.rest()
        assert frame[0] == Kind.REFUSED
        assert frame[4][0] == Refusal.TOO_BUSY
        assert b"exhausted" in frame[4]
        turns(20)
        assert sock.asked - before <= 4, "it does not spin"
        old.send(pack(Kind.PING))
        assert old.read()[0] == Kind.PONG
        told.close()
        sock.errors.clear()
        assert daemon.getProxyForObj(obj).echo(1) == 1
        assert [record.getMessage() for record in caplog.records] == ["cannot accept a connection: exhausted"]
        old.close()


@pytest.mark.parametrize(
    "error",
    [OSError(errno.EPERM, "odd"), ValueError("odd"), gevent.Timeout(), RecursionError("odd")],
    ids=lambda error: type(error).__name__,
)
def test_an_exception_in_accept_is_logged_and_accepting_goes_on(obj, error, caplog, capsys):
    with serving(obj) as daemon:
        sock = daemon._listener.sock = Failing(daemon._listener.sock)
        sock.errors = [error]
        assert daemon.getProxyForObj(obj).echo(1) == 1
        eventually(lambda: caplog.records)
        assert len(caplog.records) == 1
        assert capsys.readouterr().err == ""
        if isinstance(error, gevent.Timeout):
            error.close()


def test_a_connection_that_went_away_while_it_waited(obj, caplog):
    with serving(obj) as daemon:
        sock = daemon._listener.sock = Failing(daemon._listener.sock)
        sock.errors = [ConnectionAbortedError(errno.ECONNABORTED, "gone")]
        assert daemon.getProxyForObj(obj).echo(1) == 1
        assert caplog.records == []


def test_a_failure_to_set_a_connection_up_spares_the_others(obj, monkeypatch, caplog):
    with serving(obj) as daemon:
        proxy = daemon.getProxyForObj(obj)
        proxy.echo(1)
        made = listening.Channel

        def fail(*arguments):
            raise MemoryError("no more")

        monkeypatch.setattr(listening, "Channel", fail)
        raw = Raw.connect(daemon.port, hello=False)
        assert raw.read() is None
        raw.close()
        monkeypatch.setattr(listening, "Channel", made)
        assert proxy.echo(2) == 2
        Raw.connect(daemon.port).close()
        eventually(lambda: caplog.records)


# The end


def test_a_closed_daemon_refuses_and_closes_its_channels(obj):
    with serving(obj) as daemon:
        proxy = daemon.getProxyForObj(obj)
        proxy.echo(1)
        raw = Raw.connect(daemon.port)
    frames = raw.rest()
    assert frames[0][0] == Kind.GOAWAY
    raw.close()
    with pytest.raises(NotSentError, match="refused"):
        proxy.echo(2)


def test_a_peer_without_hello_is_refused_by_a_daemon_that_stops(obj):
    with serving(obj) as daemon:
        raw = Raw.connect(daemon.port, hello=False)
        eventually(lambda: daemon.connections)
    frames = raw.rest()
    assert [frame[0] for frame in frames] == [Kind.REFUSED]
    raw.close()


def test_closing_is_idempotent(obj):
    with serving(obj) as daemon:
        daemon._listener.close()
        daemon._listener.stop_accepting()
        daemon._listener.close()


def test_a_channel_is_let_go_when_its_peer_left(obj):
    with serving(obj) as daemon:
        raw = Raw.connect(daemon.port)
        raw.open(1, daemon.getProxyForObj(obj).objectID)
        raw.call(1, 1, "echo", 1)
        raw.read()
        channel = weakref.ref(daemon.connections[0])
        raw.close()
        eventually(lambda: not daemon.connections)
        turns(3)
        gc.collect()
        assert channel() is None


def test_after_a_go_away_of_the_client_its_calls_are_still_answered(obj):
    with serving(obj) as daemon:
        raw = Raw.connect(daemon.port)
        raw.open(1, daemon.getProxyForObj(obj).objectID)
        raw.call(1, 1, "echo", 1)
        raw.send(pack(Kind.GOAWAY, body=b"\x00bye"))
        assert raw.read()[0] == Kind.RESULT
        raw.close()
        eventually(lambda: not daemon.connections)


def test_accepted_sockets_have_keepalive(obj, setting):
    for keepalive in (True, False):
        setting(PYRO_SOCK_KEEPALIVE=keepalive)
        with serving(obj) as daemon:
            raw = Raw.connect(daemon.port)
            sock = daemon.connections[0].sock
            assert bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)) is keepalive
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            raw.close()


def test_two_daemons_in_one_process_have_their_own_channels(obj):
    other = Echo()
    with serving(obj) as first, serving(other) as second:
        assert first.getProxyForObj(obj).echo(1) == 1
        assert second.getProxyForObj(other).echo(2) == 2
        assert len(first.connections) == len(second.connections) == 1
        assert CALLING.calls == 0
