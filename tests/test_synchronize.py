"""Synchronized objects: one call at a time, in order, and an error instead of a dead stop."""

from __future__ import annotations

import threading

import gevent
import pytest
from gevent.event import Event

import gpyro
from gpyro import core
from gpyro.errors import PyroError, SynchronizationError, TimeoutError
from tests.programs import program
from tests.support import eventually, serving, turns, uri_of


class Room:
    """Notices when two are in it."""

    def __init__(self):
        self.order = []
        self.inside = 0
        self.go_on = Event()
        self.go_on.set()

    def enter(self, number=0):
        assert not self.inside, "two calls overlap"
        self.inside += 1
        try:
            self.order.append(number)
            self.go_on.wait()
            gevent.sleep(0)
            if number == "fail":
                raise KeyError("failed inside")
            if number == "exit":
                raise gevent.GreenletExit
            return number
        finally:
            self.inside -= 1

    @property
    def state(self):
        return self.enter("read")

    @state.setter
    def state(self, value):
        self.enter(value)

    @gpyro.oneway
    def note(self, number):
        self.enter(number)


class Synchronized(core.SynchronizedObjBase, Room):
    def __init__(self):
        core.SynchronizedObjBase.__init__(self)
        Room.__init__(self)


def delegating():
    obj = core.SynchronizedObjBase()
    obj.delegateTo(Room())
    return obj


def room_of(obj):
    return obj.delegate or obj


@pytest.mark.parametrize("make", [Synchronized, delegating])
def test_calls_of_one_object_never_overlap_and_go_in_order(make):
    obj = make()
    with serving(obj) as daemon:
        shared, private = (core.getProxyForURI(uri_of(daemon, obj)) for _ in range(2))
        private._setPrivateChannel(True)
        assert (shared.enter("first"), private.enter("second")) == ("first", "second")
        room_of(obj).order.clear()
        calls = [gevent.spawn(shared.enter, number) for number in range(100)]
        others = [gevent.spawn(private.enter, number) for number in range(100, 150)]
        assert [call.get() for call in calls] == list(range(100))
        assert [call.get() for call in others] == list(range(100, 150))
        order = room_of(obj).order
        assert [number for number in order if number < 100] == list(range(100))
        assert [number for number in order if number >= 100] == list(range(100, 150))
        for proxy in (shared, private):
            proxy._release()


def test_other_objects_are_not_affected():
    obj, other = Synchronized(), Synchronized()
    obj.go_on.clear()
    with serving(obj) as daemon:
        daemon.connect(other)
        proxy, beside = (core.getProxyForURI(uri_of(daemon, one)) for one in (obj, other))
        waiting = gevent.spawn(proxy.enter, 1)
        eventually(lambda: obj.inside)
        assert beside.enter(2) == 2
        assert not waiting.ready()
        obj.go_on.set()
        assert waiting.get() == 1
        for used in (proxy, beside):
            used._release()


def test_attribute_access_and_oneway_calls_take_their_turn():
    obj = Synchronized()
    obj.go_on.clear()
    with serving(obj) as daemon:
        proxy = core.getAttrProxyForURI(uri_of(daemon, obj))
        assert proxy.findattr("enter") == 1
        proxy._setOneway("enter")
        together = [
            gevent.spawn(proxy.enter, "oneway"),
            gevent.spawn(getattr, proxy, "state"),
            gevent.spawn(setattr, proxy, "state", "write"),
        ]
        eventually(lambda: obj.order == ["oneway"])
        turns(10)
        assert obj.order == ["oneway"]
        obj.go_on.set()
        gevent.joinall(together, raise_error=True)
        assert obj.order == ["oneway", "read", "write"]
        proxy._release()


def test_callers_of_a_oneway_method_do_not_wait_for_their_turn():
    obj = Synchronized()
    obj.go_on.clear()
    with serving(obj) as daemon:
        proxy = core.getProxyForURI(uri_of(daemon, obj))
        waiting = gevent.spawn(proxy.enter, 1)
        eventually(lambda: obj.inside)
        with gevent.Timeout(30):
            assert proxy.note(2) is None
        assert obj.order == [1]
        obj.go_on.set()
        waiting.get()
        eventually(lambda: obj.order == [1, 2])
        proxy._release()


@pytest.mark.parametrize("how", ["fail", "exit"])
def test_a_call_that_raises_lets_the_next_in(how):
    obj = Synchronized()
    with serving(obj) as daemon:
        proxy = core.getProxyForURI(uri_of(daemon, obj))
        calls = [gevent.spawn(proxy.enter, what) for what in (1, how, 2, how, 3)]
        gevent.joinall(calls)
        assert [call.value for call in calls[::2]] == [1, 2, 3]
        assert all(isinstance(call.exception, Exception) for call in calls[1::2])
        proxy._release()


