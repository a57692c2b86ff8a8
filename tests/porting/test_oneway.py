"""One-way calls, statement by statement, with PYRO_ONEWAY_THREADED on and off."""

from __future__ import annotations

import pytest

from tests.porting.plays import play, served
from tests.programs import program

# A server whose slow method goes on only when its operator says so.
SERVER = """
import sys
import gevent
from gevent.event import Event
import gpyro.core
class Thing(gpyro.core.ObjBase):
    def __init__(self):
        gpyro.core.ObjBase.__init__(self)
        self.notes = []
        self.go_on = Event()
    def slow(self, note="slow"):
        print("begun", flush=True)
        self.go_on.wait()
        self.notes.append(note)
    def quick(self, note="quick"):
        self.notes.append(note)
        return len(self.notes)
    def fail(self):
        self.notes.append("failed")
        raise ValueError("only logged")
    def result(self):
        return self.notes
    def goOn(self):
        self.go_on.set()
thing = Thing()
daemon = gpyro.core.Daemon()
print(daemon.connect(thing, "thing"), flush=True)
daemon.requestLoop()
"""


def test_no_answer_no_exception_and_the_result_is_none():
    client = """
    import sys
    import gpyro.core
    thing = gpyro.core.getProxyForURI(sys.argv[1])
    print(thing.quick())
    thing._setOneway("quick")
    thing._setOneway(["fail", "nothing"])       # which adds to those before
    print(thing.quick("one"), thing.fail(), thing.nothing(1, 2), thing.quick(too="many", arguments=1))
    other = gpyro.core.getProxyForURI(sys.argv[1])      # it is for the proxy to decide
    print(thing.result(), other.quick("other"))
    try:
        other.fail()
    except ValueError as x:
        print(x)
    """
    with served(SERVER) as running:
        assert running.client(client).splitlines() == [
            "1",
            "None None None None",
            "['quick', 'one', 'failed'] 4",
            "only logged",
        ]
        running.server.send_signal(15)
        code, _, errors = running.server.end()
        assert code == 0
        assert errors.count("ValueError: only logged") == 2, "each is logged by the server"


def test_they_need_a_connection_like_others():
    client = """
    import socket
    import gpyro.core, gpyro.errors
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))         # and nobody listens
    thing = gpyro.core.getProxyForURI("PYRO://127.0.0.1:%d/nobody" % sock.getsockname()[1])
    thing._setOneway("note")
    try:
        thing.note()
    except gpyro.errors.ProtocolError as x:
        print(str(x).startswith("connection failed"))
    thing = gpyro.core.getProxyForURI("PYRO://127.0.0.1:1/nobody")
    thing._setOneway("note")
    try:
        thing.note(object())
    except gpyro.errors.PyroError as x:
        print(type(x).__name__)
    """
    with program(client) as running:
        assert running.ended_well() == "True\nNotSentError\n"


def test_those_of_a_program_that_ends_at_once_arrive_in_their_order():
    client = """
    import sys
    import gpyro.core
    thing = gpyro.core.getProxyForURI(sys.argv[1])
    thing._setOneway("quick")
    for i in range(500):
        thing.quick(i)
    """
    ask = """
    import sys
    import gpyro.core
    thing = gpyro.core.getProxyForURI(sys.argv[1])
    while len(thing.result()) < 500: pass
    print(thing.result() == list(range(500)))
    """
    with served(SERVER) as running:
        assert running.client(client) == ""
        assert running.client(ask) == "True\n"


BACKGROUND = """
import sys
import gpyro.core
thing, other = [gpyro.core.getProxyForURI(sys.argv[1]) for i in range(2)]
thing._setOneway("slow")
thing.slow()
print("called", flush=True)
sys.stdin.readline()
if sys.argv[2] == "threaded":
    print(thing.quick(), thing.result())            # overtakes it
print(other.result(), flush=True)                   # another proxy's calls never wait for it
other._setOneway("goOn")
other.goOn()
print(thing.quick(), thing.result())
"""


