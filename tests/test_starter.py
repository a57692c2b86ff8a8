from __future__ import annotations

import contextlib
import re
import select
import signal
import threading
import time

import gevent
import pytest
from gevent import monkey

from gpyro import config, core
from gpyro.discovery import BCReqValidator
from gpyro.errors import ConnectionDeniedError, DaemonError, NamingError, StoreError
from gpyro.naming import NameServerLocator, NameServerProxy, NameServerStarter
from gpyro.net.hub import hub_state
from gpyro.protocol import DefaultConnValidator
from gpyro.uri import parse
from tests.naming import BROADCAST, free_port, name_server, proxy_of, started
from tests.programs import program
from tests.support import eventually

START = """
    import sys
    from gpyro.naming import NameServerStarter
    arguments = eval(sys.argv[1]) if len(sys.argv) > 1 else {}
    starter = NameServerStarter(arguments.pop("identification", None))
    starter.start(**{"dontlookupother": 1, **arguments})
"""


pytestmark = pytest.mark.usefixtures("env")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_it_prints_from_start_to_end(env, tmp_path, number):
    with program(START, environment=env) as server:
        lines = started(server)
        uri = (tmp_path / "Pyro_NS_URI").read_text().strip()
        assert lines == [
            "*** Pyro Name Server ***",
            f"Name server listening on: ('127.0.0.1', {config.PYRO_NS_PORT})",
            f"Broadcast server listening on: ('{BROADCAST}', {config.PYRO_NS_BC_PORT})",
            f"URI is: {uri}",
            f"URI written to: {tmp_path / 'Pyro_NS_URI'}",
            "Name Server started.",
        ]
        assert parse(uri).port == config.PYRO_NS_PORT
        ns = NameServerLocator().getNS()
        waiting = gevent.spawn(ns.keep, 0, 60)
        gevent.sleep(0)
        ns.ping()  # which is answered after the other call began
        server.send_signal(number)
        rest = server.ended_well().splitlines()
        broken_off = ["Shutting down on user break signal."] if number == signal.SIGINT else []
        assert rest == [*broken_off, "Name Server gracefully stopped."]
        waiting.get(timeout=30)


def test_a_client_ends_it_unless_it_is_told_to_keep_running(env):
    with program(START, repr({"keep": 1}), environment=env) as server:
        started(server)
        assert NameServerLocator().sendSysCommand("shutdown") == "Shutdown request denied"
        server.kill()
    with program(START, environment=env) as server:
        started(server)
        assert NameServerLocator().sendSysCommand("shutdown") == "Will shut down shortly"
        assert server.ended_well() == "Name Server gracefully stopped.\n"


def test_it_comes_back_at_the_same_port_after_a_kill(env):
    for _ in range(3):
        with program(START, environment=env) as server:
            started(server)
            NameServerLocator().getNS().ping()
            server.kill()


def test_a_second_one_on_the_segment_is_refused(capsys):
    # The segment is the loopback interface, with its own broadcast address; both are at addresses of that.
    with name_server(hostname="127.0.0.2", nsport=0) as first:
        second = NameServerStarter()
        with pytest.raises(NamingError, match="Cannot start multiple Name Servers in the same network segment"):
            second.begin(hostname="127.0.0.3", nsport=0, bcport=config.PYRO_NS_BC_PORT)
        lines = capsys.readouterr().out.splitlines()
        assert "The Name Server appears to be already running on this segment." in lines
        assert f"(host: 127.0.0.2 port: {first.uri.port})" in lines
        with pytest.raises(NamingError, match="Cannot start multiple"):
            second.begin(nsport=0)
        with pytest.raises(NamingError, match="cannot start broadcast server"):
            second.begin(hostname="127.0.0.3", nsport=0, allowmultiple=1)
        second.begin(hostname="127.0.0.3", nsport=0, allowmultiple=1, nobroadcast=True)
        second.stop()
        with name_server(identification="secret", nsport=0, bcport=free_port()), pytest.raises(NamingError):
            NameServerStarter("other").begin(nsport=0)
    second.begin(hostname="127.0.0.3", nsport=0)
    second.stop()


