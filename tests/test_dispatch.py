"""What happens to a call on the server: whatever its method does, it is answered, and nothing of it stays behind."""

from __future__ import annotations

import contextvars
import logging
import re
import signal
import sys
import weakref

import gevent
import gevent.local
import pytest

import gpyro
from gpyro import core
from gpyro.errors import (
    CallRefusedError,
    ConnectionClosedError,
    ConnectionLostError,
    MaybeExecutedError,
    NamingError,
    NotSentError,
    ProtocolError,
    PyroError,
    RemoteError,
    SerializationError,
    TimeoutError,
)
from tests.programs import program
from tests.support import eventually, serving, turns, uri_of

# Isolation: nothing of one client's call shows in another's

local = gevent.local.local()
variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")


weak: weakref.WeakKeyDictionary[object, str] = weakref.WeakKeyDictionary()

KINDS = ["local", "variable", "tree", "weak key", "attribute"]


class Careless(core.ObjBase):
    """Leaves behind in its greenlet whatever can be left behind, and tells what it found."""

    def __init__(self):
        super().__init__()
        self.forgotten = []

    def leave(self, kind, name):
        """Leave something of one kind behind; gives what was found of that kind."""
        current = gevent.getcurrent()
        if kind == "local":
            found, local.name = getattr(local, "name", None), name
        elif kind == "variable":
            found = variable.get(None)
            variable.set(name)
        elif kind == "tree":
            found = current.spawn_tree_locals.get("name")
            current.spawn_tree_locals["name"] = name
        elif kind == "weak key":
            found, weak[current] = weak.get(current), name
        else:
            found = getattr(current, "mine", None)
            current.mine = name
        return found

    def leave_blocking(self, kind, name):
        found = self.leave(kind, name)
        gevent.sleep(0.001)
        # Still there, after others had their turn.
        return found if self.leave(kind, name) == name else "lost"

    def leave_all(self, name):
        return [self.leave(kind, name) for kind in KINDS]

    def forget_a_timeout(self, seconds):
        timer = gevent.Timeout(seconds)
        timer.start()
        self.forgotten.append(timer)

    def nap(self, seconds):
        gevent.sleep(seconds)
        return "slept"

    def in_a_child(self):
        return gevent.spawn(lambda: (getattr(local, "name", None), variable.get(None))).get()


