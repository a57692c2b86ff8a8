"""How a proxy comes to its session: in which order the calls go on that waited for it, and who it is."""

from __future__ import annotations

import contextlib
import copy
import threading

import gevent
import pytest
from gevent.event import Event

import gpyro
from gpyro import core
from gpyro.errors import NamingError, NotSentError, ProtocolError, TimeoutError
from gpyro.net.hub import hub_state
from tests.programs import program
from tests.relay import relayed
from tests.support import AnyServer, eventually, serving, turns

RECORDER = """
    from gpyro import core
    class Recorder(core.ObjBase):
        def __init__(self):
            super().__init__()
            self.seen = []
        def note(self, number):
            self.seen.append(number)
        def taken(self):
            seen, self.seen = self.seen, []
            return seen
    daemon = core.Daemon(port=0, norange=1)
    daemon.connect(Recorder(), "recorder")
    print(f"localhost:{daemon.port}", daemon.ResolvePYROLOC("recorder"), flush=True)
    daemon.requestLoop()
    """


@pytest.fixture(scope="module")
def places():
    with program(RECORDER) as server:
        address, guid = server.line().split()
        yield {"PYRO": f"PYRO://{address}/{guid}", "PYROLOC": f"PYROLOC://{address}/recorder"}


@pytest.mark.parametrize("protocol", ["PYRO", "PYROLOC"])
def test_calls_made_while_it_connects_start_in_the_order_made(places, protocol):
    for pause in (0, 0, 0.0005):
        proxy = core.getProxyForURI(places[protocol])
        proxy._setPrivateChannel(True)
        calls = []
        for number in range(200):
            # Some wait for the connection, some come the moment it is there, and some use it.
            calls.append(gevent.spawn(proxy.note, number))
            gevent.sleep(pause)
        gevent.joinall(calls, raise_error=True)
        assert proxy.taken() == list(range(200))
        proxy._release()


class Thing(core.ObjBase):
    def echo(self, value):
        return value


@pytest.fixture
def slow_way():
    """A proxy whose connection is not answered until `flowing_down` is set."""
    obj = Thing()
    with relayed(obj) as (_, relay, uri):
        relay.flowing_down.clear()
        proxy = core.getProxyForURI(uri)
        yield proxy, relay
        relay.flowing_down.set()
        proxy._release()


@pytest.mark.parametrize("leaving", [0, 1, 2], ids=["the first", "one between", "the last"])
@pytest.mark.parametrize("how", ["kill", "deadline"])
def test_who_leaves_while_it_connects_holds_nobody_up(slow_way, leaving, how):
    proxy, relay = slow_way
    calls = []
    for number in range(3):
        proxy._setTimeout(0.02 if how == "deadline" and number == leaving else None)
        calls.append(gevent.spawn(proxy.echo, number))
        turns()
    if how == "kill":
        calls[leaving].kill()
    else:
        gevent.joinall([calls[leaving]])
        assert isinstance(calls[leaving].exception, TimeoutError)
        assert calls[leaving].exception.phase == "connecting"
    relay.flowing_down.set()
    gevent.joinall(calls)
    proxy._setTimeout(None)
    assert [call.value for number, call in enumerate(calls) if number != leaving] == [
        number for number in range(3) if number != leaving
    ]
    assert proxy.echo("after") == "after"


def test_when_nobody_is_left_who_waits_the_next_begins_anew(slow_way):
    proxy, relay = slow_way
    calls = [gevent.spawn(proxy.echo, number) for number in range(3)]
    turns()
    gevent.killall(calls)
    relay.flowing_down.set()
    assert proxy.echo("after") == "after"
    assert not proxy._remote._lines


def test_what_keeps_one_from_connecting_is_told_to_all_who_wait():
    proxy = core.getProxyForURI("PYRO://127.0.0.1:1/x")
    calls = [gevent.spawn(proxy.echo, number) for number in range(20)]
    gevent.joinall(calls)
    assert {type(call.exception) for call in calls} == {NotSentError}
    assert len({id(call.exception) for call in calls}) == 20
    assert not proxy._remote._lines


def test_threads_connect_side_by_side(slow_way):
    proxy, relay = slow_way
    found = []

    def work(number):
        found.append(proxy.echo(number))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    turns(20)
    relay.flowing_down.set()
    eventually(lambda: not any(thread.is_alive() for thread in threads))
    assert sorted(found) == [0, 1, 2]


