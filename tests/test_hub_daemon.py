"""A daemon: where it listens, what it serves, and its finaliser."""

from __future__ import annotations

import copy
import gc
import pickle
import socket
import weakref

import gevent
import pytest

import gpyro
from gpyro import core
from gpyro.constants import INTERNAL_DAEMON_GUID
from gpyro.errors import DaemonError, NamingError, ProtocolError
from tests.support import IPV6, eventually, free_port, serving, turns, uri_of


class Thing(core.ObjBase):
    def echo(self, value):
        return value


@pytest.fixture
def configured():
    """Set configuration items; they are as before at the end."""
    before = gpyro.config.snapshot()

    def configure(**items):
        for name, value in items.items():
            setattr(gpyro.config, name, value)

    yield configure
    for name, value in before:
        if getattr(gpyro.config, name) != value:
            setattr(gpyro.config, name, value)


def make(**arguments):
    return core.Daemon(**{"host": "127.0.0.1", "norange": 1, **arguments})


@pytest.fixture
def free_ports():
    """The first of some consecutive ports that were free a moment ago."""

    def find(count):
        for _ in range(100):
            first = free_port()
            try:
                for number in range(first, first + count):
                    with make(port=number):
                        pass
            except DaemonError:
                continue
            return first
        raise AssertionError("no free ports")

    return find


# Where it listens


def test_a_port_that_the_system_chooses():
    with make(port=0, norange=1) as first, make(port=0, norange=True) as second:
        assert first.port != second.port
        assert min(first.port, second.port) > 0
        assert first.hostname == "127.0.0.1"
        assert first.protocol == "PYRO"


def test_exactly_one_port(free_ports):
    port = free_ports(2)
    with make(port=port) as daemon:
        assert daemon.port == port
        with pytest.raises(DaemonError, match=rf"Couldn't start Pyro daemon.*{port}.*in use"):
            make(port=port)
    with make(port=port) as daemon:  # free again at once
        assert daemon.port == port


def test_the_next_free_port_of_the_range(free_ports, configured):
    configured(PYRO_PORT_RANGE=3)
    port = free_ports(3)
    with make(port=port, norange=0) as first, make(port=port, norange=0) as second, make(port=port, norange=0) as third:
        assert [daemon.port for daemon in (first, second, third)] == [port, port + 1, port + 2]
        with pytest.raises(DaemonError, match=f"{port} to {port + 2}"):
            make(port=port, norange=0)


def test_the_configured_port_is_where_it_starts(free_ports, configured):
    configured(PYRO_PORT=free_ports(2), PYRO_PORT_RANGE=2)
    with core.Daemon() as first, core.Daemon(host="localhost", port=0) as second:
        assert [first.port, second.port] == [gpyro.config.PYRO_PORT, gpyro.config.PYRO_PORT + 1]


@pytest.mark.parametrize("port", [-1, 65536])
def test_an_impossible_port(port):
    with pytest.raises(DaemonError, match=str(port)):
        make(port=port)


def test_an_unresolvable_host():
    with pytest.raises(DaemonError, match=r"Couldn't start Pyro daemon.*no-such-host\.invalid"):
        make(host="no-such-host.invalid")


@pytest.mark.parametrize("host", ["ho st", "host:80", "[::1]", "256.256.256.256", "./u:relative"])
def test_a_malformed_host(host):
    with pytest.raises(DaemonError, match="Couldn't start Pyro daemon"):
        make(host=host)


def test_an_address_that_is_not_of_this_machine(configured):
    configured(PYRO_ALLOW_OPEN=True)
    with pytest.raises(DaemonError, match="Couldn't start Pyro daemon"):
        make(host="192.0.2.1")


@pytest.mark.parametrize("protocol", ["PYROSSL", "HTTP", "", None])
def test_an_unsupported_protocol(protocol):
    with pytest.raises(ProtocolError, match="unsupported protocol"):
        core.Daemon(protocol)


