"""Name servers and daemons as processes of their own, which are killed, stopped and started again."""

from __future__ import annotations

import contextlib
import random
import re
import signal
import time

import gevent
import pytest

from gpyro import config, core, naming
from gpyro.errors import NamingError, ProtocolError
from gpyro.naming import NameServerLocator, NameServerProxy
from tests.naming import configured, environment, name_server, proxy_of
from tests.programs import program
from tests.support import ROOT, eventually

NAME_SERVER = """
    import sys
    from gpyro.naming import NameServerStarter
    NameServerStarter().start(dontlookupother=1, persistent=int(sys.argv[1]), nobroadcast=True)
"""

# Some objects, each of which has a name; those of a process live and die together.
SERVER = """
    import sys
    from gpyro import core
    from gpyro.naming import NameServerLocator
    class Thing:
        def work(self):
            return "done"
    daemon = core.Daemon()
    daemon.useNameServer(NameServerLocator().getNS("127.0.0.1"))
    for name in sys.argv[1:]:
        daemon.connect(Thing(), name)
    print("ready", flush=True)
    daemon.requestLoop()
"""


@pytest.fixture
def items(tmp_path):
    # Processes renew every third of it, and may have to wait for a processor.
    return environment(tmp_path, PYRO_NS_LEASE=1.5)


@pytest.fixture(autouse=True)
def _configuration(items):
    with configured(items):
        yield


@contextlib.contextmanager
def running_name_server(items, persistent):
    with program(NAME_SERVER, str(persistent), environment=items) as server:
        while server.line() != "Name Server started.":
            pass
        yield server


@contextlib.contextmanager
def running_servers(items, *names):
    """A server for each of these texts, which are names with blanks in between."""
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(program(SERVER, *some.split(), environment=items)) for some in names]
        for server in servers:
            assert server.line() == "ready"
        yield servers


def names(ns):
    return [name.removeprefix(":Default.") for name, _ in ns.flatlist() if name != ":Pyro.NameServer"]


def locate():
    return NameServerLocator().getNS("127.0.0.1")


def test_names_are_those_of_pyro_3():
    wanted = "NameServer PersistentNameServer NameServerStarter NameServerLocator NameServerProxy BroadcastServer"
    for name in f"{wanted} BCReqValidator NameSpaceSystemMeta NS_SYSCMD_LOCATION NS_SYSCMD_SHUTDOWN".split():
        assert hasattr(naming, name)
    assert (naming.NS_SYSCMD_LOCATION, naming.NS_SYSCMD_SHUTDOWN) == ("location", "shutdown")


def test_a_kill_in_the_middle_of_registrations_loses_nothing_acknowledged(items):
    acknowledged, given_up = {}, set()
    chance = random.Random(5)
    rounds, callers = 3, 16
    number = iter(range(10**9))
    for _ in range(rounds):
        with running_name_server(items, 1) as server:
            ns = locate()
            there = {name: str(uri) for name, uri in ns.flatlist()}
            missing = {name for name, uri in acknowledged.items() if there.get(f":Default.{name}") != uri}
            assert not missing
            unexpected = {name.removeprefix(":Default.") for name in there} - set(acknowledged) - given_up
            assert unexpected == {":Pyro.NameServer"}

            def register(ns=ns):
                with contextlib.suppress(ProtocolError):
                    while True:
                        name = f"n{next(number)}"
                        uri = f"PYRO://host:1/{name}"
                        given_up.add(name)  # until it is known
                        ns.register(name, uri)
                        acknowledged[name] = uri

            registering = [gevent.spawn(register) for _ in range(callers)]
            enough = len(acknowledged) + chance.randrange(20, 300)
            eventually(lambda enough=enough: len(acknowledged) >= enough)
            server.kill()
            gevent.joinall(registering, timeout=30, raise_error=True)
    assert len(acknowledged) > 20 * rounds


