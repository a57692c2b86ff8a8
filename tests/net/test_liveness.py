from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
from types import SimpleNamespace

import gevent
import pytest

from gpyro.net import liveness
from gpyro.net.hub import hub_state
from gpyro.net.liveness import DEAD_AFTER, INTERVAL, Liveness, TransportInfo, transport_info
from tests.net.peers import bare_pair
from tests.programs import program
from tests.support import eventually, turns


class Stream:
    """Stands for a stream that sent something."""

    closed = False

    def __init__(self, size=0):
        self.sock = self
        self.out = SimpleNamespace(size=size)
        self.unproven = True
        self.reason = None

    def close(self, reason):
        self.closed = True
        self.reason = reason


class Watch:
    """Liveness with a clock of its own and what the system is to say."""

    def __init__(self, monkeypatch):
        self.now = 1000.0
        self.info = None
        monkeypatch.setattr(liveness, "transport_info", self._info)
        if hasattr(liveness, "monotonic"):
            monkeypatch.setattr(liveness, "monotonic", lambda: self.now)
        self.state = SimpleNamespace(loop=hub_state().loop, streams=set(), escaped=self._escaped)
        self.errors = []
        self.part = Liveness(self.state)

    def _info(self, sock):
        if isinstance(self.info, Exception):
            raise self.info
        return self.info(self.now) if callable(self.info) else self.info

    def _escaped(self, error):
        self.errors.append(error)

    def look(self, seconds=INTERVAL):
        self.now += seconds
        self.part._look()


@pytest.fixture
def watch(monkeypatch):
    made = Watch(monkeypatch)
    yield made
    made.part.close()


def add(watch, size=0):
    stream = Stream(size)
    watch.state.streams.add(stream)
    return stream


def test_the_system_is_read_right():
    server = socket.create_server(("127.0.0.1", 0))
    client = socket.create_connection(server.getsockname())
    accepted, _ = server.accept()
    try:
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.sendall(b"x")
        eventually(lambda: transport_info(client).unacknowledged == 0)
        info = transport_info(client)
        assert info.repeated == 0
        assert 0 <= info.silence < 5
        client.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                client.send(b"x" * 65536)
        # The window is closed; the peer's system answers the probes, however long its program does not read.
        eventually(lambda: transport_info(client).silence >= 0.001)
        assert transport_info(client).silence < 5
    finally:
        for sock in (server, client, accepted):
            sock.close()


def test_the_time_since_the_last_acknowledgement_grows():
    server = socket.create_server(("127.0.0.1", 0))
    client = socket.create_connection(server.getsockname())
    try:
        eventually(lambda: transport_info(client).silence >= 0.05)
    finally:
        server.close()
        client.close()


def test_a_unix_socket_tells_nothing():
    left, right = bare_pair()
    assert transport_info(left) is None
    left.close()
    right.close()


def test_a_peer_whose_system_is_silent_is_dead(watch):
    stream = add(watch)
    begin = watch.now
    watch.info = lambda now: TransportInfo(3, 5, now - begin)
    while not stream.closed:
        watch.look()
        assert watch.now - begin < DEAD_AFTER + 2 * INTERVAL
    assert watch.now - begin >= DEAD_AFTER
    assert "acknowledged nothing for" in stream.reason


def test_probes_without_answer_are_as_bad_as_repetitions(watch):
    stream = add(watch, size=100)
    begin = watch.now
    watch.info = lambda now: TransportInfo(0, 4, now - begin)
    for _ in range(10):
        watch.look()
    assert stream.closed


def test_a_peer_that_does_not_read_is_alive(watch):
    """Its window is closed for a minute; its system answers the probes, which come ever more seldom."""
    stream = add(watch, size=1 << 20)
    watch.info = lambda now: TransportInfo(0, 0, now % 30)
    for _ in range(30):
        watch.look()
    assert not stream.closed


def test_a_look_between_a_probe_and_its_answer_is_no_verdict(watch):
    """Probes of a closed window come up to two minutes apart; each is unanswered for the length of a round trip."""
    stream = add(watch, size=1 << 20)
    for repeated in (0, 1, 0, 0, 0, 1, 0):
        watch.info = TransportInfo(0, repeated, 25.0)
        watch.look()
        assert not stream.closed


def test_one_lost_packet_after_a_long_silence_is_no_verdict(watch):
    """Without keepalive the last acknowledgement may be an hour old when something is sent again."""
    stream = add(watch)
    watch.info = TransportInfo(1, 1, 3600.0)
    watch.look()
    watch.look()
    assert not stream.closed
    for _ in range(10):
        watch.look()
    assert stream.closed