def test_a_port_that_is_taken(capsys):
    with name_server() as first:
        with pytest.raises(DaemonError, match="in use"):
            NameServerStarter().begin(dontlookupother=1, nobroadcast=True)
        out = capsys.readouterr().out
        assert "The Name Server appears to be already running on this host." in out
        proxy_of(first).ping()


def test_two_servers_on_one_database():
    with name_server(persistent=1), pytest.raises(StoreError, match=r"names.db"):
        NameServerStarter().begin(nsport=0, persistent=1, dontlookupother=1, nobroadcast=True)


def test_roles_of_pairs_are_refused():
    with pytest.raises(NamingError, match="not run in pairs"):
        NameServerStarter().initialize(role=(1, None))


def test_passphrases(capsys):
    with name_server(identification="open sesame") as starter:
        assert "Requiring connection authentication." in capsys.readouterr().out
        proxy_of(starter, "open sesame").ping()
        with pytest.raises(ConnectionDeniedError):
            proxy_of(starter)
        with pytest.raises(ConnectionDeniedError):
            proxy_of(starter, "wrong")
        with gevent.socket.socket(type=gevent.socket.SOCK_DGRAM) as sock:
            sock.settimeout(30)
            sock.setsockopt(gevent.socket.SOL_SOCKET, gevent.socket.SO_BROADCAST, 1)
            sock.sendto(b"shutdown", (BROADCAST, config.PYRO_NS_BC_PORT))
            assert sock.recv(100) == b"Shutdown request denied"


def test_guards(capsys):
    class Nobody(DefaultConnValidator):
        def acceptHost(self, daemon, connection):
            return 0, 2

    class Silent(BCReqValidator):
        def acceptLocationCmd(self):
            return 0

    with name_server(Guards=(Nobody(), Silent()), verbose=1, nsport=0) as starter:
        lines = capsys.readouterr().out.splitlines()
        assert any(re.match(rf"Connections are judged by .*Nobody of {re.escape(__file__)}\.$", line) for line in lines)
        assert any(re.match(rf"Broadcasts are judged by .*Silent of {re.escape(__file__)}\.$", line) for line in lines)
        assert "Will accept shutdown requests." in lines
        with pytest.raises(ConnectionDeniedError):
            proxy_of(starter)
        config.PYRO_NS_URIFILE = "elsewhere"
        with pytest.raises(NamingError, match="no answer"):
            NameServerLocator().getNS()


def test_everybody_may_not_connect_from_elsewhere_by_oversight(capsys, tmp_path):
    starter = NameServerStarter()
    with pytest.raises(DaemonError, match="PYRO_ALLOW_OPEN"):
        starter.begin(hostname="0.0.0.0", nsport=0, dontlookupother=1, nobroadcast=True)
    assert starter.daemon is None
    assert capsys.readouterr().out == "*** Pyro Name Server ***\n"
    assert not (tmp_path / "Pyro_NS_URI").exists()
    with name_server(identification="secret", hostname="0.0.0.0", nsport=0, nobroadcast=True) as starter:
        NameServerProxy(core.PyroURI("127.0.0.1", "x", starter.uri.port), "secret").ping()


def test_a_file_that_cannot_be_written_is_only_logged(capsys):
    config.PYRO_NS_URIFILE = "no/such/folder"
    with name_server() as starter:
        out = capsys.readouterr().out
        assert "URI is:" in out
        assert "URI written to" not in out
        proxy_of(starter).ping()


def test_without_multithreading_it_still_serves_many_at_a_time():
    config.PYRO_MULTITHREADED = 0
    with name_server() as starter:
        ns = proxy_of(starter)
        waiting = gevent.spawn(ns.keep, 0, 30)
        eventually(lambda: starter.daemon.connections and starter.daemon.connections[0].in_calls)
        ns.ping()
        assert not waiting.dead
    waiting.get(timeout=30)


