"""Who may connect: passphrases, users, validators on both sides, over real connections."""

from __future__ import annotations

import copy
import logging
import time

import gevent
import pytest
from gevent.event import Event

from gpyro import core, errors, protocol
from gpyro.auth import NOBODY
from gpyro.constants import DENIED_HOSTBLOCKED, DENIED_SECURITY
from gpyro.errors import ConnectionDeniedError, DaemonError, NotSentError
from gpyro.net import admission
from gpyro.protocol import DefaultConnValidator
from gpyro.tls import getLocalStorage
from gpyro.wire.frames import Kind, pack
from gpyro.wire.hello import SCRAM, Hello
from tests.net.peers import connection
from tests.support import eventually, serving, turns


class Thing(core.ObjBase):
    def echo(self, value):
        return value

    def who(self):
        caller = getLocalStorage().caller
        return caller.identity, getattr(caller, "user", None)


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


# Passphrases


def test_a_passphrase_lets_in(served, proxies):
    daemon, _ = served
    daemon.setAllowedIdentifications(["open sesame", "another one"])
    for passphrase in ("open sesame", "another one"):
        proxy = proxies(passphrase)
        assert proxy.echo(1) == 1
        assert proxy.who() == ("", None)


@pytest.mark.parametrize("wrong", ["open sesam", "open sesame ", "OPEN SESAME", ("ann", "open sesame")])
def test_a_wrong_one_does_not(served, proxies, wrong):
    daemon, _obj = served
    daemon.setAllowedIdentifications(["open sesame"])
    with pytest.raises(ConnectionDeniedError, match=r"^security reasons: the identification is not accepted$"):
        proxies(wrong).echo(1)
    assert proxies("open sesame").echo(1) == 1


def test_none_at_all_does_not_either_and_is_told_what_to_do(served, proxies):
    daemon, _ = served
    daemon.setAllowedIdentifications(["open sesame"])
    with pytest.raises(ConnectionDeniedError, match=r"^security reasons: an identification is needed \(.*_setIdent"):
        proxies().echo(1)


def test_users_with_their_passphrases(served, proxies):
    daemon, _ = served
    daemon.setAllowedIdentifications([("ann", "apple"), ("bob", "berry"), "anybody", ("änne =,", "ärger")])
    assert proxies(("ann", "apple")).who() == ("ann", None)
    assert proxies(("änne =,", "ärger")).who() == ("änne =,", None)
    assert proxies("anybody").who() == ("", None)
    for wrong in (("ann", "berry"), ("carl", "apple"), "apple", ("ann", "anybody")):
        with pytest.raises(ConnectionDeniedError, match="security reasons"):
            proxies(wrong).echo(1)


def test_none_lets_everybody_in_again(served, proxies):
    daemon, _ = served
    daemon.setAllowedIdentifications(["open sesame"])
    daemon.setAllowedIdentifications(None)
    assert proxies().who() == (None, None)


def test_an_empty_list_lets_nobody_in(served, proxies):
    daemon, _ = served
    daemon.setAllowedIdentifications([])
    for identification in (None, "open sesame"):
        with pytest.raises(ConnectionDeniedError):
            proxies(identification).echo(1)


def test_connections_that_are_open_stay(served, proxies):
    daemon, _ = served
    proxy = proxies()
    assert proxy.echo(1) == 1
    daemon.setAllowedIdentifications(["open sesame"])
    assert proxy.echo(2) == 2


