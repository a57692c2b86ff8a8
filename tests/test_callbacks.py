"""Callbacks over the connection that is there: functions, methods and objects passed by reference."""

from __future__ import annotations

import copy
import functools
import gc
import logging
import pickle
import threading
import weakref

import gevent
import pytest
from gevent.event import Event

import gpyro
from gpyro import core, expose, oneway
from gpyro.errors import (
    MaybeExecutedError,
    NotSentError,
    ProtocolError,
    PyroError,
    SerializationError,
    SynchronizationError,
    TimeoutError,
)
from gpyro.net.references import Received
from tests.programs import program
from tests.support import eventually, serving, turns


class Server(core.ObjBase):
    def __init__(self):
        super().__init__()
        self.kept = []
        self.began = Event()
        self.ended = []

    def keep(self, what):
        self.kept.append(what)

    def drop(self):
        self.kept.clear()

    def fire(self, *args, **kwargs):
        return [function(*args, **kwargs) for function in self.kept]

    def apply(self, function, *args):
        return function(*args)

    def same(self, what):
        return what

    def shown(self, what):
        return type(what).__name__, repr(what)

    def adder(self, number):
        return lambda other: number + other

    def method(self):
        return self.fire

    def nest(self, function, depth):
        return function(self.nest, depth - 1) if depth else "bottom"

    def nothing(self, *what, **more):
        return len(what) + len(more)

    def bound_to_fail(self, what):
        raise ValueError("on purpose")

    def unsendable(self):
        return [self.adder(1), object()]

    def context(self, function):
        return gpyro.current_context().correlation_id, function()

    def slowly(self, function):
        with gpyro.deadline(2):
            function()


class Listener(core.ObjBase):
    def __init__(self):
        super().__init__()
        self.heard = []

    def hear(self, what):
        self.heard.append(what)
        return len(self.heard)

    def _private(self):
        raise AssertionError("reached")


class Narrow(core.ObjBase):
    @expose
    def open(self):
        return "open"

    def shut(self):
        raise AssertionError("reached")


@pytest.fixture
def server():
    return Server()


@pytest.fixture(params=["msgpack", "json"])
def serializer(request, monkeypatch):
    monkeypatch.setattr(gpyro.config, "PYRO_SERIALIZER", request.param)


@pytest.fixture
def daemon(server):
    with serving(server) as made:
        yield made


@pytest.fixture
def proxy(daemon, server):
    made = daemon.getProxyForObj(server)
    made.nothing()
    yield made
    made._release()


def ends(daemon, proxy):
    """The channel's server end and its client end."""
    (far,) = daemon.connections
    return far, proxy._remote.connect(None).channel


def passed(*channels):
    """How many things are exported or received."""
    found = [channel.attached.references for channel in channels if channel.attached is not None]
    return sum(len(references.exports) + len(references._records) + len(references._of_session) for references in found)


def test_a_function_is_called_with_arguments_results_and_errors(serializer, server):
    def pick(first, *, second):
        if second == "fail":
            raise KeyError(first)
        return [(first, second)]

    with serving(server) as daemon:
        proxy = daemon.getProxyForObj(server)
        proxy.keep(pick)
        assert proxy.fire(1, second=(2,)) == [[(1, (2,))]]
        with pytest.raises(KeyError, match="one"):
            proxy.fire("one", second="fail")
        assert proxy.fire(1, second=3) == [[(1, 3)]]
        far, near = ends(daemon, proxy)
        assert far is not near
        assert len(daemon.connections) == 1
        proxy._release()


def test_methods_builtins_and_partials_are_functions_too(proxy):
    listener, seen = Listener(), []
    for function in (listener.hear, seen.append, functools.partial(seen.append)):
        proxy.apply(function, "news")
    assert listener.heard == ["news"]
    assert seen == ["news", "news"]


def test_an_object_arrives_as_a_proxy_with_the_rules_of_connected_ones(proxy, server):
    listener = Listener()
    proxy.keep({"deep": [listener]})
    (there,) = server.kept[0]["deep"]
    assert type(there) is gpyro.CallbackProxy
    assert there.hear("news") == 1
    assert listener.heard == ["news"]
    with pytest.raises(AttributeError):
        there._private()
    with pytest.raises(AttributeError, match="offers no 'setGUID'"):
        there.setGUID("x")
    proxy.keep(Narrow())
    assert server.kept[1].open() == "open"
    with pytest.raises(AttributeError, match="offers no 'shut'"):
        server.kept[1].shut()


