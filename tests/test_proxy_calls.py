"""Calls that end otherwise than with an answer: deadlines and killed callers in every phase, servers that go away."""

from __future__ import annotations

import time

import gevent
import pytest
from gevent.event import AsyncResult, Event

import gpyro
from gpyro import core
from gpyro.errors import (
    CallRefusedError,
    ConnectionClosedError,
    ConnectionLostError,
    MaybeExecutedError,
    NotSentError,
    ProtocolError,
    RemoteError,
    TimeoutError,
)
from gpyro.values import serializer_by_name
from gpyro.wire.frames import Kind, Rejection
from tests.programs import program
from tests.raw import RawClient
from tests.relay import relayed
from tests.support import eventually, serving, turns


class Thing(core.ObjBase):
    def __init__(self):
        super().__init__()
        self.began, self.ended = [], []
        self.go_on = Event()

    def echo(self, value):
        return value

    def wait(self, number):
        self.began.append(number)
        self.go_on.wait()
        self.ended.append(number)
        return number


@pytest.fixture
def lined():
    """An object, a relay before it, and a proxy that goes through the relay."""
    obj = Thing()
    with relayed(obj) as (daemon, relay, uri):
        proxy = core.getProxyForURI(uri)
        yield obj, daemon, relay, proxy
        obj.go_on.set()
        relay.flowing_up.set()
        relay.flowing_down.set()
        proxy._release()


def elapsed(function, *arguments):
    began = time.monotonic()
    with pytest.raises(TimeoutError) as raised:
        function(*arguments)
    return raised.value, time.monotonic() - began


# Flushing


def test_flush_waits_until_one_way_calls_have_begun(lined):
    obj, _, relay, proxy = lined
    assert proxy.echo(0) == 0
    proxy._setOneway("wait")
    relay.flowing_up.clear()
    for number in range(20):
        proxy.wait(number)
    flushing = gevent.spawn(proxy._flush)
    turns(3)
    assert not flushing.ready()
    relay.flowing_up.set()
    flushing.get(timeout=30)
    assert obj.began == list(range(20))


# Deadlines


def test_the_deadline_passes_while_connecting(lined):
    obj, _, relay, proxy = lined
    relay.flowing_down.clear()  # the server's hello does not arrive
    proxy._setTimeout(0.05)
    error, seconds = elapsed(proxy.wait, 1)
    assert (error.phase, error.may_have_run) == ("connecting", False)
    assert 0.04 < seconds < 30
    relay.flowing_down.set()
    proxy._setTimeout(None)
    assert proxy.echo("next") == "next"
    assert obj.began == []


def test_the_deadline_passes_while_running(lined):
    obj, _, _, proxy = lined
    assert proxy.echo(0) == 0
    proxy._setTimeout(0.05)
    error, seconds = elapsed(proxy.wait, 1)
    assert (error.phase, error.may_have_run) == ("running", True)
    assert isinstance(error, ConnectionClosedError)  # what a Pyro 3 program catches
    assert 0.04 < seconds < 30
    proxy._setTimeout(None)
    for value in range(20):
        assert proxy.echo(value) == value
    assert proxy.adapter.connected()
    obj.go_on.set()
    turns()
    assert obj.ended == []  # it was stopped


def test_the_deadline_passes_while_queued():
    before = gpyro.config.PYRO_MAX_CALLS
    gpyro.config.PYRO_MAX_CALLS = 2
    try:
        obj = Thing()
        with serving(obj) as daemon:
            proxy, hurried = daemon.getProxyForObj(obj), daemon.getProxyForObj(obj)
            assert hurried.echo("connected") == "connected"
            filling = [gevent.spawn(proxy.wait, number) for number in range(2)]
            eventually(lambda: len(obj.began) == 2)
            hurried._setTimeout(0.05)
            error, _ = elapsed(hurried.wait, "late")
            assert (error.phase, error.may_have_run) == ("queued", False)
            hurried._setTimeout(None)
            obj.go_on.set()
            gevent.joinall(filling, raise_error=True)
            assert hurried.echo("next") == "next"
            assert "late" not in obj.began
            for used in (proxy, hurried):
                used._release()
    finally:
        gpyro.config.PYRO_MAX_CALLS = before


def test_it_is_one_deadline_for_connecting_and_running(lined):
    _, _, relay, proxy = lined
    tried = []
    for _ in range(5):  # the machine may stand still for a while, though hardly each time
        proxy._release()
        eventually(lambda: not proxy.adapter.connected())
        relay.flowing_down.clear()
        gevent.spawn_later(0.15, relay.flowing_down.set)
        proxy._setTimeout(0.3)
        error, seconds = elapsed(proxy.wait, 1)
        relay.flowing_down.set()
        assert seconds > 0.25
        tried.append((error.phase, seconds))
        if error.phase == "running" and seconds < 0.44:  # not 0.15 and then 0.3 more
            return
    raise AssertionError(tried)


