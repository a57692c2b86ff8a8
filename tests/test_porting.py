"""Programs as a Pyro 3 user would write them, with the package renamed, run as processes of their own."""

from __future__ import annotations

import pytest

from tests.programs import program

# The patterns of the manual: each server prints the URI that the client takes from its command line.

DERIVED = """
import gpyro.core

class JokeGen(gpyro.core.ObjBase):
    def __init__(self):
        gpyro.core.ObjBase.__init__(self)
    def joke(self, name):
        return "Sorry " + name + ", I don't know any jokes."

daemon = gpyro.core.Daemon()
uri = daemon.connect(JokeGen(), "jokegen")

print(uri, flush=True)
try:
    daemon.requestLoop()
finally:
    daemon.shutdown(True)
"""

MIXED = DERIVED.replace(
    "class JokeGen(gpyro.core.ObjBase):\n    def __init__(self):\n        gpyro.core.ObjBase.__init__(self)\n",
    "class RealJokeGen:\n",
).replace(
    "daemon = ",
    """class JokeGen(gpyro.core.ObjBase, RealJokeGen):
    def __init__(self):
        gpyro.core.ObjBase.__init__(self)

daemon = """,
    1,
)

DELEGATED = MIXED.split("class JokeGen")[0] + (
    """
obj = gpyro.core.ObjBase()
obj.delegateTo(RealJokeGen())
daemon = gpyro.core.Daemon()
uri = daemon.connect(obj, "jokegen")
"""
    + DERIVED.split('"jokegen")\n', 1)[1]
)

CLIENT = """
import sys
import gpyro.core

jokes = gpyro.core.getProxyForURI(sys.argv[1])
print(jokes.joke("Irmen"))
"""


@pytest.mark.parametrize("server_code", [DERIVED, MIXED, DELEGATED], ids=["derived", "mixed", "delegated"])
def test_hello_world_in_its_three_patterns(server_code):
    assert "RealJokeGen" in server_code or server_code is DERIVED
    with program(server_code) as server:
        uri = server.line()
        place = uri.rpartition("/")[0].replace("PYRO:", "PYROLOC:")
        for address in (uri, f"{place}/jokegen"):
            with program(CLIENT, address) as client:
                assert client.line() == "Sorry Irmen, I don't know any jokes."
                client.ended_well()
        server.process.terminate()
        server.ended_well()


def test_attributes_and_nested_ones():
    server_code = """
    import gpyro.core
    class Sum(gpyro.core.ObjBase):
        def __init__(self):
            gpyro.core.ObjBase.__init__(self)
            self.sum = 0
            self.people = {"ann": ["reading"]}
    daemon = gpyro.core.Daemon()
    print(daemon.connect(Sum()), flush=True)
    daemon.requestLoop()
    """
    client_code = """
    import sys
    import gpyro.core
    obj = gpyro.core.getAttrProxyForURI(sys.argv[1])
    for i in range(10):
        obj.sum = obj.sum + i
    print(obj.sum)
    obj.people["ann"].append("lost")
    print(obj.people["ann"])
    try:
        obj.nothing
    except AttributeError as x:
        print("no such attribute")
    """
    with program(server_code) as server, program(client_code, server.line()) as client:
        assert client.ended_well() == "45\n['reading']\nno such attribute\n"


def test_exceptions_and_their_tracebacks():
    server_code = """
    import gpyro, gpyro.core
    class OwnError(Exception):
        pass
    gpyro.register_class(OwnError, name="example.OwnError")
    class Thing(gpyro.core.ObjBase):
        def divide(self, a, b):
            return a // b
        def own(self):
            raise OwnError("own", 42)
        def as_result(self):
            return ValueError("a result")
    daemon = gpyro.core.Daemon()
    print(daemon.connect(Thing()), flush=True)
    daemon.requestLoop()
    """
    client_code = """
    import sys
    import gpyro, gpyro.core, gpyro.util
    class OwnError(Exception):
        pass
    gpyro.register_class(OwnError, name="example.OwnError")
    thing = gpyro.core.getProxyForURI(sys.argv[1])
    try:
        thing.divide(1, 0)
    except ZeroDivisionError as x:
        text = "".join(gpyro.util.getPyroTraceback(x))
        print("division", "in divide" in text, text.count("Remote traceback"))
    try:
        thing.own()
    except OwnError as x:
        print("own", x.args)
    print("result", repr(thing.as_result()))
    sys.excepthook = gpyro.util.excepthook
    thing.divide(2, 0)
    """
    with program(server_code) as server, program(client_code, server.line()) as client:
        code, out, errors = client.end()
        assert code == 1
        assert out == "division True 1\nown ('own', 42)\nresult ValueError('a result')\n"
        assert "This exception occured remotely (Pyro) - Remote traceback" in errors
        assert errors.count("in divide") == 1


