"""What belongs to a session: its storage, its caller, and what prepares them."""

from __future__ import annotations

import copy
import gc
import logging
import weakref

import gevent
import gevent.pool
import pytest
from gevent.event import Event

import gpyro
from gpyro import core
from gpyro.errors import PyroError
from gpyro.tls import LocalStorage, getLocalStorage
from gpyro.values import serializer_by_name
from gpyro.wire.frames import Kind, pack
from tests.raw import RawClient
from tests.relay import relayed
from tests.support import eventually, serving, turns, uri_of


class Counter(core.ObjBase):
    """Counts in the storage of each session, and on the caller."""

    def __init__(self):
        super().__init__()
        self.storages = weakref.WeakSet()
        self.callers = []

    def count(self):
        storage = self.getLocalStorage()
        self.storages.add(storage)
        storage.calls = getattr(storage, "calls", 0) + 1
        return storage.calls

    def count_on_caller(self):
        caller = self.getLocalStorage().caller
        if not any(caller is known for known in self.callers):
            self.callers.append(caller)
        caller.calls = getattr(caller, "calls", 0) + 1
        return caller.calls

    def address(self):
        caller = getLocalStorage().caller
        return caller.addr, caller.connected, caller.identity

    def user(self):
        return getattr(self.getLocalStorage().caller, "user_name", None)

    def missing(self):
        return self.getLocalStorage().caller.never_set


@pytest.fixture
def counter():
    obj = Counter()
    with serving(obj) as daemon:
        yield obj, daemon


def proxies(daemon, obj, count=2):
    return [core.getProxyForURI(uri_of(daemon, obj)) for _ in range(count)]


def release(*used):
    for proxy in used:
        proxy._release()


def test_each_session_has_a_storage_of_its_own_on_one_socket(counter):
    obj, daemon = counter
    first, second = proxies(daemon, obj)
    assert [first.count(), first.count(), second.count(), first.count(), second.count()] == [1, 2, 1, 3, 2]
    assert len(daemon.connections) == 1
    assert len(obj.storages) == 2
    release(first, second)


def test_a_copy_of_a_proxy_has_a_session_of_its_own(counter):
    obj, daemon = counter
    (first,) = proxies(daemon, obj, 1)
    second = copy.copy(first)
    assert [first.count(), first.count(), second.count()] == [1, 2, 1]
    release(first, second)


def test_the_caller_is_one_object_for_a_session_and_not_shared_with_others(counter):
    obj, daemon = counter
    first, second = proxies(daemon, obj)
    assert [first.count_on_caller() for _ in range(3)] == [1, 2, 3]
    assert second.count_on_caller() == 1
    together = [gevent.spawn(proxy.count_on_caller) for proxy in (first, second) for _ in range(20)]
    assert sorted(done.get() for done in together) == sorted([*range(4, 24), *range(2, 22)])
    assert len(obj.callers) == 2
    release(first, second)


def test_the_caller_knows_the_peers_address_and_whether_it_is_there(counter):
    obj, daemon = counter
    first, second = proxies(daemon, obj)
    second._setPrivateChannel(True)
    (address, connected, identity), (other, _, _) = first.address(), second.address()
    assert address[0] == other[0] == "127.0.0.1"
    assert address[1] != other[1]
    assert connected
    assert identity is None
    first.count_on_caller()
    assert obj.callers[0].connected
    release(first)
    eventually(lambda: not obj.callers[0].connected)
    # It may be kept, and read, after the session.
    assert (obj.callers[0].addr, obj.callers[0].calls) == (address, 1)
    release(second)


def test_what_is_set_on_the_connection_shows_through_in_all_its_sessions(counter):
    obj, daemon = counter
    first, second, elsewhere = proxies(daemon, obj, 3)
    elsewhere._setPrivateChannel(True)
    assert [proxy.user() for proxy in (first, second, elsewhere)] == [None] * 3
    address = first.address()[0]
    (channel,) = (channel for channel in daemon.connections if channel.address == address)
    channel.user["user_name"] = "ann"
    assert [proxy.user() for proxy in (first, second, elsewhere)] == ["ann", "ann", None]
    with pytest.raises(AttributeError, match="never_set"):
        first.missing()
    release(first, second, elsewhere)


