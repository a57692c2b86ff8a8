"""The base classes of remote objects, and objects that call each other."""

from __future__ import annotations

import logging
import time
import weakref

import gevent
import pytest

import gpyro
from gpyro import core
from gpyro.constants import RIF_Keywords, RIF_Varargs
from gpyro.errors import DaemonError, PyroError
from tests.programs import program
from tests.support import eventually, serving, turns, uri_of


class Plain:
    def __init__(self, start=0):
        self.count = start

    def add(self, number, times=1):
        self.count += number * times
        return self.count


class Mixed(core.ObjBase, Plain):
    def __init__(self, start):
        core.ObjBase.__init__(self)
        Plain.__init__(self, start)


class Derived(core.ObjBase):
    def __init__(self, start):
        super().__init__()
        self.count = start

    def add(self, number, times=1):
        self.count += number * times
        return self.count


def delegating(start):
    obj = core.ObjBase()
    obj.delegateTo(Plain(start))
    return obj


@pytest.mark.parametrize("make", [Mixed, delegating, Derived, Plain])
def test_every_pattern_is_called_read_and_written(make):
    obj = make(10)
    with serving(obj) as daemon:
        proxy = core.getProxyForURI(uri_of(daemon, obj))
        assert proxy.add(1) == 11
        assert proxy.add(number=2, times=3) == 17
        with pytest.raises(TypeError):
            proxy.add()
        attributes = core.getAttrProxyForURI(uri_of(daemon, obj))
        assert attributes.count == 17
        attributes.count = attributes.count + 1
        assert attributes.add(0) == 18
        for used in (proxy, attributes):
            used._release()


def test_one_object_serves_all_clients_and_its_constructor_is_never_called_remotely():
    obj = Derived(0)
    with serving(obj) as daemon:
        first, second = (core.getProxyForURI(uri_of(daemon, obj)) for _ in range(2))
        assert (first.add(1), second.add(1), first.add(1)) == (1, 2, 3)
        with pytest.raises(AttributeError):
            first._invokePYRO("__init__", (100,), {})
        assert obj.count == 3
        first._release()
        second._release()


def test_an_overridden_method_is_the_one_that_is_called():
    class Further(Derived):
        def add(self, number, times=1):
            return ("further", super().add(number, times))

    obj = Further(1)
    with serving(obj) as daemon:
        proxy = core.getProxyForURI(uri_of(daemon, obj))
        assert proxy.add(1) == ("further", 2)
        proxy._release()


def test_ids_are_unique_and_can_be_given():
    first, second = core.ObjBase(), core.ObjBase()
    assert first.GUID() == first.objectGUID != second.GUID()
    first.setGUID("given")
    with serving(first) as daemon:
        assert str(uri_of(daemon, first)) == f"PYRO://127.0.0.1:{daemon.port}/given"
        second.setGUID("given")
        with pytest.raises(DaemonError, match="given"):
            daemon.connect(second)


def test_connecting_without_the_base_constructor_says_so():
    class Careless(core.ObjBase):
        def __init__(self):
            pass

    with serving(core.ObjBase()) as daemon, pytest.raises(DaemonError, match=r"ObjBase\.__init__"):
        daemon.connect(Careless())


def test_the_delegate_can_be_exchanged_while_connected():
    obj = core.ObjBase()
    obj.delegateTo(Plain(5))

    class Other:
        def hello(self):
            return "hello"

    with serving(obj) as daemon:
        proxy = core.getProxyForURI(uri_of(daemon, obj))
        assert proxy.add(1) == 6
        obj.delegateTo(Other())
        assert proxy.hello() == "hello"
        with pytest.raises(AttributeError, match="add"):
            proxy.add(1)
        proxy._release()


