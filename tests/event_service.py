"""An event server in the process of the tests, and a subscriber that keeps what it gets."""

from __future__ import annotations

import contextlib

import gevent
from gevent.event import Event as Wakeup

from gpyro.eventsvc import EventServiceStarter, Subscriber
from tests.support import eventually


@contextlib.contextmanager
def event_server(identification=None, **arguments):
    starter = EventServiceStarter(identification)
    starter.begin(**{"port": 0, "useNameServer": 0, **arguments})
    try:
        yield starter
    finally:
        starter.stop()


class Recorder(Subscriber):
    """Keeps what it gets; `hold` lets its `event` wait."""

    def __init__(self, *arguments, **keywords):
        super().__init__(*arguments, **keywords)
        self.got = []
        self.gaps = []
        self.open = Wakeup()
        self.open.set()
        self.busy = 0

    def event(self, event):
        self.busy += 1
        self.open.wait()
        self.busy -= 1
        self.got.append(event.msg)

    def missed(self, gap):
        self.gaps.append(gap)
        self.got.append(gap.count)


@contextlib.contextmanager
def listening(subscriber, subjects=(), patterns=()):
    subscriber.subscribe(subjects)
    subscriber.subscribeMatch(patterns)
    greenlet = gevent.spawn(subscriber.listen)
    eventually(lambda: subscriber._pyro_listening)
    try:
        yield subscriber
    finally:
        subscriber.abort()
        greenlet.get(timeout=30)


def rows(starter):
    return starter.server.subscribers()


def cut(starter):
    """Close all connections, as if the network had failed."""
    for channel in list(starter.daemon.connections):
        channel.close("as if the network had failed")


def came_back(starter):
    """The row of the one subscriber, when it is there."""
    (row,) = eventually(lambda: rows(starter))
    return row