@pytest.mark.parametrize("ids", ["open sesame", {"a": 1}, 5, {"set"}])
def test_allowed_identifications_are_a_list(served, ids):
    with pytest.raises(TypeError, match="ids must be a list"):
        served[0].setAllowedIdentifications(ids)


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (5, TypeError),
        (b"bytes", TypeError),
        (["one"], TypeError),
        (("a", "b", "c"), TypeError),
        (("a", 5), TypeError),
        ("", ValueError),
        (("", "x"), ValueError),
        (("x", ""), ValueError),
        ("a\x00b", ValueError),
        ("\ud800", ValueError),
        ("x" * 129, ValueError),
        ((NOBODY, "x"), ValueError),
    ],
    ids=repr,
)
def test_what_is_no_identification(served, proxies, value, error):
    daemon, _ = served
    daemon.setAllowedIdentifications(["open sesame"])
    proxy = proxies()
    for use in (proxy._setIdentification, lambda value: daemon.setAllowedIdentifications([value])):
        with pytest.raises(error) as caught:
            use(value)
        assert not isinstance(value, str) or value not in str(caught.value) or not value  # it may be a secret
    assert proxies("open sesame").echo(1) == 1  # as it was before


def test_no_passphrase_is_kept_or_shown():
    validator = DefaultConnValidator()
    validator.setAllowedIdentifications(["a very hidden passphrase"])
    assert "hidden" not in repr(vars(validator)) + repr(vars(validator.secrets))
    proxy = core.getProxyForURI("PYRO://localhost/x")
    proxy._setIdentification("a very hidden passphrase")
    assert "hidden" not in repr(proxy) + repr(proxy._remote.credentials)


# Both sides prove themselves


def test_a_server_that_asks_for_nothing_is_not_trusted_with_an_identification(served, proxies):
    with pytest.raises(ConnectionDeniedError, match="asks for no passphrase, and so did not prove"):
        proxies("open sesame").echo(1)
    assert proxies().echo(1) == 1


class FakeServer:
    """Answers the opening by hand, as somebody who does not know the passphrase."""

    def __init__(self, answers):
        from gevent.server import StreamServer

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


WELCOME = pack(Kind.WELCOME, body=Hello(calls=10, size=10000, sessions=10).to_bytes())


@pytest.mark.parametrize(
    ("answers", "text"),
    [
        ([WELCOME], "asks for no passphrase"),
        ([challenge_for, WELCOME], "asks for no passphrase"),
        ([challenge_for, pack(Kind.AUTHENTICATE, body=b"v=" + b"A" * 43 + b"=") + WELCOME], "did not prove"),
        ([challenge_for, pack(Kind.AUTHENTICATE, body=b"\xff") + WELCOME], "did not prove"),
        ([pack(Kind.AUTHENTICATE, body=b"nonsense")], "challenge is malformed"),
        ([lambda heard: challenge_for(heard, 1_000_001)], "more than 1000000 iterations"),
    ],
    ids=range(6),
)
def test_a_server_that_does_not_know_the_passphrase(answers, text):
    fake = FakeServer(answers)
    proxy = core.getProxyForURI(f"PYRO://127.0.0.1:{fake.server.server_port}/x")
    proxy._setIdentification("open sesame")
    proxy._setTimeout(10)
    with pytest.raises(ConnectionDeniedError, match=text):
        proxy.echo(1)
    assert b"sesame" not in fake.heard
    fake.server.stop()


def test_a_proof_cannot_be_used_again(served, proxies):
    """A recorded handshake does not fit another challenge."""
    daemon, _ = served
    daemon.setAllowedIdentifications(["open sesame"])
    from gpyro.auth import Identification, Prover

    prover = Prover(Identification.of("open sesame"))
    first = prover.first().encode()
    hello = (
        b"gPyr" + pack(Kind.HELLO, body=Hello(capabilities=(SCRAM,)).to_bytes()) + pack(Kind.AUTHENTICATE, body=first)
    )
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


@pytest.mark.parametrize("body", [b"", b"n,,", b"x" * 513, b"\xff", b"n,,n=a,r=\xff", b"y,,n=a,r=b\r\nc"])
def test_a_malformed_proof_is_refused(served, proxies, body):
    daemon, _ = served
    daemon.setAllowedIdentifications(["open sesame"])
    with connection(daemon.port) as sock:
        sock.sendall(b"gPyr" + pack(Kind.HELLO, body=Hello(capabilities=(SCRAM,)).to_bytes()))
        sock.sendall(pack(Kind.AUTHENTICATE, body=body))
        assert receive_frame(sock, magic=True)[:1] in (b"\x03", b"r")
    assert proxies("open sesame").echo(1) == 1