@pytest.mark.parametrize("host", [None, "", "localhost", "127.0.0.1", "127.0.0.2", pytest.param("::1", marks=IPV6)])
def test_loopback_is_bound_by_default_and_by_its_names(host):
    obj = Thing()
    with serving(obj, host=host) as daemon:
        address = daemon._listener.sock.getsockname()[0]
        assert address in ("127.0.0.1", "127.0.0.2", "::1")
        assert daemon.hostname == (host or address)
        uri = uri_of(daemon, obj)
        uri.address = address  # needs no look-up
        proxy = uri.getProxy()
        assert proxy.echo(1) == 1
        proxy._release()


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_a_wide_bind_is_refused_unless_it_is_allowed(host, configured):
    daemon = make(host=host)
    with pytest.raises(DaemonError, match="PYRO_ALLOW_OPEN"):
        daemon.start()
    daemon.closedown()
    configured(PYRO_ALLOW_OPEN=True, PYRO_HOST=host)
    with core.Daemon(norange=1) as daemon:
        assert daemon.hostname == socket.gethostname()
        with make(host=host, publishhost="public.example") as other:
            assert other.hostname == "public.example"


def test_publishhost_is_what_uris_say(configured):
    obj = Thing()
    with serving(obj, publishhost="public.example") as daemon:
        assert daemon.hostname == "public.example"
        assert str(uri_of(daemon, obj)) == f"PYRO://public.example:{daemon.port}/{obj.GUID()}"
    configured(PYRO_PUBLISHHOST="configured.example")
    with make() as daemon, make(publishhost="given.example") as given:
        assert (daemon.hostname, given.hostname) == ("configured.example", "given.example")
    with pytest.raises(DaemonError, match="ho/st"):
        make(publishhost="ho/st")


def test_whether_what_uris_say_leads_here_from_elsewhere(tmp_path, configured):
    configured(PYRO_TRACELEVEL=2, PYRO_LOGFILE=str(tmp_path / "log"))
    with make() as daemon, make(publishhost="192.0.2.1") as numbered, make(publishhost="no-such-host.invalid") as wrong:
        warning = daemon.validateHostnameAndIP()
        assert warning.endswith("of no use on other machines: 127.0.0.1 is a loopback address")
        assert warning in (tmp_path / "log").read_text()
        assert numbered.validateHostnameAndIP() is None
        with pytest.raises(socket.gaierror):
            wrong.validateHostnameAndIP()
    with make(publishhost="localhost") as named, make(host=f"./u:{tmp_path}/socket") as unix:
        assert "localhost is the loopback address " in named.validateHostnameAndIP()
        assert "is a Unix socket" in unix.validateHostnameAndIP()


def test_positional_arguments_are_pyro_3s(configured):
    daemon = core.Daemon("PYRO", "127.0.0.1", 0, 1, "public.example")
    assert (daemon.protocol, daemon.hostname) == ("PYRO", "public.example")
    daemon.closedown()


# What it serves


def test_connect_gives_the_uri_and_disconnect_takes_the_object_away():
    obj, other = Thing(), Thing()
    with serving(obj, ":Group.obj") as daemon:
        uri = daemon.connect(other)
        assert isinstance(uri, core.PyroURI)
        assert str(uri) == f"PYRO://127.0.0.1:{daemon.port}/{other.GUID()}"
        assert daemon.getRegistered() == {
            INTERNAL_DAEMON_GUID: "__daemon__",
            obj.GUID(): ":Group.obj",
            other.GUID(): None,
        }
        assert daemon.implementations[obj.GUID()] == (obj, ":Group.obj")
        proxy = uri.getProxy()
        assert proxy.echo(1) == 1
        daemon.disconnect(other)
        with pytest.raises(ProtocolError, match="unknown object ID"):
            proxy.echo(2)
        daemon.disconnect(obj.GUID())
        assert set(daemon.getRegistered()) == {INTERNAL_DAEMON_GUID}
        # Connected anew it is there again, for the same proxy.
        daemon.connect(other)
        assert proxy.echo(3) == 3
        proxy._release()


