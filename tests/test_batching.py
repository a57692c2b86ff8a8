"""Batches: many calls in one message."""

from __future__ import annotations

import gevent
import pytest
from gevent.event import Event

import gpyro
from gpyro import core
from gpyro.errors import NotSentError, SerializationError, TimeoutError
from tests.support import eventually, serving, turns


class Account(core.ObjBase):
    def __init__(self):
        super().__init__()
        self.balance = 0
        self.go_on = Event()

    def deposit(self, amount):
        self.balance += amount
        return self.balance

    def withdraw(self, amount):
        if amount > self.balance:
            raise ValueError("not enough")
        return self.deposit(-amount)

    def unsendable(self):
        self.balance += 1
        return object()

    def large(self, size):
        return "x" * size

    def wait(self):
        self.go_on.wait()

    @gpyro.oneway
    def note(self):
        self.balance += 100
        return "never seen"

    def _private(self):
        raise AssertionError("reached")


class Synchronized(core.SynchronizedObjBase, Account):
    def __init__(self):
        core.SynchronizedObjBase.__init__(self)
        Account.__init__(self)


class Dynamic(Account):
    def Pyro_dyncall(self, method, flags, args):
        return method, args


@pytest.fixture(params=[Account, Synchronized])
def served(request):
    obj = request.param()
    with serving(obj) as daemon:
        proxy = daemon.getProxyForObj(obj)
        yield obj, daemon, proxy
        obj.go_on.set()
        proxy._release()


def test_results_in_order(served):
    obj, _, proxy = served
    batch = gpyro.batch(proxy)
    for amount in range(1, 101):
        assert batch.deposit(amount) is None
    assert obj.balance == 0
    assert len(batch) == 100
    assert batch() == [sum(range(1, amount + 1)) for amount in range(1, 101)]
    assert len(batch) == 0
    assert batch() == []


def test_the_first_exception_stops_the_rest_and_says_which(served):
    obj, _, proxy = served
    batch = gpyro.batch(proxy)
    batch.deposit(10)
    batch.withdraw(amount=3)
    batch.withdraw(100)
    batch.deposit(1000)
    with pytest.raises(ValueError, match="not enough") as caught:
        batch()
    assert caught.value.batch_index == 2
    assert caught.value.batch_results == [10, 7]
    assert "raised by call 3 of a batch of 4, 'withdraw'; the 1 after it were not made" in caught.value.__notes__
    assert obj.balance == 7
    assert proxy.deposit(0) == 7


@pytest.mark.parametrize("name", ["nothing", "balance", "setGUID"])
def test_an_unknown_method_stops_it_too(served, name):
    obj, _, proxy = served
    batch = gpyro.batch(proxy)
    batch.deposit(1)
    getattr(batch, name)()
    batch.deposit(2)
    with pytest.raises(AttributeError, match=f"offers no '{name}'") as caught:
        batch()
    assert caught.value.batch_index == 1
    assert obj.balance == 1


def test_private_names_are_never_collected(served):
    with pytest.raises(AttributeError, match="private"):
        gpyro.batch(served[2])._private()


def test_an_argument_that_cannot_travel(served):
    obj, _, proxy = served
    batch = gpyro.batch(proxy)
    batch.deposit(1)
    batch.deposit(object())
    with pytest.raises(SerializationError, match=r"args\[0\]"):
        batch()
    turns()
    assert obj.balance == 0


def test_a_result_that_cannot_travel(served):
    obj, _, proxy = served
    batch = gpyro.batch(proxy)
    batch.unsendable()
    batch.deposit(10)
    with pytest.raises(SerializationError) as caught:
        batch()
    assert caught.value.batch_index == 0
    assert obj.balance == 1


def test_results_that_are_too_large_together(served):
    _, _, proxy = served
    batch = gpyro.batch(proxy)
    for _ in range(20):
        batch.large(1 << 20)
    with pytest.raises(SerializationError, match="PYRO_MAX_MESSAGE") as caught:
        batch()
    assert caught.value.batch_index == 15
    assert proxy.deposit(1) == 1


def test_a_batch_that_is_too_large(served):
    _, _, proxy = served
    batch = gpyro.batch(proxy)
    for _ in range(20):
        batch.deposit("x" * (1 << 20))
    with pytest.raises(SerializationError, match="PYRO_MAX_MESSAGE"):
        batch()


