from __future__ import annotations

import contextlib
import gc
import os
import signal
import time

import gevent
import pytest

from gpyro import config, core
from gpyro.errors import DaemonError, MaybeExecutedError, NamingError, ProtocolError, StoreError
from gpyro.naming import NameServerProxy
from tests.naming import free_port, name_server, proxy_of
from tests.programs import program
from tests.support import eventually, turns

pytestmark = pytest.mark.usefixtures("env")


@pytest.fixture
def ns():
    with name_server() as starter:
        yield proxy_of(starter)


class Thing(core.ObjBase):
    def work(self):
        return "done"


@contextlib.contextmanager
def daemon(ns, grace=2.0, **arguments):
    made = core.Daemon(**{"host": "127.0.0.1", "port": 0, "norange": 1, **arguments})
    made.useNameServer(ns)
    made.start()
    try:
        yield made
    finally:
        made.stop(grace)


def names(ns):
    return [name for name, _ in ns.flatlist() if name != ":Pyro.NameServer"]


def test_objects_are_registered_while_they_are_connected(ns):
    with daemon(ns) as server:
        thing, plain = Thing(), object()
        uri = server.connect(thing, "thing")
        assert ns.resolve("thing") == uri
        assert ns.look_up("thing") == (1, str(uri), True)
        server.connect(plain, ":Default.plain")
        server.connect(Thing())
        server.connect_class(Thing, "class")
        assert names(ns) == [":Default.class", ":Default.plain", ":Default.thing"]
        server.disconnect(thing)
        assert names(ns) == [":Default.class", ":Default.plain"]
        server.disconnect(server.connect(thing, "thing").objectID)
        assert names(ns) == [":Default.class", ":Default.plain"]
        assert server.getNameServer() is ns
    assert names(ns) == []


def test_a_refused_name_leaves_nothing_connected(ns):
    ns.register("taken", "PYRO://host:1/x")
    with daemon(ns) as server:
        thing = Thing()
        for name, text in (("taken", "name already exists"), (":No.x", "(parent)group not found"), ("a..b", "invalid")):
            with pytest.raises(NamingError) as caught:
                server.connect(thing, name)
            assert caught.value.args[0].startswith(text)
            assert list(server.getRegistered().values()) == ["__daemon__"]
            with pytest.raises(AttributeError):
                thing.getDaemon()
        server.connect(thing, "free")
        with pytest.raises(DaemonError, match="taken by another object of this daemon"):
            server.connect(Thing(), "free")
        assert names(ns) == [":Default.free", ":Default.taken"]


def test_what_is_being_registered_is_nothing_that_was_lost(ns, monkeypatch):
    with daemon(ns) as server:
        server.connect(Thing(), "other")
        before, begun = NameServerProxy.enrol, []

        def enrol(self, name, *arguments, **keywords):
            begun.append(name)
            server._registry._mend()  # as the keeper may at any moment
            return before(self, name, *arguments, **keywords)

        monkeypatch.setattr(NameServerProxy, "enrol", enrol)
        with pytest.raises(NamingError, match="group not found"):
            server.connect(Thing(), ":New.thing")
        assert begun == [":New.thing"]
        assert [name for name, _ in ns.list(":")] == ["Default", "Pyro"]


def test_another_name_takes_the_place_of_the_first(ns):
    with daemon(ns) as server:
        thing = Thing()
        uri = server.connect(thing, "first")
        assert server.connect(thing, "first") == uri
        assert server.connect(thing, "second") == uri
        assert ns.resolve("second") == uri
        eventually(lambda: names(ns) == [":Default.second"])
        ns.register("third", "PYRO://host:1/x")
        with pytest.raises(NamingError):
            server.connect(thing, "third")
        assert server.getRegistered()[thing.GUID()] == "second"
        assert ns.resolve("second") == uri


def test_names_live_as_long_as_the_daemon_renews_them(ns):
    config.PYRO_NS_LEASE = 1.0
    with daemon(ns) as server:
        uri = server.connect(Thing(), "thing")
        gevent.sleep(1.5)
        assert ns.resolve("thing") == uri
        server._registry._keeper.kill()
        eventually(lambda: names(ns) == [])


def test_a_daemon_that_was_blocked_has_its_names_back(ns):
    with daemon(ns) as server:
        thing = Thing()
        uri = server.connect(thing, "thing")
        client = core.getProxyForURI(uri)
        client.work()
        server._registry._keeper.kill()  # as if its loop did not turn
        ns.revoke(server._registry._lease)
        assert names(ns) == []
        server._registry._spawn()
        eventually(lambda: names(ns) == [":Default.thing"])
        assert ns.resolve("thing") == uri
        assert client.adapter.connected()
        assert client.work() == "done"