@pytest.mark.parametrize("threaded", ["1", "0"])
def test_whether_later_calls_overtake_them(threaded):
    mode = "threaded" if threaded == "1" else "inline"
    environment = {"GPYRO_ONEWAY_THREADED": threaded}
    with (
        served(SERVER, environment=environment) as running,
        program(BACKGROUND, running.uri, mode) as client,
    ):
        assert client.line() == "called"
        assert running.server.line() == "begun"
        client.say("")
        out = client.ended_well().splitlines()
        if threaded == "1":
            assert out[:2] == ["1 ['quick']", "['quick']"]
            # It was woken before the call came, so it has ended, but nothing promises that.
            assert out[2] in ("3 ['quick', 'slow', 'quick']", "2 ['quick', 'quick', 'slow']")
        else:
            assert out == ["[]", "2 ['slow', 'quick']"]


def test_the_order_of_those_that_are_not_threaded():
    client = """
    import sys
    import gpyro.core
    thing = gpyro.core.getProxyForURI(sys.argv[1])
    thing._setOneway(("slow", "goOn"))
    threads = gpyro.core.getProxyForURI(sys.argv[1])
    for i in range(5):
        thing.slow(i)
    threads.goOn()
    print(thing.quick("last"), thing.result())
    """
    out = play(SERVER, client, environment={"GPYRO_ONEWAY_THREADED": "0"})
    assert out == "6 [0, 1, 2, 3, 4, 'last']\n"


STORAGE = """
import gpyro.core
class Thing(gpyro.core.ObjBase):
    def __init__(self):
        gpyro.core.ObjBase.__init__(self)
        self.seen = []
    def note(self, name):
        tls = self.getLocalStorage()
        tls.count = tls.count + 1
        tls.caller.name = name
        self.seen.append((name, tls.number, tls.count, tls.caller.addr[0], id(tls)))
    def result(self):
        tls = self.getLocalStorage()
        return self.seen, id(tls), tls.caller.name
numbers = []
def initTLS(tls):
    numbers.append(len(numbers))
    tls.number, tls.count = len(numbers), 0
daemon = gpyro.core.Daemon()
daemon.setInitTLS(initTLS)
print(daemon.connect(Thing()), flush=True)
daemon.requestLoop()
"""


@pytest.mark.parametrize("threaded", ["1", "0"])
def test_they_see_the_storage_and_the_caller_of_their_session(threaded):
    """Where Pyro 3 gave each a new storage, and no caller."""
    client = """
    import sys
    import gpyro.core
    thing = gpyro.core.getProxyForURI(sys.argv[1])
    thing._setOneway("note")
    for name in ("ann", "bob"):
        thing.note(name)
        seen, number, caller = thing.result()
        while not seen or seen[-1][0] != name:
            seen, number, caller = thing.result()
        print(seen[-1][:4], seen[-1][4] == number, caller)
    """
    out = play(STORAGE, client, environment={"GPYRO_ONEWAY_THREADED": threaded}).splitlines()
    assert out == ["('ann', 1, 1, '127.0.0.1') True ann", "('bob', 1, 2, '127.0.0.1') True bob"]


def test_methods_that_the_server_marks_need_nothing_of_the_client():
    server = """
    import gevent
    import gpyro, gpyro.core
    class Thing(gpyro.core.ObjBase):
        done = False
        @gpyro.oneway
        def work(self):
            gevent.sleep(0.05)
            self.done = True
        def isDone(self):
            return self.done
    daemon = gpyro.core.Daemon()
    print(daemon.connect(Thing()), flush=True)
    daemon.requestLoop()
    """
    client = """
    import sys
    import gpyro.core
    thing = gpyro.core.getProxyForURI(sys.argv[1])
    print(thing.work(), thing.isDone())
    while not thing.isDone(): pass
    print("done")
    """
    assert play(server, client) == "None False\ndone\n"