def test_one_way(served):
    obj, daemon, proxy = served
    batch = gpyro.batch(proxy)
    for _ in range(10):
        batch.deposit(1)
    assert batch(oneway=True) is None
    eventually(lambda: obj.balance == 10)
    batch.withdraw(100)
    batch.deposit(1)
    batch(oneway=True)
    assert proxy.deposit(0) == 10
    (channel,) = daemon.connections
    eventually(lambda: not channel.in_calls)


def test_methods_marked_one_way_are_called_in_their_turn(served):
    _obj, _, proxy = served
    batch = gpyro.batch(proxy)
    batch.deposit(1)
    batch.note()
    batch.deposit(1)
    assert batch() == [1, None, 102]


def test_a_deadline_and_a_caller_that_leaves(served):
    _obj, daemon, proxy = served
    batch = gpyro.batch(proxy)
    batch.deposit(1)
    batch.wait()
    batch.deposit(1)
    with pytest.raises(TimeoutError), gpyro.deadline(1):
        batch()
    batch.wait()
    batch.deposit(1)
    caller = gevent.spawn(batch)
    turns(5)
    caller.kill()
    assert proxy.deposit(0) == 1
    (channel,) = daemon.connections
    eventually(lambda: not channel.serving)


def test_calls_of_a_synchronized_object_do_not_come_between():
    obj = Synchronized()
    with serving(obj) as daemon:
        proxy = daemon.getProxyForObj(obj)
        batch = gpyro.batch(proxy)
        batch.deposit(1)
        batch.wait()
        batch.deposit(1)
        running = gevent.spawn(batch)
        eventually(lambda: obj.balance == 1)
        other = gevent.spawn(proxy.deposit, 10)
        turns(5)
        assert not other.ready()
        obj.go_on.set()
        assert running.get(timeout=30) == [1, None, 2]
        assert other.get(timeout=30) == 12
        proxy._release()


def test_dyncall_is_asked():
    obj = Dynamic()
    with serving(obj) as daemon:
        proxy = daemon.getProxyForObj(obj)
        batch = gpyro.batch(proxy)
        batch.deposit(1)
        assert batch() == [("deposit", ((1,), {}))]
        proxy._release()


def test_no_server():
    batch = gpyro.batch(core.getProxyForURI("PYRO://127.0.0.1:1/x"))
    batch.echo()
    with pytest.raises(NotSentError):
        batch()
    assert repr(batch).startswith("<Batch of 0 calls for PYRO://127.0.0.1:1/x")


class Shelf(core.ObjBase):
    def __init__(self):
        super().__init__()
        self.things = []

    def add(self, thing):
        self.things.append(thing)
        return self.things

    def count(self):
        return len(self.things)

    def odd(self):
        return object()

    def text(self, size):
        return "x" * size


@pytest.fixture
def shelf():
    made = Shelf()
    with serving(made) as daemon:
        proxy = daemon.getProxyForObj(made)
        yield proxy
        proxy._release()


def test_each_result_is_what_it_was_when_its_call_ended(shelf):
    batch = gpyro.batch(shelf)
    batch.count()
    batch.add("a")
    batch.count()
    batch.add("b")
    assert batch() == [0, ["a"], 1, ["a", "b"]]


def test_results_of_thousands_of_calls_keep_their_order(shelf):
    batch = gpyro.batch(shelf)
    for number in range(2500):
        batch.text(number % 300)
        if number % 700 == 0:
            batch.add(number)
    results = batch()
    texts = [len(result) for result in results if isinstance(result, str)]
    assert texts == [number % 300 for number in range(2500)]
    assert [result for result in results if not isinstance(result, str)][-1] == [0, 700, 1400, 2100]


def test_a_result_that_cannot_travel_ends_it_behind_those_before(shelf):
    batch = gpyro.batch(shelf)
    batch.count()
    batch.add("a")
    batch.count()
    batch.odd()
    batch.add("never")
    with pytest.raises(SerializationError, match="result") as caught:
        batch()
    assert caught.value.batch_index == 3
    assert caught.value.batch_results == [0, ["a"], 1]
    assert shelf.count() == 1


def test_an_argument_that_cannot_travel_says_of_which_call_and_nothing_runs(shelf):
    batch = gpyro.batch(shelf)
    batch.add("a")
    batch.add(object())
    with pytest.raises(SerializationError, match=r"call 2 of the batch, 'add': args\[0\]: object"):
        batch()
    assert shelf.count() == 0