def test_each_call_has_its_own_deadline(lined):
    obj, _, _, proxy = lined
    proxy.echo(0)
    patient = proxy.wait  # a method that is kept
    proxy._setTimeout(1)
    hurried = gevent.spawn(patient, "hurried")
    eventually(lambda: obj.began)
    proxy._setTimeout(None)
    waiting = gevent.spawn(patient, "patient")
    gevent.joinall([hurried])
    assert type(hurried.exception) is TimeoutError
    assert not waiting.ready()
    obj.go_on.set()
    assert waiting.get() == "patient"


def test_calls_without_deadline_wait(lined):
    obj, _, _, proxy = lined
    waiting = gevent.spawn(proxy.wait, 1)
    eventually(lambda: obj.began)
    turns(30)
    assert not waiting.ready()
    obj.go_on.set()
    assert waiting.get() == 1


# Callers that are killed, or time out by themselves


@pytest.mark.parametrize("how", ["kill", "Timeout"])
@pytest.mark.parametrize("phase", ["connecting", "queued", "running"])
def test_a_caller_may_leave_in_every_phase(phase, how):
    before = gpyro.config.PYRO_MAX_CALLS
    gpyro.config.PYRO_MAX_CALLS = 1
    seconds = 1.0 if phase == "running" else 0.05  # for reaching the phase, too
    outcome = []
    try:
        obj = Thing()
        with relayed(obj) as (_, relay, uri):
            proxy = core.getProxyForURI(uri)
            if phase == "connecting":
                relay.flowing_down.clear()
            else:
                proxy.echo(0)
            filling = gevent.spawn(proxy.wait, "first") if phase == "queued" else None

            token = AsyncResult()

            def call():
                with gevent.Timeout(seconds if how == "Timeout" else None) as timeout:
                    try:
                        proxy.wait("leaving")
                    except BaseException as error:
                        timeout.cancel()
                        outcome.append(type(error))
                        # Nothing that comes late may wake it from what it does next.
                        outcome.append(token.get())

            leaving = gevent.spawn(call)
            if phase == "running":
                eventually(lambda: obj.began == ["leaving"])
            elif phase == "queued":
                eventually(lambda: obj.began == ["first"])
            turns(3)
            if how == "kill":
                leaving.kill(block=False)
            eventually(lambda: outcome)
            relay.flowing_down.set()
            if phase == "running":
                assert proxy.echo(0) == 0  # by now the server knows
            obj.go_on.set()
            if filling:
                assert filling.get() == "first"
            for value in range(5):
                assert proxy.echo(value) == value
            assert ("leaving" in obj.began) == (phase == "running")
            assert "leaving" not in obj.ended  # stopped, or never begun
            assert not leaving.ready()
            token.set("token")
            leaving.get()
            assert outcome == [gevent.GreenletExit if how == "kill" else gevent.Timeout, "token"]
            proxy._release()
    finally:
        gpyro.config.PYRO_MAX_CALLS = before


def test_a_call_whose_caller_left_before_it_began_is_not_run():
    class Serial(core.SynchronizedObjBase, Thing):
        def __init__(self):
            core.SynchronizedObjBase.__init__(self)
            Thing.__init__(self)

    obj = Serial()
    with serving(obj) as daemon:
        proxy = daemon.getProxyForObj(obj)
        first = gevent.spawn(proxy.wait, "first")
        leaving = gevent.spawn(proxy.wait, "leaving")
        eventually(lambda: obj.began == ["first"])
        leaving.kill()
        turns()
        obj.go_on.set()
        assert first.get() == "first"
        assert proxy.echo("next") == "next"
        assert obj.began == ["first"]
        proxy._release()


def test_a_thousand_callers_that_leave_disturb_nobody(lined):
    obj, _, _, proxy = lined
    staying = gevent.spawn(proxy.wait, "staying")
    for _ in range(10):
        leaving = [gevent.spawn(proxy.wait, "leaving") for _ in range(50)]
        leaving += [gevent.spawn(proxy.echo, 1) for _ in range(50)]
        turns(1)
        gevent.killall(leaving)
        assert proxy.echo("between") == "between"
    obj.go_on.set()
    assert staying.get() == "staying"
    assert [gevent.spawn(proxy.echo, number).get() for number in range(100)] == list(range(100))


def test_release_while_calls_are_out_lets_them_finish(lined):
    obj, _, _, proxy = lined
    waiting = gevent.spawn(proxy.wait, 1)
    eventually(lambda: obj.began)
    proxy._release()
    obj.go_on.set()
    assert waiting.get() == 1
    assert proxy.echo(2) == 2


# The connection and the server go away


def test_nobody_listens():
    with core.Daemon(host="127.0.0.1", norange=1) as gone:
        port = gone.port
    proxy = core.getProxyForURI(f"PYRO://127.0.0.1:{port}/x")
    for _ in range(2):
        with pytest.raises(NotSentError, match="connection failed") as raised:
            proxy.echo(1)
        assert isinstance(raised.value, ProtocolError)  # Pyro 3's class for it
        assert not raised.value.may_have_run


