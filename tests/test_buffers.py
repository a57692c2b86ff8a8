"""Large bytes and arrays in calls: beside the messages, uncopied, in pieces."""

from __future__ import annotations

import contextlib
import gc
import tracemalloc
import weakref
from array import array

import gevent
import numpy
import pytest
from gevent.event import Event

import gpyro
from gpyro import core, oneway
from gpyro.errors import NotSentError, SerializationError, TimeoutError
from gpyro.net.buffers import Buffers
from tests.programs import program
from tests.support import eventually, serving, turns
from tests.test_dispatch_bounds import configured

MIB = 1 << 20


class Store(core.ObjBase):
    def __init__(self):
        super().__init__()
        self.kept = None
        self.went = Event()
        self.began = False
        self.frame = numpy.zeros(3 * MIB, "u1")
        self.image = b"attribute" * MIB

    def echo(self, value):
        return value

    def describe(self, value):
        return type(value).__name__, len(value)

    def keep(self, value):
        self.kept = value

    @oneway
    def put(self, value):
        self.kept = value
        self.went.set()

    def both(self, *values, **more):
        return [*values, more]

    def call(self, function, size):
        return function(bytes(size))

    def changing(self):
        return self.frame

    def change(self):
        self.frame += 1

    def stay(self, value):
        self.began = True
        self.went.wait()

    def fail(self, value):
        raise KeyError

    def spoil(self):
        return numpy.full(MIB, None)

    def parts(self, count, size):
        return (bytes([number]) * size for number in range(count))


@pytest.fixture
def store():
    return Store()


@pytest.fixture
def daemon(store):
    with serving(store) as made:
        yield made


@pytest.fixture
def proxy(daemon, store):
    made = daemon.getProxyForObj(store)
    yield made
    made._release()


def channels(daemon, proxy):
    (far,) = daemon.connections
    return far, proxy._remote.connect(None).channel


def nothing_left(daemon, proxy):
    """Whether neither end has anything of buffers, and all of the window is there again."""
    for channel in channels(daemon, proxy):
        window = channel.window
        if channel.in_bytes or channel.in_calls or window.bytes != window.granted_bytes:
            return False
        if channel.attached is not None and channel.attached._in_requests:
            return False
        arriving = channel.wire._arriving
        if arriving is not None and (arriving._sets or arriving.cost):
            return False
        if channel.attached is not None and (channel.attached.buffers._taken or channel.attached.buffers.results):
            return False
    return True


VALUES = [
    b"x" * 4096,
    bytes(range(256)) * 40_000,
    bytearray(b"y" * 100_000),
    array("d", range(10_000)),
    [b"1" * 5000, {"key": (b"2" * 100_000, 3)}],
]


@pytest.mark.parametrize("serializer", ["msgpack", "json", "pickle"])
@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_they_arrive_as_what_they_were(store, serializer, value):
    with configured(PYRO_SERIALIZER=serializer), serving(store) as daemon:
        proxy = daemon.getProxyForObj(store)
        arrived = proxy.echo(value)
        assert arrived == value
        assert type(arrived) is type(value)
        assert channels(daemon, proxy)[1].attached is not None  # they went that way
        assert nothing_left(daemon, proxy)
        proxy._release()


@pytest.mark.parametrize("serializer", ["msgpack", "json"])
@pytest.mark.parametrize(
    "value",
    [
        numpy.arange(100_000.0),
        numpy.arange(100_000, dtype=">i4").reshape(100, 1000),
        numpy.asfortranarray(numpy.arange(1e5).reshape(100, 1000)),
        numpy.arange(200_000)[::2],
        numpy.arange(5000).astype("M8[s]"),
        numpy.zeros(3000, [("x", "f8"), ("name", "U5")]),
        numpy.ones((0, 5)),
    ],
    ids=str,
)
def test_arrays_of_numpy(store, serializer, value):
    with configured(PYRO_SERIALIZER=serializer), serving(store) as daemon:
        proxy = daemon.getProxyForObj(store)
        arrived = proxy.echo(value)
        assert numpy.array_equal(arrived, value)
        assert (arrived.dtype, arrived.shape) == (value.dtype, value.shape)
        assert arrived.flags.f_contiguous or not value.flags.f_contiguous
        if arrived.size:
            arrived[0] = arrived[1]  # it is one's own
        proxy._release()