@pytest.fixture(params=["shared", "private"])
def two_clients(request):
    obj = Careless()
    with serving(obj) as daemon:
        first, second = (core.getProxyForURI(uri_of(daemon, obj)) for _ in range(2))
        if request.param == "private":
            first._setPrivateChannel(True)
            second._setPrivateChannel(True)
        yield first, second, obj
        for timer in obj.forgotten:
            timer.close()
        first._release()
        second._release()


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_crosses_from_one_clients_call_into_anothers(two_clients, kind):
    first, second, _ = two_clients
    for number in range(50):
        assert first.leave(kind, f"first {number}") is None
        assert second.leave(kind, f"second {number}") is None
        assert second.in_a_child() == (None, None)
    assert first.leave_all("first") == second.leave_all("second") == [None] * len(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_crosses_among_calls_that_block(two_clients, kind):
    first, second, _ = two_clients
    for method in ("leave_blocking", "leave", "leave_blocking"):
        calls = [gevent.spawn(getattr(proxy, method), kind, "x") for _ in range(50) for proxy in (first, second)]
        assert all(call.get() is None for call in calls)


def test_a_forgotten_timeout_hits_no_other_call(two_clients):
    first, second, obj = two_clients
    for _ in range(5):
        # It passes while the other client's call sleeps, which would like to have the same greenlet.
        first.forget_a_timeout(0.003)
        assert second.nap(0.006) == "slept"
    together = [gevent.spawn(first.forget_a_timeout, 0.003) for _ in range(20)]
    gevent.joinall(together, raise_error=True)
    assert [call.get() for call in [gevent.spawn(second.nap, 0.006) for _ in range(20)]] == ["slept"] * 20
    eventually(lambda: all(not timer.pending for timer in obj.forgotten))
    assert second.leave_all("second") == [None] * len(KINDS)


def test_thread_locals_of_a_patched_server_do_not_cross():
    code = """
    import threading, contextvars, gevent
    from gpyro import core
    storage = threading.local()
    class Careless(core.ObjBase):
        def leave(self, name):
            found = getattr(storage, "name", None)
            storage.name = name
            return found
        def leave_and_block(self, name):
            found = self.leave(name)
            gevent.sleep(0.001)
            assert storage.name == name
            return found
        def thread(self):
            return threading.current_thread().ident
    daemon = core.Daemon()
    print(daemon.connect(Careless()), flush=True)
    daemon.requestLoop()
    """
    with program(code, patched=True) as server:
        uri = server.line()
        first, second = core.getProxyForURI(uri), core.getProxyForURI(uri)
        second._setPrivateChannel(True)
        for number in range(50):
            assert first.leave(f"first {number}") is None
            assert second.leave(f"second {number}") is None
        calls = [gevent.spawn(proxy.leave_and_block, "x") for _ in range(50) for proxy in (first, second)]
        assert all(call.get() is None for call in calls)
        first._release()
        second._release()


# Whatever a method raises


class Raising(core.ObjBase):
    def work(self):
        return "worked"

    def leave(self, name):
        def generator():
            yield 1

        def endless():
            endless()

        if name == "RecursionError":
            endless()
        if name == "Timeout":
            raise gevent.Timeout(7)
        if name == "own Timeout":
            with gevent.Timeout(0.001):
                gevent.sleep(5)
        if name == "GeneratorExit":
            raise GeneratorExit
        if name == "StopIteration":
            next(iter(()))
        if name == "killed":
            gevent.getcurrent().throw(gevent.GreenletExit)
        if name == "sys.exit":
            sys.exit(3)
        raise {
            "SystemExit": SystemExit,
            "GreenletExit": gevent.GreenletExit,
            "MemoryError": MemoryError,
            "BaseException": BaseException,
            "StopAsyncIteration": StopAsyncIteration,
            "BaseExceptionGroup": BaseExceptionGroup("group", [SystemExit(), ValueError()]),
            "Unprintable": Unprintable,
        }[name]

    def later(self, name):
        gevent.sleep(0.001)
        self.leave(name)


class Unprintable(Exception):
    def __str__(self):
        raise ValueError("no text")

    __repr__ = __str__


# How each arrives: its own class, or a RemoteError that names it.
ARRIVES = {
    "SystemExit": (RemoteError, "SystemExit"),
    "sys.exit": (RemoteError, "SystemExit"),
    "GreenletExit": (RemoteError, "GreenletExit"),
    "killed": (RemoteError, "GreenletExit"),
    "Timeout": (RemoteError, "Timeout"),
    "own Timeout": (RemoteError, "Timeout"),
    "StopIteration": (StopIteration, ""),
    "StopAsyncIteration": (StopAsyncIteration, ""),
    "RecursionError": (RecursionError, "recursion"),
    "MemoryError": (MemoryError, ""),
    "GeneratorExit": (RemoteError, "GeneratorExit"),
    "BaseException": (RemoteError, "BaseException"),
    "BaseExceptionGroup": (Exception, "group"),
    "Unprintable": (RemoteError, "Unprintable"),
}


@pytest.mark.parametrize("name", ARRIVES)
def test_every_exception_is_answered_and_the_server_goes_on(name):
    obj = Raising()
    kind, text = ARRIVES[name]
    with serving(obj) as daemon:
        proxy, beside = (core.getProxyForURI(uri_of(daemon, obj)) for _ in range(2))
        for method in (proxy.leave, proxy.later):
            with pytest.raises(kind) as raised:
                method(name)
            assert text in str(raised.value)
            assert type(raised.value) is kind or kind is Exception
            assert proxy.work() == beside.work() == "worked"
        calls = [gevent.spawn(method, name) for _ in range(5) for method in (proxy.leave, proxy.later)]
        gevent.joinall(calls)
        assert all(isinstance(call.exception, kind) for call in calls)
        assert len(daemon.connections) == 1
        proxy._release()
        beside._release()


def test_wrong_arguments_and_unknown_names_are_the_callers_errors():
    obj = Raising()
    with serving(obj) as daemon:
        proxy = core.getProxyForURI(uri_of(daemon, obj))
        with pytest.raises(TypeError, match="missing 1 required"):
            proxy.leave()
        with pytest.raises(TypeError, match="unexpected keyword"):
            proxy.work(color=1)
        with pytest.raises(AttributeError, match="nothing"):
            proxy.nothing()
        with pytest.raises(SerializationError, match=r"args\[0\]"):
            proxy.leave(object())
        unknown = core.getProxyForURI(f"PYRO://127.0.0.1:{daemon.port}/nothing-here")
        with pytest.raises(ProtocolError, match="unknown object ID"):
            unknown.work()
        assert proxy.work() == "worked"
        assert len(daemon.connections) == 1
        unknown._release()
        proxy._release()


def test_a_result_that_cannot_travel_is_an_error_with_its_path():
    class Thing:
        def give(self):
            return {"rows": [1, object()]}

    obj = Thing()
    with serving(obj) as daemon:
        proxy = core.getProxyForURI(uri_of(daemon, obj))
        with pytest.raises(SerializationError, match="rows"):
            proxy.give()
        proxy._release()


# Ctrl-C


CTRL_C = """
import sys, time, signal, os
from gpyro import core
class Busy(core.ObjBase):
    def burn(self):
        print("burning", flush=True)
        until = time.monotonic() + 20
        while time.monotonic() < until:
            pass
        return "not interrupted"
    def work(self):
        return "worked"
    def raises(self):
        raise KeyboardInterrupt
daemon = core.Daemon()
print(daemon.connect(Busy()), flush=True)
try:
    daemon.requestLoop()
except KeyboardInterrupt:
    print("KeyboardInterrupt", flush=True)
    daemon.shutdown()
else:
    print("the loop ended by itself", flush=True)
"""


@pytest.mark.parametrize("patched", [False, True])
def test_ctrl_c_in_a_cpu_bound_method_is_answered_and_ends_the_loop(patched):
    with program(CTRL_C, patched=patched) as server:
        proxy = core.getProxyForURI(server.line())
        assert proxy.work() == "worked"
        burning = gevent.spawn(proxy.burn)
        assert server.line() == "burning"
        server.send_signal(signal.SIGINT)
        with pytest.raises(RemoteError, match="KeyboardInterrupt"):
            burning.get(timeout=30)
        assert server.line() == "KeyboardInterrupt"
        server.ended_well()
        proxy._release()


def test_a_method_that_raises_keyboardinterrupt_does_as_ctrl_c():
    with program(CTRL_C) as server:
        proxy = core.getProxyForURI(server.line())
        with pytest.raises(RemoteError, match="KeyboardInterrupt"):
            proxy.raises()
        assert server.line() == "KeyboardInterrupt"
        server.ended_well()
        proxy._release()


# Errors of a method, and verdicts about a call


class Letting(core.ObjBase):
    """Lets out what it is told to, as a method whose own nested call failed would."""

    def let_out(self, name):
        raise getattr(gpyro.errors, name)("of an inner call")

    def nested(self, uri):
        inner = core.getProxyForURI(uri)
        inner._setTimeout(5)
        return inner.work()


VERDICTS = [
    *(ProtocolError, NotSentError, CallRefusedError, ConnectionClosedError),
    *(ConnectionLostError, MaybeExecutedError, TimeoutError),
]


@pytest.mark.parametrize("verdict", VERDICTS)
def test_a_verdict_that_a_method_lets_out_is_none_for_its_caller(verdict):
    obj = Letting()
    with serving(obj) as daemon:
        proxy = core.getProxyForURI(uri_of(daemon, obj))
        with pytest.raises(RemoteError, match=f"gpyro.errors.{verdict.__name__}: of an inner call") as raised:
            proxy.let_out(verdict.__name__)
        assert not isinstance(raised.value, ProtocolError)
        assert raised.value.name == f"gpyro.errors.{verdict.__name__}"
        proxy._release()


def test_an_inner_call_that_was_never_sent_does_not_make_the_outer_one_so():
    obj = Letting()
    with serving(obj) as daemon:
        proxy = core.getProxyForURI(uri_of(daemon, obj))
        with core.Daemon(host="127.0.0.1", norange=1) as gone:
            port = gone.port
        with pytest.raises(RemoteError, match="NotSentError"):
            proxy.nested(f"PYRO://127.0.0.1:{port}/x")
        with pytest.raises(RemoteError, match="ProtocolError: unknown object ID"):
            proxy.nested(f"PYRO://127.0.0.1:{daemon.port}/x")
        proxy._release()


def test_gpyro_errors_that_are_no_verdicts_keep_their_class():
    class Thing:
        def fail(self):
            raise NamingError("name already exists", "x")

        def general(self):
            raise PyroError("general")

    obj = Thing()
    with serving(obj) as daemon:
        proxy = core.getProxyForURI(uri_of(daemon, obj))
        with pytest.raises(NamingError) as raised:
            proxy.fail()
        assert raised.value.args == ("name already exists", "x")
        with pytest.raises(PyroError, match="general") as raised:
            proxy.general()
        assert type(raised.value) is PyroError
        proxy._release()


def test_each_exception_is_logged_once_with_its_call_id(caplog):
    class Thing:
        def fail(self, text):
            raise KeyError(text)

    obj = Thing()
    with serving(obj) as daemon, caplog.at_level(logging.DEBUG, "gpyro"):
        proxy = core.getProxyForURI(uri_of(daemon, obj))
        for text in ("first", "second"):
            with pytest.raises(KeyError):
                proxy.fail(text)
        proxy._setOneway("fail")
        proxy.fail("third")
        eventually(lambda: "third" in caplog.text)
        records = [record for record in caplog.records if record.exc_info]
        assert [str(record.exc_info[1]) for record in records] == ["'first'", "'second'", "'third'"]
        assert len({record.getMessage() for record in records}) == 3
        assert all(record.levelno == logging.WARNING for record in records)
        first, second, third = (record.getMessage() for record in records)
        ids = [re.search(r"\bcall (\d+)\b", text) for text in (first, second)]
        assert ids[0][1] != ids[1][1]
        assert "one-way" in third
        assert all("Thing" in text for text in (first, second, third))
        proxy._release()


def test_methods_may_spawn_and_wait_for_greenlets_that_fail():
    class Thing:
        def fail_in_child(self):
            return gevent.spawn(int, "x").get()

    obj = Thing()
    with serving(obj) as daemon:
        proxy = core.getProxyForURI(uri_of(daemon, obj))
        with pytest.raises(ValueError, match="invalid literal"):
            proxy.fail_in_child()
        turns()
        proxy._release()
