"""A name server, servers and clients on two machines, of which this and that is killed.

They are network namespaces where these may be made, else two addresses of the loopback interface; which, stands in the
name of the test that was run. Where there are namespaces, the other way is a long test.
"""

from __future__ import annotations

import contextlib
import sys

import pytest

from tests.hosts import two_addresses, two_namespaces, why_no_namespaces
from tests.naming import started
from tests.programs import python
from tests.support import eventually

SECRET = "open sesame"

NAME_SERVER = [sys.executable, "-m", "gpyro.naming"]

SERVER = f"""
    import os, sys
    from gpyro import core
    from gpyro.naming import NameServerLocator

    class Greeter(core.ObjBase):
        def greet(self):
            return f"{{os.getpid()}}"

    daemon = core.Daemon()
    daemon.setAllowedIdentifications(["{SECRET}"])
    daemon.useNameServer(NameServerLocator("{SECRET}").getNS())
    try:
        for name in sys.argv[1:]:
            daemon.connect(Greeter(), name)
        print("serving", flush=True)
    except Exception as error:
        print(type(error).__name__, error, flush=True)
    daemon.requestLoop()
"""

CLIENT = f"""
    import sys
    from gevent.fileobject import FileObject
    from gpyro import core
    from gpyro.errors import PyroError
    from gpyro.naming import NameServerLocator, identify_for_names

    identify_for_names("{SECRET}")
    ns = NameServerLocator("{SECRET}").getNS()
    print(ns.URI.address, flush=True)
    proxies = {{}}

    def call(name):
        if name not in proxies:
            proxies[name] = core.getProxyForURI(f"PYRONAME://{{name}}")
            proxies[name]._setIdentification("{SECRET}")
        try:
            return proxies[name].greet()
        except PyroError:
            return proxies[name].greet()  # the first one found that its connection is gone

    for line in FileObject(sys.stdin):
        what, *arguments = line.split()
        try:
            result = {{"call": call, "names": lambda: sorted(name for name, _ in ns.list(None))}}.get(what)
            print((result or getattr(ns, what))(*arguments), flush=True)
        except PyroError as error:
            print(type(error).__name__, error, flush=True)
"""


NAMESPACES = pytest.mark.skipif(bool(why_no_namespaces()), reason=why_no_namespaces() or "-")


@pytest.fixture(
    params=[
        pytest.param(two_namespaces, marks=NAMESPACES),
        pytest.param(two_addresses, marks=() if why_no_namespaces() else pytest.mark.long),
    ],
    ids=["network namespaces", "loopback addresses"],
)
def hosts(request, tmp_path):
    with request.param(tmp_path) as hosts:
        yield agreed(hosts)


@pytest.fixture
def namespaces(tmp_path):
    with two_namespaces(tmp_path) as hosts:
        yield agreed(hosts)


def agreed(hosts):
    """The hosts, after they agreed on where the name server is asked."""
    for host in hosts[1:]:
        host.items.update({name: hosts[0].items[name] for name in ("GPYRO_NS_PORT", "GPYRO_NS_BC_PORT")})
    return hosts


def gpyro_ns(host, bind=None):
    """The command that runs a name server, with its passphrase in a file."""
    secret = f"{host.items['GPYRO_STORAGE']}/passphrase"
    with open(secret, "w") as file:
        file.write(SECRET)
    return [*NAME_SERVER, "-d", "-n", bind or host.address, "--identification-file", secret]


@contextlib.contextmanager
def a_name_server(host, bind=None, **items):
    # There is no other one to wait for.
    with host.run(gpyro_ns(host, bind), GPYRO_BC_TIMEOUT="0.1", GPYRO_BC_RETRIES="2", **items) as server:
        lines = started(server)
        assert f"Name server listening on: ('{host.address}', {host.items['GPYRO_NS_PORT']})" in lines
        yield server


@contextlib.contextmanager
def a_server(host, *names):
    with host.run(python(SERVER, *names)) as server:
        assert server.line() == "serving"
        yield server


@contextlib.contextmanager
def a_client(host, of):
    """A client, which finds the name server by a broadcast; gives what asks it."""
    with host.run(python(CLIENT)) as client:
        assert client.line() == of.address

        def ask(*words):
            client.say(" ".join(words))
            return client.line()

        yield ask


def process_of(server):
    return str(server.process.pid)


def is_gone(ask, name):
    answer = ask("resolve", name)
    return answer.startswith("NamingError name not found") or (print(answer) and False)