def test_a_broken_name_of_its_own_is_mended():
    with name_server(persistent=1) as starter:
        ns = proxy_of(starter)
        ns.unregister(":Pyro.NameServer")
        ns.register(":Pyro.NameServer", "PYRO://elsewhere:1/x")
    with name_server(persistent=1) as starter:
        ns = proxy_of(starter)
        assert ns.resolve(":Pyro.NameServer") == starter.uri
        ns.deleteGroup(":Pyro")
    with name_server(persistent=1) as starter:
        assert proxy_of(starter).resolve(":Pyro.NameServer") == starter.uri


def test_driven_by_a_foreign_loop():
    starter = NameServerStarter()
    starter.initialize(dontlookupother=1)
    assert not starter.waitUntilStarted(0)
    answers = []

    def client():
        ns = NameServerProxy(f"PYROLOC://127.0.0.1:{config.PYRO_NS_PORT}/:Pyro.NameServer")
        ns.register("a", "PYRO://host:1/x")
        answers.append(str(ns.resolve("a")))
        answers.append(ns._shutdown())

    thread = monkey.get_original("threading", "Thread")(target=client)
    thread.start()
    for _ in range(1000):
        if starter.daemon is not None:
            select.select(starter.getServerSockets(), [], [], 1)
            starter.handleRequests(0)
    with pytest.raises(NamingError, match="is stopped"):
        starter.handleRequests(0)
    thread.join(30)
    assert answers == ["PYRO://host:1/x", "Will shut down shortly"]


@contextlib.contextmanager
def in_a_foreign_loop():
    """A name server that `rounds(condition)` drives, until the condition is true."""
    starter = NameServerStarter()
    starter.initialize(dontlookupother=1)

    def rounds(condition):
        until = time.monotonic() + 30
        while not condition():
            assert time.monotonic() < until
            if select.select(starter.getServerSockets(), [], [], 5)[0]:
                starter.handleRequests(0)

    try:
        yield starter, rounds
    finally:
        starter.stop()


OWNER = """
import sys
from gpyro.naming import NameServerLocator
ns = NameServerLocator().getNS()
lease, _ = ns.grant(float(sys.argv[1]))
ns.enrol("leased", "PYRO://host:1/x", lease)
print("registered", flush=True)
ns.keep(lease, float(sys.argv[1]))
"""


def test_leases_end_in_a_foreign_loop_with_nothing_else_to_do(env):
    with in_a_foreign_loop() as (starter, rounds), program(OWNER, "0.6", environment=env) as owner:
        rounds(lambda: starter.server.space.look_up("leased"))
        owner.send_signal(signal.SIGKILL)
        rounds(lambda: not starter.server.space.look_up("leased"))


def test_who_waits_does_not_keep_a_foreign_loop_busy(env):
    with in_a_foreign_loop() as (starter, rounds), program(OWNER, "2", environment=env) as owner:
        rounds(lambda: starter.server.space.look_up("leased"))
        rounds(lambda: hub_state().workers.patient and not hub_state().workers.busy)
        rounds(lambda: owner.process.poll() is not None)  # its call is answered when its time is over
        assert owner.process.returncode == 0


def test_other_threads_wait_until_it_is_started():
    starter = NameServerStarter()
    seen = []

    def run():
        starter.start(dontlookupother=1)
        seen.append("ended")

    assert not starter.waitUntilStarted(0.01)
    thread = threading.Thread(target=run)
    thread.start()
    assert starter.waitUntilStarted(10)
    ns = NameServerLocator().getNS()
    ns.ping()
    starter.shutdown()
    eventually(lambda: seen)
    thread.join(30)
    assert not starter.waitUntilStarted(0)


def test_it_can_be_started_again_but_not_twice():
    with name_server() as starter:
        with pytest.raises(NamingError, match="runs a name server already"):
            starter.begin()
        proxy_of(starter).ping()
    starter.begin(dontlookupother=1)
    proxy_of(starter).ping()
    starter.stop()
    starter.stop()