def test_a_result_and_a_part_of_a_batch_are_passed_too(proxy, server):
    add = proxy.adder(40)
    assert isinstance(add, gpyro.RemoteFunction)
    assert add(2) == 42
    assert proxy.method()() == []
    batch = gpyro.batch(proxy)
    batch.keep(lambda x: x + 1)
    batch.fire(1)
    batch.adder(5)
    _, fired, add = batch()
    assert fired == [2]
    assert add(6) == 11
    batch.keep(lambda x: x + 2)
    batch(oneway=True)
    eventually(lambda: len(server.kept) == 2)
    assert proxy.fire(1) == [2, 3]


def test_it_arrives_back_as_what_it_was(proxy, server):
    function, listener = (lambda: None), Listener()
    assert proxy.same(function) is function
    assert proxy.same([listener, function]) == [listener, function]
    add = proxy.adder(1)
    assert proxy.same(add) == add
    assert {add, proxy.same(add)} == {add}
    assert add != proxy.adder(1)
    proxy.keep(add)
    assert type(server.kept[0]) is type(function)


def test_an_object_that_is_connected_becomes_an_ordinary_proxy(proxy, server, daemon):
    other = Listener()
    daemon.connect(other)
    for what in (server, other):
        name, shown = proxy.shown(what)
        assert name == "DynamicProxy"
        assert f"PYRO://127.0.0.1:{daemon.port}/{what.GUID()}" in shown
    assert proxy.same(other) == daemon.getProxyForObj(other)
    # Also beside something that is passed by reference, and as a result.
    assert [type(part).__name__ for part in proxy.same((other, print))] == [
        "DynamicProxy",
        "builtin_function_or_method",
    ]
    daemon.disconnect(other)
    assert proxy.shown(other)[0] == "CallbackProxy"


def test_a_class_that_is_registered_goes_by_value(proxy):
    class Value(core.ObjBase):
        pass

    gpyro.register_class(Value, name="tests.callbacks.Value")
    value = Value()
    first, function = proxy.same([value, print])
    assert type(first) is Value
    assert first is not value
    assert function is print


def test_many_are_called_and_dropped_at_once(proxy, daemon, server):
    # Each has a session of its own for its calls, whose end must not look at all the others.
    far, near = ends(daemon, proxy)
    proxy.keep([functools.partial(int, number) for number in range(1_000)])
    for _ in range(4):
        proxy.keep([functools.partial(int, number) for number in range(1_000)])
    assert [function() for function in server.kept[0]] == list(range(1_000))
    assert len(far.opened) == 1_000
    assert len(near.attachments().references._of_session) == 1
    proxy.drop()
    eventually(lambda: not far.opened)
    eventually(lambda: not passed(far, near))


def test_what_cannot_be_passed_says_so_and_where(proxy, server):
    with pytest.raises(SerializationError, match=r"args\[0\]\[1\]: object") as caught:
        proxy.nothing([print, object()])
    assert caught.value.path == "args[0][1]"
    with pytest.raises(SerializationError, match=r"result\[1\]: object"):
        proxy.unsendable()

    class Forgetful(core.ObjBase):
        def __init__(self):
            """Does not call the one above."""

    with pytest.raises(SerializationError, match=r"Forgetful\.__init__ did not call ObjBase.__init__"):
        proxy.nothing(Forgetful())
    with pytest.raises(SerializationError, match="more than 1,000"):
        proxy.nothing([functools.partial(print, number) for number in range(1_001)])
    assert proxy.nothing([functools.partial(print, number) for number in range(1_000)]) == 1


def test_to_third_parties_it_does_not_go(proxy, daemon, server):
    other = Server()
    with serving(other) as second:
        beside = second.getProxyForObj(other)
        with pytest.raises(SerializationError, match=r"args\[0\]: RemoteFunction: .*over it only"):
            beside.keep(proxy.adder(1))
        assert beside.nothing() == 0
        beside._release()