# initTLS


def test_inittls_runs_once_for_each_session_before_its_first_call(counter):
    obj, daemon = counter
    prepared = []

    def prepare(storage):
        assert isinstance(storage, LocalStorage)
        assert storage.caller.addr[0] == "127.0.0.1"
        gevent.sleep(0.01)  # it may block
        storage.calls = 100
        prepared.append(weakref.ref(storage))

    daemon.setInitTLS(prepare)
    first, second = proxies(daemon, obj)
    together = [gevent.spawn(proxy.count) for _ in range(10) for proxy in (first, second)]
    assert sorted(done.get() for done in together) == sorted([*range(101, 111)] * 2)
    assert [first.count(), second.count()] == [111, 111]
    assert len(prepared) == 2
    first._release()
    assert first.count() == 101
    assert len(prepared) == 3
    release(first, second)


def test_sixty_four_calls_of_a_new_session_in_one_read_all_wait_for_inittls(counter):
    obj, daemon = counter
    order = []
    opened = Event()

    def prepare(storage):
        order.append("begin")
        opened.wait()
        storage.calls = 1000
        order.append("end")

    daemon.setInitTLS(prepare)
    codec = serializer_by_name("msgpack")
    client = RawClient(daemon, obj.GUID(), opened=False)
    burst = pack(Kind.OPEN, 0, 1, obj.GUID().encode())
    for number in range(64):
        burst += pack(Kind.CALL, 2 * number + 1, 1, codec.encode_call("count", (), {}))
    client.sock.sendall(burst)
    eventually(lambda: order == ["begin"])
    turns(10)
    assert order == ["begin"]
    assert len(obj.storages) == 0
    opened.set()
    answers = client.answers(64)
    assert order == ["begin", "end"]
    assert [kind for kind, _ in answers] == [Kind.RESULT] * 64
    assert [codec.decode(body) for _, body in answers] == list(range(1001, 1065))
    client.close()


def test_if_inittls_raises_the_sessions_calls_get_the_error(counter):
    obj, daemon = counter
    refuse = [True]

    def prepare(storage):
        gevent.sleep(0)
        if refuse[0]:
            raise KeyError("no such user")

    daemon.setInitTLS(prepare)
    first, second = proxies(daemon, obj)
    together = [gevent.spawn(first.count) for _ in range(10)]
    gevent.joinall(together)
    for done in together:
        assert type(done.exception) is KeyError
        assert "no such user" in str(done.exception)
    with pytest.raises(KeyError):
        first.count()
    # Other sessions are not concerned, nor is a new one of the same proxy.
    refuse[0] = False
    assert second.count() == 1
    first._release()
    assert first.count() == 1
    assert len(daemon.connections) == 1
    release(first, second)


@pytest.mark.parametrize("error", [SystemExit, gevent.GreenletExit, gevent.Timeout, StopIteration])
def test_whatever_inittls_raises_is_answered(counter, error):
    obj, daemon = counter

    def prepare(storage):
        raise error

    daemon.setInitTLS(prepare)
    (proxy,) = proxies(daemon, obj, 1)
    for _ in range(2):
        with pytest.raises(Exception, match=error.__name__) as raised:
            proxy.count()
        assert isinstance(raised.value, Exception)
    release(proxy)


def test_inittls_must_be_callable(counter):
    _, daemon = counter
    with pytest.raises(TypeError, match="initTLS must be callable"):
        daemon.setInitTLS(5)


# Where it is found


class Spawning(core.ObjBase):
    def __init__(self):
        super().__init__()
        self.late = []

    def everywhere(self, daemon_too=True):
        storage = self.getLocalStorage()
        found = [
            gevent.spawn(self.getLocalStorage).get(),
            gevent.spawn(lambda: gevent.spawn(self.getLocalStorage).get()).get(),
            gevent.pool.Pool(1).spawn(self.getLocalStorage).get(),
            getLocalStorage(),
        ]
        if daemon_too:
            found.append(self.getDaemon().getLocalStorage())
        gevent.sleep(0.001)
        found.append(self.getLocalStorage())
        return all(one is storage for one in found)

    def later(self):
        """Look from a greenlet that outlives the call."""
        storage = self.getLocalStorage()
        go_on = Event()

        def look():
            go_on.wait()
            return self.getLocalStorage() is storage, storage.caller.connected

        self.late.append((go_on, gevent.spawn(look)))