def test_getdaemon_and_proxies_need_a_connected_object():
    obj = Derived(0)
    for method in (obj.getDaemon, obj.getProxy, obj.getAttrProxy):
        with pytest.raises(AttributeError):
            method()
    with serving(obj) as daemon:
        assert obj.getDaemon().port == daemon.port
        assert type(obj.getProxy()) is core.DynamicProxy
        assert type(obj.getAttrProxy()) is core.DynamicProxyWithAttrs
        assert obj.getProxy().objectID == obj.GUID()
        daemon.disconnect(obj)
        with pytest.raises(AttributeError):
            obj.getDaemon()


def test_a_connected_object_does_not_keep_its_daemon():
    obj = Derived(0)
    daemon = core.Daemon(host="127.0.0.1", norange=1)
    daemon.connect(obj)
    gone = weakref.ref(daemon)
    del daemon
    assert gone() is None
    with pytest.raises(ReferenceError):
        obj.getDaemon().port


def test_lastused_follows_the_calls():
    obj = Derived(0)
    with serving(obj) as daemon:
        proxy = core.getProxyForURI(uri_of(daemon, obj))
        obj.lastUsed = before = time.time() - 100
        proxy.add(1)
        assert obj.lastUsed > before + 50
        proxy._release()


def test_every_call_of_a_class_that_overrides_dyncall_passes_through_it():
    seen = []

    class Watching(Derived):
        def Pyro_dyncall(self, method, flags, args):
            seen.append((method, flags, args))
            result = super().Pyro_dyncall(method, flags, args)
            return ("watched", result)

        def fail(self):
            raise KeyError("out of it")

    obj = Watching(0)
    with serving(obj) as daemon:
        proxy = core.getProxyForURI(uri_of(daemon, obj))
        assert proxy.add(2, times=3) == ("watched", 6)
        assert seen == [("add", RIF_Varargs | RIF_Keywords, ((2,), {"times": 3}))]
        with pytest.raises(KeyError, match="out of it"):
            proxy.fail()
        # What is not reachable does not get that far.
        for name in ("nothing", "Pyro_dyncall", "setGUID", "_private"):
            with pytest.raises(AttributeError):
                proxy._invokePYRO(name, (), {})
        assert [entry[0] for entry in seen] == ["add", "fail"]
        proxy._release()


def test_dyncall_of_an_object_with_a_delegate():
    seen = []

    class Watching(core.ObjBase):
        def Pyro_dyncall(self, method, flags, args):
            seen.append(method)
            return super().Pyro_dyncall(method, flags, args)

    obj = Watching()
    obj.delegateTo(Plain(1))
    with serving(obj) as daemon:
        proxy = core.getProxyForURI(uri_of(daemon, obj))
        assert proxy.add(1) == 2
        assert seen == ["add"]
        proxy._release()


# Factories, proxies that travel


class Account(core.ObjBase):
    def __init__(self, owner):
        super().__init__()
        self.owner = owner
        self.balance = 0

    def deposit(self, amount):
        self.balance += amount
        return self.balance


class Bank(core.ObjBase):
    def __init__(self):
        super().__init__()
        self.accounts = {}

    def open(self, owner):
        account = self.accounts[owner] = Account(owner)
        self.getDaemon().connect(account)
        return account.getProxy()

    def find(self, owner):
        return self.accounts[owner].getAttrProxy()

    def close(self, account):
        local = self.getDaemon().getLocalObjectForProxy(account)
        self.getDaemon().disconnect(local)
        return local.owner

    def pay(self, account, amount):
        return account.deposit(amount)


def test_objects_made_on_the_server_are_returned_as_proxies():
    bank = Bank()
    with serving(bank) as daemon:
        proxy = core.getProxyForURI(uri_of(daemon, bank))
        account = proxy.open("ann")
        assert type(account) is core.DynamicProxy
        assert account.deposit(10) == 10
        again = proxy.find("ann")
        assert type(again) is core.DynamicProxyWithAttrs
        assert again == account
        assert (again.balance, again.owner) == (10, "ann")
        # As an argument it reaches the very object.
        assert proxy.pay(account, 5) == 15
        assert proxy.pay(amount=1, account=account) == 16
        assert bank.accounts["ann"].balance == 16
        assert proxy.close(account) == "ann"
        with pytest.raises(PyroError, match="unknown object ID"):
            account.deposit(1)
        for used in (proxy, account, again):
            used._release()