def test_a_name_that_somebody_else_took_meanwhile_is_left_to_him_until_he_goes(ns, caplog):
    with daemon(ns) as server:
        uri = server.connect(Thing(), "thing")
        server._registry._keeper.kill()
        ns.revoke(server._registry._lease)
        ns.register("thing", "PYRO://host:1/x")
        server._registry._spawn()
        eventually(lambda: "a name is lost that" in caplog.text)
        gevent.sleep(config.PYRO_NS_LEASE / 2)  # they are kept every third of it
        assert caplog.text.count("a name is lost that") == 1
        assert str(ns.resolve("thing")) == "PYRO://host:1/x"
        ns.unregister("thing")
        eventually(lambda: names(ns) == [":Default.thing"])
        assert ns.resolve("thing") == uri


@pytest.mark.parametrize("persistent", [0, 1])
def test_names_outlast_a_restart_of_the_name_server(persistent, caplog):
    with name_server(persistent=persistent) as starter:
        ns = proxy_of(starter)
        with daemon(ns) as server:
            ns.createGroup(":Group")
            uri = server.connect(Thing(), ":Group.thing")
            kept = server.connectPersistent(Thing(), ":Group.kept")
            starter.stop()
            caplog.clear()
            with name_server(persistent=persistent) as again:
                eventually(lambda: names(proxy_of(again)) == [":Group.kept", ":Group.thing"])
                assert ns.resolve(":Group.thing") == uri
                assert ns.look_up(":Group.kept") == (1, str(kept), False)
                server.stop()
                assert names(ns) == [":Group.kept"]


def test_an_operators_removal_stands(ns):
    with daemon(ns) as server:
        thing = Thing()
        server.connect(thing, "thing")
        ns.unregister("thing")
        gevent.sleep(config.PYRO_NS_LEASE / 2)  # they are kept every third of it
        assert names(ns) == []
        server.disconnect(thing)
        assert thing.GUID() not in server.getRegistered()


def test_while_the_name_server_is_away_objects_are_wholly_connected_or_wholly_not():
    config.PYRO_BC_TIMEOUT = 0.05
    with name_server() as starter:
        ns = proxy_of(starter)
        with daemon(ns) as server:
            there, new = Thing(), Thing()
            uri = server.connect(there, "there")
            starter.stop()
            with pytest.raises(ProtocolError):
                server.connect(new, "new")
            with pytest.raises(ProtocolError):
                server.disconnect(there)
            assert sorted(filter(None, server.getRegistered().values())) == ["__daemon__", "there"]
            assert core.getProxyForURI(uri).work() == "done"
            with name_server() as again:
                eventually(lambda: names(proxy_of(again)) == [":Default.there"])
                server.disconnect(there)
                assert names(ns) == []


def test_what_may_have_been_registered_is_withdrawn(ns, monkeypatch):
    with daemon(ns) as server:
        server.connect(Thing(), "other")
        before = NameServerProxy.enrol

        def enrol(self, *arguments, **keywords):
            before(self, *arguments, **keywords)
            raise MaybeExecutedError("lost on the way back")

        monkeypatch.setattr(NameServerProxy, "enrol", enrol)
        thing = Thing()
        with pytest.raises(MaybeExecutedError):
            server.connect(thing, "thing")
        monkeypatch.undo()
        assert thing.GUID() not in server.getRegistered()
        eventually(lambda: names(ns) == [":Default.other"])


def test_a_store_that_fails_is_told(ns, monkeypatch):
    with daemon(ns) as server:

        def full(self, *arguments, **keywords):
            raise StoreError("the disk is full")

        monkeypatch.setattr(NameServerProxy, "enrol", full)
        with pytest.raises(StoreError, match="full"):
            server.connect(Thing(), "thing")
        monkeypatch.undo()
        server.connect(Thing(), "thing")


