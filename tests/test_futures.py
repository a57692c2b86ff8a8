"""Futures: calls that run beside their caller."""

from __future__ import annotations

import gc
import sys

import gevent
import pytest
from gevent.event import AsyncResult, Event

import gpyro
from gpyro import core
from gpyro.errors import CallRefusedError, NotSentError, TimeoutError
from tests.support import eventually, serving, turns


class Thing(core.ObjBase):
    def __init__(self):
        super().__init__()
        self.began, self.ended, self.stopped = [], [], []
        self.gates = {}

    def echo(self, value):
        self.began.append(value)
        return value

    def wait(self, number):
        self.began.append(number)
        try:
            self.gates.setdefault(number, Event()).wait()
        except BaseException:
            self.stopped.append(number)
            raise
        self.ended.append(number)
        return number

    def fail(self):
        raise KeyError("broken")

    def left(self):
        return gpyro.time_left()


@pytest.fixture
def served():
    obj = Thing()
    with serving(obj) as daemon:
        proxy = daemon.getProxyForObj(obj)
        yield obj, daemon, proxy
        for gate in obj.gates.values():
            gate.set()
        proxy._release()


def test_a_future_is_an_async_result(served):
    obj, _, proxy = served
    future = gpyro.submit(proxy.wait, 1)
    assert isinstance(future, AsyncResult)
    assert not future.ready()
    with pytest.raises(gevent.Timeout):
        future.get(timeout=0.01)
    eventually(lambda: obj.began == [1])
    obj.gates[1].set()
    assert future.get(timeout=30) == 1
    assert future.ready()
    assert future.value == 1


def test_results_come_in_any_order(served):
    obj, _, proxy = served
    futures = [gpyro.submit(proxy.wait, number) for number in range(5)]
    eventually(lambda: len(obj.gates) == 5)
    for number in (3, 0, 4):
        obj.gates[number].set()
        assert futures[number].get(timeout=30) == number
    assert [future.ready() for future in futures] == [True, False, False, True, True]
    assert set(gevent.wait(futures, count=3)) == {futures[number] for number in (0, 3, 4)}
    obj.gates[1].set()
    obj.gates[2].set()
    assert len(gevent.wait(futures, timeout=30)) == 5
    assert {future.value for future in gevent.iwait(futures)} == set(range(5))


def test_they_start_in_the_order_submitted(served):
    obj, _, proxy = served
    futures = [gpyro.submit(proxy.echo, number) for number in range(200)]
    assert [future.get(timeout=30) for future in futures] == list(range(200))
    assert obj.began == list(range(200))


def test_an_exception_is_raised_by_get(served):
    _, _, proxy = served
    future = gpyro.submit(proxy.fail)
    with pytest.raises(KeyError, match="broken"):
        future.get(timeout=30)
    assert isinstance(future.exception, KeyError)


def test_no_server(served):
    future = gpyro.submit(core.getProxyForURI("PYRO://127.0.0.1:1/x").echo, 1)
    with pytest.raises(NotSentError):
        future.get(timeout=30)


def test_deadlines_hold(served):
    _obj, _, proxy = served
    with gpyro.deadline(0.05):
        future = gpyro.submit(proxy.wait, 1)
    with pytest.raises(TimeoutError):
        future.get(timeout=30)
    with gpyro.deadline(20):
        future = gpyro.submit(proxy.left)
    assert 10 < future.get(timeout=30) <= 20.1


def test_cancel(served):
    obj, _, proxy = served
    future = gpyro.submit(proxy.wait, 1)
    eventually(lambda: obj.began)
    assert future.cancel()
    with pytest.raises(CallRefusedError, match="cancelled"):
        future.get(timeout=30)
    eventually(lambda: obj.stopped == [1])
    future.cancel()
    done = gpyro.submit(proxy.echo, 2)
    assert done.get(timeout=30) == 2
    assert not done.cancel()
    assert done.get() == 2


def test_cancelled_before_it_began(served):
    obj, _, proxy = served
    future = gpyro.submit(proxy.echo, 1)
    future.cancel()
    assert proxy.echo(2) == 2
    assert obj.began == [2]


def test_one_that_is_dropped_cancels_its_call(served):
    obj, _, proxy = served
    future = gpyro.submit(proxy.wait, 1)
    eventually(lambda: obj.began)
    del future
    gc.collect()
    eventually(lambda: obj.stopped == [1])
    assert proxy.echo(2) == 2


def test_dropped_when_ready_is_nothing(served):
    obj, _, proxy = served
    for _ in range(10):
        gpyro.submit(proxy.echo, 1).get(timeout=30)
    gc.collect()
    turns()
    assert len(obj.began) == 10


def test_thousands_leave_nothing(served):
    obj, daemon, proxy = served
    for _ in range(5):
        futures = [gpyro.submit(proxy.echo, number) for number in range(1000)]
        assert sum(future.get(timeout=30) for future in futures) == 499500
        waiting = [gpyro.submit(proxy.wait, number) for number in range(200)]
        turns(3)
        del waiting
    before = len(obj.began)
    del futures
    gc.collect()
    eventually(lambda: not daemon.connections[0].serving)
    assert proxy.echo("x") == "x"
    assert before


def test_a_future_that_is_ready_keeps_nothing_of_its_call(served):
    _, _, proxy = served

    class Argument(list):
        pass

    argument = [1, 2, 3]
    references = sys.getrefcount(argument)
    future = gpyro.submit(proxy.echo, argument)
    future.get(timeout=30)
    turns()
    assert sys.getrefcount(argument) == references
