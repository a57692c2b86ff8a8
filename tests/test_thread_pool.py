"""Methods in gevent's thread pool."""

from __future__ import annotations

import threading
import time

import gevent
import pytest
from gevent import monkey

import gpyro
from gpyro import core
from gpyro.errors import TimeoutError
from gpyro.tls import getLocalStorage
from tests.programs import program
from tests.support import eventually, serving


class Thing(core.ObjBase):
    def __init__(self):
        super().__init__()
        self.go_on = threading.Event()
        self.ended = []

    def echo(self, value):
        return value

    @gpyro.threaded
    def block(self):
        self.go_on.wait(20)
        self.ended.append(True)
        return threading.get_ident()

    @gpyro.threaded
    def context(self):
        storage = getLocalStorage()
        storage.seen = getattr(storage, "seen", 0) + 1
        return storage.caller.addr[0], storage.seen, gpyro.time_left()

    @gpyro.threaded
    def fail(self, key="nothing"):
        raise KeyError(key)

    @gpyro.oneway
    @gpyro.threaded
    def note(self, value):
        self.ended.append(value)

    @gpyro.threaded
    @gpyro.oneway
    def note_too(self, value):
        self.ended.append(value)


@pytest.fixture
def served():
    obj = Thing()
    with serving(obj) as daemon:
        proxy = daemon.getProxyForObj(obj)
        yield obj, proxy
        obj.go_on.set()
        proxy._release()


def test_a_method_that_blocks_holds_nobody(served):
    obj, proxy = served
    blocked = [gevent.spawn(proxy.block) for _ in range(3)]
    for number in range(20):
        assert proxy.echo(number) == number
    assert not any(call.ready() for call in blocked)
    obj.go_on.set()
    mine = monkey.get_original("_thread", "get_ident")()
    assert all(call.get(timeout=30) != mine for call in blocked)


def test_it_has_its_call_s_context(served):
    _, proxy = served
    assert proxy.context() == ("127.0.0.1", 1, None)
    proxy._setTimeout(20)
    address, seen, left = proxy.context()
    assert (address, seen) == ("127.0.0.1", 2)
    assert 10 < left <= 20.1


def test_the_next_task_of_the_thread_has_nothing_of_it(served):
    _, proxy = served
    for _ in range(15):
        proxy.context()
    pool = gevent.get_hub().threadpool
    assert [pool.apply(gpyro.time_left) for _ in range(15)] == [None] * 15


def test_exceptions_and_arguments(served):
    _, proxy = served
    with pytest.raises(KeyError, match="nothing"):
        proxy.fail()
    with pytest.raises(KeyError, match="this"):
        proxy.fail(key="this")


@pytest.mark.parametrize("method", ["note", "note_too"])
def test_the_order_of_decorators_does_not_matter(served, method):
    obj, proxy = served
    assert getattr(proxy, method)(5) is None
    eventually(lambda: obj.ended == [5])


def test_nested_calls_from_the_thread():
    """In a process of its own, since the thread that made them lives as long as the pool."""
    code = """
    import gpyro
    from gpyro import core
    class Thing(core.ObjBase):
        def echo(self, value):
            return value, gpyro.time_left() is not None
        @gpyro.threaded
        def ask(self):
            try:
                return self.proxy.echo("from a thread")
            finally:
                self.proxy._release()
    thing = Thing()
    with core.Daemon() as daemon:
        thing.proxy = daemon.connect(thing).getProxy()
        print(daemon.getProxyForObj(thing).ask())
        with gpyro.deadline(20):
            print(daemon.getProxyForObj(thing).ask())
    """
    with program(code) as running:
        assert running.ended_well() == "('from a thread', False)\n('from a thread', True)\n"


def test_a_caller_that_leaves_ends_the_call_and_not_the_thread(served):
    obj, proxy = served
    assert proxy.echo(0) == 0
    proxy._setTimeout(0.5)
    with pytest.raises(TimeoutError):
        proxy.block()
    proxy._setTimeout(None)
    assert proxy.echo(1) == 1
    assert obj.ended == []
    obj.go_on.set()
    eventually(lambda: obj.ended == [True])


def test_outside_of_calls_it_works_as_well():
    assert Thing.fail.__name__ == "fail"
    assert Thing().context.__doc__ is None
    began = time.monotonic()
    obj = Thing()
    obj.go_on.set()
    assert obj.block()
    assert time.monotonic() - began < 30