def test_persistent_names_stay_and_keep_their_id(ns):
    port = free_port()
    with daemon(ns, port=port) as server:
        uri = server.connectPersistent(Thing(), "kept")
        assert ns.look_up("kept") == (1, str(uri), False)
        assert server.connectPersistent(Thing(), None).objectID in server.getRegistered()
    seen = ns._getSystemMeta("kept").seen
    assert abs(seen - time.time()) < 60
    assert ns.resolve("kept") == uri
    with daemon(ns, port=port) as server:
        thing = Thing()
        assert server.connectPersistent(thing, "kept") == uri
        assert core.getProxyForURI("PYRONAME://kept").work() == "done"
        server.disconnect(thing)
        assert names(ns) == []
        plain = object()
        uri = server.connectPersistent(plain, "kept")
    with daemon(ns, port=port) as server:
        assert server.connectPersistent(object(), "kept") == uri
    with daemon(ns) as server:
        moved = server.connectPersistent(Thing(), "kept")
        assert moved != uri
        assert ns.resolve("kept") == moved
        ns.createGroup("group")
        with pytest.raises(NamingError) as caught:
            server.connectPersistent(Thing(), "group")
        assert caught.value.args[0] == "name already exists"


def test_shutdown_with_true_withdraws_at_once_what_does_not_last(ns):
    with daemon(ns) as server:
        server.connect(Thing(), "thing")
        server.connectPersistent(Thing(), "kept")
        server.shutdown(True)
        assert list(server.getRegistered().values()) == ["__daemon__"]
        eventually(lambda: names(ns) == [":Default.kept"])


def test_a_daemon_whose_loop_never_ran_withdraws_when_it_is_closed(ns):
    server = core.Daemon(port=0, norange=1)
    server.useNameServer(ns)
    server.connect(Thing(), "thing")
    assert names(ns) == [":Default.thing"]
    server.closedown()
    assert names(ns) == []


def test_a_daemon_that_nobody_has_any_more_withdraws(ns):
    server = core.Daemon(port=0, norange=1)
    server.useNameServer(ns)
    server.connect(object(), "thing")
    server.handleRequests(0)
    del server
    gc.collect()
    eventually(lambda: names(ns) == [])


def test_closing_at_once_withdraws_soon(ns):
    with daemon(ns) as server:
        server.connect(Thing(), "thing")
        server.closedown()
        eventually(lambda: names(ns) == [])


def test_the_end_does_not_wait_for_a_name_server_that_is_away(caplog):
    with name_server() as starter:
        ns = proxy_of(starter)
        server = core.Daemon(port=0, norange=1)
        server.useNameServer(ns)
        server.start()
        server.connect(Thing(), "thing")
        starter.stop()
        with gevent.Timeout(15):
            server.stop()


def test_a_server_that_comes_back_takes_its_name_over(ns, caplog):
    # Its port is another one, and the old lease still runs.
    dead = f"PYRO://127.0.0.1:{free_port()}/id"
    lease, _ = ns.grant(60)
    ns.enrol("thing", dead, lease)
    with daemon(ns) as server:
        assert ns.resolve("thing") == core.PyroURI(dead)
        uri = server.connect(Thing(), "thing")
        assert ns.resolve("thing") == uri
        # The port is the same, and now this daemon's.
        ns.enrol("other", f"PYRO://127.0.0.1:{server.port}/gone", lease)
        assert server.connect(Thing(), "other") == ns.resolve("other")
        # Alive, of another daemon; without lease; on another machine.
        with daemon(ns) as living:
            living.connect(Thing(), "living")
            ns.register("manual", dead)
            ns.enrol("elsewhere", "PYRO://127.0.0.9:1/x", lease)
            for name in ("living", "manual", "elsewhere"):
                with pytest.raises(NamingError, match="name already exists"):
                    server.connect(Thing(), name)
            turns()
            assert "before its hello" not in caplog.text  # who asked whether it lives said so


def test_a_server_that_comes_back_at_its_port_takes_its_name_over_before_its_loop_runs(ns):
    lease, _ = ns.grant(60)
    server = core.Daemon(port=0, norange=1)
    ns.enrol("thing", f"PYRO://127.0.0.1:{server.port}/gone", lease)
    server.useNameServer(ns)
    uri = server.connect(Thing(), "thing")
    assert ns.resolve("thing") == uri
    with pytest.raises(NamingError, match="name already exists"):
        server.connect(Thing(), ":Default.thing")
    server.start()
    ns.revoke(server._registry._lease)
    eventually(lambda: names(ns) == [":Default.thing"])
    assert ns.resolve("thing") == uri
    server.stop()


