"""Daemons with PYRO_MULTITHREADED=0, statement by statement: one call at a time, one storage for all."""

from __future__ import annotations

import pytest

from tests.porting.plays import play, served
from tests.programs import program

SINGLE = {"GPYRO_MULTITHREADED": "0"}

SERVER = """
import gevent
from gevent.event import Event
import gpyro, gpyro.core
class Thing(gpyro.core.ObjBase):
    inside = 0
    most = 0
    notes = []
    go_on = Event()
    def work(self, turns=3):
        Thing.inside += 1
        Thing.most = max(Thing.most, Thing.inside)
        for i in range(turns):
            gevent.sleep(0)         # others would have their turn here
        Thing.inside -= 1
        return Thing.most
    def wait(self):
        print("waiting", flush=True)
        self.go_on.wait(0.2)
        self.notes.append("waited")
    def note(self, what):
        self.notes.append(what)
        return self.notes
daemon = gpyro.core.Daemon()
print(daemon.connect(Thing(), "one"), flush=True)
print(daemon.connect(Thing(), "two"), daemon.threaded, flush=True)
daemon.requestLoop()
"""


@pytest.mark.parametrize("single", [True, False])
def test_one_call_at_a_time_of_all_objects_and_all_clients(single):
    client = """
    import sys, threading
    import gpyro.core
    def work(uri):
        proxy = gpyro.core.getProxyForURI(uri)
        for i in range(50):
            proxy.work()
    threads = [threading.Thread(target=work, args=(uri,)) for uri in sys.argv[1:] for i in range(3)]
    for t in threads: t.start()
    for t in threads: t.join()
    print(gpyro.core.getProxyForURI(sys.argv[1]).work())
    """
    with served(SERVER, environment=SINGLE if single else None) as running:
        second, threaded = running.server.line().split()
        assert threaded == str(not single)
        with (
            program(client, running.uri, second) as one,
            program(client, second, running.uri) as two,
        ):
            most = [int(client_program.ended_well()) for client_program in (one, two)]
        assert max(most) == 1 if single else max(most) > 1


def test_oneway_calls_are_inline_whatever_is_configured_for_them():
    client = """
    import sys
    import gpyro.core
    thing, other = [gpyro.core.getProxyForURI(sys.argv[1]) for i in range(2)]
    thing._setOneway("wait")
    print(thing.wait(), flush=True)
    print(thing.note("mine"))
    print(other.note("other"))
    """
    with served(SERVER, environment={**SINGLE, "GPYRO_ONEWAY_THREADED": "1"}) as running:
        assert running.server.line().endswith("False")
        assert running.client(client).splitlines() == [
            "None",
            "['waited', 'mine']",
            "['waited', 'mine', 'other']",
        ]


def test_the_item_counts_for_the_daemons_that_are_made_while_it_is_set():
    server = """
    import gpyro, gpyro.core
    class Thing(gpyro.core.ObjBase):
        def which(self):
            return self.getDaemon().threaded
    daemons = []
    for multithreaded in (0, 1):
        gpyro.config.PYRO_MULTITHREADED = multithreaded
        daemons.append(gpyro.core.Daemon())
        print(daemons[-1].connect(Thing()), flush=True)
    daemons[0].start()
    daemons[1].requestLoop()
    """
    client = """
    import sys
    import gpyro.core
    print([gpyro.core.getProxyForURI(uri).which() for uri in sys.argv[1:]])
    """
    with served(server) as running:
        assert running.client(client, running.server.line()) == "[False, True]\n"


STORAGE = """
import sys
import gpyro.core
class Thing(gpyro.core.ObjBase):
    def login(self, name):
        tls = self.getLocalStorage()
        tls.caller.userName = name          # of this client
        tls.lastLogin = name                # of all of them
    def work(self):
        tls = self.getLocalStorage()
        tls.counter += 1
        return tls.caller.userName, tls.lastLogin, tls.counter, tls is daemon.getLocalStorage()
prepared = []
def initTLS(tls):
    prepared.append(tls)
    tls.counter = 100
    tls.lastLogin = "nobody"
daemon = gpyro.core.Daemon()
daemon.setInitTLS(initTLS)
uri = daemon.connect(Thing())
before = len(prepared)
print(uri, flush=True)
print(before, flush=True)
daemon.requestLoop()
print(len(prepared), flush=True)
"""