def test_an_attribute_proxy_learns_that_a_method_is_one_no_longer():
    class WithMethod:
        def member(self):
            return "called"

    class WithData:
        member = 5

    obj = core.ObjBase()
    obj.delegateTo(WithMethod())
    with serving(obj) as daemon:
        proxy = daemon.getAttrProxyForObj(obj)
        assert proxy.member() == "called"
        obj.delegateTo(WithData())
        with pytest.raises(AttributeError, match="offers no 'member'"):
            proxy.member()
        assert proxy.member == 5
        obj.delegateTo(WithMethod())
        assert proxy.member() == "called"
        proxy._release()


def test_no_underscore_name_leaves_the_client():
    proxy = core.getProxyForURI("PYRO://127.0.0.1:1/x")
    for ask in (lambda: proxy._hidden, lambda: proxy._invokePYRO("_hidden", (), {}), lambda: proxy.__len__):
        with pytest.raises(AttributeError, match="never asked"):
            ask()


@pytest.mark.parametrize("wrong", ["3", 0, -1, float("nan"), ""])
def test_a_timeout_that_is_none(wrong):
    proxy = core.getProxyForURI("PYRO://127.0.0.1:1/x")
    with pytest.raises(ValueError, match="positive number of seconds"):
        proxy._setTimeout(wrong)


@pytest.mark.parametrize("wrong", [b"x", [1], [None, "x"]])
def test_one_way_names_that_are_none(wrong):
    proxy = core.getProxyForURI("PYRO://127.0.0.1:1/x")
    with pytest.raises(TypeError, match="a method's name is a str"):
        proxy._setOneway(wrong)
    assert not proxy._remote.oneway


def test_the_module_says_no_more_than_it_has():
    assert set(gpyro.__all__) <= set(dir(gpyro))


# Objects that are found by their name


def test_a_name_is_asked_for_again_after_a_restart():
    first, second = Thing(), Thing()
    with serving(first, "thing") as daemon:
        port = daemon.port
        proxy = core.getProxyForURI(f"PYROLOC://127.0.0.1:{port}/thing")
        keys = {proxy: "kept"}
        before = hash(proxy)
        assert proxy.echo(1) == 1
        assert proxy.URI.objectID == first.GUID()
    with serving(second, "thing", port=port):
        eventually(
            lambda: not proxy._remote.sessions or not any(s.channel.usable for s in proxy._remote.sessions.values())
        )
        assert proxy.echo(2) == 2
        assert proxy.URI.objectID == second.GUID()
        assert keys[proxy] == "kept"
        assert hash(proxy) == before
        assert proxy == core.getProxyForURI(f"PYROLOC://127.0.0.1:{port}/thing")
        assert proxy != core.getProxyForURI(f"PYROLOC://127.0.0.1:{port}/other")
        assert str(copy.copy(proxy).URI) == f"PYROLOC://127.0.0.1:{port}/thing"
        proxy._release()


BLOCKED = """
    import sys, time
    from gpyro import core
    proxy, attributes = core.getProxyForURI(sys.argv[1]), core.getAttrProxyForURI(sys.argv[1])
    assert proxy.echo(1) == 1 and attributes.seen == []
    proxy._setOneway("note")
    print("blocked", flush=True)
    sys.stdin.readline()
    time.sleep(0.03)  # so short a pause is long enough
    if sys.argv[2] == "one-way call":
        proxy.note("sent", b"")
    elif sys.argv[2] == "attribute":
        assert attributes.seen == []
    else:
        assert proxy.echo(2) == 2
    """


@pytest.mark.parametrize("what", ["call", "one-way call", "attribute"])
@pytest.mark.parametrize("end", ["stop", "closedown"])
def test_a_program_that_kept_its_loop_from_running_notices_a_restart_before_it_calls(end, what):
    first, second = Notes(), Notes()
    with contextlib.ExitStack() as stack:
        daemon = stack.enter_context(serving(first, "notes"))
        uri = f"PYROLOC://127.0.0.1:{daemon.port}/notes"
        client = stack.enter_context(program(BLOCKED, uri, what))
        assert client.line() == "blocked"
        getattr(daemon, end)()
        with serving(second, "notes", port=daemon.port):
            client.say("go on")
            assert client.end() == (0, "", "")
            eventually(lambda: second.seen == ([("sent", 0)] if what == "one-way call" else []))


