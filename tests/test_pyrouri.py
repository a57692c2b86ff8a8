"""URIs as programs hold them."""

from __future__ import annotations

import copy
import pickle

import pytest

import gpyro
from gpyro import core
from gpyro.core import PyroURI
from gpyro.errors import NamingError, PyroError, URIError
from tests.support import serving, uri_of


@pytest.fixture
def port():
    before = gpyro.config.PYRO_PORT
    gpyro.config.PYRO_PORT = 9123
    yield 9123
    gpyro.config.PYRO_PORT = before


def parts(uri):
    return uri.protocol, uri.address, uri.port, uri.objectID


FORMS = {
    "PYRO://host.example:9090/0a000096": ("PYRO", "host.example", 9090, "0a000096"),
    "PYRO://10.0.0.150:9090/0a000096-1": ("PYRO", "10.0.0.150", 9090, "0a000096-1"),
    "PYRO://host/id": ("PYRO", "host", 7766, "id"),
    "PYRO://[::1]:80/id": ("PYRO", "::1", 80, "id"),
    "PYRO://[::1]/id": ("PYRO", "::1", 7766, "id"),
    "PYROLOC://host:9090/:Group.name": ("PYROLOC", "host", 9090, ":Group.name"),
    "PYROLOC://host/name": ("PYROLOC", "host", 7766, "name"),
    "PYRO://./u:%2Frun%2Fx.sock/id": ("PYRO", "./u:/run/x.sock", 0, "id"),
}


@pytest.mark.parametrize("text", FORMS)
def test_every_form_is_understood_and_printed_so_that_it_is_understood_again(text):
    uri = PyroURI(text)
    assert parts(uri) == FORMS[text]
    assert parts(PyroURI(str(uri))) == FORMS[text]
    assert repr(uri) == f"<PyroURI '{uri}'>"


def test_the_printed_form_has_the_port():
    assert str(PyroURI("PYRO://host/id")) == "PYRO://host:7766/id"
    assert str(PyroURI("PYRO://./u:%2Fx/id")) == "PYRO://./u:%2Fx/id"


def test_the_default_port_is_the_configured_one(port):
    assert PyroURI("PYRO://host/id").port == port
    assert PyroURI("host", "id").port == port
    assert str(PyroURI("PYROLOC://host/name")) == f"PYROLOC://host:{port}/name"
    assert PyroURI("PYRO://./u:%2Fx/id").port == 0


def test_the_host_stays_as_given():
    assert PyroURI("PYRO://localhost:1/id").address == "localhost"
    assert PyroURI("localhost", "id").address == "localhost"


def test_made_from_parts():
    assert parts(PyroURI("host", "id")) == ("PYRO", "host", 7766, "id")
    assert parts(PyroURI("host", "id", 80)) == ("PYRO", "host", 80, "id")
    assert parts(PyroURI("host", "name", 80, "PYROLOC")) == ("PYROLOC", "host", 80, "name")
    assert parts(PyroURI("host", objectID="id", port=80, prtcol="PYRO")) == ("PYRO", "host", 80, "id")


def test_a_copy_is_its_own():
    first = PyroURI("PYRO://host:1/id")
    for second in (PyroURI(first), first.clone(), copy.copy(first), copy.deepcopy(first)):
        assert second == first
        assert second is not first
        second.port = 2
        assert first.port == 1


def test_all_parts_can_be_changed():
    uri = PyroURI("PYRO://host:1/id")
    uri.protocol, uri.address, uri.port, uri.objectID = "PYROLOC", "other", 2, "name"
    assert str(uri) == "PYROLOC://other:2/name"
    uri.init("third", "id3", 3)
    assert str(uri) == "PYRO://third:3/id3"
    uri.reinitFromString("PYROLOC://fourth:4/name4")
    assert str(uri) == "PYROLOC://fourth:4/name4"


def test_equality_hash_and_order_use_the_printed_form():
    first, same, other = PyroURI("PYRO://a:1/x"), PyroURI("a", "x", 1), PyroURI("PYRO://b:1/x")
    assert first == same
    assert first != other
    assert hash(first) == hash(same)
    assert len({first, same, other}) == 2
    assert first < other
    assert other > first
    assert first <= same
    assert sorted([other, first]) == [first, other]
    assert first != "PYRO://a:1/x"
    assert first != None  # noqa: E711
    with pytest.raises(TypeError):
        sorted([first, "PYRO://a:1/x"])


def test_pickled_and_passed_by_value():
    uri = PyroURI("PYRO://[::1]:1/x")
    assert pickle.loads(pickle.dumps(uri)) == uri

    class Thing:
        def echo(self, value):
            assert isinstance(value["uri"], PyroURI)
            return value

    obj = Thing()
    with serving(obj) as daemon:
        proxy = core.getProxyForURI(uri_of(daemon, obj))
        answer = proxy.echo({"uri": uri})["uri"]
        assert type(answer) is PyroURI
        assert answer == uri
        proxy._release()


