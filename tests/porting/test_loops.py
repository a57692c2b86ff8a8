"""The loops that Pyro 3's programs have: the daemon's own, and those of others in which it takes part."""

from __future__ import annotations

import pytest

from tests.porting.plays import served
from tests.programs import program

STOP = """
import sys
import gpyro.core
gpyro.core.getProxyForURI(sys.argv[1]).stop()
"""


def test_a_loop_with_other_sockets_and_a_condition():
    server = """
    import sys
    import gpyro.core
    class Thing(gpyro.core.ObjBase):
        quit = 0
        def stop(self):
            self.quit = 1
    thing = Thing()
    daemon = gpyro.core.Daemon()
    print(daemon.connect(thing), flush=True)
    def callback(ready):
        for other in ready:
            print("read", other.readline().strip().decode(), flush=True)
    daemon.requestLoop(lambda: not thing.quit, timeout=1, others=[sys.stdin.buffer], callback=callback)
    daemon.shutdown(True)
    print("end")
    """
    with served(server) as running:
        running.server.say("a line")
        assert running.server.line() == "read a line"
        running.client(STOP)
        assert running.server.ended_well() == "end\n"


def test_a_loop_of_single_rounds():
    server = """
    import sys
    import gpyro.core, gpyro.errors
    class Thing(gpyro.core.ObjBase):
        quit = 0
        def stop(self):
            self.quit = 1
    thing = Thing()
    daemon = gpyro.core.Daemon()
    print(daemon.connect(thing, "thing"), flush=True)
    try:
        daemon.handleRequests(0, others=[sys.stdin])
    except gpyro.errors.ProtocolError as x:
        print(x, flush=True)
    for timeout in (3.0, 0, None):
        thing.quit = 0
        while not thing.quit:
            daemon.handleRequests(timeout)
        print("left the loop with", timeout, flush=True)
    daemon.handleRequests(0.01)     # with nothing to do
    daemon.shutdown()
    daemon.closedown()
    """
    stop = """
    import sys
    import gpyro.core
    thing = gpyro.core.getProxyForURI(sys.argv[1])
    for line in sys.stdin:
        thing.stop()
    """
    with served(server) as running, program(stop, running.uri) as client:
        assert running.server.line() == "callback required"
        for timeout in ("3.0", "0", "None"):
            client.say("")
            assert running.server.line() == f"left the loop with {timeout}"
        running.server.ended_well()


def test_a_round_with_other_sockets():
    server = """
    import socket
    import gpyro.core
    class Thing(gpyro.core.ObjBase):
        def stop(self):
            return "stopped"
    daemon = gpyro.core.Daemon()
    print(daemon.connect(Thing(), "thing"), flush=True)
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    print(sock.getsockname()[1], flush=True)
    received = []
    def callback(sockets):
        print(sockets == [sock], flush=True)
        received.append(sock.recv(100))
    while not received:
        daemon.handleRequests(3.0, [sock], callback)
    print(received)
    """
    client = """
    import socket, sys
    import gpyro.core
    thing = gpyro.core.getProxyForURI(sys.argv[1])
    print(thing.stop())
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"a datagram", ("127.0.0.1", int(sys.argv[2])))
    """
    with served(server) as running:
        assert running.client(client, running.server.line()) == "stopped\n"
        assert running.server.ended_well() == "True\n[b'a datagram']\n"


@pytest.mark.parametrize("multithreaded", ["1", "0"])
def test_everything_in_one_process_in_one_select_loop(multithreaded):
    """Two daemons that call each other, a socket of the program's own, one loop: Pyro 3's AllInOne."""
    server = """
    import select, socket
    import gpyro.core
    class Thing(gpyro.core.ObjBase):
        def __init__(self, name):
            gpyro.core.ObjBase.__init__(self)
            self.name = name
        def ask(self):
            return self.name + " asks " + self.other.answer()
        def answer(self):
            return self.name
    daemons = [gpyro.core.Daemon(), gpyro.core.Daemon()]
    things = [Thing("one"), Thing("two")]
    for daemon, thing, other in zip(daemons, things, reversed(things)):
        print(daemon.connect(thing), flush=True)
    things[0].other, things[1].other = things[1].getProxy(), things[0].getProxy()
    own = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    own.bind(("127.0.0.1", 0))
    print(own.getsockname()[1], flush=True)
    running = 1
    while running:
        sockets = [own]
        for daemon in daemons:
            sockets.extend(daemon.getServerSockets())
        ins, outs, exs = select.select(sockets, [], [], 3)
        if own in ins:
            running = own.recv(100) != b"stop"
        for daemon in daemons:
            for s in daemon.getServerSockets():
                if s in ins:
                    daemon.handleRequests(timeout=0)
                    break
    for daemon in daemons:
        daemon.shutdown(True)
        daemon.closedown()
    print("over")
    """
    client = """
    import socket, sys
    import gpyro.core
    one, two = [gpyro.core.getProxyForURI(uri) for uri in sys.argv[1:3]]
    for i in range(20):
        assert one.ask() == "one asks two" and two.ask() == "two asks one"
    print(one.ask())
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"stop", ("127.0.0.1", int(sys.argv[3])))
    """
    with served(server, environment={"GPYRO_MULTITHREADED": multithreaded}) as running:
        assert running.client(client, running.server.line(), running.server.line()) == "one asks two\n"
        assert running.server.ended_well() == "over\n"


def test_a_daemon_in_a_thread_of_an_unpatched_program():
    server = """
    import sys, threading
    import gpyro.core
    class Thing(gpyro.core.ObjBase):
        def echo(self, value):
            return value, threading.current_thread().name
    class Server(threading.Thread):
        def __init__(self):
            threading.Thread.__init__(self, name="server")
            self.daemon = True
            self.ready = threading.Event()
        def run(self):
            self.served = gpyro.core.Daemon()
            self.uri = self.served.connect(Thing(), "thing")
            self.ready.set()
            self.served.requestLoop()
    server = Server()
    server.start()
    server.ready.wait()
    # The program is a client of its own server, from another thread.
    print(server.uri, flush=True)
    print(gpyro.core.getProxyForURI(server.uri).echo("own"), flush=True)
    for line in sys.stdin:              # blocks, and holds nobody
        print(line.strip(), flush=True)
    server.served.shutdown()
    server.join()
    print("over")
    """
    client = """
    import sys
    import gpyro.core
    print(gpyro.core.getProxyForURI(sys.argv[1]).echo("other"))
    """
    with served(server) as running:
        assert running.server.line() == "('own', 'server')"
        assert running.client(client) == "('other', 'server')\n"
        running.server.say("still here")
        assert running.server.line() == "still here"
        assert running.client(client) == "('other', 'server')\n"
        running.server.process.stdin.close()
        running.server.process.stdin = None
        assert running.server.ended_well() == "over\n"


def test_a_client_that_is_interrupted_in_a_call_goes_on_with_the_next():
    server = """
    import gevent
    import gpyro.core
    class Thing(gpyro.core.ObjBase):
        def slow(self):
            print("slow", flush=True)
            gevent.sleep(60)
        def quick(self):
            return "quick"
    daemon = gpyro.core.Daemon()
    print(daemon.connect(Thing()), flush=True)
    daemon.requestLoop()
    """
    client = """
    import sys
    import gpyro.core
    thing = gpyro.core.getProxyForURI(sys.argv[1])
    try:
        thing.slow()
    except KeyboardInterrupt:
        print("interrupted", thing.quick())
    """
    with served(server) as running, program(client, running.uri) as user:
        assert running.server.line() == "slow"
        user.send_signal(2)
        assert user.ended_well() == "interrupted quick\n"
