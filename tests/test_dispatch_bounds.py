"""What a daemon lets a client have at a time, and how it shares its hub among clients."""

from __future__ import annotations

import contextlib
import time
from types import SimpleNamespace

import gevent
import pytest
from gevent.event import Event

import gpyro
from gpyro import core, dispatch
from gpyro.errors import CallRefusedError, MaybeExecutedError, SerializationError
from gpyro.net import stream
from gpyro.net.hub import hub_state
from gpyro.net.outgoing import HIGH_WATER
from gpyro.wire.frames import Kind, pack
from tests.net.peers import CODEC, Raw
from tests.support import eventually, serving, turns
from tests.targets import lines


@contextlib.contextmanager
def configured(**items):
    before = {name: getattr(gpyro.config, name) for name in items}
    for name, value in items.items():
        setattr(gpyro.config, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(gpyro.config, name, value)


class Thing(core.ObjBase):
    def __init__(self):
        super().__init__()
        self.go_on = Event()
        self.began, self.ended = [], []
        self.reaped = False

    def echo(self, value=None):
        return value

    def wait(self, number=0, size=0):
        self.began.append(number)
        self.go_on.wait()
        self.ended.append(number)
        return bytes(size)

    @gpyro.oneway
    def note(self, number):
        self.wait(number)

    def _gotReaped(self):
        self.reaped = True


# One-way methods


@pytest.mark.parametrize("base", [core.ObjBase, core.SynchronizedObjBase], ids=["plain", "synchronized"])
def test_calls_of_one_way_methods_are_bounded(base):
    class Noting(Thing, base):
        pass

    obj = Noting()
    with configured(PYRO_MAX_CALLS=4), serving(obj) as daemon:
        proxy, other = daemon.getProxyForObj(obj), daemon.getProxyForObj(obj)
        other._setPrivateChannel(True)
        calls = [gevent.spawn(proxy.note, number) for number in range(20)]
        eventually(lambda: sum(call.ready() for call in calls) == 4)
        turns(20)
        # Four may run unheard; the callers of four more are waited with, and those of the rest have not been sent.
        assert sum(call.ready() for call in calls) == 4
        assert len(daemon._dispatcher.unheard) == 4
        assert len(obj.began) == (4 if base is core.ObjBase else 1)
        noted = gevent.spawn(other.note, "other client")
        noted.get(timeout=30)
        obj.go_on.set()
        gevent.joinall(calls, raise_error=True)
        eventually(lambda: len(obj.ended) == 21)
        assert [number for number in obj.began if number != "other client"] == list(range(20))
        eventually(lambda: not daemon._dispatcher.unheard)
        for one in (proxy, other):
            one._release()


@pytest.mark.parametrize("how", ["closed", "cancelled"])
def test_a_one_way_call_whose_caller_left_before_it_could_begin_does_not(how):
    obj = Thing()
    with configured(PYRO_MAX_CALLS=2), serving(obj) as daemon:
        raw = Raw.connect(daemon.port)
        raw.open(1, obj.GUID())
        for call_id in (1, 3, 5):
            raw.call(call_id, 1, "note", call_id)
            if call_id < 5:
                assert raw.read()[0] == Kind.RESULT
        eventually(lambda: daemon.connections[0].serving)
        if how == "closed":
            raw.close()
            eventually(lambda: not daemon.connections)
        else:
            (waiting,) = daemon.connections[0].serving.values()
            raw.send(pack(Kind.CANCEL, 5))
            eventually(lambda: waiting.cancelled)
        obj.go_on.set()
        if how == "cancelled":
            assert raw.read()[0] == Kind.REJECTED
            raw.close()
        eventually(lambda: not daemon._dispatcher.unheard)
        turns()
        assert obj.began == [1, 3]


@pytest.mark.parametrize("by", ["client", "server"])
def test_an_object_with_one_way_calls_running_is_not_reaped(by):
    obj = Thing()
    with serving(obj) as daemon:
        proxy = daemon.getProxyForObj(obj)
        if by == "client":
            proxy._setOneway("wait")
            proxy.wait(1)
        else:
            proxy.note(1)
        eventually(lambda: obj.began)
        obj.lastUsed = daemon._dispatcher.entries[obj.GUID()].last_used = 0
        daemon.setTransientsCleanupAge(1000)
        daemon.reapUnusedTransients()
        assert not obj.reaped
        obj.go_on.set()
        eventually(lambda: obj.ended and not daemon._dispatcher.unheard)
        daemon.reapUnusedTransients()
        assert obj.reaped
        proxy._release()


# Results that nobody reads

BIG = 2 * HIGH_WATER


def test_results_that_the_client_does_not_read_are_dropped_with_an_error(caplog):
    obj = Thing()
    with configured(PYRO_MAX_UNREAD=4 * BIG), serving(obj) as daemon:
        raw = Raw.connect(daemon.port)
        raw.open(1, obj.GUID())
        for number in range(16):
            raw.call(2 * number + 1, 1, "wait", number, BIG)
        eventually(lambda: len(obj.began) == 16)
        obj.go_on.set()
        (channel,) = daemon.connections
        eventually(lambda: len(obj.ended) == 16)
        turns(10)
        assert channel._held <= 4 * BIG + 16 * 4096
        answers = [raw.read() for _ in range(16)]
        results = [frame for frame in answers if frame[0] == Kind.RESULT]
        errors = [CODEC.decode_error(frame[4]) for frame in answers if frame[0] == Kind.ERROR]
        assert 4 <= len(results) <= 6
        assert len(results) + len(errors) == 16
        assert all(isinstance(error, SerializationError) and "PYRO_MAX_UNREAD" in str(error) for error in errors)
        assert len(lines(caplog)) == 1
        # It reads again, so everything is as before.
        raw.call(101, 1, "wait", 101, BIG)
        assert len(CODEC.decode(raw.read()[4])) == BIG
        assert channel._held == 0
        assert channel.result_limit == channel.peer_limit
        raw.close()


def test_small_results_come_through_however_much_waits():
    obj = Thing()
    with configured(PYRO_MAX_UNREAD=BIG), serving(obj) as daemon:
        raw = Raw.connect(daemon.port)
        raw.open(1, obj.GUID())
        sizes = [BIG, BIG, BIG, 1000, 1000]
        for number, size in enumerate(sizes):
            raw.call(2 * number + 1, 1, "wait", number, size)
        eventually(lambda: len(obj.began) == 5)
        obj.go_on.set()
        answers = {frame[2]: frame[0] for frame in (raw.read() for _ in sizes)}
        assert answers[7] == answers[9] == Kind.RESULT
        raw.close()


# Fairness, by counting turns of the loop


class Slices:
    """Counts the turns of the loop, and moves the clock that decides how long a turn may last."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        self.count = 0
        self._check = hub_state().loop.prepare()
        self._check.start(self._turn)
        monkeypatch.setattr(stream, "monotonic", lambda: self.now)
        monkeypatch.setattr(dispatch, "time", SimpleNamespace(monotonic=lambda: self.now, time=time.time))

    def _turn(self):
        self.count += 1

    def stop(self):
        self._check.stop()
        self._check.close()


@pytest.mark.parametrize("prepared", [False, True], ids=["plain", "with initTLS"])
def test_two_thousand_queued_calls_do_not_hold_another_client(monkeypatch, prepared):
    slices = Slices(monkeypatch)
    served = []

    class Busy(core.ObjBase):
        def work(self, number):
            slices.now += 0.001  # a millisecond of computing
            served.append(slices.count)

        def echo(self):
            return len(served)

    obj = Busy()
    with configured(PYRO_MAX_CALLS=4000), serving(obj) as daemon:
        go_on = Event()
        if prepared:
            daemon.setInitTLS(lambda storage: go_on.wait())
        quiet, busy = daemon.getProxyForObj(obj), Raw.connect(daemon.port)
        if not prepared:
            assert quiet.echo() == 0
        busy.open(1, obj.GUID())
        for number in range(2000):
            busy.call(2 * number + 1, 1, "work", number)
        echo = gevent.spawn(quiet.echo)
        if prepared:
            eventually(lambda: len(daemon.connections) == 2)
            turns(20)
            go_on.set()
        # Of 2,000 calls of a millisecond it sees as few begin as fit into a few turns.
        assert echo.get() < 400
        eventually(lambda: len(served) == 2000)
        most = max(served.count(turn) for turn in set(served))
        assert most <= 20
        busy.close()
        quiet._release()
    slices.stop()


# The end of a daemon with calls in every place


def test_calls_that_wait_for_their_one_way_turn_get_a_verdict_when_the_daemon_closes():
    obj = Thing()
    with configured(PYRO_MAX_CALLS=2), serving(obj, grace=0) as daemon:
        proxy = daemon.getProxyForObj(obj)
        calls = [gevent.spawn(proxy.note, number) for number in range(4)]
        eventually(lambda: len(obj.began) == 2 and len(daemon.connections[0].serving) == 2)
        daemon.closedown()
        gevent.joinall(calls)
        assert {type(call.exception) for call in calls} <= {type(None), MaybeExecutedError, CallRefusedError}
        assert sum(call.exception is not None for call in calls) == 2
        obj.go_on.set()
        eventually(lambda: len(obj.ended) == 2)
        turns()
        assert obj.began == [0, 1]
        proxy._release()


class Chained(core.SynchronizedObjBase):
    def __init__(self):
        super().__init__()
        self.proxy = None
        self.logged = []

    def work(self, count):
        for number in range(count):
            self.proxy.log(number)
        return list(self.logged)

    @gpyro.oneway
    def log(self, number):
        self.logged.append(number)


def test_one_way_calls_from_the_call_that_they_wait_for_do_not_wait_for_a_place():
    obj = Chained()
    with configured(PYRO_MAX_CALLS=3), serving(obj) as daemon:
        obj.proxy, proxy = daemon.getProxyForObj(obj), daemon.getProxyForObj(obj)
        proxy._setTimeout(5)
        assert proxy.work(8) == []
        eventually(lambda: obj.logged == list(range(8)))
        for one in (proxy, obj.proxy):
            one._release()


def test_stop_in_a_one_way_call_whose_client_has_gone():
    class Quitting(core.ObjBase):
        def __init__(self):
            super().__init__()
            self.go_on, self.stopped = Event(), False

        def quit(self):
            self.go_on.wait()
            self.getDaemon().stop(30)
            self.stopped = True

    obj = Quitting()
    with serving(obj) as daemon:
        raw = Raw.connect(daemon.port)
        raw.open(1, obj.GUID())
        raw.call(0, 1, "quit", kind=Kind.ONEWAY)
        eventually(lambda: daemon._dispatcher.unheard)
        raw.close()
        eventually(lambda: not daemon.connections)
        obj.go_on.set()
        eventually(lambda: obj.stopped)
        eventually(lambda: "closed" in repr(daemon))


def test_an_object_is_not_reaped_amid_a_call_whose_client_has_gone():
    obj = Thing()
    with serving(obj) as daemon:
        raw = Raw.connect(daemon.port)
        raw.open(1, obj.GUID())
        raw.call(1, 1, "wait", 1)
        eventually(lambda: obj.began)
        raw.close()
        eventually(lambda: not daemon.connections)
        obj.lastUsed = daemon._dispatcher.entries[obj.GUID()].last_used = 0
        daemon.setTransientsCleanupAge(1000)
        daemon.reapUnusedTransients()
        assert not obj.reaped
        obj.go_on.set()
        eventually(lambda: not daemon._dispatcher.unheard)
        daemon.reapUnusedTransients()
        assert obj.reaped


def test_objects_that_disconnect_each_other_when_reaped():
    class Pair(core.ObjBase):
        other = None

        def _gotReaped(self):
            if self.other is not None and self.other.GUID() in daemon.getRegistered():
                daemon.disconnect(self.other)

    pairs = [Pair() for _ in range(4)]
    with serving(pairs[0]) as daemon:
        for number, obj in enumerate(pairs):
            obj.other = pairs[number ^ 1]
            daemon.connect(obj)
            obj.lastUsed = daemon._dispatcher.entries[obj.GUID()].last_used = 0
        daemon.setTransientsCleanupAge(1000)
        daemon.reapUnusedTransients()
        assert len(daemon.getRegistered()) == 1


def test_ctrl_c_in_what_prepares_a_session_reaches_the_program():
    def interrupted(storage):
        raise KeyboardInterrupt

    obj = Thing()
    with serving(obj) as daemon:
        daemon.setInitTLS(interrupted)
        proxy = daemon.getProxyForObj(obj)
        calling = gevent.spawn(proxy.echo, 1)
        with pytest.raises(KeyboardInterrupt):
            gevent.sleep(5)
        gevent.joinall([calling])
        assert calling.exception is not None
        proxy._release()


# A peer that goes while it still has something to say


def test_one_way_calls_are_read_to_the_end_although_their_sender_is_gone():
    class Slow(core.ObjBase):
        def __init__(self):
            super().__init__()
            self.seen = []

        def note(self, number):
            time.sleep(0.001)  # holds the hub, so that many turns are needed
            self.seen.append(number)

    obj = Slow()
    with serving(obj) as daemon:
        raw = Raw.connect(daemon.port)
        raw.open(1, obj.GUID())
        for number in range(300):
            raw.call(0, 1, "note", number, kind=Kind.ONEWAY)
        # Closed with CREDIT on its way, which the system answers with a reset.
        eventually(lambda: obj.seen)
        raw.close()
        eventually(lambda: len(obj.seen) == 300)
        assert obj.seen == list(range(300))
        eventually(lambda: not daemon.connections)