def test_in_every_kind_of_request(daemon, proxy, store):
    large = b"z" * 300_000
    assert proxy.both(large, 1, large, key=large) == [large, 1, large, {"key": large}]
    batch = gpyro.batch(proxy)
    batch.echo(large)
    batch.describe(bytearray(large))
    batch.keep(large)
    assert batch() == [large, ("bytearray", 300_000), None]
    assert store.kept == large
    attributes = core.getAttrProxyForURI(daemon.getProxyForObj(store).URI)
    assert attributes.image == b"attribute" * MIB
    attributes.image = large
    assert store.image == large
    attributes._release()
    proxy.put(large[1:])
    store.went.wait(5)
    assert store.kept == large[1:]
    proxy._setOneway(["keep"])
    proxy.keep(large[2:])
    eventually(lambda: store.kept == large[2:])
    assert proxy.call(lambda data: len(data), 200_000) == 200_000
    assert proxy.call(lambda data: data, 200_000) == bytes(200_000)
    assert [len(part) for part in proxy.parts(3, 100_000)] == [100_000] * 3
    assert gpyro.submit(proxy.echo, large).get() == large
    assert nothing_left(daemon, proxy)


def test_beside_functions_and_generators(proxy):
    large = bytes(100_000)
    sent = [lambda: 5, large, (number for number in range(3))]
    function, data, numbers = proxy.both(*sent)[:3]
    assert function is sent[0]
    assert data == large
    assert list(numbers) == [0, 1, 2]


def test_the_same_thing_twice_is_sent_once_and_arrives_as_one(store):
    value = bytearray(5 * MIB)
    with configured(PYRO_MAX_BUFFERS=6 * MIB), serving(store) as daemon:
        proxy = daemon.getProxyForObj(store)
        proxy.keep([value, value])
        first, second = store.kept
        assert first == second == value
        assert first is second
        proxy._release()


@pytest.mark.parametrize("size", [10, 5_000, 100_000])
def test_pickle_keeps_what_is_what(store, size):
    with configured(PYRO_SERIALIZER="pickle"), serving(store) as daemon:
        proxy = daemon.getProxyForObj(store)
        shared = [bytes(size)]
        arrived = proxy.echo([shared, shared])
        assert arrived[0] is arrived[1]
        cyclic = [bytes(size)]
        cyclic.append(cyclic)
        arrived = proxy.echo(cyclic)
        assert arrived[1] is arrived
        assert arrived[0] == cyclic[0]
        proxy._release()


class Picture:
    def __init__(self, data):
        self.data = data


gpyro.register_class(
    Picture,
    name="tests.buffers.Picture",
    to_state=lambda picture: [bytes(memoryview(picture.data)), bytearray(b"small")],  # new ones each time it is asked
    from_state=lambda state: Picture(state[0]),
)


def test_what_the_state_of_an_instance_has_travels_once(proxy, store, monkeypatch):
    sent = []
    send = Buffers.send

    def note(self, buffers, deadline):
        sent.append(sorted(len(view) for _, view in buffers))
        return send(self, buffers, deadline)

    monkeypatch.setattr(Buffers, "send", note)
    picture = Picture(b"x" * MIB)
    proxy.keep([bytes(70_000), picture, picture])
    assert sent == [[70_000, MIB]]
    assert [one.data == picture.data for one in store.kept[1:]] == [True, True]


@pytest.mark.parametrize("size", [100, 5_000])
def test_a_memoryview_travels_as_its_bytes(store, size):
    for serializer in ("msgpack", "json", "pickle"):
        with configured(PYRO_SERIALIZER=serializer), serving(store) as daemon:
            proxy = daemon.getProxyForObj(store)
            got = proxy.echo([memoryview(b"x" * size)])
            assert [type(one) for one in got] == [bytes]
            assert got[0] == b"x" * size
            proxy._release()


