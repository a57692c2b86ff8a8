from __future__ import annotations

import contextlib
import copy
import pickle
import time

import gevent
import pytest

from gpyro import config, core
from gpyro.errors import MaybeExecutedError, NamingError, NotSentError, PyroError, URIError
from gpyro.naming import NameServerLocator, NameServerProxy
from gpyro.naming_proxy import patience
from tests.naming import configured, environment, free_port, name_server, proxy_of
from tests.relay import Relay
from tests.support import eventually, serving

URI = "PYRO://host:7766/id"


@pytest.fixture(autouse=True)
def _configuration(tmp_path):
    with configured(environment(tmp_path)):
        yield


def test_names_are_made_absolute_by_this_process_s_default_group():
    with name_server() as starter:
        ns = proxy_of(starter)
        ns.createGroup(":Mine")
        config.PYRO_NS_DEFAULTGROUP = ":Mine"
        assert ns.fullName("a") == ":Mine.a"
        assert ns.fullName(":a") == ":a"
        ns.register("a", URI)
        assert ns.list() == [("a", 1)]
        config.PYRO_NS_DEFAULTGROUP = ":Default"
        assert ns.resolve(":Mine.a") == core.PyroURI(URI)
        with pytest.raises(NamingError) as caught:
            ns.resolve("a b")
        assert caught.value.args[:2] == ("invalid name", "a b")


def test_any_uri_of_the_name_server_will_do():
    with name_server() as starter:
        port = starter.uri.port
        for uri in (starter.uri, str(starter.uri), f"PYROLOC://127.0.0.1:{port}/x", f"PYRO://127.0.0.1:{port}/old"):
            NameServerProxy(uri).ping()
    with pytest.raises(NotSentError):
        NameServerProxy(starter.uri)
    NameServerProxy(starter.uri, None, 1)
    with pytest.raises(URIError):
        NameServerProxy("nonsense")
    with serving(object()) as daemon, pytest.raises(NamingError, match="no object found by this name"):
        NameServerProxy(core.PyroURI("127.0.0.1", "x", daemon.port))


def test_it_finds_the_name_server_again_where_it_was():
    with name_server() as starter:
        ns = proxy_of(starter)
        ns.register("a", URI)
    config.PYRO_BC_TIMEOUT = 5
    calling = gevent.spawn(ns.list, ":Pyro")
    gevent.sleep(0.05)
    with name_server() as again:
        assert calling.get(timeout=30) == [("NameServer", 1)]
        assert again.uri == ns.URI


def test_it_finds_the_name_server_again_where_it_went():
    config.PYRO_NS_URIFILE = "elsewhere"
    with name_server(nsport=0) as starter:
        found = NameServerLocator().getNS()
        given = proxy_of(starter)
    config.PYRO_BC_TIMEOUT = 5
    with name_server(nsport=0) as again:
        found.ping()
        assert found.URI.port == again.uri.port
        config.PYRO_BC_TIMEOUT = 0.1
        with pytest.raises(NotSentError):
            given.ping()


def test_it_finds_one_with_a_passphrase_again():
    with name_server(nsport=0, identification="open sesame"):
        found = NameServerLocator("open sesame").getNS()
    config.PYRO_BC_TIMEOUT = 5
    with name_server(nsport=0, identification="open sesame") as again:
        found.ping()
        assert found.URI.port == again.uri.port


def test_when_it_stays_away_the_time_is_bounded():
    with name_server() as starter:
        found, given = NameServerLocator().getNS(), proxy_of(starter)
    assert patience() == pytest.approx(0.3)
    for ns in (found, given):
        begun = time.monotonic()
        with pytest.raises(NotSentError):
            ns.ping()
        assert time.monotonic() - begun < 30


def test_only_what_may_run_twice_is_repeated():
    config.PYRO_BC_TIMEOUT = 5
    with name_server() as starter:
        server = starter.server
        with contextlib.closing(Relay(starter.uri.port)) as relay:
            ns = NameServerProxy(core.PyroURI("127.0.0.1", "x", relay.port))
            seen = []
            for name in ("resolve", "register"):
                original = getattr(server, name)

                def cut(*arguments, name=name, original=original):
                    seen.append(name)
                    if seen.count(name) == 1:
                        relay.cut()
                        gevent.sleep(0.05)
                    return original(*arguments)

                setattr(server, name, cut)
            with pytest.raises(MaybeExecutedError):
                ns.register("a", URI)
            eventually(lambda: server.look_up("a"))
            assert ns.resolve("a") == core.PyroURI(URI)
            assert seen == ["register", "resolve", "resolve"]


def test_long_lists_are_fetched_in_parts():
    with name_server() as starter:
        ns, space = proxy_of(starter), starter.server.space
        space.createGroup(":G")
        for number in range(2100):
            space.register(f":G.{number:04}", URI)
        assert ns.list(":G") == space.list(":G")
        assert [(name, str(uri)) for name, uri in ns.flatlist()] == space.flatlist()
        pages = list(ns.flat_pages())
        assert len(pages) > 1
        assert sorted(pair for page in pages for pair in page) == space.flatlist()
        ns.deleteGroup(":G")
        with pytest.raises(NamingError):
            ns.list(":G")


def test_as_an_object():
    class Keeper:
        def echo(self, ns):
            return ns

    with name_server() as starter, serving(Keeper(), "keeper") as daemon:
        ns = proxy_of(starter)
        ns.ping()
        ns._setTimeout(5)
        ns._transferThread()
        for other in (copy.copy(ns), pickle.loads(pickle.dumps(ns)), NameServerProxy(starter.uri, noconnect=1)):
            assert other == ns
            assert hash(other) == hash(ns)
            other.ping()
        assert ns != NameServerProxy("PYRO://elsewhere:1/x", noconnect=1)
        assert ns != starter.uri
        with pytest.raises(PyroError, match="cannot deepcopy a proxy"):
            copy.deepcopy(ns)
        echoed = core.getProxyForURI(f"PYROLOC://127.0.0.1:{daemon.port}/keeper").echo(ns)
        assert isinstance(echoed, NameServerProxy)
        echoed.ping()
        assert "NameServerProxy for PYRO" in repr(ns)
        assert ns.adapter.connected()
        ns._release()
        assert not ns.adapter.connected()
        ns.ping()


def test_it_goes_to_nobody_else():
    ns = NameServerProxy(f"PYRO://127.0.0.1:{free_port()}/x", noconnect=1)
    with name_server(nsport=0), pytest.raises(NotSentError):
        ns.ping()