@pytest.mark.parametrize("kind", ["plain", "attributes"])
def test_an_object_that_was_exchanged_is_found_on_the_same_connection(kind):
    first, second = Thing(), Thing()
    first.value, second.value = 1, 2
    with serving(first, "thing") as daemon:
        get = core.getProxyForURI if kind == "plain" else core.getAttrProxyForURI
        proxy = get(f"PYROLOC://127.0.0.1:{daemon.port}/thing")
        assert proxy.echo(1) == 1
        daemon.disconnect(first)
        daemon.connect(second, "thing")
        if kind == "attributes":
            assert proxy.value == 2
        assert [call.get() for call in [gevent.spawn(proxy.echo, number) for number in range(10)]] == list(range(10))
        daemon.disconnect(second)
        with pytest.raises(NamingError):
            proxy.echo(3)
        proxy._release()
        # Whoever has the id has that object and no other.
        direct = daemon.getProxyForObj
        daemon.connect(second, "thing")
        proxy = direct(second)
        daemon.disconnect(second)
        with pytest.raises(ProtocolError, match=f"unknown object ID '{second.GUID()}'"):
            proxy.echo(4)
        proxy._release()


# A proxy that is changed while it connects


@pytest.mark.parametrize("change", ["URI", "private", "identification"])
def test_a_proxy_that_is_changed_while_it_connects_uses_what_it_is_then(slow_way, change):
    proxy, relay = slow_way
    proxy._setNewConnectionValidator(AnyServer())
    other = Thing()
    with serving(other) as daemon:
        calls = [gevent.spawn(proxy.echo, number) for number in range(3)]
        turns(5)
        if change == "URI":
            proxy.URI = daemon.getProxyForObj(other).URI
        elif change == "private":
            proxy._setPrivateChannel(True)
        else:
            proxy._setIdentification("somebody")
        relay.flowing_down.set()
        assert [call.get(timeout=30) for call in calls] == [0, 1, 2]
        (session,) = proxy._remote.sessions.values()
        if change == "URI":
            assert session.channel.address[1] == daemon.port
        else:
            shared = copy.copy(proxy)
            shared._remote.identify(None)
            shared._setPrivateChannel(False)
            assert shared.echo(1) == 1
            (other_session,) = shared._remote.sessions.values()
            assert other_session.channel is not session.channel
            shared._release()
        proxy._release()


# One-way calls

ONE_WAY = """
    import sys
    from gpyro import core
    proxy = core.getProxyForURI(sys.argv[1])
    proxy._setPrivateChannel(sys.argv[3] == "private")
    proxy._setOneway("note")
    for number in range(5):
        proxy.note(number, bytes(int(sys.argv[2])))
    if sys.argv[3] == "private":
        proxy._release()
    """


class Notes(core.ObjBase):
    def __init__(self):
        super().__init__()
        self.seen = []

    def note(self, number, data):
        self.seen.append((number, len(data)))

    def echo(self, value):
        return value

    def wait(self, seconds):
        gevent.sleep(seconds)


@pytest.mark.parametrize("channel", ["shared", "private"])
@pytest.mark.parametrize("size", [10, 3_000_000])
def test_one_way_calls_arrive_although_the_program_ends(size, channel):
    obj = Notes()
    with serving(obj) as daemon:
        with program(ONE_WAY, str(daemon.getProxyForObj(obj).URI), str(size), channel) as client:
            assert client.ended_well() == ""
        eventually(lambda: len(obj.seen) == 5)
        assert obj.seen == [(number, size) for number in range(5)]


def test_one_way_calls_arrive_although_the_program_goes_on_without_its_loop():
    code = """
        import sys
        from gpyro import core
        proxy = core.getProxyForURI(sys.argv[1])
        proxy._setOneway("note")
        for number in range(3):
            proxy.note(number, b"")
        proxy.echo(1)
        proxy.note(3, b"")  # amid what the answer caused
        sys.stdin.readline()
        """
    obj = Notes()
    with serving(obj) as daemon, program(code, str(daemon.getProxyForObj(obj).URI)) as client:
        eventually(lambda: [number for number, _ in obj.seen] == [0, 1, 2, 3])
        client.say("go on")
        assert client.end() == (0, "", "")
    assert len(obj.seen) == 4


def test_one_way_calls_arrive_although_their_private_channel_is_given_up():
    obj = Notes()
    with serving(obj) as daemon:
        proxy = daemon.getProxyForObj(obj)
        proxy._setPrivateChannel(True)
        proxy._setOneway("note")
        for number in range(3):
            proxy.note(number, bytes(12_000_000))
        proxy._release()
        eventually(lambda: len(obj.seen) == 3)
        eventually(lambda: not daemon.connections)


USED_UP = """
    import sys
    from gpyro import core
    proxy = core.getProxyForURI(sys.argv[1])
    proxy._setOneway("wait")
    for number in range(30):
        proxy.wait(0.05)
    print(proxy.echo("after"))
    """


