"""Newcomers who prove nothing, prove it wrong, prove it again, or leave; and validators that fail."""

from __future__ import annotations

import logging
import time

import gevent
import pytest
from gevent.event import Event

from gpyro.auth import Identification, Prover
from gpyro.errors import ConnectionDeniedError
from gpyro.net import admission
from gpyro.net.hub import hub_state
from gpyro.protocol import DefaultConnValidator
from gpyro.wire.frames import Kind, pack
from gpyro.wire.hello import Hello
from tests.net.peers import connection
from tests.provers import HELLO, Thing, receive_frame
from tests.support import eventually, serving, turns


@pytest.fixture(autouse=True)
def _quick_failures(monkeypatch):
    monkeypatch.setattr(admission, "FAILURE_DELAY", 0.01)


@pytest.fixture
def served():
    obj = Thing()
    with serving(obj) as daemon:
        yield daemon, obj


@pytest.fixture
def proxies(served):
    """Makes proxies with an identification, which are released at the end."""
    daemon, obj = served
    made = []

    def make(identification=None, **settings):
        proxy = daemon.getProxyForObj(obj)
        if identification is not None:
            proxy._setIdentification(identification)
        for name, value in settings.items():
            getattr(proxy, "_" + name)(value)
        made.append(proxy)
        return proxy

    yield make
    for proxy in made:
        proxy._release()


def test_a_proof_cannot_be_used_again(served, proxies):
    """A recorded handshake does not fit another challenge."""
    daemon, _ = served
    daemon.setAllowedIdentifications(["open sesame"])
    prover = Prover(Identification.of("open sesame"))
    first = prover.first().encode()
    hello = HELLO + pack(Kind.AUTHENTICATE, body=first)
    with connection(daemon.port) as sock:
        sock.sendall(hello)
        challenge = receive_frame(sock, magic=True)
        final = prover.answer(challenge).encode()
        sock.sendall(pack(Kind.AUTHENTICATE, body=final))
        assert receive_frame(sock).startswith(b"v=")
    with connection(daemon.port) as sock:
        sock.sendall(hello)
        assert receive_frame(sock, magic=True) != challenge
        sock.sendall(pack(Kind.AUTHENTICATE, body=final))
        assert b"the identification is not accepted" in receive_frame(sock)


@pytest.mark.parametrize(
    "body", [b"", b"n,,", b"x" * 513, b"\xff", b"n,,n=" + b"a" * 129 + b",r=x", b"n,,n=a,r=\xff", b"y,,n=a,r=b\r\nc"]
)
def test_a_malformed_proof_is_refused(served, proxies, body):
    daemon, _ = served
    daemon.setAllowedIdentifications(["open sesame"])
    with connection(daemon.port) as sock:
        sock.sendall(HELLO)
        sock.sendall(pack(Kind.AUTHENTICATE, body=body))
        assert receive_frame(sock, magic=True)[:1] in (b"\x03", b"r")
    assert proxies("open sesame").echo(1) == 1


@pytest.mark.parametrize("which", ["acceptHost", "acceptIdentification"])
@pytest.mark.parametrize("how", ["raises", "exits", "nonsense", "none", "hangs"])
def test_a_validator_that_fails(served, proxies, caplog, monkeypatch, which, how):
    def fail(self, daemon, connection, *rest):
        if how == "raises":
            raise KeyError("broken")
        if how == "exits":
            raise SystemExit
        if how == "hangs":
            gevent.sleep(100)
        return None if how == "none" else "nonsense"

    daemon, _ = served
    validator = type("Broken", (DefaultConnValidator,), {which: fail})()
    if how == "hangs":
        settings = daemon.settings.replace(PYRO_VALIDATION_TIMEOUT=0.05)
        monkeypatch.setattr(daemon._listener.admission, "_settings", settings)
    if which == "acceptIdentification":
        validator.setAllowedIdentifications(["open sesame"])
    daemon.setNewConnectionValidator(validator)
    text = "took more than 0.05 s" if how == "hangs" else "the server's validator failed"
    with pytest.raises(ConnectionDeniedError, match=f"unspecified reason: .*{text}"):
        proxies("open sesame" if which == "acceptIdentification" else None).echo(1)
    turns()
    assert [record for record in caplog.records if "validator" in record.getMessage() and record.exc_info]
    daemon.setNewConnectionValidator(DefaultConnValidator())
    assert proxies().echo(1) == 1


# Wrong attempts


def test_wrong_attempts_are_slowed_down_and_logged_at_most_once_a_second(served, proxies, caplog, monkeypatch):
    monkeypatch.setattr(admission, "FAILURE_DELAY", 0.2)
    daemon, _ = served
    daemon.setAllowedIdentifications(["open sesame"])
    attempts = admission.JUDGED_AT_ONCE * 2
    wrong = [proxies("wrong", setPrivateChannel=True) for _ in range(attempts)]
    began = time.monotonic()
    tries = [gevent.spawn(proxy.echo, 1) for proxy in wrong]
    right = gevent.spawn(proxies("open sesame").echo, 1)
    gevent.joinall(tries, timeout=30)
    assert time.monotonic() - began >= 0.4  # two rounds of those that are judged at a time
    assert all(isinstance(one.exception, ConnectionDeniedError) for one in tries)
    assert right.get(timeout=30) == 1
    lines = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert 1 <= len(lines) <= 3
    assert daemon._listener.admission._judging == {}


