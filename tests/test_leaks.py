"""Thousands of calls of every sort, well and badly ended: nothing is left of them."""

from __future__ import annotations

import gc
import itertools
import logging

import gevent
import numpy
import pytest

import gpyro
from gpyro import core
from gpyro.errors import SerializationError, TimeoutError
from tests.support import descriptors, eventually, serving, turns

ROUNDS = 60


class Busy(core.ObjBase):
    def __init__(self):
        super().__init__()
        self.heard = 0

    def echo(self, value):
        return value

    def fail(self):
        raise KeyError("on purpose")

    def numbers(self, count):
        return (number for number in range(count))

    def breaks(self, count):
        yield from range(count)
        raise ValueError("in the middle")

    def total(self, numbers):
        return sum(numbers)

    def apply(self, function, value):
        return function(value)

    def sleep(self):
        gevent.sleep(60)

    def hear(self):
        self.heard += 1


def all_sorts(proxy, turn):
    """One call of each sort."""
    assert proxy.echo(turn) == turn
    with pytest.raises(KeyError):
        proxy.fail()
    with pytest.raises(AttributeError):
        proxy.missing()
    with pytest.raises(SerializationError):
        proxy.echo(object())
    with pytest.raises(SerializationError):
        proxy.echo(numpy.full(5000, None))
    assert sum(proxy.numbers(30)) == 435
    assert next(proxy.numbers(10_000)) == 0  # left early, and dropped
    with pytest.raises(ValueError, match="in the middle"):
        list(proxy.breaks(3))
    assert proxy.total(number for number in range(30)) == 435
    assert proxy.apply(lambda value: value + 1, turn) == turn + 1
    with pytest.raises(ZeroDivisionError):
        proxy.apply(lambda value: value / 0, turn)
    assert len(proxy.echo(bytes(10_000))) == 10_000
    batch = gpyro.batch(proxy)
    batch.echo([turn])
    batch.missing()
    batch.echo(1)
    with pytest.raises(AttributeError) as caught:
        batch()
    assert caught.value.batch_results == [[turn]]
    gpyro.submit(proxy.sleep)  # dropped at once, which cancels it
    gone_early(proxy)
    proxy.hear()


def gone_early(proxy):
    """Calls that are given up at various points."""
    for work in (
        proxy.sleep,
        lambda: proxy.echo(bytearray(300_000)),
        lambda: proxy.total(itertools.count()),
        lambda: sum(proxy.numbers(10**9)),
        lambda: proxy.apply(lambda value: gevent.sleep(60), 1),
    ):
        caller = gevent.spawn(work)
        gevent.sleep(0)
        turns(2)
        caller.kill()
    with pytest.raises(TimeoutError), gpyro.deadline(0.002):
        proxy.sleep()


def idle(*channels):
    """Whether the ends of a connection have nothing left of any call."""
    for channel in channels:
        if channel.pending or channel.serving or channel.out.size:
            return False
        attached = channel.attached
        if attached is None:
            continue
        streams, references, buffers = attached.streams, attached.references, attached.buffers
        if streams.senders or streams.receivers or streams._by_session or attached._current or attached._in_requests:
            return False
        if references.exports or references._records or references._of_session:
            return False
        if buffers._taken or buffers._under_way or buffers.results:
            return False
        if channel.wire._arriving is not None and channel.wire._arriving._sets:
            return False
    return True


def test_nothing_is_left_of_calls_of_every_sort():
    logging.getLogger("gpyro").setLevel(logging.CRITICAL)  # it tells of each failure
    busy = Busy()
    try:
        with serving(busy) as daemon:
            proxy = daemon.getProxyForObj(busy)
            proxy._setOneway(["hear"])

            def rounds(count):
                for turn in range(count):
                    all_sorts(proxy, turn)
                (far,) = daemon.connections  # still the same one
                near = proxy._remote.connect(None).channel
                eventually(lambda: gc.collect() >= 0 and idle(near, far))
                return len(gc.get_objects()), len(descriptors())

            rounds(10)
            objects, files = rounds(10)
            more_objects, more_files = rounds(ROUNDS)
            assert more_files == files
            assert more_objects - objects < ROUNDS, "more than one object for each round of all sorts"
            assert busy.heard == 20 + ROUNDS
            proxy._release()
    finally:
        logging.getLogger("gpyro").setLevel(logging.NOTSET)