def test_a_caller_that_waits_for_one_way_calls_to_end_is_no_dead_end():
    obj = Notes()
    before = gpyro.config.PYRO_MAX_CALLS
    gpyro.config.PYRO_MAX_CALLS = 10
    try:
        with serving(obj) as daemon, program(USED_UP, str(daemon.getProxyForObj(obj).URI)) as client:
            # In a program that does nothing else: gevent says so when nothing is left that its loop could wait for.
            assert client.ended_well() == "after\n"
    finally:
        gpyro.config.PYRO_MAX_CALLS = before


# Leaving in phases that only some calls have


@pytest.mark.parametrize("how", ["kill", "deadline"])
def test_a_caller_may_leave_while_its_name_is_asked_for(how):
    obj = Thing()
    with relayed(obj, name="thing") as (daemon, relay, uri):
        # The connection is there, so what is held up is the question for the name.
        other = core.getProxyForURI(uri)
        assert other.echo(0) == 0
        relay.flowing_down.clear()
        proxy = core.getProxyForURI(f"PYROLOC://127.0.0.1:{relay.port}/thing")
        proxy._setTimeout(0.05 if how == "deadline" else None)
        leaving = gevent.spawn(proxy.echo, 1)
        eventually(lambda: leaving.ready() or len(daemon.connections[0].served) == 2)
        if how == "kill":
            leaving.kill()
        gevent.joinall([leaving])
        if how == "kill":
            assert isinstance(leaving.value, gevent.GreenletExit)
        else:
            assert (leaving.exception.phase, leaving.exception.may_have_run) == ("connecting", False)
        relay.flowing_down.set()
        proxy._setTimeout(None)
        assert proxy.echo(2) == 2
        assert other.echo(3) == 3
        for one in (proxy, other):
            one._release()


@pytest.mark.parametrize("how", ["kill", "deadline"])
def test_a_caller_may_leave_while_its_session_is_prepared(how):
    obj, go_on, prepared = Notes(), Event(), []

    def prepare(storage):
        prepared.append(1)
        go_on.wait()

    with serving(obj) as daemon:
        daemon.setInitTLS(prepare)
        proxy = daemon.getProxyForObj(obj)
        staying = gevent.spawn(proxy.note, "stays", b"")
        eventually(lambda: prepared)
        proxy._setTimeout(0.05 if how == "deadline" else None)
        leaving = gevent.spawn(proxy.note, "leaves", b"")
        eventually(lambda: leaving.ready() or len(daemon.connections[0].serving) == 2)
        if how == "kill":
            leaving.kill()
        gevent.joinall([leaving])
        proxy._setTimeout(None)
        eventually(lambda: any(call.cancelled for call in daemon.connections[0].serving.values()))
        go_on.set()
        staying.get()
        assert proxy.echo("after") == "after"
        assert [name for name, _ in obj.seen] == ["stays"]
        assert prepared == [1]
        proxy._release()


# Large calls both ways


class Mirror(core.ObjBase):
    def turn(self, data):
        gevent.sleep(0)
        return data[::-1]


@pytest.mark.parametrize("slow", ["up", "down", "neither"])
def test_both_ends_call_each_other_with_much_at_a_time(slow):
    here, there = Mirror(), Mirror()
    with relayed(here) as (_, first, to_here), relayed(there) as (_, second, to_there):
        proxies = [core.getProxyForURI(uri) for uri in (to_here, to_there)]
        for proxy in proxies:
            proxy._setTimeout(60)
        data = [bytes([number]) * (1 << 20) + b"end" for number in range(32)]
        calls = [gevent.spawn(proxy.turn, one) for one in data for proxy in proxies]
        highest = 0
        while not all(call.ready() for call in calls):
            for relay in (first, second):
                # The reader on one side stops and goes.
                for side, flowing in (("up", relay.flowing_up), ("down", relay.flowing_down)):
                    if side == slow:
                        flowing.clear() if flowing.is_set() else flowing.set()
            highest = max([highest, *(stream.out.size + stream._held for stream in hub_state().streams)])
            gevent.sleep(0.002)
        assert [call.get() for call in calls] == [one[::-1] for one in data for _ in proxies]
        # What waits is one message over the mark, and the results of those calls that were granted: 16 MiB.
        assert highest < 24 << 20
        for relay in (first, second):
            relay.flowing_up.set()
            relay.flowing_down.set()
        for proxy in proxies:
            proxy._release()