def test_names_of_killed_servers_go_and_those_of_living_ones_stay(items):
    with (
        running_name_server(items, 0) as name_server,
        running_servers(items, "a1 a2 a3", "b1 b2", "c1") as (first, second, third),
    ):
        ns = locate()
        assert names(ns) == ["a1", "a2", "a3", "b1", "b2", "c1"]
        first.kill()
        eventually(lambda: names(ns) == ["b1", "b2", "c1"])
        # More than the time of a lease in which nobody can renew anything.
        name_server.send_signal(signal.SIGSTOP)
        time.sleep(1.5 * config.PYRO_NS_LEASE)
        name_server.send_signal(signal.SIGCONT)
        until = time.monotonic() + 1.25 * config.PYRO_NS_LEASE
        while time.monotonic() < until:
            assert names(ns) == ["b1", "b2", "c1"]
            gevent.sleep(0.05)
        # A server that is stopped for longer loses its name, and has it back; its clients keep their channels.
        proxy = core.getProxyForURI("PYRONAME://c1")
        assert proxy.work() == "done"
        third.send_signal(signal.SIGSTOP)
        eventually(lambda: names(ns) == ["b1", "b2"])
        third.send_signal(signal.SIGCONT)
        eventually(lambda: names(ns) == ["b1", "b2", "c1"])
        assert proxy.adapter.connected()
        assert proxy.work() == "done"
        second.send_signal(signal.SIGTERM)
        second.ended_well()
        assert names(ns) == ["c1"]


@pytest.mark.parametrize("persistent", [0, 1])
def test_a_name_server_that_restarts_expires_nobody(items, persistent):
    with running_servers_at_a_name_server(items, persistent) as (first, proxies):
        assert all(proxy.work() == "done" for proxy in proxies)
        first.kill()
        assert all(proxy.work() == "done" for proxy in proxies)
        with running_name_server(items, persistent):
            ns = locate()
            if persistent:
                assert names(ns) == ["a", "b"]
            eventually(lambda: names(ns) == ["a", "b"])
            until = time.monotonic() + 1.25 * config.PYRO_NS_LEASE
            while time.monotonic() < until:
                assert names(ns) == ["a", "b"]
                gevent.sleep(0.05)
            assert core.getProxyForURI("PYRONAME://a").work() == "done"


@contextlib.contextmanager
def running_servers_at_a_name_server(items, persistent):
    with running_name_server(items, persistent) as first, running_servers(items, "a", "b"):
        yield first, [core.getProxyForURI(f"PYRONAME://{name}") for name in "ab"]


def test_a_server_that_comes_back_after_a_crash_has_its_name_at_once(items):
    config.PYRO_NS_LEASE = 60
    items = {**items, "GPYRO_NS_LEASE": "60"}
    with running_name_server(items, 0):
        ns = locate()
        with running_servers(items, "thing") as (server,):
            first = ns.resolve("thing")
            server.kill()
        assert names(ns) == ["thing"]
        with running_servers(items, "thing"):
            assert ns.resolve("thing") != first
            assert core.getProxyForURI("PYRONAME://thing").work() == "done"
            with program(SERVER, "thing", environment=items) as second:
                code, _, err = second.end()
                assert code == 1
                assert "NamingError: name already exists: ':Default.thing'" in err


def test_servers_on_two_hosts_of_one_segment(items):
    # The hosts are two addresses of the loopback interface.
    with name_server(nsport=0) as starter:
        ns = proxy_of(starter)
        daemons = [core.Daemon(host=host, port=0, norange=1) for host in ("127.0.0.2", "127.0.0.3")]
        for number, daemon in enumerate(daemons):
            daemon.useNameServer(ns)
            daemon.start()
            daemon.connect(object(), f"thing{number}")
        assert [uri.address for _, uri in ns.flatlist()] == ["127.0.0.2", "127.0.0.3", "127.0.0.1"]
        with pytest.raises(NamingError, match="already exists"):
            daemons[1].connect(object(), "thing0")
        for daemon in daemons:
            daemon.stop(1)
        assert names(ns) == []


def test_the_document_s_example(items):
    server, client = re.findall(r"```python\n(# .*?)```", (ROOT / "docs/naming.md").read_text(), re.DOTALL)[:2]
    with running_name_server(items, 0):
        with program(server, environment={**items, "GPYRO_PORT": "0"}) as serving:
            assert serving.line().startswith("PYRO://")
            with program(client, environment=items) as calling:
                assert calling.ended_well() == "Hello world\n"
            serving.send_signal(signal.SIGTERM)
            serving.ended_well()
        assert names(NameServerProxy(f"PYROLOC://127.0.0.1:{config.PYRO_NS_PORT}/x")) == []
