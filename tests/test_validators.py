"""Who may connect: passphrases, users, validators on both sides, over real connections."""

from __future__ import annotations

import copy
import pickle

import gevent
import pytest
import scramp
from gevent.event import Event

from gpyro import core, errors, protocol
from gpyro.auth import NOBODY, Prover
from gpyro.constants import DENIED_HOSTBLOCKED, DENIED_SECURITY
from gpyro.errors import ConnectionDeniedError, NotSentError
from gpyro.net import admission
from gpyro.protocol import DefaultConnValidator
from gpyro.wire.frames import Kind, pack
from tests.net.peers import connection
from tests.provers import HELLO, Thing, receive_frame
from tests.support import AnyServer, serving


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
        (("\uff0d", "x"), ValueError),
        ("\u00ad", ValueError),
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
    assert "hidden" not in repr(proxy) + repr(proxy._remote.given)


# Both sides prove themselves


def test_a_server_that_asks_for_nothing_is_not_trusted_with_an_identification(served, proxies):
    with pytest.raises(ConnectionDeniedError, match="asks for no passphrase, and so did not prove"):
        proxies("open sesame").echo(1)
    assert proxies().echo(1) == 1


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


def test_they_do_not_go_there_either_while_another_thread_points_the_proxy_elsewhere(served, proxies):
    remote, elsewhere = proxies("open sesame")._remote, core.PyroURI("PYRO://elsewhere:1/x")
    assert remote._destination(remote.made_for, remote.made_for).credentials is not None
    assert remote._destination(elsewhere, elsewhere).credentials is None  # in the middle of what an assignment does


def test_they_do_not_travel_with_a_method():
    proxy = core.getProxyForURI("PYRO://localhost/x")
    proxy._setIdentification("a very hidden passphrase")
    for what in (proxy.echo, proxy._remote, proxy._remote.given):
        with pytest.raises(pickle.PicklingError):
            pickle.dumps(what)
    assert b"hidden" not in pickle.dumps(proxy)


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


@pytest.mark.parametrize("unknown", [None, ""])
def test_an_empty_passphrase_is_proved_by_nobody(served, unknown):
    """A validator that looks up who is not known may find no passphrase, or an empty one."""

    class Careless(DefaultConnValidator):
        def acceptIdentification(self, daemon, connection, token, challenge):
            return (1, 0) if token.proves({}.get(token.user, unknown)) else (0, DENIED_SECURITY)

    served[0].setNewConnectionValidator(Careless())
    prover = Prover.__new__(Prover)
    prover._client = scramp.ScramClient(["SCRAM-SHA-256"], "ann", "")
    with connection(served[0].port) as sock:
        sock.sendall(HELLO + pack(Kind.AUTHENTICATE, body=prover.first().encode()))
        sock.sendall(pack(Kind.AUTHENTICATE, body=prover.answer(receive_frame(sock, magic=True)).encode()))
        assert b"the identification is not accepted" in receive_frame(sock)


def test_names_are_compared_as_they_are_written_in_full(served, proxies):
    daemon, _ = served
    daemon.setAllowedIdentifications([("\ufb01n", "apple")])
    assert proxies(("fin", "apple")).who() == ("fin", None)
    assert proxies(("\ufb01n", "apple")).who() == ("fin", None)


def test_a_validator_that_compares_itself(served, proxies):
    class Equal(AnyServer):
        def __eq__(self, other):
            return True

    assert proxies(setNewConnectionValidator=Equal()).echo(1) == 1


def test_a_validator_that_no_longer_asks_is_told_of(served, caplog):
    daemon, _ = served
    daemon.setNewConnectionValidator(DefaultConnValidator())
    assert caplog.text == ""
    daemon.setAllowedIdentifications(["open sesame"])
    daemon.setNewConnectionValidator(DefaultConnValidator())
    assert "asks for no identification, unlike the one before it" in caplog.text


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
    accept_all = AnyServer()
    slow = proxies(("slow", "x"), setNewConnectionValidator=accept_all)
    waiting = gevent.spawn(slow.echo, 1)
    asked.wait()
    assert proxies(("quick", "x"), setNewConnectionValidator=accept_all).echo(2) == 2
    assert not waiting.ready()
    answered.set()
    assert waiting.get(timeout=30) == 1
    assert slow.who() == (None, None)  # nobody proved anything


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


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_a_daemons_timeout_is_positive(served, seconds):
    with pytest.raises(ValueError, match="positive number of seconds"):
        served[0].setTimeout(seconds)


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
