from __future__ import annotations

import contextlib

import gevent
import pytest

from gpyro import config, core
from gpyro.errors import ConnectionClosedError, NamingError, NotSentError, ProtocolError
from gpyro.name_cache import NameCache
from gpyro.naming import identify_for_names
from gpyro.net.hub import hub_state
from tests.naming import free_port, name_server, proxy_of
from tests.support import eventually

pytestmark = pytest.mark.usefixtures("env")


class Thing(core.ObjBase):
    def __init__(self, answer="done"):
        super().__init__()
        self.answer = answer

    def work(self):
        return self.answer


@contextlib.contextmanager
def daemon(ns=None, **arguments):
    made = core.Daemon(**{"host": "127.0.0.1", "port": 0, "norange": 1, **arguments})
    made.useNameServer(ns)
    made.start()
    try:
        yield made
    finally:
        made.stop(1)


def asked(starter, monkeypatch):
    """Counts what the name server is asked to resolve."""
    seen = []
    original = starter.server.resolve

    def resolve(name):
        seen.append(name)
        return original(name)

    starter.server.resolve = resolve
    return seen


def directory():
    (found,) = hub_state().part(NameCache)._directories.values()
    return found


def test_a_name_leads_to_its_object():
    with name_server() as starter, daemon(proxy_of(starter)) as server:
        uri = server.connect(Thing(), "thing")
        port = starter.uri.port
        for text in ("PYRONAME://thing", "PYRONAME://:Default.thing", f"PYRONAME://127.0.0.1:{port}/thing"):
            proxy = core.getProxyForURI(text)
            assert str(proxy.URI) == text
            assert proxy.work() == "done"
            assert uri == proxy.URI
            assert proxy == core.getProxyForURI(text)
        assert core.getProxyForURI("PYRONAME://thing") != core.getProxyForURI("PYRONAME://:Default.thing")
        assert core.getAttrProxyForURI("PYRONAME://127.0.0.1/thing").answer == "done"


def test_what_is_not_there_is_told_by_the_call():
    with name_server() as starter:
        ns = proxy_of(starter)
        for name, text in ((":No.thing", "name not found"), (":Pyro", "attempt to resolve groupname")):
            with pytest.raises(NamingError) as caught:
                core.getProxyForURI(f"PYRONAME://{name}").work()
            assert caught.value.args == (text, name)
        ns.register("lost", f"PYRO://127.0.0.1:{free_port()}/x")
        with pytest.raises(NotSentError):
            core.getProxyForURI("PYRONAME://lost").work()
    with pytest.raises(NamingError, match="could not find NameServer; tried"):
        core.getProxyForURI("PYRONAME://thing").work()
    with pytest.raises((NamingError, ProtocolError), match=r"127\.0\.0\.3"):
        core.getProxyForURI("PYRONAME://127.0.0.3/thing").work()


def test_a_name_may_stand_for_a_name_at_a_daemon():
    with name_server() as starter, daemon() as server:
        server.connect(Thing(), "inside")
        proxy_of(starter).register("outside", f"PYROLOC://127.0.0.1:{server.port}/inside")
        assert core.getProxyForURI("PYRONAME://outside").work() == "done"


def test_the_name_server_is_asked_once_and_then_follows(monkeypatch):
    with name_server() as starter, daemon(proxy_of(starter)) as server:
        first, second = Thing("first"), Thing("second")
        server.connect(first, "thing")
        seen = asked(starter, monkeypatch)
        proxies = [core.getProxyForURI("PYRONAME://thing") for _ in range(20)]
        calling = [gevent.spawn(proxy.work) for proxy in proxies]
        assert [one.get(timeout=30) for one in calling] == ["first"] * 20
        assert seen == [":Default.thing"]
        eventually(lambda: directory()._followed)
        for _ in range(5):
            assert core.getProxyForURI("PYRONAME://thing").work() == "first"
        assert len(seen) == 1
        server.disconnect(first)
        server.connect(second, "thing")
        eventually(lambda: directory()._known.get(":Default.thing", "").endswith(second.GUID()) or len(seen) > 1)
        assert core.getProxyForURI("PYRONAME://thing").work() == "second"
        # And those that stood for the first find the second.
        assert proxies[0].work() == "second"