def test_disconnecting_what_is_not_connected():
    obj = Thing()
    with serving(obj) as daemon:
        for wrong in (Thing(), "no-such-id", object()):
            with pytest.raises(KeyError):
                daemon.disconnect(wrong)
        daemon.disconnect(INTERNAL_DAEMON_GUID)  # refused without a word
        assert INTERNAL_DAEMON_GUID in daemon.getRegistered()


def test_calls_that_run_go_on_when_their_object_is_disconnected():
    class Leaving(core.ObjBase):
        def leave(self):
            self.getDaemon().disconnect(self)
            gevent.sleep(0)
            return "left"

    obj = Leaving()
    with serving(obj) as daemon:
        proxy = daemon.getProxyForObj(obj)
        assert proxy.leave() == "left"
        with pytest.raises(ProtocolError):
            proxy.leave()
        proxy._release()


def test_connecting_again_just_changes_the_name():
    obj = Thing()
    with serving(obj, "first") as daemon:
        assert daemon.connect(obj, "second") == uri_of(daemon, obj)
        assert daemon.getRegistered()[obj.GUID()] == "second"
        daemon.connect(obj)
        assert daemon.getRegistered()[obj.GUID()] is None


def test_a_name_belongs_to_one_object():
    obj = Thing()
    with serving(obj, "name") as daemon:
        with pytest.raises(DaemonError, match="name"):
            daemon.connect(Thing(), "name")
        assert len(daemon.getRegistered()) == 2


def test_named_connects_without_name_server_are_in_the_system_log(tmp_path, configured, caplog):
    log = tmp_path / "log"
    configured(PYRO_LOGFILE=str(log))
    obj = Thing()
    with serving(obj, "quiet") as daemon:
        configured(PYRO_TRACELEVEL=2)
        daemon.connect(Thing())
        daemon.connect(Thing(), "told")
        (line,) = log.read_text().splitlines()
        assert line.endswith("** WARN ** gpyro ** 'Thing' is connected as 'told', but no name server is in use")
        assert not caplog.records, "and shown to nobody else"


@pytest.mark.parametrize(
    ("thing", "name", "text"),
    [
        (Thing, "name", "Thing is a class; connect an instance of it, or use connect_class"),
        ("name", Thing, "the name of an object is a str"),
        (object(), 5, "the name of an object is a str: 5"),
    ],
)
def test_what_cannot_be_connected(thing, name, text):
    daemon = core.Daemon(host="127.0.0.1", norange=1)
    with pytest.raises(DaemonError, match=text):
        daemon.connect(thing, name)
    daemon.closedown()
    with pytest.raises(DaemonError, match="the daemon is closed"):
        daemon.connect(Thing())


def test_local_objects_behind_ids_and_proxies():
    obj, plain = Thing(), [1].__class__.__name__
    with serving(obj) as daemon:
        proxy = daemon.getProxyForObj(obj)
        assert daemon.getLocalObject(obj.GUID()) is obj
        assert daemon.getLocalObjectForProxy(proxy) is obj
        assert type(daemon.getAttrProxyForObj(obj)) is core.DynamicProxyWithAttrs
        for ask in (
            lambda: daemon.getLocalObject("no-such-id"),
            lambda: daemon.getLocalObjectForProxy(core.getProxyForURI("PYRO://x:1/no-such-id")),
            lambda: daemon.getProxyForObj(plain),
            lambda: daemon.getAttrProxyForObj(Thing()),
        ):
            with pytest.raises(KeyError):
                ask()