def test_storage_is_right_in_greenlets_that_a_method_spawns():
    obj = Spawning()
    with serving(obj) as daemon:
        first, second = proxies(daemon, obj)
        together = [gevent.spawn(proxy.everywhere) for _ in range(10) for proxy in (first, second)]
        assert all(done.get() for done in together)
        first.later()
        second.later()
        release(first)
        turns()
        for (go_on, looking), proxy in zip(obj.late, (first, second), strict=True):
            go_on.set()
            assert looking.get() == (True, proxy is second)
        release(second)
        obj.late.clear()


def test_delegates_and_plain_objects_find_the_storage():
    class Plain:
        def count(self):
            storage = getLocalStorage()
            storage.calls = getattr(storage, "calls", 0) + 1
            return storage.calls

    obj = core.ObjBase()
    obj.delegateTo(Plain())
    with serving(obj) as daemon:
        first, second = proxies(daemon, obj)
        assert [first.count(), first.count(), second.count()] == [1, 2, 1]
        release(first, second)


def test_outside_of_calls_there_is_none():
    obj = Counter()
    for ask in (getLocalStorage, obj.getLocalStorage):
        with pytest.raises(PyroError, match="no remote call"):
            ask()
    with serving(obj) as daemon, pytest.raises(PyroError, match="no remote call"):
        daemon.getLocalStorage()


def test_a_nested_call_sees_its_own_session():
    class Outer(core.ObjBase):
        def nested(self):
            mine = self.getLocalStorage()
            inner = self.proxy.count()
            assert self.getLocalStorage() is mine
            mine.calls = getattr(mine, "calls", 0) + 10
            return inner, mine.calls

    outer, inner = Outer(), Counter()
    with serving(outer) as daemon:
        daemon.connect(inner)
        (outer.proxy,) = proxies(daemon, inner, 1)
        (proxy,) = proxies(daemon, outer, 1)
        assert [proxy.nested(), proxy.nested()] == [(1, 10), (2, 20)]
        release(proxy, outer.proxy)


# Its end


def gone(obj):
    gc.collect()
    return not len(obj.storages)


def test_the_storage_is_known_in_what_prepares_it(counter):
    obj, daemon = counter
    seen = []

    def prepare(storage):
        seen.append(obj.getLocalStorage() is storage)
        seen.append(gevent.spawn(getLocalStorage).get() is storage)
        storage.calls = 10

    daemon.setInitTLS(prepare)
    (proxy,) = proxies(daemon, obj, 1)
    assert proxy.count() == 11
    assert seen == [True, True]
    release(proxy)


def test_storage_is_gone_when_the_proxy_is_released(counter):
    obj, daemon = counter
    first, second = proxies(daemon, obj)
    first.count()
    second.count()
    assert len(obj.storages) == 2
    release(first)
    eventually(lambda: gc.collect() is not None and len(obj.storages) == 1)
    assert second.count() == 2
    release(second)
    eventually(lambda: gone(obj))


def test_a_call_that_outlives_its_session_sees_that():
    go_on = Event()
    seen = []

    class Late(core.ObjBase):
        def look(self):
            seen.append("began")
            go_on.wait()
            seen.append(self.getLocalStorage().caller.connected)

    obj = Late()
    with serving(obj) as daemon:
        proxy = daemon.getProxyForObj(obj)
        calling = gevent.spawn(proxy.look)
        eventually(lambda: seen)
        release(proxy)
        turns()
        go_on.set()
        calling.get()
        assert seen == ["began", False]


def test_storage_is_gone_when_the_proxy_is_collected(counter):
    obj, daemon = counter
    (proxy,) = proxies(daemon, obj, 1)
    proxy.count()
    assert len(obj.storages) == 1
    del proxy
    eventually(lambda: gone(obj))


def test_storage_is_gone_when_the_connection_is_lost():
    obj = Counter()
    with relayed(obj) as (_, relay, uri):
        proxy = core.getProxyForURI(uri)
        proxy.count()
        proxy.count_on_caller()
        assert len(obj.storages) == 1
        relay.cut()
        eventually(lambda: gone(obj))
        assert not obj.callers[0].connected
        proxy._release()