def test_a_server_that_restarts_elsewhere_is_found_again():
    with name_server() as starter:
        ns = proxy_of(starter)
        with daemon(ns) as server:
            server.connect(Thing("here"), "thing")
            proxy = core.getProxyForURI("PYRONAME://thing")
            assert proxy.work() == "here"
        with pytest.raises(ConnectionClosedError):
            eventually(lambda: proxy.work() is None)
        rebinding = gevent.spawn(proxy.adapter.rebindURI, 3000, 0.01)
        gevent.sleep(0.03)
        with daemon(ns) as server:
            server.connect(Thing("there"), "thing")
            rebinding.get(timeout=30)
            assert proxy.work() == "there"


def test_the_outage_of_the_name_server_stops_nobody():
    config.PYRO_BC_TIMEOUT = 0.05
    port = free_port()
    with name_server() as starter:
        with daemon(proxy_of(starter), port=port) as server:
            thing = Thing()
            server.connectPersistent(thing, "thing")
            proxy = core.getProxyForURI("PYRONAME://thing")
            proxy.work()
            eventually(lambda: directory()._followed)
            starter.stop()
            assert proxy.work() == "done"
            proxy._release()
            assert proxy.work() == "done"
            assert core.getProxyForURI("PYRONAME://thing").work() == "done"
            with pytest.raises((NamingError, ProtocolError)):
                core.getProxyForURI("PYRONAME://other").work()
        # The server restarts at the same place, and the name server is still away.
        with daemon(port=port) as server:
            server.connect(thing)
            assert core.getProxyForURI("PYRONAME://thing").work() == "done"
            config.PYRO_BC_TIMEOUT = 5
            with name_server() as again:
                proxy_of(again).register("other", str(server.getProxyForObj(thing).URI))
                assert core.getProxyForURI("PYRONAME://other").work() == "done"
                eventually(lambda: ":Default.other" in directory()._followed)


def test_identifications_go_with_the_name():
    with name_server(identification="for names") as starter, daemon(proxy_of(starter, "for names")) as server:
        server.setAllowedIdentifications(["for things"])
        server.connect(Thing(), "thing")
        proxy = core.getProxyForURI("PYRONAME://thing")
        proxy._setIdentification("for things")
        with pytest.raises((NamingError, ProtocolError)):
            proxy.work()
        identify_for_names("for names")
        try:
            assert proxy.work() == "done"
            proxy._release()
            assert proxy.work() == "done"
        finally:
            identify_for_names(None)


def test_names_that_nobody_needs_are_forgotten(monkeypatch):
    monkeypatch.setattr("gpyro.name_cache.MOST", 3)
    with name_server() as starter, daemon(proxy_of(starter)) as server:
        for number in range(5):
            server.connect(Thing(), f"t{number}")
            core.getProxyForURI(f"PYRONAME://t{number}").work()
        eventually(lambda: sorted(directory()._followed) == [":Default.t2", ":Default.t3", ":Default.t4"])
        monkeypatch.setattr("gpyro.name_cache.UNUSED", 0.0)
        core.getProxyForURI("PYRONAME://t0").work()
        eventually(lambda: not directory()._known and directory()._follower is None)


def test_in_a_thread_of_its_own():
    from gevent import monkey

    config.PYRO_BC_TIMEOUT = 5
    with name_server() as starter, daemon(proxy_of(starter)) as server:
        server.connect(Thing(), "thing")
        answers = []
        thread = monkey.get_original("threading", "Thread")(
            target=lambda: answers.append(core.getProxyForURI("PYRONAME://thing").work())
        )
        thread.start()
        eventually(lambda: answers)
        thread.join(30)
        assert answers == ["done"]
