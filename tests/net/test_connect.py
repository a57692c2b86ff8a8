from __future__ import annotations

import socket
from dataclasses import replace
from time import monotonic

import gevent
import gevent.socket
import pytest

from gpyro import core
from gpyro.errors import ConnectionDeniedError, NotSentError, PyroError, TimeoutError
from gpyro.net import resolve
from gpyro.net.connect import ChannelTable
from gpyro.net.dial import Destination
from gpyro.net.hub import hub_state
from gpyro.settings import Config, config
from gpyro.wire.frames import MAGIC, Kind, pack
from gpyro.wire.hello import Hello
from tests.net.peers import Raw
from tests.support import AnyServer, eventually, free_port, serving, turns


class Echo(core.ObjBase):
    def echo(self, value):
        return value

    def wait(self, seconds):
        gevent.sleep(seconds)


@pytest.fixture
def obj():
    return Echo()


@pytest.fixture
def daemon(obj):
    with serving(obj) as made:
        yield made


def table():
    return hub_state().part(ChannelTable)


def settings(**changes):
    return Config({}).snapshot().replace(**changes)


def to(port, host="127.0.0.1", **changes):
    return Destination(host, port, None, 0, settings(**changes))


def open_channel(destination, seconds=10.0):
    return table().channel(destination, monotonic() + seconds)


class Port:
    """A listening socket that does with each connection what it is told."""

    def __init__(self, serve=None):
        self.sock = gevent.socket.socket()
        self.sock.bind(("127.0.0.1", 0))
        self.sock.listen()
        self.port = self.sock.getsockname()[1]
        self.serve = serve
        self.connections = []
        self._greenlets = [gevent.spawn(self._accept)]

    def _accept(self):
        while True:
            sock, _ = self.sock.accept()
            self.connections.append(sock)
            if self.serve is not None:
                self._greenlets.append(gevent.spawn(self.serve, sock))

    def close(self):
        gevent.killall(self._greenlets)
        for sock in self.connections:
            sock.close()
        self.sock.close()


@pytest.fixture
def port():
    made = []

    def make(serve=None):
        made.append(Port(serve))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def deaf_port():
    """A port that answers no connection: its queue is full."""
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    sock.listen(0)
    clients = []
    for _ in range(3):
        client = socket.socket()
        client.setblocking(False)
        client.connect_ex(sock.getsockname())
        clients.append(client)
    yield sock.getsockname()[1]
    for client in clients:
        client.close()
    sock.close()


# Sharing


def test_proxies_share_a_channel_also_when_they_begin_together(daemon, obj):
    proxies = [daemon.getProxyForObj(obj) for _ in range(50)]
    callers = [gevent.spawn(proxy.echo, number) for number, proxy in enumerate(proxies)]
    gevent.joinall(callers, timeout=30)
    assert [one.value for one in callers] == list(range(50))
    assert len(daemon.connections) == 1
    assert len(daemon.connections[0].served) == 50


def test_what_differs_does_not_share(daemon, obj):
    first, second, third, fourth = (daemon.getProxyForObj(obj) for _ in range(4))
    second._setNewConnectionValidator(AnyServer())
    second._setIdentification("somebody")
    third._setPrivateChannel(True)
    fourth._setPrivateChannel(True)
    for number, proxy in enumerate((first, second, third, fourth), 1):
        proxy.echo(1)
        assert len(daemon.connections) == number
    third._setPrivateChannel(False)
    third.echo(1)
    eventually(lambda: len(daemon.connections) == 3)


def test_other_settings_do_not_share(daemon, obj):
    first = daemon.getProxyForObj(obj)
    before = config.PYRO_SERIALIZER
    config.PYRO_SERIALIZER = "json,msgpack"
    try:
        second = daemon.getProxyForObj(obj)
    finally:
        config.PYRO_SERIALIZER = before
    first.echo(1)
    second.echo(1)
    assert len(daemon.connections) == 2


def test_a_private_channel_closes_with_its_proxy(daemon, obj):
    proxy = daemon.getProxyForObj(obj)
    proxy._setPrivateChannel(True)
    proxy.echo(1)
    proxy._release()
    eventually(lambda: not daemon.connections)
    proxy.echo(1)
    del proxy
    eventually(lambda: not daemon.connections)


@pytest.fixture
def linger():
    before = config.PYRO_CHANNEL_LINGER

    def set_to(seconds):
        config.PYRO_CHANNEL_LINGER = seconds

    yield set_to
    config.PYRO_CHANNEL_LINGER = before


def test_an_unused_channel_closes_after_its_linger(obj, linger, daemon):
    linger(0.05)
    proxy = daemon.getProxyForObj(obj)
    proxy.echo(1)
    released = monotonic()
    proxy._release()
    eventually(lambda: not daemon.connections)
    assert monotonic() - released >= 0.045
    assert proxy.echo(2) == 2


def test_without_linger_it_closes_at_once(obj, linger, daemon):
    linger(0)
    proxy = daemon.getProxyForObj(obj)
    proxy.echo(1)
    proxy._release()
    eventually(lambda: not daemon.connections)