def test_an_attempt_that_leaves_at_once_still_takes_its_place(served, monkeypatch):
    monkeypatch.setattr(admission, "FAILURE_DELAY", 2.0)
    daemon, obj = served
    daemon.setAllowedIdentifications(["open sesame"])
    proxy = daemon.getProxyForObj(obj)
    proxy._setIdentification("wrong")
    trying = gevent.spawn(proxy.echo, 1)
    judging = daemon._listener.admission._judging
    eventually(lambda: judging and judging["127.0.0.1"].taken)
    trying.kill()
    proxy._release()
    for channel in daemon.connections:
        channel.close("left")
    turns()
    assert judging["127.0.0.1"].taken == 1
    eventually(lambda: not judging)


def test_a_client_that_never_answers_the_challenge(monkeypatch, caplog):
    obj = Thing()
    with serving(obj) as daemon:
        daemon.setAllowedIdentifications(["open sesame"])
        daemon.setTimeout(1)
        with connection(daemon.port) as sock:
            sock.sendall(HELLO)
            sock.sendall(pack(Kind.AUTHENTICATE, body=b"n,,n=-,r=abcdefgh"))
            assert receive_frame(sock, magic=True).startswith(b"r=abcdefgh")
            assert b"no proof within 1 s (PYRO_HANDSHAKE_TIMEOUT)" in receive_frame(sock)
        eventually(lambda: not daemon._listener.admission._examined)


def test_those_that_leave_while_they_wait_leave_nothing_behind(served, monkeypatch):
    monkeypatch.setattr(admission, "FAILURE_DELAY", 1.0)
    monkeypatch.setattr(admission, "JUDGED_AT_ONCE", 1)
    daemon, _ = served
    daemon.setAllowedIdentifications(["open sesame"])
    judging, workers = daemon._listener.admission._judging, hub_state().workers
    first = answered(daemon)
    eventually(lambda: judging)
    turns()
    before = workers.alive
    waiting = [answered(daemon) for _ in range(20)]
    eventually(lambda: len(judging["127.0.0.1"].waiting) == 20)
    for sock in waiting:
        sock.close()
    eventually(lambda: not judging["127.0.0.1"].waiting)
    assert workers.alive <= before + 1
    assert len(daemon.connections) == 1
    first.close()
    eventually(lambda: not judging)


def answered(daemon):
    """A client that has sent a wrong proof."""
    sock = connection(daemon.port)
    sock.sendall(HELLO + pack(Kind.AUTHENTICATE, body=b"n,,n=-,r=abcdefgh"))
    nonce = receive_frame(sock, magic=True).split(b",")[0]
    sock.sendall(pack(Kind.AUTHENTICATE, body=b"c=biws," + nonce + b",p=" + b"A" * 43 + b"="))
    return sock


def test_how_long_judging_takes_does_not_show(served, proxies, monkeypatch):
    """A passphrase that has to be derived first would tell that there is such a user."""
    slept = []
    monkeypatch.setattr(admission, "FAILURE_DELAY", 0.3)
    monkeypatch.setattr(admission.gevent, "sleep", slept.append)

    class Slow(DefaultConnValidator):
        def acceptIdentification(self, daemon, connection, token, challenge):
            Event().wait(0.1)
            return 0, 3

    served[0].setNewConnectionValidator(Slow())
    with pytest.raises(ConnectionDeniedError):
        proxies("wrong").echo(1)
    assert len(slept) == 1
    assert 0 <= slept[0] <= 0.21


def test_a_validator_that_swallows_the_end_of_its_time_refuses_all_the_same(served, proxies, monkeypatch):
    class Swallows(DefaultConnValidator):
        def acceptIdentification(self, daemon, connection, token, challenge):
            try:
                gevent.sleep(100)
            except BaseException:
                return 1, 0

    daemon, _ = served
    settings = daemon.settings.replace(PYRO_VALIDATION_TIMEOUT=0.05)
    monkeypatch.setattr(daemon._listener.admission, "_settings", settings)
    daemon.setNewConnectionValidator(Swallows())
    with pytest.raises(ConnectionDeniedError, match=r"took more than 0\.05 s"):
        proxies().echo(1)


@pytest.mark.parametrize("which", ["acceptHost", "acceptIdentification"])
def test_nobody_is_judged_who_has_left(served, caplog, which):
    """A crowd that comes and leaves would have a slow validator's greenlets fill the memory."""
    begun, ended = [], []

    def slow(self, daemon, connection, *rest):
        begun.append(1)
        try:
            gevent.sleep(100)
        finally:
            ended.append(1)

    daemon, _ = served
    daemon.setNewConnectionValidator(type("Slow", (DefaultConnValidator,), {which: slow})())
    for _ in range(5):
        sock = connection(daemon.port)
        sock.sendall(b"gPyr" + pack(Kind.HELLO, body=Hello().to_bytes()))
        eventually(lambda: len(begun) > len(ended))
        sock.close()
        eventually(lambda: len(begun) == len(ended))
    turns()
    assert len(begun) == 5
    assert "validator" not in caplog.text