def test_a_daemon_in_a_foreign_loop_keeps_its_names(ns):
    code = """
        import select, sys, time
        from gpyro import core
        from gpyro.naming import NameServerLocator
        daemon = core.Daemon()
        daemon.useNameServer(NameServerLocator().getNS("127.0.0.1"))
        daemon.connect(object(), "thing")
        print("ready", flush=True)
        while True:
            select.select(daemon.getServerSockets(), [], [], 1)
            daemon.handleRequests(0)
    """
    items = {f"G{name}": str(getattr(config, name)) for name in ("PYRO_NS_PORT", "PYRO_STORAGE", "PYRO_NS_LEASE")}
    with program(code, environment=items) as running:
        assert running.line() == "ready"
        until = time.monotonic() + 1.5 * config.PYRO_NS_LEASE
        while time.monotonic() < until:
            assert names(ns) == [":Default.thing"]
            gevent.sleep(0.05)
        running.kill()
        eventually(lambda: names(ns) == [])


def test_the_child_of_a_fork_keeps_nothing(ns):
    code = """
        import os, sys, time, gevent
        from gpyro import core
        from gpyro.naming import NameServerLocator
        daemon = core.Daemon()
        daemon.useNameServer(NameServerLocator().getNS("127.0.0.1"))
        daemon.connect(object(), "thing")
        daemon.start()
        gevent.sleep(0.2)
        child = gevent.os.fork()
        if not child:
            daemon.stop()
            os.write(1, b"child\\n")  # in one piece: both write to the same pipe
            gevent.sleep(60)
            os._exit(0)
        os.write(1, b"%d\\n" % child)
        daemon.requestLoop()
    """
    items = {f"G{name}": str(getattr(config, name)) for name in ("PYRO_NS_PORT", "PYRO_STORAGE", "PYRO_NS_LEASE")}
    with program(code, environment=items) as running:
        lines = sorted([running.line(), running.line()])
        assert lines[1] == "child"
        try:
            assert names(ns) == [":Default.thing"]
            os.kill(running.process.pid, signal.SIGKILL)
            eventually(lambda: names(ns) == [])
        finally:
            os.kill(int(lines[0]), signal.SIGKILL)


def test_a_loopback_address_is_refused_by_a_remote_name_server(ns, monkeypatch):
    from gpyro import registrations

    monkeypatch.setattr(registrations, "_leads_home", lambda address: address == "127.0.0.1")
    monkeypatch.setattr(type(ns), "URI", core.PyroURI("192.0.2.1", "x", 9090))
    server = core.Daemon(port=0, norange=1)
    server.useNameServer(ns)
    with pytest.raises(NamingError, match="PYRO_PUBLISHHOST") as caught:
        server.connect(Thing(), "thing")
    assert caught.value.args[0] == "invalid URI"
    monkeypatch.undo()
    assert names(ns) == []
    server.closedown()


def test_which_addresses_lead_home():
    from gpyro.registrations import _leads_home

    for address in ("127.0.0.1", "127.9.9.9", "::1", "localhost", "./u:/x", "0.0.0.0"):
        assert _leads_home(address)
    for address in ("192.0.2.1", "2001:db8::1", "no-such-host.invalid"):
        assert not _leads_home(address)


def test_only_name_servers_are_used(ns):
    server = core.Daemon(port=0, norange=1)
    with pytest.raises(TypeError, match="NameServerLocator"):
        server.useNameServer(core.getProxyForURI(ns.URI))
    server.useNameServer(ns)
    server.useNameServer(None)
    assert server.getNameServer() is None
    server.connect(Thing(), "thing")
    assert names(ns) == []
    server.closedown()


def test_two_name_servers_one_after_the_other(ns):
    with name_server(nsport=0, nobroadcast=True) as starter:
        other = proxy_of(starter)
        with daemon(ns) as server:
            first, second = Thing(), Thing()
            server.connect(first, "first")
            server.useNameServer(other)
            server.connect(second, "second")
            assert (names(ns), names(other)) == ([":Default.first"], [":Default.second"])
            server.disconnect(first)
            assert names(ns) == []
            server.connect(first, "again")
        assert (names(ns), names(other)) == ([], [])


def test_many_at_once_share_a_lease(ns):
    with daemon(ns) as server:
        things = [Thing() for _ in range(50)]
        connecting = [gevent.spawn(server.connect, thing, f"t{number:02}") for number, thing in enumerate(things)]
        gevent.joinall(connecting, raise_error=True)
        assert len(names(ns)) == 50
        assert ns.revoke(server._registry._lease)
        assert names(ns) == []
        eventually(lambda: len(names(ns)) == 50)