def test_a_new_proxy_within_the_linger_takes_the_channel_over(obj, linger, daemon):
    linger(0.05)
    first = daemon.getProxyForObj(obj)
    first.echo(1)
    first._release()
    (channel,) = daemon.connections
    second = daemon.getProxyForObj(obj)
    second.echo(1)
    gevent.sleep(0.1)  # twice the linger
    assert daemon.connections == [channel]
    assert second.echo(2) == 2


def test_a_channel_with_a_call_out_does_not_linger_away(obj, linger, daemon):
    linger(0.01)
    proxy = daemon.getProxyForObj(obj)
    caller = gevent.spawn(proxy.wait, 0.08)
    eventually(lambda: daemon.connections and daemon.connections[0].serving)
    proxy._release()
    caller.get(timeout=30)
    eventually(lambda: not daemon.connections)


def test_go_away_sends_new_calls_to_a_new_channel(daemon, obj):
    proxy = daemon.getProxyForObj(obj)
    proxy.echo(1)
    (old,) = daemon.connections
    running = gevent.spawn(proxy.wait, 0.05)
    eventually(lambda: old.serving)
    daemon._listener.say_goodbye()
    eventually(lambda: any(stream.draining for stream in hub_state().streams))
    assert proxy.echo(2) == 2
    assert len(daemon.connections) == 2
    running.get(timeout=30)


def test_a_lost_connection_is_replaced(daemon, obj):
    proxy = daemon.getProxyForObj(obj)
    proxy.echo(1)
    daemon.connections[0].close("cut")
    eventually(lambda: not any(stream.wire.connecting for stream in hub_state().streams))
    assert proxy.echo(2) == 2


# What goes wrong


def test_a_refused_connection():
    port = free_port()
    with pytest.raises(NotSentError, match=f"connection failed: 127.0.0.1:{port}: Connection refused"):
        open_channel(to(port))


def test_an_unresolvable_host():
    with pytest.raises(NotSentError, match=r"cannot resolve host 'no-such-host\.invalid': \w+"):
        open_channel(to(7766, "no-such-host.invalid"))


def test_a_hello_that_is_never_answered(port):
    silent = port()
    with pytest.raises(NotSentError, match=f"127.0.0.1:{silent.port}: no answer to the hello"):
        open_channel(to(silent.port, PYRO_CONNECT_TIMEOUT=0.5))


def test_a_connection_that_is_never_accepted(deaf_port):
    begin = monotonic()
    with pytest.raises(NotSentError, match=f"127.0.0.1:{deaf_port}: .*"):
        open_channel(to(deaf_port, PYRO_CONNECT_TIMEOUT=0.1))
    assert monotonic() - begin < 30


def test_the_time_for_connecting_is_one_for_all_its_steps(port, monkeypatch):
    """Look-up, connection and hello together get the connect time, not each."""
    silent = port()

    def slow(host, *arguments):
        gevent.sleep(0.3)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0))]

    monkeypatch.setattr(resolve.gevent.socket, "getaddrinfo", slow)
    took = []
    while not took or took[-1] >= 0.7:
        assert len(took) < 5, took  # the machine may stand still for a while, though hardly each time
        begin = monotonic()
        with pytest.raises(NotSentError):
            open_channel(to(silent.port, "some.host", PYRO_CONNECT_TIMEOUT=0.5))
        took.append(monotonic() - begin)