def test_a_killed_server_loses_its_names_and_nobody_else_does(hosts):
    one, two = hosts
    with a_name_server(one), a_server(one, "near") as near, a_client(one, one) as here, a_client(two, one) as there:
        with a_server(two, "far", "farther") as far:
            for ask in (here, there):
                assert ask("names") == "['far', 'farther', 'near']"
                assert ask("call", "near") == process_of(near)
                assert ask("call", "far") == process_of(far)
                assert f"PYRO://{two.address}:" in ask("resolve", "far")
            far.kill()
        for ask in (here, there):
            eventually(lambda ask=ask: is_gone(ask, "far"), 30)
            assert ask("names") == "['near']"
            assert "name not found" in ask("call", "far")
            assert ask("call", "near") == process_of(near)
        # It comes back on the other host, and clients that had the old one find it.
        with a_server(one, "far") as far:
            for ask in (here, there):
                assert ask("call", "far") == process_of(far)
                assert f"PYRO://{one.address}:" in ask("resolve", "far")
                assert ask("names") == "['far', 'near']"


def test_a_server_that_comes_back_on_its_host_takes_its_name_over_at_once(hosts):
    one, two = hosts
    with a_name_server(one), a_client(one, one) as ask:
        for _ in range(2):
            with a_server(two, "far") as far:
                assert ask("call", "far") == process_of(far)
                far.kill()


def test_a_killed_name_server_forgets_nothing_and_expires_nobody(hosts):
    one, two = hosts
    with contextlib.ExitStack() as stack:
        near = stack.enter_context(a_server_with(stack, one))
        far, doomed = (stack.enter_context(a_server(two, name)) for name in ("far", "doomed"))
        here, there = (stack.enter_context(a_client(host, one)) for host in hosts)
        assert there("register", "kept", "PYRO://192.0.2.9:7766/id") == "None"
        assert [ask("call", name) for ask in (here, there) for name in ("near", "far", "doomed")] == [
            process_of(server) for server in (near, far, doomed)
        ] * 2
        stack.name_server.kill()
        doomed.kill()
        # Nobody needs it for calls.
        assert there("call", "near") == process_of(near)
        assert here("call", "far") == process_of(far)
        with a_name_server(one):
            names = here("names")
            assert names in ("['doomed', 'far', 'kept', 'near']", "['far', 'kept', 'near']")
            # Until the lease of the killed one is over, which is as long as those of the others: they are there always.
            while not is_gone(there, "doomed"):
                for ask in (here, there):
                    assert ask("names") in ("['doomed', 'far', 'kept', 'near']", "['far', 'kept', 'near']")
            for ask in (here, there):
                assert ask("names") == "['far', 'kept', 'near']"
                assert ask("call", "near") == process_of(near)
                assert ask("call", "far") == process_of(far)
            assert there("resolve", "kept") == "PYRO://192.0.2.9:7766/id"
            # Which are not only remembered, but renewed.
            far.kill()
            eventually(lambda: is_gone(here, "far"), 30)
            assert there("names") == "['kept', 'near']"


def a_server_with(stack, host):
    stack.name_server = stack.enter_context(a_name_server(host))
    return a_server(host, "near")


def test_a_second_name_server_on_another_host_is_refused(hosts):
    one, two = hosts
    with a_name_server(one), two.run(gpyro_ns(two)) as second:
        code, out, err = second.end()
        assert code == 1
        assert f"(host: {one.address} port: {one.items['GPYRO_NS_PORT']})" in out
        assert err == "gpyro-ns: Cannot start multiple Name Servers in the same network segment.\n"


@NAMESPACES
def test_an_address_that_others_cannot_reach_is_refused(namespaces):
    one, two = namespaces
    with a_name_server(one), a_client(two, one) as ask:
        with two.run(python(SERVER, "far"), GPYRO_HOST="") as server:
            line = server.line()
            assert line.startswith("NamingError invalid URI: 'PYRO://127.0.0.1:")
            assert "PYRO_HOST" in line
            assert "PYRO_PUBLISHHOST" in line
        assert ask("names") == "[]"
        with two.run(python(SERVER, "far"), GPYRO_HOST="0.0.0.0", GPYRO_PUBLISHHOST=two.address) as server:
            assert server.line() == "serving"
            assert ask("call", "far") == process_of(server)


@NAMESPACES
def test_a_name_server_on_all_interfaces_says_the_address_that_it_is_told(namespaces):
    one, two = namespaces
    with a_name_server(one, "0.0.0.0", GPYRO_PUBLISHHOST=one.address), a_client(two, one) as ask:
        assert ask("resolve", ":Pyro.NameServer").startswith(f"PYRO://{one.address}:")