def test_they_are_neither_pickled_nor_pointed_elsewhere(proxy, server):
    proxy.keep(Listener())
    (there,) = server.kept
    for what in (there, proxy.adder(1)):
        with pytest.raises(PyroError, match="cannot be pickled"):
            pickle.dumps(what)
    for change in (
        lambda: there._setPrivateChannel(True),
        lambda: there._setIdentification("secret"),
        lambda: there._setNewConnectionValidator(None),
        lambda: setattr(there, "URI", "PYRO://localhost/x"),
    ):
        with pytest.raises(PyroError, match="the connection that brought it"):
            change()
    there._setTimeout(5)
    second = copy.copy(there)
    assert second == there
    assert second._remote.timeout == 5
    assert second.hear("x") == 1
    there._release()
    there._release()
    assert there.hear("y") == 2
    assert server.kept[0] is there


def test_pickle_says_that_it_passes_nothing(monkeypatch, server):
    monkeypatch.setattr(gpyro.config, "PYRO_SERIALIZER", "pickle")
    with serving(server) as daemon:
        proxy = daemon.getProxyForObj(server)
        with pytest.raises(SerializationError, match="pickle passes nothing by reference"):
            proxy.nothing(lambda: None)
        assert proxy.nothing() == 0
        proxy._release()


# ---- calls in calls


def test_callbacks_in_callbacks_in_calls(proxy, daemon):
    assert proxy.nest(lambda server, depth: server(inner, depth), 0) == "bottom"

    def inner(server, depth):
        return server(inner, depth)

    assert proxy.nest(inner, 20) == "bottom"
    jobs = [gevent.spawn(proxy.nest, inner, 5) for _ in range(20)]
    gevent.joinall(jobs, timeout=30)
    assert [job.value for job in jobs] == ["bottom"] * 20
    eventually(lambda: not passed(*ends(daemon, proxy)))


def test_a_chain_that_comes_back_to_a_synchronized_object_is_refused():
    class Alone(core.SynchronizedObjBase):
        def apply(self, function):
            return function()

        def nothing(self):
            return "nothing"

    alone = Alone()
    with serving(alone) as daemon:
        proxy = daemon.getProxyForObj(alone)
        with pytest.raises(SynchronizationError):
            proxy.apply(proxy_call := lambda: proxy.nothing())
        assert proxy_call() == "nothing"
        proxy._release()


def test_deadline_cancellation_and_context_hold(proxy, server):
    seen, waiting = [], Event()

    def slow():
        seen.append(gpyro.time_left())
        try:
            waiting.wait()
        except BaseException as error:
            seen.append(type(error).__name__)
            raise

    with pytest.raises(Exception, match="deadline") as caught:
        proxy.slowly(slow)
    assert not isinstance(caught.value, AssertionError)
    eventually(lambda: len(seen) == 2)
    assert 0 < seen[0] <= 2.01
    assert seen[1] == "CallCancelled"
    with gpyro.call_context(correlation_id="the-id"):
        assert proxy.context(lambda: gpyro.current_context().correlation_id) == ("the-id", "the-id")
    proxy.keep(lambda: proxy.nothing())
    assert server.kept[0]() == 0
    # A caller that leaves stops the callback.
    proxy.keep(slow)
    job = gevent.spawn(server.kept[1])
    eventually(lambda: len(seen) == 3)
    job.kill()
    eventually(lambda: len(seen) == 4)
    assert seen[3] == "CallCancelled"
    with pytest.raises(TimeoutError), gpyro.deadline(0.01):
        server.kept[1]()


def test_a_function_marked_as_one_way_is_not_waited_for(proxy, server):
    gate, seen = Event(), []

    @oneway
    def note(what):
        gate.wait()
        seen.append(what)

    proxy.keep(note)
    assert proxy.fire("news") == [None]
    assert seen == []
    gate.set()
    eventually(lambda: seen == ["news"])


def test_one_way_calls_take_them_along(proxy, server):
    proxy._setOneway("keep")
    proxy.keep(lambda: "called")
    eventually(lambda: server.kept)
    assert server.kept[0]() == "called"


def test_observers_see_callbacks(proxy):
    seen = []

    class Watch(gpyro.Observer):
        def call_ended(self, call):
            seen.append((call.side, call.target, call.method, call.outcome))

    def work():
        return 7

    end = gpyro.observe(Watch())
    try:
        assert proxy.apply(work) == 7
    finally:
        end()
    assert [(side, method, outcome) for side, _, method, outcome in seen] == [
        ("server", "call", "ok"),
        ("client", "call", "ok"),
        ("server", "apply", "ok"),
        ("client", "apply", "ok"),
    ]
    assert seen[0][1].startswith("function test_observers_see_callbacks.<locals>.work")