# Credentials belong to a channel and an address


def test_credentials_are_part_of_what_is_shared(served, proxies):
    daemon, _ = served
    daemon.setAllowedIdentifications(["one", "two"])
    first, same, other = proxies("one"), proxies("one"), proxies("two")
    assert [proxy.echo(1) for proxy in (first, same, other)] == [1, 1, 1]
    assert len(daemon.connections) == 2


def test_they_follow_a_copy(served, proxies):
    daemon, _ = served
    daemon.setAllowedIdentifications(["open sesame"])
    copied = copy.copy(proxies("open sesame"))
    assert copied.echo(1) == 1
    copied._release()


def test_they_do_not_go_to_another_address(served, caplog):
    daemon, obj = served
    fake = FakeServer([WELCOME])
    daemon.setAllowedIdentifications(["open sesame"])
    proxy = daemon.getProxyForObj(obj)
    proxy._setIdentification("open sesame")
    proxy.URI = f"PYRO://127.0.0.1:{fake.server.server_port}/x"
    assert "is not used for" in caplog.text
    assert "sesame" not in caplog.text
    proxy.adapter.rebindURI(1)
    assert fake.heard.startswith(b"gPyr")
    assert SCRAM.encode() not in fake.heard
    proxy._release()
    fake.server.stop()


def test_another_object_at_the_same_address_is_no_other_address(served, proxies):
    daemon, _ = served
    daemon.setAllowedIdentifications(["open sesame"])
    second = Thing()
    proxy = proxies("open sesame")
    proxy.URI = daemon.connect(second)
    assert proxy.echo(1) == 1


# Validators


class Users(DefaultConnValidator):
    def acceptIdentification(self, daemon, connection, token, challenge):
        assert isinstance(daemon, core.Daemon)
        if token.proves({"ann": "apple"}.get(token.user)):
            connection.user = token.user.upper()
            return 1, 0
        return 0, DENIED_SECURITY


def test_a_validator_hangs_the_users_name_on_the_connection(served, proxies):
    daemon, _ = served
    validator = Users()
    daemon.setNewConnectionValidator(validator)
    assert daemon.getNewConnectionValidator() is validator
    assert proxies(("ann", "apple")).who() == ("ann", "ANN")
    for wrong in (("ann", "berry"), ("bob", "apple"), None, "apple"):
        with pytest.raises(ConnectionDeniedError, match="security reasons"):
            proxies(wrong).echo(1)


def test_a_validator_that_did_not_call_our_constructor(served, proxies):
    class Forgetful(Users):
        def __init__(self):
            pass

    served[0].setNewConnectionValidator(Forgetful())
    assert proxies(("ann", "apple")).who() == ("ann", "ANN")


def test_accept_host_sees_where_they_come_from(served, proxies):
    seen = []

    class Hosts(DefaultConnValidator):
        allow = True

        def acceptHost(self, daemon, connection):
            seen.append((daemon, connection.addr[0], connection.connected, str(connection)))
            return (1, 0) if self.allow else (0, DENIED_HOSTBLOCKED)

    daemon, _ = served
    validator = Hosts()
    daemon.setNewConnectionValidator(validator)
    proxy = proxies()
    assert proxy.echo(1) == 1
    assert seen[0][:3] == (daemon, "127.0.0.1", True)
    assert "TCPConnection with ('127.0.0.1'" in seen[0][3]
    validator.allow = False
    with pytest.raises(ConnectionDeniedError, match=r"^host blocked$"):
        proxies(setPrivateChannel=True).echo(1)


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