def test_returning_the_object_itself_is_returning_a_proxy():
    class Careless(core.ObjBase):
        def me(self):
            return self

    obj = Careless()
    with serving(obj) as daemon:
        proxy = core.getProxyForURI(uri_of(daemon, obj))
        assert type(proxy.me()) is core.DynamicProxy
        assert proxy.me() == proxy
        proxy._release()


# Callbacks in Pyro 3's way, circles


class Server(core.ObjBase):
    def __init__(self):
        super().__init__()
        self.clients = []

    def register(self, client):
        self.clients.append(client)

    def shout(self, text):
        return [client.hear(text) for client in self.clients]

    def shout_oneway(self, text):
        for client in self.clients:
            client._setOneway("hear")
            client.hear(text)


class Listener(core.CallbackObjBase):
    def __init__(self):
        super().__init__()
        self.heard = []

    def hear(self, text):
        self.heard.append(text)
        return f"heard {text}"


def test_a_client_with_a_daemon_of_its_own_is_called_back():
    server, listeners = Server(), [Listener(), Listener()]
    with serving(server) as daemon, serving(listeners[0]) as mine:
        mine.connect(listeners[1])
        proxy = core.getProxyForURI(uri_of(daemon, server))
        for listener in listeners:
            proxy.register(listener.getProxy())
        assert proxy.shout("hello") == ["heard hello"] * 2
        proxy.shout_oneway("again")
        eventually(lambda: all(listener.heard == ["hello", "again"] for listener in listeners))
        for used in (proxy, *server.clients):
            used._release()


def test_a_client_process_is_called_back_by_this_one():
    server = Server()
    code = """
    import sys, gevent
    from gpyro import core
    class Listener(core.CallbackObjBase):
        def hear(self, text):
            return text.upper()
    daemon = core.Daemon()
    listener = Listener()
    daemon.connect(listener)
    daemon.start()
    server = core.getProxyForURI(sys.argv[1])
    server.register(listener.getProxy())
    print(server.shout("from the client"), flush=True)
    gevent.get_hub().threadpool.apply(sys.stdin.readline)
    daemon.shutdown()
    """
    with serving(server) as daemon, program(code, str(uri_of(daemon, server)), patched=True) as client:
        assert client.line() == "['FROM THE CLIENT']"
        assert server.shout("from here") == ["FROM HERE"]
        client.say("end")
        client.ended_well()
        with pytest.raises(PyroError):
            server.shout("nobody hears")
        server.clients[0]._release()


class Node(core.ObjBase):
    def __init__(self, name):
        super().__init__()
        self.name = name
        self.next = None

    def go_round(self, path):
        if self.name in path:
            return [*path, self.name]
        return self.next.go_round([*path, self.name])


def test_calls_go_in_a_circle_through_three_daemons():
    nodes = [Node(name) for name in "ABC"]
    with serving(nodes[0]) as first, serving(nodes[1]) as second, serving(nodes[2]) as third:
        for node, following, daemon in zip(nodes, nodes[1:] + nodes[:1], (second, third, first), strict=True):
            node.next = daemon.getProxyForObj(following)
        proxy = first.getProxyForObj(nodes[0])
        assert proxy.go_round([]) == ["A", "B", "C", "A"]
        rounds = [gevent.spawn(proxy.go_round, []) for _ in range(50)]
        assert all(done.get() == ["A", "B", "C", "A"] for done in rounds)
        for used in (proxy, *(node.next for node in nodes)):
            used._release()


# Transient objects