@pytest.mark.parametrize("size", [100, 100_000])
@pytest.mark.parametrize(
    ("how", "method", "more", "raised"),
    [
        ("running", "stay", (), "TimeoutError"),
        ("lost", "stay", (), "MaybeExecutedError"),
        ("failed", "fail", (), "KeyError"),
        ("no method", "nothing", (), "AttributeError"),
        ("cannot travel", "echo", (object(),), "SerializationError"),
    ],
)
def test_a_call_that_failed_keeps_nothing_of_what_it_was_given(daemon, proxy, store, size, how, method, more, raised):
    proxy.echo(1)
    value = numpy.zeros(size, "u1")
    alive = weakref.ref(value)
    gc.disable()
    try:
        if how == "lost":
            gevent.spawn(lambda: eventually(lambda: store.began) and channels(daemon, proxy)[1].close("cut"))
        seen = None
        try:
            with gpyro.deadline(0.05 if how == "running" else 60):
                getattr(proxy, method)(value, *more)
        except Exception as error:
            seen = type(error).__name__
        assert seen == raised
        del value
        store.went.set()
        eventually(lambda: alive() is None)
    finally:
        gc.enable()


def test_a_call_that_never_left_keeps_nothing_of_what_it_was_given(proxy):
    proxy.echo(1)
    value = bytearray(100 * MIB)
    gc.disable()
    try:
        with contextlib.suppress(TimeoutError), gpyro.deadline(0.005):
            proxy.echo(value)
        turns()
        value.append(1)  # nothing looks into it any more
    finally:
        gc.enable()


def test_larger_than_any_message(proxy):
    value = numpy.arange(5_000_000, dtype="f8")
    assert value.nbytes > gpyro.config.PYRO_MAX_MESSAGE
    assert numpy.array_equal(proxy.echo(value), value)


def test_more_than_the_other_side_takes_is_said_before_anything_runs(store):
    with configured(PYRO_MAX_BUFFERS=MIB), serving(store) as daemon:
        proxy = daemon.getProxyForObj(store)
        with pytest.raises(SerializationError, match="PYRO_MAX_BUFFERS"):
            proxy.keep(bytes(2 * MIB))
        assert store.kept is None
        assert proxy.echo(b"goes on") == b"goes on"
        assert nothing_left(daemon, proxy)
        proxy._release()


def test_a_result_that_is_more_than_the_caller_takes(daemon, store):
    with configured(PYRO_MAX_BUFFERS=MIB):
        proxy = core.getProxyForURI(daemon.getProxyForObj(store).URI)
    proxy._setPrivateChannel(True)
    with pytest.raises(SerializationError, match="PYRO_MAX_BUFFERS"):
        proxy.changing()
    assert proxy.echo(1) == 1
    proxy._release()


def test_switched_off_they_travel_in_messages(store):
    with configured(PYRO_MAX_BUFFERS=0), serving(store) as daemon:
        proxy = daemon.getProxyForObj(store)
        for value in VALUES:
            assert proxy.echo(value) == value
        with pytest.raises(SerializationError, match="PYRO_MAX_MESSAGE"):
            proxy.echo(bytes(17 * MIB))
        assert channels(daemon, proxy)[1].wire._arriving is None
        proxy._release()


def test_what_must_not_travel_is_one_clear_error(daemon, proxy, store):
    for value in (numpy.full(5000, None), [1, numpy.full(5000, None)], array("u", "x" * 5000)):
        with pytest.raises(SerializationError, match=r"dtype object|tounicode"):
            proxy.keep(value)
    assert store.kept is None
    with pytest.raises(SerializationError, match="dtype object"):
        proxy.spoil()
    assert proxy.echo(1) == 1
    assert nothing_left(daemon, proxy)


def test_a_result_is_what_it_was_when_the_method_returned(proxy, store):
    first = gevent.spawn(proxy.changing)
    others = [gevent.spawn(proxy.change) for _ in range(20)]
    frame = first.get(timeout=30)
    gevent.joinall(others)
    assert len(set(frame.tolist())) == 1


def test_what_is_read_only_is_not_copied(proxy, store):
    store.frame.flags.writeable = False
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        assert proxy.changing().nbytes == 3 * MIB
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert peak < 4 * MIB  # the one that arrived, since both ends are in this process


def test_nothing_is_copied_on_the_way(proxy, store):
    value = bytes(20 * MIB)
    proxy.keep(b"")
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        proxy.keep(value)
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert store.kept == value
    assert peak < 22 * MIB  # what arrived


def test_small_calls_do_not_wait_for_large_ones(proxy):
    sending = gevent.spawn(proxy.echo, bytes(100 * MIB))
    answered = 0
    while not sending.ready():
        assert proxy.echo(answered) == answered
        answered += 1
    assert sending.get() == bytes(100 * MIB)
    assert answered > 10


