"""Daemons: ports, interfaces, limits, and their end."""

from __future__ import annotations

import pytest

from tests.porting.plays import play, served
from tests.programs import program

THING = """
import sys
import gpyro, gpyro.core, gpyro.errors
class Thing(gpyro.core.ObjBase):
    def echo(self, value):
        return value
    def quit(self):
        self.getDaemon().shutdown()
"""

ECHO = """
import sys
import gpyro.core
print(gpyro.core.getProxyForURI(sys.argv[1]).echo("hello"))
"""


def test_ports_of_the_configuration_and_of_the_arguments():
    server = (
        THING
        + """
free = gpyro.core.Daemon()          # PYRO_PORT is 0 in the environment: any free port
first = free.port
gpyro.config.PYRO_PORT = first      # what is set while the program runs counts for the daemons that follow
gpyro.config.PYRO_PORT_RANGE = 50
daemons = [gpyro.core.Daemon(), gpyro.core.Daemon("PYRO", "127.0.0.1", first, 0, "localhost")]
print([first < d.port < first + 50 for d in daemons], daemons[0].port != daemons[1].port)
for arguments in ((None, first, 1), ("127.0.0.1", first, True)):
    try:
        gpyro.core.Daemon("PYRO", *arguments)
    except gpyro.errors.DaemonError as x:
        print(str(x).startswith("Couldn't start Pyro daemon: "))
gpyro.config.PYRO_PORT_RANGE = 1
try:
    gpyro.core.Daemon()
except gpyro.errors.DaemonError as x:
    print("in use" in str(x))
daemon = daemons[1]
print(daemon.hostname, daemon.protocol, daemon.connect(Thing(), "thing").address)
"""
    )
    with program(server) as running:
        assert running.ended_well().splitlines() == [
            "[True, True] True",
            "True",
            "True",
            "True",
            "localhost PYRO localhost",
        ]


def test_publishhost_is_what_uris_say():
    server = (
        THING
        + """
daemon = gpyro.core.Daemon(protocol="PYRO", host="127.0.0.1", port=0, norange=1, publishhost="outside.example")
print(daemon.connect(Thing(), "thing"))
gpyro.config.PYRO_PUBLISHHOST = "localhost"
daemon = gpyro.core.Daemon(host="127.0.0.1")
print(daemon.connect(Thing(), "thing"), flush=True)
daemon.requestLoop()
"""
    )
    with served(server) as running:
        assert running.uri.startswith("PYRO://outside.example:")
        uri = running.server.line()
        assert uri.startswith("PYRO://localhost:")
        with program(ECHO, uri) as client:
            assert client.ended_well() == "hello\n"


def test_a_daemon_that_nobody_refers_to_is_gone_and_its_port_free():
    server = (
        THING
        + """
def start():
    daemon = gpyro.core.Daemon(port=int(sys.argv[1]), norange=1)
    return daemon.port, daemon.connect(Thing(), "thing")    # and forgets the daemon
port, uri = start()
sys.argv[1] = port
start()                              # so the port is free again
daemon = gpyro.core.Daemon(port=port, norange=1)
print(daemon.connect(Thing(), "thing"), flush=True)
thing = Thing()
daemon.connect(thing)
other = gpyro.core.Daemon()
other.connect(Thing())
print(thing.getDaemon().port == port, flush=True)
daemon.requestLoop()
"""
    )
    with served(server, "0") as running:
        assert running.server.line() == "True"
        assert running.client(ECHO) == "hello\n"


@pytest.mark.parametrize("how", ["Ctrl-C", "shutdown", "condition"])
def test_how_servers_end(how):
    server = (
        THING
        + """
import atexit
atexit.register(print, "the program ended")
daemon = gpyro.core.Daemon()
thing = Thing()
thing.ended = 0
def end():
    thing.ended = 1
thing.end = None
class Ender(gpyro.core.ObjBase):
    def end(self):
        end()
print(daemon.connect(thing, "thing"), flush=True)
print(daemon.connect(Ender(), "ender"), flush=True)
try:
    daemon.requestLoop(lambda: not thing.ended)
    print("the loop ended")
except KeyboardInterrupt:
    print("ended by its operator")
daemon.shutdown(True)
print(list(daemon.getRegistered().values()))
"""
    )
    with served(server) as running:
        running.server.line()
        if how == "Ctrl-C":
            assert running.client(ECHO) == "hello\n"  # so its loop runs
            out = running.ctrl_c()
        else:
            method, name = ("quit", "thing") if how == "shutdown" else ("end", "ender")
            call = f"import sys, gpyro.core; print(gpyro.core.getProxyForURI(sys.argv[2]).{method}())"
            assert running.client(call, running.by_name(name)) == "None\n"
            out = running.server.ended_well()
        expected = "ended by its operator" if how == "Ctrl-C" else "the loop ended"
        assert out.splitlines() == [expected, "['__daemon__']", "the program ended"]


def test_too_many_clients():
    server = """
    import gpyro, gpyro.core
    gpyro.config.PYRO_MAXCONNECTIONS = 2
    class Thing(gpyro.core.ObjBase):
        def echo(self, value):
            return value
    daemon = gpyro.core.Daemon()
    print(daemon.connect(Thing(), "thing"), flush=True)
    daemon.requestLoop()
    """
    client = """
    import sys
    import gpyro.core
    from gpyro.errors import ConnectionDeniedError
    shared = [gpyro.core.getProxyForURI(sys.argv[1]) for i in range(10)]
    print([proxy.echo(i) for i, proxy in enumerate(shared)])
    private = [gpyro.core.getProxyForURI(sys.argv[1]) for i in range(2)]
    for proxy in private:
        proxy._setPrivateChannel(True)
        try:
            print(proxy.echo("served"))
        except ConnectionDeniedError as x:
            print(x.args[0])
    private[0]._release()
    while 1:
        try:
            print(private[1].echo("now there is room"))
            break
        except ConnectionDeniedError:
            pass
    """
    out = play(server, client).splitlines()
    assert out == [str(list(range(10))), "served", "server too busy: 2 connections (PYRO_MAXCONNECTIONS)", out[-1]]
    assert out[-1] == "now there is room"