def test_plain_objects_without_weak_references_or_equality_are_served():
    class Slotted:
        __slots__ = ("value",)

        def __eq__(self, other):
            raise AssertionError("nobody should compare it")

        def get(self):
            return self.value

    first, second = Slotted(), Slotted()
    first.value, second.value = 1, 2
    with serving(first) as daemon:
        daemon.connect(second)
        proxies = [daemon.getProxyForObj(obj) for obj in (first, second)]
        assert [proxy.get() for proxy in proxies] == [1, 2]
        daemon.disconnect(first)
        assert proxies[1].get() == 2
        for proxy in proxies:
            proxy._release()


def test_the_daemon_answers_for_itself():
    obj = Thing()
    with serving(obj, ":Group.obj") as daemon:
        servant = core.getProxyForURI(f"PYRO://127.0.0.1:{daemon.port}/{INTERNAL_DAEMON_GUID}")
        assert servant.getRegistered() == daemon.getRegistered()
        assert servant.ResolvePYROLOC(":Group.obj") == daemon.ResolvePYROLOC(":Group.obj") == obj.GUID()
        for ask in (servant, daemon):
            with pytest.raises(NamingError, match="no object found by this name") as raised:
                ask.ResolvePYROLOC("missing")
            assert raised.value.args[1] == "missing"
        for hidden in ("connect", "shutdown", "_entries"):
            with pytest.raises(AttributeError):
                servant._invokePYRO(hidden, (), {})
        servant._release()


def test_several_daemons_side_by_side():
    objects = [Thing() for _ in range(5)]
    daemons = [make() for _ in objects]
    proxies = []
    for daemon, obj in zip(daemons, objects, strict=True):
        proxies.append(daemon.connect(obj).getProxy())
        daemon.start()
    assert [proxy.echo(number) for number, proxy in enumerate(proxies)] == list(range(5))
    daemons[0].stop()
    with pytest.raises(ProtocolError):
        proxies[0].echo(0)
    assert [proxy.echo(number) for number, proxy in enumerate(proxies[1:])] == list(range(4))
    for daemon in daemons:
        daemon.stop()
    for proxy in proxies:
        proxy._release()


def test_a_daemon_does_not_travel():
    with make() as daemon:
        for copier in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(pickle.PicklingError, match="no access to the daemon"):
                copier(daemon)


# The finaliser


def listening(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_an_unreferenced_daemon_that_never_ran_is_collected():
    obj = Thing()
    daemon = make()
    daemon.connect(obj, "name")
    port, gone = daemon.port, weakref.ref(daemon)
    assert listening(port)
    del daemon
    gc.collect()
    assert gone() is None
    assert not listening(port)


def test_an_unreferenced_daemon_whose_loop_ended_is_collected():
    obj = Thing()
    daemon = make()
    proxy = daemon.connect(obj).getProxy()
    daemon.setTransientsCleanupAge(1000)
    daemon.setInitTLS(lambda storage: None)
    calling = gevent.spawn(proxy.echo, 1)
    daemon.requestLoop(lambda: not calling.ready(), timeout=0.05)
    assert calling.get() == 1
    port, gone = daemon.port, weakref.ref(daemon)
    del daemon
    gc.collect()
    assert gone() is None
    eventually(lambda: not listening(port))
    with pytest.raises(ProtocolError):
        proxy.echo(2)
    proxy._release()


def test_a_running_daemon_keeps_itself():
    obj = Thing()
    daemon = make()
    proxy = daemon.connect(obj).getProxy()
    daemon.start()
    gone = weakref.ref(daemon)
    del daemon
    gc.collect()
    turns()
    assert proxy.echo(1) == 1
    gone().stop()
    proxy._release()
    gc.collect()
    turns()
    assert gone() is None


def test_a_stopped_daemon_is_collected_and_its_objects_are_free():
    obj = Thing()
    with serving(obj) as daemon:
        gone, object_gone = weakref.ref(daemon), weakref.ref(obj)
    del daemon, obj
    gc.collect()
    turns()
    gc.collect()
    assert gone() is None
    assert object_gone() is None