@pytest.mark.parametrize("single", [True, False])
def test_one_storage_for_all_and_a_caller_for_each(single):
    client = """
    import sys
    import gpyro.core
    ann, bob = [gpyro.core.getProxyForURI(sys.argv[1]) for i in range(2)]
    bob._setPrivateChannel(True)
    ann.login("ann"); bob.login("bob")
    print(ann.work(), bob.work(), ann.work())
    """
    with served(STORAGE, environment=SINGLE if single else None) as running:
        before = running.server.line()
        out = running.client(client)
        running.server.send_signal(15)
        after = running.server.line()
        if single:
            assert out == "('ann', 'bob', 101, True) ('bob', 'bob', 102, True) ('ann', 'bob', 103, True)\n"
            assert (before, after) == ("1", "1"), "it is prepared once, and at once"
        else:
            assert out == "('ann', 'ann', 101, True) ('bob', 'bob', 101, True) ('ann', 'ann', 102, True)\n"
            assert (before, after) == ("0", "2"), "each session's is prepared when it begins"


CALLING = """
import sys
import gpyro.core, gpyro.errors
class Server(gpyro.core.ObjBase):
    def ask(self, client):
        return client.answer(self.getProxy())
    def tell(self, client):
        return client.listen()
    def hello(self):
        return "hello"
    def self_call(self):
        return self.getProxy().hello()
daemon = gpyro.core.Daemon()
print(daemon.connect(Server(), "server"), flush=True)
daemon.requestLoop()
"""

CALLED = """
import sys
import gpyro.core, gpyro.errors
class Client(gpyro.core.CallbackObjBase):
    def answer(self, server):
        return server.hello()
    def listen(self):
        return "listened"
daemon = gpyro.core.Daemon()
client = Client()
daemon.connect(client)
daemon.start()
server = gpyro.core.getProxyForURI(sys.argv[1])
print(server.tell(client.getProxy()))
for call in (lambda: server.ask(client.getProxy()), server.self_call):
    try:
        print(call())
    except gpyro.errors.SynchronizationError as x:
        print("it would wait for itself")
print(server.hello())
daemon.stop()
"""


def test_a_conversation_gets_an_error_where_it_would_freeze():
    out = play(CALLING, CALLED, environment=SINGLE).splitlines()
    assert out == ["listened", "it would wait for itself", "it would wait for itself", "hello"]


def test_errors_of_callback_objects_do_not_end_the_loop():
    server = """
    import gpyro.core
    class Callback(gpyro.core.CallbackObjBase):
        def fail(self):
            raise KeyError("seen on both sides")
        def work(self):
            return "worked"
    daemon = gpyro.core.Daemon()
    print(daemon.connect(Callback()), flush=True)
    daemon.requestLoop()
    print("ended by the signal")
    """
    client = """
    import sys
    import gpyro.core
    callback = gpyro.core.getProxyForURI(sys.argv[1])
    for i in range(2):
        try:
            callback.fail()
        except KeyError as x:
            print(x, callback.work())
    """
    for environment in (SINGLE, None):
        with served(server, environment=environment) as running:
            assert running.client(client) == "'seen on both sides' worked\n" * 2
            running.server.send_signal(15)
            code, out, errors = running.server.end()
            assert (code, out) == (0, "ended by the signal\n")
            assert "seen on both sides" in errors


def test_transient_objects_are_cleaned_up_although_nobody_calls():
    server = """
    import gpyro.core
    class Thing(gpyro.core.ObjBase):
        def _gotReaped(self):
            print("reaped", flush=True)
    daemon = gpyro.core.Daemon()
    daemon.setTransientsCleanupAge(0.1)
    print(daemon.connect(Thing()), flush=True)
    daemon.requestLoop()
    """
    with served(server, environment=SINGLE) as running:
        assert running.server.line() == "reaped"


def test_synchronized_objects_and_reads_of_attributes():
    server = """
    import gpyro.core
    class Thing(gpyro.core.SynchronizedObjBase):
        def __init__(self):
            gpyro.core.SynchronizedObjBase.__init__(self)
            self.sum = 0
        def add(self, number):
            self.sum = self.sum + number
    daemon = gpyro.core.Daemon()
    print(daemon.connect(Thing()), flush=True)
    daemon.requestLoop()
    """
    client = """
    import sys
    import gpyro.core
    thing = gpyro.core.getAttrProxyForURI(sys.argv[1])
    for i in range(10):
        thing.add(i)
    thing.sum = thing.sum + 1
    print(thing.sum)
    """
    assert play(server, client, environment=SINGLE) == "46\n"
