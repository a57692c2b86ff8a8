"""Connected classes and their instances."""

from __future__ import annotations

import gc
import weakref
from typing import ClassVar

import gevent
import pytest

import gpyro
from gpyro import core
from gpyro.errors import DaemonError
from gpyro.tls import getLocalStorage
from tests.support import eventually, serving, turns


class Counter(core.ObjBase):
    made = 0
    alive: ClassVar = weakref.WeakSet()

    def __init__(self):
        super().__init__()
        type(self).made += 1
        type(self).alive.add(self)
        self.count = 0

    def add(self):
        self.count += 1
        return self.count

    def proxy(self):
        return self.getProxy()

    def slow(self):
        now = self.count
        gevent.sleep(0.01)
        self.count = now + 1
        return self.count


class Plain:
    def __init__(self):
        self.count = 0

    def add(self):
        self.count += 1
        return self.count


class Synchronized(core.SynchronizedObjBase, Counter):
    def __init__(self):
        core.SynchronizedObjBase.__init__(self)
        Counter.__init__(self)


@pytest.fixture
def daemon():
    Counter.made = 0
    with serving(Plain()) as made:
        yield made


@pytest.fixture
def proxies(daemon):
    made = []

    def make(uri, count):
        new = [core.getProxyForURI(uri) for _ in range(count)]
        made.extend(new)
        return new

    yield make
    for proxy in made:
        proxy._release()


@pytest.mark.parametrize("cls", [Counter, Plain, Synchronized])
def test_one_for_each_session(daemon, proxies, cls):
    first, second = proxies(daemon.connect_class(cls), 2)
    assert [first.add(), first.add(), second.add(), first.add()] == [1, 2, 1, 3]
    assert len(daemon.connections) == 1
    first._release()
    assert first.add() == 1


@pytest.mark.parametrize("cls", [Counter, Plain, Synchronized])
def test_one_for_each_call(daemon, proxies, cls):
    (proxy,) = proxies(daemon.connect_class(cls, instances="call"), 1)
    assert [proxy.add() for _ in range(3)] == [1, 1, 1]


@pytest.mark.parametrize("cls", [Counter, Plain, Synchronized])
def test_one_for_all(daemon, proxies, cls):
    first, second = proxies(daemon.connect_class(cls, instances="single"), 2)
    assert [first.add(), second.add(), first.add()] == [1, 2, 3]


def test_none_is_made_before_the_first_call(daemon, proxies):
    (proxy,) = proxies(daemon.connect_class(Counter, "counter", instances="single"), 1)
    proxy.adapter.rebindURI(1)
    turns()
    assert Counter.made == 0
    assert core.getProxyForURI(f"PYROLOC://127.0.0.1:{daemon.port}/counter").add() == 1


@pytest.mark.parametrize(("mode", "count"), [("single", 1), ("session", 1), ("call", 64)])
def test_64_calls_at_once_share_what_the_first_of_them_makes(daemon, proxies, mode, count):
    def slowly():
        gevent.sleep(0.01)
        return Counter()

    (proxy,) = proxies(daemon.connect_class(Counter, instances=mode, creator=slowly), 1)
    calls = [gevent.spawn(proxy.add) for _ in range(64)]
    assert sorted(call.get(timeout=30) for call in calls) == (list(range(1, 65)) if count == 1 else [1] * 64)
    assert Counter.made == count


def test_a_creator_that_raises(daemon, proxies):
    failing = [True]

    def creator():
        if failing:
            raise OSError(failing.pop())
        return Plain()

    (proxy,) = proxies(daemon.connect_class(Plain, creator=creator), 1)
    with pytest.raises(OSError, match="True"):
        proxy.add()
    assert proxy.add() == 1


def test_a_creator_sees_the_session(daemon, proxies):
    def creator():
        made = Plain()
        made.count = getLocalStorage().caller.addr[1]
        return made

    (proxy,) = proxies(daemon.connect_class(Plain, creator=creator), 1)
    assert proxy.add() > 1024


def test_the_instance_of_a_session_ends_with_it(daemon, proxies):
    (proxy,) = proxies(daemon.connect_class(Counter), 1)
    proxy.add()
    Counter.alive.clear()
    other = proxies(proxy.URI, 1)[0]
    other.add()
    assert len(Counter.alive) == 1
    other._release()
    proxy.add()

    def gone():
        gc.collect()
        return not Counter.alive

    eventually(gone)


def test_instances_of_a_synchronized_class_are_so_each_by_itself(daemon, proxies):
    first, second = proxies(daemon.connect_class(Synchronized), 2)
    calls = [gevent.spawn(proxy.slow) for proxy in (first, second) for _ in range(5)]
    assert sorted(call.get(timeout=30) for call in calls) == sorted([1, 2, 3, 4, 5] * 2)


def test_instances_know_the_daemon_and_their_proxy_is_that_of_the_class(daemon, proxies):
    (proxy,) = proxies(daemon.connect_class(Counter), 1)
    again = proxy.proxy()
    assert again == proxy
    again._release()


def test_attributes_and_batches_work(daemon, proxies):
    uri = daemon.connect_class(Counter)
    attributes = core.getAttrProxyForURI(uri)
    assert attributes.add() == 1
    assert attributes.count == 1
    attributes.count = 10
    assert attributes.add() == 11
    attributes._release()
    (proxy,) = proxies(uri, 1)
    batch = gpyro.batch(proxy)
    batch.add()
    batch.add()
    assert batch() == [1, 2]


def test_what_is_refused(daemon):
    with pytest.raises(DaemonError, match="is no class"):
        daemon.connect_class(Plain())
    with pytest.raises(ValueError, match="instances is one of single, session, call, not 'each'"):
        daemon.connect_class(Plain, instances="each")
    daemon.connect_class(Plain, "name")
    with pytest.raises(DaemonError, match="the name 'name' is taken"):
        daemon.connect_class(Counter, "name")


def test_it_can_be_disconnected(daemon, proxies):
    (proxy,) = proxies(daemon.connect_class(Plain), 1)
    assert proxy.add() == 1
    daemon.disconnect(Plain)
    with pytest.raises(gpyro.errors.ProtocolError, match="unknown object"):
        proxy.add()