def test_storage_is_gone_although_a_call_of_the_session_raised(counter, monkeypatch):
    obj, daemon = counter
    # What keeps log records keeps the frames of their tracebacks.
    monkeypatch.setattr(logging.getLogger("gpyro"), "propagate", False)
    (proxy,) = proxies(daemon, obj, 1)
    proxy.count()
    for _ in range(3):
        with pytest.raises(AttributeError):
            proxy.missing()
    release(proxy)
    eventually(lambda: gone(obj))


# One call at a time


@pytest.fixture
def one_at_a_time():
    before = gpyro.config.PYRO_MULTITHREADED
    gpyro.config.PYRO_MULTITHREADED = False
    yield
    gpyro.config.PYRO_MULTITHREADED = before


class Overlapping(core.ObjBase):
    def __init__(self):
        super().__init__()
        self.inside = self.most = 0
        self.storages, self.order = [], []

    def work(self, number):
        storage = self.getLocalStorage()
        caller = storage.caller
        self.storages.append(storage)
        self.order.append(number)
        self.inside += 1
        self.most = max(self.most, self.inside)
        gevent.sleep(0.001)
        self.inside -= 1
        assert self.getLocalStorage() is storage
        assert storage.caller is caller
        caller.total = getattr(caller, "total", 0) + 1
        return caller.total, caller.addr

    @property
    def value(self):
        return self.work("value")


def test_without_multithreading_one_call_runs_at_a_time_with_one_storage(one_at_a_time):
    obj, other = Overlapping(), Overlapping()
    with serving(obj) as daemon:
        assert not daemon.threaded
        daemon.connect(other)
        first, second = proxies(daemon, obj)
        (third,) = proxies(daemon, other, 1)
        second._setPrivateChannel(True)
        for proxy in (first, second, third):
            proxy.work(-1)
        obj.order.clear()
        together = [gevent.spawn(proxy.work, number) for number in range(10) for proxy in (first, second, third)]
        results = [done.get() for done in together]
        assert obj.most == other.most == 1
        storages = obj.storages + other.storages
        assert all(storage is storages[0] for storage in storages)
        assert daemon.getLocalStorage() is storages[0]
        # The caller is that of the current call, all the same.
        for start in range(3):
            totals = [total for total, _ in results[start::3]]
            assert sorted(totals) == list(range(2, 12))
        assert results[0][1] != results[1][1]
        assert results[0][1] == results[2][1]
        release(first, second, third)


def test_without_multithreading_inittls_runs_once_and_at_once(one_at_a_time):
    obj = Counter()
    prepared = []

    def prepare(storage):
        storage.calls = 50
        prepared.append(storage)

    with serving(obj) as daemon:
        daemon.setInitTLS(prepare)
        assert len(prepared) == 1
        first, second = proxies(daemon, obj)
        assert [first.count(), second.count(), first.count()] == [51, 52, 53]
        assert [first.count_on_caller(), second.count_on_caller(), first.count_on_caller()] == [1, 1, 2]
        assert len(prepared) == 1
        release(first, second)
        prepared.clear()


def test_without_multithreading_attribute_reads_wait_their_turn_too(one_at_a_time):
    obj = Overlapping()
    with serving(obj) as daemon:
        proxy = core.getAttrProxyForURI(uri_of(daemon, obj))
        together = [gevent.spawn(getattr, proxy, "value") for _ in range(5)]
        together += [gevent.spawn(proxy.work, number) for number in range(5)]
        gevent.joinall(together, raise_error=True)
        assert obj.most == 1
        release(proxy)


def test_what_is_to_be_done_at_the_end_of_a_session_is_done_once():
    ended = []

    class Service(core.ObjBase):
        def begin(self):
            session = gpyro.tls.current_call().session
            session.on_end = lambda: ended.append(session.ended)

    service = Service()
    with serving(service) as daemon:
        first, second = (core.getProxyForURI(uri_of(daemon, service)) for _ in range(2))
        first.begin()
        second.begin()
        first._release()
        eventually(lambda: ended == [True])
        daemon.connections[0].close("as if the network had failed")
        eventually(lambda: ended == [True, True])
        second._release()