def test_a_bank_with_accounts_as_proxies_and_a_daemon_in_a_thread():
    server_code = """
    import sys, threading
    import gpyro.core
    class Account(gpyro.core.ObjBase):
        def __init__(self, owner):
            gpyro.core.ObjBase.__init__(self)
            self.owner, self.amount = owner, 0
        def deposit(self, amount):
            self.amount += amount
        def balance(self):
            return self.amount
    class Bank(gpyro.core.SynchronizedObjBase):
        def __init__(self):
            gpyro.core.SynchronizedObjBase.__init__(self)
            self.accounts = {}
        def createAccount(self, owner):
            account = Account(owner)
            self.getDaemon().connect(account)
            self.accounts[owner] = account
            return account.getProxy()
        def deleteAccount(self, owner):
            self.getDaemon().disconnect(self.accounts.pop(owner))
        def transfer(self, amount, source, target):
            source.deposit(-amount)
            target.deposit(amount)
    daemon = gpyro.core.Daemon()
    print(daemon.connect(Bank(), "bank"), flush=True)
    thread = threading.Thread(target=daemon.requestLoop)
    thread.start()
    sys.stdin.readline()
    daemon.shutdown(True)
    thread.join()
    print("closed")
    """
    client_code = """
    import sys
    import gpyro.core, gpyro.errors
    bank = gpyro.core.getProxyForURI(sys.argv[1])
    ann, bob = bank.createAccount("ann"), bank.createAccount("bob")
    ann.deposit(100)
    bank.transfer(30, ann, bob)
    print(ann.balance(), bob.balance(), ann == bob)
    bank.deleteAccount("bob")
    try:
        bob.balance()
    except gpyro.errors.ProtocolError as x:
        print("gone")
    """
    with program(server_code) as server, program(client_code, server.line()) as client:
        assert client.ended_well() == "70 30 False\ngone\n"
        server.say("end")
        assert server.ended_well() == "closed\n"


def test_sessions_with_data_on_the_storage_and_the_caller():
    server_code = """
    import gpyro.core
    class Thing(gpyro.core.ObjBase):
        def login(self, name):
            self.getLocalStorage().caller.userName = name
        def work(self):
            tls = self.getLocalStorage()
            tls.counter += 1
            return tls.caller.userName, tls.counter
    def initTLS(tls):
        tls.counter = 100
    daemon = gpyro.core.Daemon()
    daemon.setInitTLS(initTLS)
    print(daemon.connect(Thing()), flush=True)
    daemon.requestLoop()
    """
    client_code = """
    import sys, copy
    import gpyro.core
    first = gpyro.core.getProxyForURI(sys.argv[1])
    second = copy.copy(first)
    first.login("ann"); second.login("bob")
    print(first.work(), second.work(), first.work())
    """
    with program(server_code) as server, program(client_code, server.line()) as client:
        assert client.ended_well() == "('ann', 101) ('bob', 101) ('ann', 102)\n"


def test_a_loop_with_other_sockets_and_a_condition():
    server_code = """
    import os, sys, threading
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
    client_code = """
    import sys
    import gpyro.core
    gpyro.core.getProxyForURI(sys.argv[1]).stop()
    """
    with program(server_code) as server:
        uri = server.line()
        server.say("a line")
        assert server.line() == "read a line"
        with program(client_code, uri) as client:
            client.ended_well()
        assert server.ended_well() == "end\n"


def test_callbacks_with_one_way_calls():
    server_code = """
    import gpyro.core
    class CallbackThing(gpyro.core.ObjBase):
        def __init__(self):
            gpyro.core.ObjBase.__init__(self)
            self.clients = []
        def register(self, client):
            client._setOneway("callback")
            self.clients.append(client)
        def shout(self, message):
            for c in self.clients[:]:
                c.callback("Somebody shouted: " + message)
    daemon = gpyro.core.Daemon()
    print(daemon.connect(CallbackThing(), "callback"), flush=True)
    daemon.requestLoop()
    """
    client_code = """
    import sys, threading
    import gpyro.core
    class MyCallback(gpyro.core.CallbackObjBase):
        def callback(self, message):
            print(message, flush=True)
    daemon = gpyro.core.Daemon()
    callback = MyCallback()
    daemon.connect(callback)
    server = gpyro.core.getProxyForURI(sys.argv[1])
    server.register(callback.getProxy())
    print("ready", flush=True)
    daemon.requestLoop()
    """
    shouter_code = """
    import sys
    import gpyro.core
    gpyro.core.getProxyForURI(sys.argv[1]).shout("hello")
    """
    with program(server_code) as server:
        uri = server.line()
        with program(client_code, uri) as first, program(client_code, uri) as second:
            assert first.line() == second.line() == "ready"
            with program(shouter_code, uri) as shouter:
                shouter.ended_well()
            assert first.line() == second.line() == "Somebody shouted: hello"