# ---- how long they live


def test_it_lives_until_the_peer_has_dropped_it(proxy, daemon, server):
    class Function:
        def __call__(self):
            raise AssertionError

        def work(self):
            return "worked"

    target = Function()
    gone = weakref.ref(target)
    proxy.keep(target.work)
    proxy.keep(target.work)
    del target
    far, near = ends(daemon, proxy)
    assert len(near.attachments().references.exports) == 1
    assert proxy.fire() == ["worked"] * 2
    server.kept.pop()
    turns()
    assert gone() is not None
    proxy.drop()
    eventually(lambda: gone() is None)
    eventually(lambda: not passed(far, near))
    assert not far.served.keys() - {session.id for session in far.served.values()}


def test_it_keeps_its_session_and_the_loop(proxy, daemon, server):
    second = daemon.getProxyForObj(server)
    second.keep(lambda: "still there")
    far, near = ends(daemon, proxy)
    assert near._read_watcher.ref
    del second
    gc.collect()
    turns()
    assert server.kept[0]() == "still there"
    server.kept.clear()
    eventually(lambda: len(far.served) == 1)
    eventually(lambda: not near._read_watcher.ref)


def test_it_keeps_its_connection_for_as_long_as_it_is_wanted(monkeypatch, server):
    monkeypatch.setattr(gpyro.config, "PYRO_CHANNEL_LINGER", 0)
    with serving(server) as daemon:
        proxy = daemon.getProxyForObj(server)
        proxy.keep(lambda: "called much later")
        del proxy
        gc.collect()
        turns(20)
        assert server.kept[0]() == "called much later"
        server.kept.clear()
        eventually(lambda: not daemon.connections)


def test_a_result_keeps_its_session(daemon, server, proxy):
    add = daemon.getProxyForObj(server).adder(1)
    gc.collect()
    turns()
    assert add(1) == 2
    del add
    eventually(lambda: not passed(*ends(daemon, proxy)))


def test_an_ended_session_takes_what_was_passed_along(proxy, daemon, server):
    second = daemon.getProxyForObj(server)
    add = second.adder(1)
    second.keep(lambda: None)
    second._release()
    eventually(lambda: len(daemon.connections[0].served) == 1)
    for function in (add, server.kept[0]):
        with pytest.raises(ProtocolError, match="is gone: the session that it was passed by has ended") as caught:
            function() if function is not add else function(1)
        assert not caught.value.may_have_run
    with pytest.raises(SerializationError):
        proxy.same(add)
    assert proxy.nothing() == 0
    del add, function, caught
    server.kept.clear()
    eventually(lambda: not passed(*ends(daemon, proxy)))


def test_an_ended_connection_takes_everything_along(proxy, daemon, server):
    class Target:
        def work(self):
            return "worked"

    target = Target()
    gone = weakref.ref(target)
    add = proxy.adder(1)
    proxy.keep(target.work)
    del target
    far, near = ends(daemon, proxy)
    near.close("the test closes it")
    eventually(lambda: far.closed)
    assert gone() is None
    for function in (add, server.kept[0]):
        with pytest.raises(NotSentError, match=r"the connection that brought callback .* is gone"):
            function(1)
    server.kept.clear()
    assert proxy.nothing() == 0  # on a new connection
    with pytest.raises(SerializationError, match="over it only"):
        proxy.keep(add)


def test_a_connection_that_ends_during_a_callback(proxy, daemon, server):
    outcome = []

    def work():
        near.close("the test closes it")

    def call():
        try:
            server.kept[0]()
        except ProtocolError as error:
            outcome.append(error)

    proxy.keep(work)
    _, near = ends(daemon, proxy)
    gevent.spawn(call).join(30)
    assert type(outcome[0]) is MaybeExecutedError