def test_it_makes_proxies():
    uri = PyroURI("PYRO://host:1/x")
    assert type(uri.getProxy()) is core.DynamicProxy
    assert type(uri.getAttrProxy()) is core.DynamicProxyWithAttrs
    assert uri == uri.getProxy().URI


def test_a_proxy_takes_a_copy():
    uri = PyroURI("PYRO://host:1/x")
    proxy = core.getProxyForURI(uri)
    uri.port = 2
    assert proxy.URI.port == 1
    assert proxy.objectID == "x"


MALFORMED = [
    "",
    "://",
    "nonsense",
    "PYRO:",
    "PYRO://",
    "PYRO://host",
    "PYRO://host/",
    "PYRO:///id",
    "PYRO://host:/id",
    "PYRO://host:x/id",
    "PYRO://host:70000/id",
    "PYRO://host:-1/id",
    "PYRO://ho st/id",
    "PYRO://host/i d",
    "PYRO://host/id/more",
    "PYRO://::1/id",
    "PYRO://[::1/id",
    "PYRO://256.1.1.1/id",
    "PYRO://./u:x/id",
    "PYROLOC://host",
    "PYROLOC:///name",
    "PYRONAMESSL://host/name",
    "HTTP://host/id",
    "pyro://host/id",
    "PYRO:object@host:1",
    " PYRO://host/id",
    "PYRO://host/id\n",
    "PYRO://hést/id",
    "PYRO://" + "h" * 10000 + "/id",
]


@pytest.mark.parametrize("text", MALFORMED, ids=lambda text: ascii(text)[:30])
def test_malformed_uris_get_an_error_that_says_what(text):
    for make in (PyroURI, core.getProxyForURI, core.getAttrProxyForURI):
        with pytest.raises(URIError) as raised:
            make(text)
        assert str(raised.value).startswith("invalid URI format")
        assert 30 < len(str(raised.value)) < 400
    uri = PyroURI("PYRO://host:1/x")
    with pytest.raises(URIError):
        uri.reinitFromString(text)
    assert str(uri) == "PYRO://host:1/x"


def test_errors_in_parts():
    with pytest.raises(URIError, match="invalid URI format"):
        PyroURI("host")
    with pytest.raises(TypeError, match="port must be integer"):
        PyroURI("host", "id", "80")
    for bad in (("ho/st", "id"), ("", "id"), ("host", "i d"), ("host", "id", -1), ("host", "id", 1, "HTTP")):
        with pytest.raises(URIError):
            PyroURI(*bad)
    with pytest.raises(URIError):
        PyroURI(5, "id")
    with pytest.raises(URIError):
        PyroURI(None)


def test_schemes_that_need_what_is_not_there_say_so():
    with pytest.raises(PyroError, match="PYROSSL"):
        PyroURI("PYROSSL://host:1/id")


def test_pyroname_is_kept_as_it_is_given():
    for text in ("PYRONAME://name", "PYRONAME://:a.b", "PYRONAME://host:9091/:a/b", "PYRONAME://[::1]/a"):
        uri = PyroURI(text)
        assert (uri.protocol, str(uri), str(uri.clone()), PyroURI(str(uri))) == ("PYRONAME", text, text, uri)
    assert PyroURI("PYRONAME://name").port == 0
    with pytest.raises(NamingError) as caught:
        PyroURI("PYRONAME://a..b")
    assert caught.value.args[:2] == ("invalid name", "a..b")


def test_pyroloc_finds_an_object_by_its_connect_name():
    class Thing(core.ObjBase):
        def work(self):
            return "worked"

    obj, other = Thing(), Thing()
    with serving(obj, ":Group.thing") as daemon:
        daemon.connect(other)
        place = f"127.0.0.1:{daemon.port}"
        proxy = core.getProxyForURI(f"PYROLOC://{place}/:Group.thing")
        assert proxy.URI.protocol == "PYROLOC"  # nothing was asked yet
        assert proxy.work() == "worked"
        assert str(proxy.URI) == f"PYRO://{place}/{obj.GUID()}"
        attributes = core.getAttrProxyForURI(f"PYROLOC://{place}/:Group.thing")
        assert attributes.findattr("work") == 1
        for name in ("thing", ":Group.other", ":Group", obj.GUID() + "x"):
            missing = core.getProxyForURI(f"PYROLOC://{place}/{name}")
            with pytest.raises(NamingError, match="no object found by this name") as raised:
                missing.work()
            assert raised.value.args == ("no object found by this name", name)
            missing._release()
        proxy._release()
        attributes._release()
