"""Calls with generators among their arguments, when the call itself does not go well."""

from __future__ import annotations

import gevent
import pytest
from gevent.event import Event

from gpyro import core
from gpyro.errors import CallRefusedError, NotSentError, SerializationError, TimeoutError
from tests.support import eventually, serving
from tests.test_dispatch_bounds import configured


class Sink(core.ObjBase):
    def __init__(self):
        super().__init__()
        self.go_on = Event()
        self.entered = 0

    def total(self, items):
        return sum(items)

    def wait(self, items):
        self.entered += 1
        self.go_on.wait()
        return list(items)


@pytest.fixture
def sink():
    return Sink()


def generator(ends):
    try:
        yield from range(1000)
    finally:
        ends.append("closed")


def test_an_object_that_has_moved_gets_the_stream(sink):
    with serving(sink, "sink") as daemon:
        proxy = core.getProxyForURI(f"PYROLOC://127.0.0.1:{daemon.port}/sink")
        assert proxy.total(iter([1, 2])) == 3
        other = Sink()
        daemon.disconnect(sink)
        daemon.connect(other, "sink")
        assert proxy.total(number for number in range(10)) == 45
        proxy._release()


def test_an_object_that_is_gone_leaves_the_generator_as_it_is(sink):
    with serving(sink, "sink") as daemon:
        proxy = core.getProxyForURI(f"PYROLOC://127.0.0.1:{daemon.port}/sink")
        assert proxy.total(iter([1])) == 1
        daemon.disconnect(sink)
        ends = []
        source = generator(ends)
        with pytest.raises(Exception, match="sink"):
            proxy.total(source)
        assert (next(source), ends) == (0, [])
        proxy._release()


def test_a_call_that_never_left_leaves_the_generator_as_it_is(sink):
    with serving(sink) as daemon:
        proxy = daemon.getProxyForObj(sink)
    ends = []
    source = generator(ends)
    with pytest.raises(NotSentError):
        proxy.total(source)
    assert (next(source), ends) == (0, [])


def test_a_call_that_is_too_large_leaves_the_generator_as_it_is(sink):
    with configured(PYRO_MAX_MESSAGE=5000), serving(sink) as daemon:
        proxy = daemon.getProxyForObj(sink)
        source = generator([])
        with pytest.raises(SerializationError, match="PYRO_MAX_MESSAGE"):
            proxy.total([source, "x" * 6000])
        assert next(source) == 0
        proxy._release()


def test_a_refused_call_leaves_the_generator_as_it_is(sink):
    with serving(sink) as daemon:
        proxy = daemon.getProxyForObj(sink)
        assert proxy.total(iter([1])) == 1
        daemon._dispatcher.draining = True
        source = generator([])
        with pytest.raises(CallRefusedError):
            proxy.total(source)
        assert next(source) == 0
        daemon._dispatcher.draining = False
        proxy._release()


@pytest.mark.parametrize("how", ["killed", "late"])
def test_a_caller_that_leaves_takes_its_streams_along(sink, how):
    ends = []
    with serving(sink) as daemon:
        proxy = daemon.getProxyForObj(sink)
        if how == "late":
            proxy._setTimeout(1)
        source = generator(ends)
        next(source)  # else there is nothing to close

        def call():
            try:
                proxy.wait(source)
            except TimeoutError:
                ends.append("late")

        calling = gevent.spawn(call)
        eventually(lambda: sink.entered)
        if how == "killed":
            calling.kill()
        calling.join()
        eventually(lambda: "closed" in ends)
        assert ("late" in ends) is (how == "late")
        (channel,) = daemon.connections
        eventually(lambda: not channel.attachments().streams.receivers)
        proxy._release()