def test_callers_that_leave_while_waiting_are_passed_over():
    obj = Synchronized()
    obj.go_on.clear()
    with serving(obj) as daemon:
        proxy, hurried = (core.getProxyForURI(uri_of(daemon, obj)) for _ in range(2))
        calls = [gevent.spawn(proxy.enter, number) for number in range(5)]
        eventually(lambda: obj.order == [0])
        hurried._setTimeout(0.05)
        with pytest.raises(TimeoutError):
            hurried.enter("late")
        calls[1].kill()
        calls[3].kill()
        turns(10)
        obj.go_on.set()
        gevent.joinall(calls)
        assert proxy.enter("last") == "last"
        assert obj.order == [0, 2, 4, "last"]
        for used in (proxy, hurried):
            used._release()


def test_callers_whose_connection_is_lost_while_waiting_do_not_hold_up_the_others():
    obj = Synchronized()
    obj.go_on.clear()
    with serving(obj) as daemon:
        proxy, lost = (core.getProxyForURI(uri_of(daemon, obj)) for _ in range(2))
        lost._setPrivateChannel(True)
        first = gevent.spawn(proxy.enter, "first")
        eventually(lambda: obj.inside)
        waiting = gevent.spawn(lost.enter, "lost")
        after = gevent.spawn(proxy.enter, "after")
        eventually(lambda: len(daemon.connections) == 2)
        turns(5)
        for channel in [channel for channel in daemon.connections if not first.ready()]:
            if len(channel.serving) == 1:
                channel.close("cut")
        gevent.joinall([waiting])
        assert isinstance(waiting.exception, PyroError)
        obj.go_on.set()
        assert (first.get(), after.get()) == ("first", "after")
        assert obj.order == ["first", "after"]
        for used in (proxy, lost):
            used._release()


def test_an_object_served_in_two_threads_is_still_one():
    counted = []

    class Thing(core.SynchronizedObjBase):
        inside = most = 0

        def enter(self):
            self.inside += 1
            self.most = max(self.most, self.inside)
            gevent.sleep(0)
            self.inside -= 1
            counted.append(threading.get_ident())

    thing = Thing()
    daemons = [core.Daemon(host="127.0.0.1", norange=1) for _ in range(2)]
    uris = [daemon.connect(thing) for daemon in daemons]
    threads = [threading.Thread(target=daemon.requestLoop) for daemon in daemons]
    for thread in threads:
        thread.start()
    proxies = [core.getProxyForURI(uri) for uri in uris]
    calls = [gevent.spawn(proxy.enter) for _ in range(100) for proxy in proxies]
    gevent.joinall(calls, raise_error=True)
    assert thing.most == 1
    assert len(counted) == 200
    assert len(set(counted)) == 2
    for proxy in proxies:
        proxy._release()
    for daemon in daemons:
        daemon.shutdown()
    for thread in threads:
        eventually(lambda thread=thread: not thread.is_alive())


# Chains


class Chained(core.SynchronizedObjBase):
    """Calls whoever it is told to, which calls the next, and so on."""

    def __init__(self, name):
        super().__init__()
        self.name = name
        self.entered = 0

    def go(self, path, how="call"):
        self.entered += 1
        if not path:
            return self.name
        following, rest = path[0], path[1:]
        if how == "spawn":
            answer = gevent.spawn(lambda: gevent.spawn(following.go, rest, how).get()).get()
        elif how == "read" and not rest:
            answer = following.URI.getAttrProxy().label
        elif how == "write" and not rest:
            following.URI.getAttrProxy().label = "written"
            answer = "written"
        elif how == "find" and not rest:
            answer = following.URI.getAttrProxy().findattr("go")
        else:
            answer = following.go(rest, how)
        return f"{self.name}{answer}"

    label = "label"

    def fan_out(self, target, count, through=None):
        calls = [gevent.spawn(through.go if through else target.go, [target] if through else []) for _ in range(count)]
        gevent.joinall(calls)
        return [call.get() for call in calls]

    def oneway_to(self, target, path):
        target._setOneway("go")
        target.go(path)
        turns(5)
        return "went on"


class Unsynchronized(core.ObjBase):
    def go(self, path, how="call"):
        return path[0].go(path[1:], how) if path else "plain"

    def fan_out(self, target, count):
        return [call.get() for call in [gevent.spawn(target.go, []) for _ in range(count)]]


@pytest.fixture
def chained():
    """Two synchronized objects and a plain one, on two daemons: proxies for them."""
    first, second, plain = Chained("A"), Chained("B"), Unsynchronized()
    with serving(first), serving(second) as other:
        other.connect(plain)
        proxies = (first.getProxy(), second.getProxy(), plain.getProxy())
        yield (*proxies, first, second)
        for proxy in proxies:
            proxy._release()


HOW = ["call", "spawn", "read", "write", "find"]


@pytest.mark.parametrize("how", HOW)
def test_a_chain_that_comes_back_gets_an_error_that_says_so(chained, how):
    a, b, plain, _, _ = chained
    for path in ([a], [b, a], [plain, a], [b, plain, a], [b, b]):
        with gevent.Timeout(30), pytest.raises(SynchronizationError, match="wait for itself"):
            a.go(path, how)
    # Nobody is left holding anything.
    assert a.go([b], "call") == "AB"
    assert b.go([a], "call") == "BA"