def test_many_are_passed_and_released_without_growth(proxy, daemon):
    far, near = ends(daemon, proxy)
    for round_ in range(20):
        assert proxy.nothing([functools.partial(print, round_, number) for number in range(1_000)]) == 1
    eventually(lambda: not passed(far, near))
    assert sum(1 for thing in gc.get_objects() if isinstance(thing, Received)) == 0
    assert not near.attachments().references.exports_of
    assert len(far.served) == len(near.opened) == 1


def test_failures_leave_nothing_behind(proxy, daemon, server, caplog):
    caplog.set_level(logging.CRITICAL, "gpyro")  # pytest would keep the tracebacks of what is logged
    far, near = ends(daemon, proxy)
    listener = Listener()
    for _ in range(200):
        with pytest.raises(ValueError, match="on purpose"):
            proxy.bound_to_fail(listener.hear)
        with pytest.raises(AttributeError):
            proxy.missing(listener.hear)
        with pytest.raises(TypeError):
            proxy.adder(1, listener.hear)
    for _ in range(100):
        with pytest.raises(SerializationError):
            proxy.nothing(listener.hear, object())
        with pytest.raises(SerializationError):
            proxy.unsendable()
    eventually(lambda: not passed(far, near))
    assert len(far.served) == len(near.opened) == 1


def test_a_callback_that_is_gone_is_one_error_however_often(proxy, daemon, server, caplog):
    second = daemon.getProxyForObj(server)
    second.keep(lambda: None)
    second._release()
    far, near = ends(daemon, proxy)
    for _ in range(1_000):
        with pytest.raises(ProtocolError, match="is gone"):
            server.kept[0]()
    assert (len(far.opened), len(near.served)) == (1, 1)
    server.kept.clear()
    eventually(lambda: not passed(far, near))
    eventually(lambda: (len(far.opened), len(near.served)) == (0, 0))
    assert proxy.nothing() == 0


def test_a_call_that_was_not_sent_passed_nothing(proxy, daemon, monkeypatch):
    far, near = ends(daemon, proxy)
    near.peer_limit = 2_000
    with pytest.raises(SerializationError, match="over the 2000"):
        proxy.nothing(print, "x" * 3_000)
    assert not near.attachments().references.exports
    window, near.window.calls = near.window.calls, 0
    with pytest.raises(TimeoutError) as caught, gpyro.deadline(0.01):
        proxy.nothing(print)
    assert caught.value.phase == "queued"
    assert not near.attachments().references.exports
    near.window.calls = window
    assert proxy.nothing(print) == 1
    eventually(lambda: not passed(far, near))


def test_an_answer_that_nobody_waits_for_is_let_go_of(proxy, daemon, server, monkeypatch):
    gate = Event()
    monkeypatch.setattr(Server, "adder", lambda self, number: (gpyro.shield().__enter__(), gate.wait(), print)[2])
    job = gevent.spawn(proxy.adder, 1)
    eventually(lambda: daemon.connections[0].serving)
    job.kill()
    gate.set()
    far, near = ends(daemon, proxy)
    eventually(lambda: not near.pending)
    eventually(lambda: not passed(far, near))


def test_they_are_collected_in_other_threads_and_called_in_their_own(proxy, daemon, server):
    far, near = ends(daemon, proxy)
    outcomes = []

    def elsewhere(function):
        try:
            function()
        except PyroError as error:
            outcomes.append(str(error))
        del function
        gc.collect()

    for _ in range(50):
        proxy.keep(lambda: None)
        thread = threading.Thread(target=elsewhere, args=(server.kept.pop(),))
        thread.start()
        thread.join()
    assert len(outcomes) == 50
    assert "belongs to the thread of its connection" in outcomes[0]
    del thread
    eventually(lambda: not passed(far, near))


def test_a_client_may_only_wait_for_callbacks(server, daemon):
    code = """
    import sys, threading
    import gevent
    from gpyro import core
    seen = gevent.event.Event()
    proxy = core.getProxyForURI(sys.argv[1])
    proxy.keep(lambda text: (print(text, flush=True), seen.set()))
    print("ready", flush=True)
    seen.wait()
    proxy.drop()
    """
    uri = str(daemon.getProxyForObj(server).URI)
    with program("import gevent.event\n" + "\n".join(line[4:] for line in code.splitlines()), uri) as client:
        assert client.line() == "ready"
        turns(20)
        server.fire("the news")
        assert client.line() == "the news"
        assert client.ended_well() == ""
    assert len(server.kept) == 0