def test_a_validator_that_asks_somebody_holds_nobody_else(served, proxies):
    asked, answered = Event(), Event()

    class Operator(DefaultConnValidator):
        def acceptIdentification(self, daemon, connection, token, challenge):
            if token.user == "slow":
                asked.set()
                answered.wait()
            return 1, 0

    daemon, _ = served
    daemon.setNewConnectionValidator(Operator())
    accept_all = AcceptsAnyServer()
    slow = proxies(("slow", "x"), setNewConnectionValidator=accept_all)
    waiting = gevent.spawn(slow.echo, 1)
    asked.wait()
    assert proxies(("quick", "x"), setNewConnectionValidator=accept_all).echo(2) == 2
    assert not waiting.ready()
    answered.set()
    assert waiting.get(timeout=5) == 1
    assert slow.who() == (None, None)  # nobody proved anything


class AcceptsAnyServer(DefaultConnValidator):
    def acceptIdentification(self, daemon, connection, token, challenge):
        return 1, 0


def test_a_caller_s_time_counts_while_a_validator_is_asked(served, proxies):
    class Slow(DefaultConnValidator):
        def acceptHost(self, daemon, connection):
            gevent.sleep(0.3)
            return 1, 0

    served[0].setNewConnectionValidator(Slow())
    proxy = proxies(setTimeout=0.05)
    with pytest.raises(errors.TimeoutError) as caught:
        proxy.echo(1)
    assert caught.value.phase == "connecting"


@pytest.mark.parametrize("wrong", [None, object(), DefaultConnValidator, "text"])
def test_what_is_no_validator(served, proxies, wrong):
    with pytest.raises(TypeError, match="must be a DefaultConnValidator instance"):
        served[0].setNewConnectionValidator(wrong)
    if wrong is not None:
        with pytest.raises(TypeError, match="must be a DefaultConnValidator instance"):
            proxies()._setNewConnectionValidator(wrong)


def test_a_proxy_s_validator_judges_the_server(served, proxies):
    seen = []

    class Server(DefaultConnValidator):
        accept = (1, 0)

        def acceptHost(self, daemon, connection):
            seen.append((daemon, connection.addr[1]))
            return self.accept

        def acceptIdentification(self, daemon, connection, token, challenge):
            seen.append((token.given, token.proved))
            return self.accept

    daemon, _ = served
    daemon.setAllowedIdentifications(["open sesame"])
    validator = Server()
    proxy = proxies("open sesame", setNewConnectionValidator=validator)
    assert proxy._getNewConnectionValidator() is validator
    assert proxy.adapter.getNewConnectionValidator() is validator
    assert proxy.echo(1) == 1
    assert seen == [(None, daemon.port), (True, True)]
    validator.accept = (0, DENIED_HOSTBLOCKED)
    proxy._release()
    other = proxies("open sesame", setNewConnectionValidator=validator, setPrivateChannel=True)
    with pytest.raises(ConnectionDeniedError, match="the proxy's validator refuses the server: host blocked"):
        other.echo(1)


def test_a_proxy_s_validator_that_fails(served, proxies):
    class Broken(DefaultConnValidator):
        def acceptHost(self, daemon, connection):
            raise KeyError("broken")

    with pytest.raises(ConnectionDeniedError, match=r"the proxy's validator failed: KeyError\('broken'\)"):
        proxies(setNewConnectionValidator=Broken()).echo(1)


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
    gevent.joinall(tries, timeout=20)
    assert time.monotonic() - began >= 0.4  # two rounds of those that are judged at a time
    assert all(isinstance(one.exception, ConnectionDeniedError) for one in tries)
    assert right.get(timeout=5) == 1
    lines = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert 1 <= len(lines) <= 3
    assert daemon._listener.admission._judging == {}


def test_an_attempt_that_leaves_at_once_still_takes_its_place(served, monkeypatch):
    monkeypatch.setattr(admission, "FAILURE_DELAY", 0.1)
    daemon, obj = served
    daemon.setAllowedIdentifications(["open sesame"])
    proxy = daemon.getProxyForObj(obj)
    proxy._setIdentification("wrong")
    trying = gevent.spawn(proxy.echo, 1)
    judging = daemon._listener.admission._judging
    eventually(lambda: judging and judging["127.0.0.1"].counter < admission.JUDGED_AT_ONCE)
    trying.kill()
    proxy._release()
    for channel in daemon.connections:
        channel.close("left")
    turns()
    assert judging["127.0.0.1"].counter == admission.JUDGED_AT_ONCE - 1
    eventually(lambda: not judging)