def test_look_up_time_counts(monkeypatch):
    monkeypatch.setattr(resolve.gevent.socket, "getaddrinfo", lambda *arguments: gevent.sleep(0.3))
    with pytest.raises(NotSentError, match=r"some.host:7766: no connection in 0\.05 s"):
        open_channel(to(7766, "some.host", PYRO_CONNECT_TIMEOUT=0.05))
    gevent.sleep(0.3)


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "HTTP server"),
        (b"\x15\x03\x01\x00\x02\x02\x46", "encrypted"),
        (b"PYRO\x00\x00", "Pyro's own protocol"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "does not speak gpyro"),
        (b"", "the peer closed the connection"),
        (MAGIC + pack(Kind.RESULT, 1), "RESULT is not expected"),
        (MAGIC + pack(Kind.WELCOME, body=b"nonsense"), "not JSON"),
        (MAGIC + pack(Kind.WELCOME, body=Hello(serializers=("pickle",)).to_bytes()), "was not offered"),
        (MAGIC + pack(Kind.WELCOME, body=Hello(serializers=()).to_bytes()), "was not offered"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_server_that_speaks_otherwise(port, answer, text):
    def serve(sock):
        sock.recv(1000)
        sock.sendall(answer)
        sock.close()

    other = port(serve)
    with pytest.raises(NotSentError, match=f"connection failed: 127.0.0.1:{other.port}: .*{text}"):
        open_channel(to(other.port))
    eventually(lambda: not [stream for stream in hub_state().streams if not stream.dismissed])


def test_a_refusal_gives_the_servers_reason(port):
    def serve(sock):
        raw = Raw(sock, connecting=False)
        raw.read()
        raw.send(raw.wire.refuse(1, "come back tomorrow"))

    with pytest.raises(ConnectionDeniedError, match="come back tomorrow"):
        open_channel(to(port(serve).port))


def test_no_common_serializer(daemon, obj):
    with pytest.raises(ConnectionDeniedError, match="accepted msgpack; offered json"):
        open_channel(to(daemon.port, PYRO_SERIALIZER="json"))


def test_a_peer_that_serves_no_calls(port):
    def serve(sock):
        raw = Raw(sock, connecting=False)
        raw.read()
        raw.send(raw.wire.welcome(replace(raw.wire.own, calls=0)))
        raw.rest()

    proxy = core.getProxyForURI(f"PYRO://127.0.0.1:{port(serve).port}/x")
    with pytest.raises(NotSentError, match="serves no calls"):
        proxy.echo(1)


def test_all_addresses_are_tried(daemon, obj, monkeypatch):
    addresses = [("127.0.0.9", 0), ("127.0.0.1", 0)]
    monkeypatch.setattr(
        resolve.gevent.socket,
        "getaddrinfo",
        lambda *arguments: [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in addresses],
    )
    uri = daemon.getProxyForObj(obj).URI
    assert core.getProxyForURI(f"PYRO://some.host:{daemon.port}/{uri.objectID}").echo(1) == 1


def test_a_silent_address_does_not_take_all_the_time(deaf_port, monkeypatch, obj):
    """The first address never answers: the second gets its share of the time."""
    with serving(obj, host="127.0.0.2", port=deaf_port) as daemon:
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, 0)) for host in ("127.0.0.1", "127.0.0.2")]
        monkeypatch.setattr(resolve.gevent.socket, "getaddrinfo", lambda *arguments: found)
        channel = open_channel(to(daemon.port, "some.host", PYRO_CONNECT_TIMEOUT=2.0))
        assert channel.address[0] == "127.0.0.2"
        channel.close("done")


def test_when_all_addresses_fail_all_are_named(monkeypatch):
    port = free_port()
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, 0)) for host in ("127.0.0.1", "127.0.0.2")]
    monkeypatch.setattr(resolve.gevent.socket, "getaddrinfo", lambda *arguments: found)
    with pytest.raises(NotSentError, match=r"127\.0\.0\.1: Connection refused; 127\.0\.0\.2: Connection refused"):
        open_channel(to(port, "some.host"))


def test_a_unix_socket_that_is_not_there(tmp_path):
    for path in (tmp_path / "none", tmp_path / ("x" * 200)):
        with pytest.raises(NotSentError, match="connection failed: "):
            open_channel(to(0, f"./u:{path}"))


# Leaving early


def test_the_deadline_of_one_does_not_end_the_attempt_for_the_others(port):
    go = gevent.event.Event()

    def serve(sock):
        raw = Raw(sock, connecting=False)
        raw.read()
        go.wait()
        raw.send(raw.wire.welcome(raw.wire.own))
        raw.rest()

    slow = port(serve)
    other = gevent.spawn(open_channel, to(slow.port))
    with pytest.raises(TimeoutError) as caught:
        open_channel(to(slow.port), 0.02)
    assert caught.value.phase == "connecting"
    assert not caught.value.may_have_run
    killed = gevent.spawn(open_channel, to(slow.port))
    turns(2)
    killed.kill()
    go.set()
    assert other.get(timeout=30).usable
    assert len(slow.connections) == 1


def test_each_waiter_gets_an_error_of_its_own(port):
    def serve(sock):
        sock.recv(1000)
        sock.close()

    closing = port(serve)
    waiting = [gevent.spawn(_error_of, to(closing.port)) for _ in range(5)]
    gevent.joinall(waiting, timeout=30)
    assert len({id(one.value) for one in waiting}) == 5
    assert len(closing.connections) == 1


def _error_of(destination):
    try:
        open_channel(destination)
    except NotSentError as error:
        return error


def test_a_channel_that_nobody_takes_closes(port):
    def serve(sock):
        raw = Raw(sock, connecting=False)
        raw.read()
        gevent.sleep(0.05)
        raw.send(raw.wire.welcome(raw.wire.own))
        assert raw.read() is None

    slow = port(serve)
    with pytest.raises(TimeoutError):
        open_channel(to(slow.port, PYRO_CONNECT_TIMEOUT=0.2), 0.01)
    eventually(lambda: not hub_state().streams)


def test_a_first_call_from_the_hub_is_refused_before_anything_is_opened(port):
    server = port()
    proxy = core.getProxyForURI(f"PYRO://127.0.0.1:{server.port}/x")
    seen = []

    def in_hub():
        try:
            proxy.echo(1)
        except Exception as error:
            seen.append(error)

    gevent.get_hub().loop.run_callback(in_hub)
    eventually(lambda: seen)
    assert type(seen[0]) is PyroError
    assert "hub" in str(seen[0])
    turns(5)
    assert server.connections == []


def test_after_a_failure_the_next_call_tries_again(obj):
    port = free_port()
    with pytest.raises(NotSentError):
        open_channel(to(port))
    with serving(obj, port=port) as daemon:
        assert daemon.getProxyForObj(obj).echo(1) == 1
