"""What callers and the log are told of requests that failed."""

from __future__ import annotations

import pytest

from gpyro import core
from gpyro.errors import ProtocolError, PyroError, RemoteError, SerializationError
from gpyro.wire.frames import Kind, pack
from tests.net.peers import CODEC, Raw
from tests.support import eventually, serving
from tests.targets import Target, lines, session


class Nested(Target):
    def __init__(self, proxy=None):
        super().__init__()
        self.proxy = proxy

    def sends_what_cannot_travel(self):
        self.proxy.echo(object())

    def fails_inside(self, value):
        raise TypeError(f"inside, with {value}")


@pytest.fixture
def obj():
    return Nested()


@pytest.fixture
def daemon(obj):
    with serving(obj) as made:
        yield made


def test_a_value_that_the_method_could_not_send_is_not_the_callers(daemon, obj):
    obj.proxy = daemon.getProxyForObj(obj)
    proxy = daemon.getProxyForObj(obj)
    with pytest.raises(RemoteError, match="cannot travel") as caught:
        proxy.sends_what_cannot_travel()
    assert caught.value.name == "gpyro.errors.SerializationError"
    assert "args[0]" in caught.value.text
    assert any("sends_what_cannot_travel" in line for line in caught.value.remote_stacktrace)
    # Its own result, though, is of this call.
    with pytest.raises(SerializationError) as caught:
        proxy.unsendable()
    assert caught.value.path == "result"
    for one in (proxy, obj.proxy):
        one._release()


def test_a_flood_of_refused_one_way_calls_fills_no_log(daemon, obj, caplog):
    raw = Raw.connect(daemon.port)
    raw.open(1, "evil\n2026-01-01 CRITICAL forged" + "x" * 500)
    raw.send(pack(Kind.ONEWAY, 0, 1, CODEC.encode_call("echo", (), {})) * 500)
    raw.call(1, 1, "echo")
    raw.read()
    found = lines(caplog)
    assert 1 <= len(found) <= 3
    assert all("\n" not in line and len(line) < 500 for line in found)
    raw.close()


def test_refusals_are_told_to_whoever_runs_the_server(daemon, obj, caplog):
    raw = session(daemon, obj)
    for number in range(50):
        raw.call(2 * number + 1, 1, "nothing\nlike this")
        assert raw.read()[0] == Kind.REJECTED
    (line,) = lines(caplog)
    assert "call 1 of session 1 from ('127.0.0.1'" in line
    assert line.endswith(r"Nested refused: Nested offers no 'nothing\\nlike this'")
    raw.close()


def test_wrong_arguments_are_no_exception_of_the_method(daemon, obj, caplog):
    proxy = daemon.getProxyForObj(obj)
    for _ in range(50):
        with pytest.raises(TypeError, match="two"):
            proxy.two(1)
    (line,) = lines(caplog)
    assert "wrong arguments" in line
    assert caplog.records[-1].exc_info is None
    caplog.clear()
    for number in range(5):
        with pytest.raises(TypeError, match="inside"):
            proxy.fails_inside(number)
    assert len(lines(caplog)) == 5
    proxy._release()


def test_an_inittls_that_fails_is_logged_once_and_at_a_bounded_rate(daemon, obj, caplog):
    daemon.setInitTLS(lambda storage: 1 // 0)
    for _ in range(30):
        proxy = core.getProxyForURI(daemon.getProxyForObj(obj).URI)
        for _ in range(3):
            with pytest.raises(ZeroDivisionError):
                proxy.echo(1)
        proxy._release()
    (line,) = lines(caplog)
    assert "initTLS failed" in line
    eventually(lambda: not daemon.connections or True)


class Opaque(type):
    @property
    def __name__(cls):
        raise ValueError("no name")


class Nameless(Exception, metaclass=Opaque):
    pass


class Wordless(Exception):
    def __str__(self):
        raise GeneratorExit


class Classless(Exception):
    @property
    def __class__(self):
        raise ValueError("no class")


@pytest.mark.parametrize("cls", [Nameless, Wordless, Classless], ids=["nameless", "wordless", "classless"])
def test_an_exception_that_cannot_be_described_is_answered_all_the_same(cls):
    class Thing(core.ObjBase):
        def fail(self):
            raise cls("with arguments")

        def echo(self, value):
            return value

    obj = Thing()
    with serving(obj) as daemon:
        proxy = daemon.getProxyForObj(obj)
        proxy._setTimeout(5)
        with pytest.raises(PyroError) as caught:
            proxy.fail()
        assert not isinstance(caught.value, ProtocolError | SerializationError)
        assert proxy.echo(1) == 1
        proxy._release()


def test_what_an_inittls_raised_costs_no_memory_for_each_call(daemon, obj):
    def fail(storage):
        raise KeyError("not today")

    daemon.setInitTLS(fail)
    proxy = daemon.getProxyForObj(obj)
    lengths = set()
    for _ in range(10):
        with pytest.raises(KeyError, match="not today") as caught:
            proxy.echo(b"x" * 1000)
        lengths.add(len("".join(caught.value.remote_stacktrace)))
    assert len(lengths) == 1
    (session,) = daemon.connections[0].served.values()
    assert isinstance(session.failure, bytes)
    proxy._release()