def test_a_client_that_never_answers_the_challenge(monkeypatch, caplog):
    obj = Thing()
    with serving(obj) as daemon:
        daemon.setAllowedIdentifications(["open sesame"])
        daemon.setTimeout(0.1)
        with connection(daemon.port) as sock:
            sock.sendall(b"gPyr" + pack(Kind.HELLO, body=Hello(capabilities=(SCRAM,)).to_bytes()))
            sock.sendall(pack(Kind.AUTHENTICATE, body=b"n,,n=-,r=abcdefgh"))
            assert receive_frame(sock, magic=True).startswith(b"r=abcdefgh")
            assert b"no proof within 0.1 s (PYRO_HANDSHAKE_TIMEOUT)" in receive_frame(sock)
        eventually(lambda: not daemon._listener.admission._examined)


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_a_daemons_timeout_is_positive(served, seconds):
    with pytest.raises(ValueError, match="positive number of seconds"):
        served[0].setTimeout(seconds)


# Wide binds


@pytest.fixture
def wide():
    daemon = core.Daemon(host="0.0.0.0", port=0, norange=1)
    daemon.connect(Thing())
    yield daemon
    daemon.closedown()


USES = {
    "requestLoop": lambda daemon: daemon.requestLoop(lambda: False),
    "start": lambda daemon: daemon.start(),
    "handleRequests": lambda daemon: daemon.handleRequests(0),
    "getServerSockets": lambda daemon: daemon.getServerSockets(),
}


@pytest.mark.parametrize("use", USES)
def test_a_wide_bind_without_passphrase_is_refused_with_the_ways_out(wide, use):
    with pytest.raises(DaemonError, match=r"bound to 0\.0\.0\.0, everybody") as caught:
        USES[use](wide)
    for way in ("setAllowedIdentifications", "setNewConnectionValidator", "host ''", "./u:/path", "PYRO_ALLOW_OPEN=1"):
        assert way in str(caught.value)


@pytest.mark.parametrize("use", USES)
def test_with_a_passphrase_it_is_not(wide, use):
    wide.setAllowedIdentifications(["open sesame"])
    USES[use](wide)


def test_nobody_is_answered_before(wide):
    with connection(wide.port) as sock:
        sock.sendall(b"gPyr" + pack(Kind.HELLO, body=Hello().to_bytes()))
        sock.settimeout(0.05)
        with pytest.raises(TimeoutError):
            sock.recv(1)


def test_a_running_wide_daemon_cannot_be_opened_to_everybody(wide):
    wide.setAllowedIdentifications(["open sesame"])
    wide.start()
    with pytest.raises(DaemonError, match="everybody"):
        wide.setAllowedIdentifications(None)
    with pytest.raises(DaemonError, match="everybody"):
        wide.setNewConnectionValidator(DefaultConnValidator())
    assert wide.getNewConnectionValidator().allowed is not None


def test_the_names_of_pyro_s_protocol_module():
    for name in ("DefaultConnValidator", "TCPConnection", "LocalStorage", "PYROAdapter", "getHostname", "getIPAddress"):
        assert hasattr(protocol, name)
    assert protocol.getIPAddress("127.0.0.1") == "127.0.0.1"
    assert protocol.getIPAddress("no-such-host.invalid") is None
    assert protocol.getHostname("192.0.2.300") is None
    assert isinstance(protocol.getHostname(), str)


def test_a_daemon_that_is_not_there_is_no_matter_of_identity():
    proxy = core.getProxyForURI("PYRO://127.0.0.1:1/x")
    proxy._setIdentification("open sesame")
    with pytest.raises(NotSentError):
        proxy.echo(1)