def test_chains_that_do_not_come_back_are_no_error(chained):
    a, b, plain, _, _ = chained
    assert a.go([b]) == "AB"
    assert a.go([plain, b]) == "AB"
    assert plain.go([a, b]) == "AB"
    # The same object twice, one after the other.
    assert [plain.go([a]), plain.go([a])] == ["A", "A"]


def test_a_parallel_fan_out_to_one_object_is_no_error(chained):
    a, b, plain, _, second = chained
    with gevent.Timeout(30):
        assert a.fan_out(b, 20) == ["B"] * 20
        assert plain.fan_out(b, 20) == ["B"] * 20
    assert second.entered == 40


def test_a_fan_out_that_comes_back_gets_its_errors(chained):
    a, b, _, _, _ = chained
    with gevent.Timeout(30), pytest.raises(SynchronizationError):
        a.fan_out(a, 5, b)
    assert a.go([b]) == "AB"


def test_a_greenlet_that_outlives_its_call_may_come_back():
    class Later(core.SynchronizedObjBase):
        def __init__(self):
            super().__init__()
            self.results = []
            self.ended = Event()

        def start(self):
            def come_back():
                self.ended.wait()
                self.results.append(self.getProxy().hello())

            self.running = gevent.spawn(come_back)

        def hello(self):
            return "hello"

    obj = Later()
    with serving(obj):
        proxy = obj.getProxy()
        proxy.start()
        obj.ended.set()
        obj.running.get(timeout=30)
        assert obj.results == ["hello"]
        proxy._release()


def test_a_oneway_call_that_comes_back_waits_its_turn(chained):
    # Nobody waits for it, so there is no dead stop.
    a, b, _, first, _ = chained
    with gevent.Timeout(30):
        assert a.oneway_to(b, [a]) == "went on"
        eventually(lambda: first.entered == 1)
        assert a.oneway_to(a, []) == "went on"
        eventually(lambda: first.entered == 2)


def test_a_chain_over_two_processes_gets_the_error():
    code = """
    import sys
    from gpyro import core
    class Far(core.ObjBase):
        def pass_on(self, target, spawned):
            import gevent
            return gevent.spawn(target.work).get() if spawned else target.work()
    daemon = core.Daemon()
    print(daemon.connect(Far()), flush=True)
    daemon.requestLoop()
    """

    class Near(core.SynchronizedObjBase):
        def begin(self, spawned):
            return self.far.pass_on(self.getProxy(), spawned)

        def work(self):
            return "worked"

    near, other = Near(), Near()
    with program(code) as server, serving(near) as daemon:
        daemon.connect(other)
        near.far = core.getProxyForURI(server.line())
        proxy = near.getProxy()
        for spawned in (False, True):
            with gevent.Timeout(30), pytest.raises(SynchronizationError, match="wait for itself"):
                proxy.begin(spawned)
            assert near.far.pass_on(proxy, spawned) == "worked"
            assert near.far.pass_on(other.getProxy(), spawned) == "worked"
        for used in (proxy, near.far):
            used._release()


def test_one_call_at_a_time_daemons_answer_a_chain_that_comes_back_too():
    class Self(core.ObjBase):
        def again(self):
            return self.getProxy().hello()

        def hello(self):
            return "hello"

    obj = Self()
    before = gpyro.config.PYRO_MULTITHREADED
    gpyro.config.PYRO_MULTITHREADED = False
    try:
        with serving(obj):
            proxy = obj.getProxy()
            with gevent.Timeout(30), pytest.raises(SynchronizationError):
                proxy.again()
            assert proxy.hello() == "hello"
            proxy._release()
    finally:
        gpyro.config.PYRO_MULTITHREADED = before


def test_a_waiter_whose_thread_ended_locks_nobody_out():
    class Slow(core.SynchronizedObjBase):
        def __init__(self):
            super().__init__()
            self.began = 0
            self.go_on = Event()

        def work(self):
            self.began += 1
            self.go_on.wait()
            return self.began

    obj = Slow()
    with serving(obj) as daemon:
        other = core.Daemon(host="127.0.0.1", norange=1)
        second = other.connect(obj).getProxy()
        thread = threading.Thread(target=other.requestLoop)
        thread.start()
        first = daemon.getProxyForObj(obj)
        holding = gevent.spawn(first.work)
        eventually(lambda: obj.began)
        waiting = gevent.spawn(second.work)
        eventually(lambda: obj._pyro_lock._waiting)
        other.closedown()
        eventually(lambda: not thread.is_alive())
        obj.go_on.set()
        assert holding.get(timeout=30) == 1
        assert first.work() == 2
        with pytest.raises(PyroError):
            waiting.get(timeout=30)
        for proxy in (first, second):
            proxy._release()