def test_a_call_that_is_given_up_leaves_nothing(daemon, proxy):
    for _ in range(20):
        for seconds in (0, 0.001, 0.005):
            call = gevent.spawn(proxy.echo, bytes(3 * MIB))
            gevent.sleep(seconds)
            call.kill()
    with pytest.raises(TimeoutError), gpyro.deadline(0.001):
        proxy.echo(bytes(50 * MIB))
    assert proxy.echo(b"x" * 10_000) == b"x" * 10_000
    eventually(lambda: nothing_left(daemon, proxy))
    assert len(daemon.connections) == 1


def test_a_connection_that_is_lost_meanwhile(daemon, proxy, store):
    proxy.echo(1)
    (far,) = daemon.connections
    call = gevent.spawn(proxy.keep, bytes(50 * MIB))
    eventually(lambda: far.wire._arriving is not None and far.wire._arriving._sets)
    far.close("lost")
    with pytest.raises(NotSentError):  # the call itself had not left, so it cannot have run
        call.get(timeout=30)
    assert store.kept is None
    assert proxy.echo(b"x" * 10_000) == b"x" * 10_000


def test_thousands_leave_nothing_behind(daemon, proxy):
    def rounds(count):
        for number in range(count):
            assert len(proxy.echo(bytes(5000 + number % 7))) >= 5000
            if number % 10 == 0:
                gevent.spawn(proxy.echo, bytearray(200_000)).kill()
        gc.collect()
        return len(gc.get_objects())

    rounds(200)
    before = rounds(200)
    after = rounds(2000)
    assert after - before < 200
    assert nothing_left(daemon, proxy)


def test_between_processes():
    server = """
    import numpy
    from gpyro import core
    class Images(core.ObjBase):
        def invert(self, image):
            return 255 - image
    daemon = core.Daemon(port=0, norange=1)
    print(daemon.connect(Images(), "images"), flush=True)
    daemon.requestLoop()
    """
    with program(server) as running:
        proxy = core.getProxyForURI(running.line().strip())
        image = numpy.random.default_rng(1).integers(0, 256, (1000, 1000, 3), "u1")
        assert numpy.array_equal(proxy.invert(image), 255 - image)
        proxy._release()


def test_what_arrives_can_change_its_size(proxy, store):
    arrived = proxy.echo(bytearray(300_000))
    arrived.append(1)
    proxy.keep(bytearray(300_000))
    store.kept.append(1)
    numbers = proxy.echo(array("d", range(50_000)))
    numbers.append(1.0)


def test_uploads_beside_others_come_to_their_end(proxy, store):
    waiting = gevent.spawn(proxy.call, lambda size: gevent.sleep(0.2), 1)
    gevent.sleep(0.01)
    large = [gevent.spawn(proxy.echo, bytes(1_000_000 + number)) for number in range(3)]
    others = [gevent.spawn(proxy.echo, "x" * 100_000) for _ in range(3)]
    for number, one in enumerate(large):
        assert len(one.get(timeout=30)) == 1_000_000 + number
    gevent.joinall([*others, waiting], timeout=30, raise_error=True)


def test_who_has_the_window_may_wait_for_who_has_the_buffers(store):
    with configured(PYRO_MAX_BUFFERS=MIB, PYRO_MAX_CALLS=1), serving(store) as daemon:
        proxy = daemon.getProxyForObj(store)

        def answer(size):
            gevent.sleep(0.05)
            return bytes(800_000)

        first = gevent.spawn(proxy.call, answer, 1)
        gevent.sleep(0.02)
        second = gevent.spawn(proxy.keep, bytes(800_000))
        assert first.get(timeout=30) == bytes(800_000)
        second.get(timeout=30)
        proxy._release()


def test_what_runs_is_what_it_was_when_its_caller_left(daemon, proxy, store):
    seen = []
    store.keep = lambda value: seen.append(bytes(value))
    for size in (200_000, 1_000_000, 5_000_000):
        for seconds in (0.0005, 0.002, 0.004):
            value = bytearray(size)
            try:
                with gpyro.deadline(seconds):
                    proxy.keep(value)
            except TimeoutError:
                value[:] = b"\xff" * size
    eventually(lambda: nothing_left(daemon, proxy))
    assert all(value.count(0) == len(value) for value in seen)