def test_a_busy_program_is_alive_as_its_system_acknowledges(watch):
    stream = add(watch)
    watch.info = TransportInfo(5, 1, 0.2)
    for _ in range(30):
        watch.look()
    assert not stream.closed
    assert stream.unproven


def test_what_was_acknowledged_is_not_looked_at_again(watch):
    stream = add(watch)
    watch.info = TransportInfo(0, 0, 0.0)
    watch.look()
    assert not stream.unproven
    watch.info = ValueError("looked at")
    watch.look()
    assert watch.errors == []
    assert not stream.closed


def test_unsent_output_is_not_proven(watch):
    stream = add(watch, size=1)
    watch.info = TransportInfo(0, 0, 0.0)
    watch.look()
    assert stream.unproven


def test_where_the_system_tells_nothing_nobody_is_dead(watch):
    stream = add(watch, size=5)
    watch.look()
    assert not stream.closed
    assert not stream.unproven


def test_an_error_with_one_stream_closes_it_and_spares_the_others(monkeypatch, watch):
    bad, dead = add(watch), add(watch)
    begin = watch.now

    def info(sock):
        if sock is bad:
            raise ValueError("injected")
        return TransportInfo(1, 3, watch.now - begin)

    monkeypatch.setattr(liveness, "transport_info", info)
    for _ in range(10):
        watch.look()
    assert bad.closed
    assert "injected" in bad.reason
    assert dead.closed
    assert watch.errors


def test_it_does_not_keep_the_loop_alive():
    part = Liveness(hub_state())
    assert not part._timer.ref
    part.close()


def test_it_looks_on_its_own(monkeypatch):
    monkeypatch.setattr(liveness, "INTERVAL", 0.005)
    looked = []
    monkeypatch.setattr(liveness, "transport_info", lambda sock: looked.append(sock))
    part = Liveness(SimpleNamespace(loop=hub_state().loop, streams={Stream()}, escaped=looked.append))
    eventually(lambda: looked)
    part.close()
    turns(2)


PARTITION = """
    import ctypes, os, sys
    assert ctypes.CDLL(None).setns(os.open(sys.argv[2], os.O_RDONLY), 0) == 0
    from time import monotonic
    import gevent
    from gpyro import core
    from gpyro.errors import MaybeExecutedError
    proxy = core.getProxyForURI(sys.argv[1])
    assert proxy.echo(1) == 1
    print("ready")
    sys.stdin.readline()
    begin = monotonic()
    try:
        proxy.echo(2)
    except MaybeExecutedError as error:
        print(f"{monotonic() - begin:.0f} {error}")
    """

SERVER = """
    import sys
    from gpyro import config, core
    class Echo(core.ObjBase):
        def echo(self, value):
            return value
    config.PYRO_ALLOW_OPEN = 1
    daemon = core.Daemon(host=sys.argv[1], port=0, norange=1)
    print(daemon.connect(Echo()), flush=True)
    daemon.requestLoop()
    """


@pytest.mark.long
def test_a_cut_line_is_noticed_while_a_call_is_out():
    tag = f"gp{os.getpid() % 10000}"
    ip = shutil.which("ip")

    def run(*arguments, check=True):
        return subprocess.run([ip, *arguments], capture_output=True, check=check).returncode == 0

    if ip is None or os.getuid() != 0 or not run("netns", "add", tag, check=False):
        pytest.skip("network namespaces need root and the program ip")
    try:
        run("link", "add", f"{tag}a", "type", "veth", "peer", "name", f"{tag}b", "netns", tag)
        run("addr", "add", "10.213.7.1/30", "dev", f"{tag}a")
        run("link", "set", f"{tag}a", "up")
        run("-n", tag, "addr", "add", "10.213.7.2/30", "dev", f"{tag}b")
        run("-n", tag, "link", "set", f"{tag}b", "up")
        with program(SERVER, "10.213.7.1") as server, gevent.Timeout(40):
            uri = server.line()
            with program(PARTITION, uri, f"/run/netns/{tag}") as client:
                assert client.line() == "ready"
                run("link", "set", f"{tag}a", "down")
                client.say("go")
                seconds, _, text = client.line().partition(" ")
                assert 8 <= int(seconds) <= 25
                assert "acknowledged nothing" in text or "TIMEDOUT" in text or "UNREACH" in text
    finally:
        run("netns", "del", tag, check=False)
        run("link", "del", f"{tag}a", check=False)