def test_a_connection_that_was_lost_and_cannot_be_made_again():
    obj = Thing()
    with serving(obj) as daemon:
        proxy, other = daemon.getProxyForObj(obj), daemon.getProxyForObj(obj)
        proxy.echo(1)
        other.echo(1)
        other._release()
    eventually(lambda: not proxy.adapter.connected())
    with pytest.raises(ConnectionLostError, match=r"connection failed: .*refused") as raised:
        proxy.echo(2)
    # It is what a program catches that knows of lost connections, and what one does that wants to repeat calls.
    assert isinstance(raised.value, NotSentError)
    assert isinstance(raised.value, ConnectionClosedError)
    assert not raised.value.may_have_run
    # Once that is told, and without a connection that could have been lost, it is just not made.
    for unconnected in (proxy, other):
        with pytest.raises(NotSentError, match="connection failed") as raised:
            unconnected.echo(3)
        assert not isinstance(raised.value, ConnectionClosedError)


def test_the_line_is_cut_during_calls(lined):
    obj, _, relay, proxy = lined
    waiting = [gevent.spawn(proxy.wait, number) for number in range(10)]
    eventually(lambda: len(obj.began) == 10)
    relay.cut()
    gevent.joinall(waiting)
    assert all(type(call.exception) is MaybeExecutedError for call in waiting)
    assert proxy.echo("again") == "again"
    assert relay.connections == 2


def test_the_line_is_cut_before_the_answers_hello(lined):
    _, _, relay, proxy = lined
    relay.flowing_down.clear()
    calls = [gevent.spawn(proxy.echo, number) for number in range(5)]
    eventually(lambda: relay.up)
    relay.cut()
    gevent.joinall(calls)
    assert all(type(call.exception) is NotSentError for call in calls)
    relay.flowing_down.set()
    assert proxy.echo("again") == "again"


def test_a_server_process_dies_during_a_call():
    code = """
    import os
    from gpyro import core
    class Thing(core.ObjBase):
        def die(self):
            print("dying", flush=True)
            os._exit(1)
        def hang(self):
            print("hanging", flush=True)
            import time
            time.sleep(100)
    daemon = core.Daemon(port=int(__import__("sys").argv[1]), norange=1)
    thing = Thing()
    thing.setGUID("thing")
    print(daemon.connect(thing), flush=True)
    daemon.requestLoop()
    """
    with program(code, "0") as server:
        uri = server.line()
        proxy = core.getProxyForURI(uri)
        with pytest.raises(MaybeExecutedError):
            proxy.die()
        with pytest.raises(NotSentError):
            proxy.die()
    with program(code, str(proxy.URI.port)) as server:
        assert server.line() == uri
        hanging = gevent.spawn(proxy.hang)
        assert server.line() == "hanging"
        server.kill()
        gevent.joinall([hanging])
        assert type(hanging.exception) is MaybeExecutedError
        proxy._release()


def test_calls_to_a_daemon_that_stops_are_refused_unstarted():
    obj = Thing()
    with serving(obj) as daemon:
        proxy = daemon.getProxyForObj(obj)
        running = gevent.spawn(proxy.wait, "running")
        eventually(lambda: obj.began)
        stopping = gevent.spawn(daemon.stop, 5)
        turns()
        for _ in range(3):
            with pytest.raises((CallRefusedError, NotSentError)) as raised:
                proxy.wait("refused")
            assert not raised.value.may_have_run
        obj.go_on.set()
        assert running.get() == "running"
        stopping.get()
        assert obj.began == ["running"]
        proxy._release()


def test_errors_of_an_inner_deadline_are_not_the_outer_calls():
    class Outer(core.ObjBase):
        def nested(self, proxy):
            proxy._setTimeout(0.02)
            try:
                return proxy.wait(1)
            finally:
                proxy._release()

    inner, outer = Thing(), Outer()
    with serving(inner) as daemon:
        daemon.connect(outer)
        proxy = daemon.getProxyForObj(outer)
        with pytest.raises(RemoteError, match="TimeoutError"):
            proxy.nested(daemon.getProxyForObj(inner))
        inner.go_on.set()
        proxy._release()


def test_calls_that_cross_with_the_goodbye_are_rejected():
    obj = Thing()
    codec = serializer_by_name("msgpack")
    with serving(obj) as daemon:
        proxy = daemon.getProxyForObj(obj)
        running = gevent.spawn(proxy.wait, 1)
        eventually(lambda: obj.began)
        client = RawClient(daemon, obj.GUID())
        assert client.ask(Kind.CALL, codec.encode_call("echo", (1,), {}))[0] == Kind.RESULT
        stopping = gevent.spawn(daemon.stop, 5)
        turns()
        kind, body = client.ask(Kind.CALL, codec.encode_call("wait", (2,), {}))
        assert (kind, body[0]) == (Kind.REJECTED, Rejection.DRAINING)
        obj.go_on.set()
        assert running.get() == 1
        stopping.get()
        assert obj.began == [1]
        client.close()
        proxy._release()