class Transient(core.ObjBase):
    def __init__(self):
        super().__init__()
        self.reaped = 0

    def _gotReaped(self):
        self.reaped += 1
        # It is gone already, and free to do what takes its time.
        assert "_pyro_daemon" not in self.__dict__
        gevent.sleep(0)

    def touch(self):
        return self.reaped


def test_objects_without_name_that_nobody_calls_are_reaped():
    idle, used, named = Transient(), Transient(), Transient()
    with serving(named, "kept") as daemon:
        daemon.connect(idle)
        daemon.connect(used)
        proxy = daemon.getProxyForObj(used)
        daemon.setTransientsCleanupAge(0.25)

        def gone():
            assert proxy.touch() == 0
            return idle.reaped

        assert eventually(gone) == 1
        registered = daemon.getRegistered()
        assert idle.GUID() not in registered
        assert {used.GUID(), named.GUID()} <= set(registered)
        assert named.reaped == 0
        # The one that was called goes when the calls end.
        eventually(lambda: used.reaped)
        with pytest.raises(PyroError, match="unknown object ID"):
            proxy.touch()
        assert (idle.reaped, used.reaped, named.reaped) == (1, 1, 0)
        proxy._release()


def test_an_age_that_was_set_before_the_daemon_runs_counts_too():
    obj = Transient()
    daemon = core.Daemon(host="127.0.0.1", norange=1)
    daemon.connect(obj)
    daemon.setTransientsCleanupAge(0.02)
    with daemon:
        eventually(lambda: obj.reaped)


def test_no_age_means_for_ever():
    obj = Transient()
    with serving(obj) as daemon:
        daemon.setTransientsCleanupAge(0.01)
        daemon.setTransientsCleanupAge(0)
        obj.lastUsed = 0
        daemon.reapUnusedTransients()
        turns(20)
        assert obj.GUID() in daemon.getRegistered()


def test_a_running_call_keeps_its_object_from_being_reaped():
    done = []

    class Slow(Transient):
        def work(self):
            eventually(lambda: other.reaped)
            done.append(self.GUID() in self.getDaemon().getRegistered())

    slow, other = Slow(), Transient()
    with serving(slow) as daemon:
        proxy = daemon.getProxyForObj(slow)
        working = gevent.spawn(proxy.work)
        turns()
        daemon.connect(other)
        daemon.setTransientsCleanupAge(0.05)
        working.get()
        assert done == [True]
        proxy._release()


def test_an_error_in_gotreaped_is_logged_and_the_others_are_reaped(caplog):
    class Broken(Transient):
        def _gotReaped(self):
            raise ValueError("broken hook")

    objects = [Broken(), Transient(), Broken(), Transient()]
    with serving(objects[0]) as daemon:
        for obj in objects[1:]:
            daemon.connect(obj)
        with caplog.at_level(logging.WARNING, "gpyro"):
            daemon.setTransientsCleanupAge(0.02)
            eventually(lambda: objects[1].reaped and objects[3].reaped)
            eventually(lambda: "broken hook" in caplog.text)


def test_an_error_in_a_remote_object_names_it_to_the_caller():
    class Thing(core.ObjBase):
        @gpyro.oneway
        def mark(self):
            raise ValueError("nobody sees it")

    obj = Thing()
    with serving(obj) as daemon:
        proxy = daemon.getProxyForObj(obj)
        assert proxy.mark() is None
        with pytest.raises(AttributeError, match=r"Thing.*nothing"):
            proxy.nothing()
        proxy._release()


def test_an_object_that_is_older_than_the_age_is_not_reaped_as_soon_as_it_is_connected():
    old, plain = Transient(), Plain()
    old.lastUsed -= 1000
    with serving(Transient(), "main") as daemon:
        daemon.setTransientsCleanupAge(500)
        daemon.connect(old)
        daemon.connect(plain)
        daemon.reapUnusedTransients()
        assert old.GUID() in daemon.getRegistered()
        assert len(daemon.getRegistered()) == 4
