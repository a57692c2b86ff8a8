"""What a call hands on: deadlines, and being stopped, in this process and across others."""

from __future__ import annotations

import time

import gevent
import pytest
from gevent.event import Event

import gpyro
from gpyro import core, sessions
from gpyro.errors import TimeoutError
from gpyro.tls import CallCancelled
from tests.programs import program
from tests.support import eventually, serving, turns


class Thing(core.ObjBase):
    def __init__(self):
        super().__init__()
        self.began, self.ended, self.stopped = [], [], []
        self.go_on = Event()
        self.next = None

    def echo(self, value):
        return value

    def wait(self, number=0):
        self.began.append(number)
        try:
            self.go_on.wait()
        except BaseException as error:
            self.stopped.append((number, type(error)))
            raise
        self.ended.append(number)
        return number

    def left(self):
        return gpyro.time_left()

    def left_in_a_greenlet(self):
        return gevent.spawn(gpyro.time_left).get()

    def ask_next(self, method, *arguments):
        return getattr(self.next, method)(*arguments)

    def shielded(self):
        self.began.append("shielded")
        with gpyro.shield(), gpyro.shield():
            self.go_on.wait()
            self.ended.append("critical")
        self.ended.append("rest")

    def stubborn(self):
        try:
            self.wait("stubborn")
        except CallCancelled:
            return "came all the same"


@pytest.fixture
def served():
    obj = Thing()
    with serving(obj) as daemon:
        proxy = daemon.getProxyForObj(obj)
        yield obj, daemon, proxy
        obj.go_on.set()
        proxy._release()


def late(function, *arguments):
    began = time.monotonic()
    with pytest.raises(TimeoutError) as caught:
        function(*arguments)
    return caught.value, time.monotonic() - began


# Deadlines


def test_within_the_block_all_calls_have_the_time_together(served):
    obj, _, proxy = served
    with gpyro.deadline(2):
        assert proxy.echo(1) == 1
        assert 0 < gpyro.time_left() <= 2
        error, seconds = late(proxy.wait)
        assert error.phase == "running"
        assert seconds <= 30
        assert gpyro.time_left() == 0
        assert late(proxy.echo, 2)[0].phase in ("connecting", "queued", "running")
    assert gpyro.time_left() is None
    assert proxy.echo(3) == 3
    eventually(lambda: obj.stopped == [(0, CallCancelled)])


def test_it_can_only_be_shortened():
    with gpyro.deadline(10):
        outer = gpyro.time_left()
        with gpyro.deadline(100):
            assert gpyro.time_left() <= outer
        with gpyro.deadline(1):
            assert gpyro.time_left() <= 1
        assert gpyro.time_left() > 5


def test_the_shorter_of_deadline_and_timeout_counts(served):
    _, _, proxy = served
    proxy._setTimeout(50)
    with gpyro.deadline(0.05):
        assert late(proxy.wait)[1] < 30
    proxy._setTimeout(0.05)
    with gpyro.deadline(50):
        assert late(proxy.wait)[1] < 30


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_a_deadline_is_positive(seconds):
    with pytest.raises(ValueError, match="a positive number of seconds"), gpyro.deadline(seconds):
        pass


def test_greenlets_that_are_spawned_in_the_block_have_it_and_their_brothers_do_not(served):
    _, _, _proxy = served
    seen = {}

    def brother():
        seen["brother"] = gpyro.time_left()

    def one():
        with gpyro.deadline(5):
            gevent.spawn(lambda: seen.update(child=gpyro.time_left())).join()
            gevent.sleep(0)
        seen["after"] = gpyro.time_left()

    gevent.joinall([gevent.spawn(one), gevent.spawn(brother)])
    assert 0 < seen["child"] <= 5
    assert seen["brother"] is seen["after"] is None


def test_the_method_knows_what_is_left(served):
    _, _, proxy = served
    assert proxy.left() is None
    proxy._setTimeout(20)
    assert 10 < proxy.left() <= 20.1
    assert 10 < proxy.left_in_a_greenlet() <= 20.1


def test_what_is_left_is_handed_on_by_nested_calls(served):
    obj, _, proxy = served
    other = Thing()
    with serving(other) as daemon:
        obj.next = daemon.getProxyForObj(other)
        obj.next._setTimeout(1000)
        assert proxy.ask_next("left") > 900
        with gpyro.deadline(20):
            assert 10 < proxy.ask_next("left") <= 20.1
        with gpyro.deadline(2):
            late(proxy.ask_next, "wait")
        eventually(lambda: other.stopped == [(0, CallCancelled)])
        assert proxy.echo(1) == 1
        assert obj.next.echo(2) == 2
        obj.next._release()


NEXT = """
    import sys, gevent
    from gpyro import core
    class Next(core.ObjBase):
        def __init__(self, uri):
            core.ObjBase.__init__(self)
            self.next = core.getProxyForURI(uri) if uri else None
        def wait(self):
            print("began", flush=True)
            try:
                return self.next.wait() if self.next else gevent.sleep(30)
            except BaseException as error:
                print(type(error).__name__, flush=True)
                raise
    daemon = core.Daemon()
    print(daemon.connect(Next(sys.argv[1] if len(sys.argv) > 1 else "")), flush=True)
    daemon.requestLoop()
"""


@pytest.mark.parametrize("how", ["deadline", "kill", "gevent.Timeout"])
def test_a_chain_over_processes_is_stopped_to_its_end(how):
    with program(NEXT) as last, program(NEXT, last.line()) as middle, program(NEXT, middle.line()) as first:
        proxy = core.getProxyForURI(first.line())

        def call():
            if how == "deadline":
                with gpyro.deadline(2):
                    proxy.wait()
            proxy.wait()

        calling = gevent.spawn(call)
        assert [one.line() for one in (first, middle, last)] == ["began"] * 3
        if how == "kill":
            calling.kill()
        elif how == "Timeout":
            calling.throw(gevent.Timeout(0))
        elif how != "deadline":
            calling.kill(gevent.Timeout(0), block=False)
        assert first.line() in ("CallCancelled", "TimeoutError")
        assert middle.line() in ("CallCancelled", "TimeoutError")
        assert last.line() == "CallCancelled"
        calling.join()
        proxy._release()


def test_never_early_and_not_much_late(served):
    """The aims are measured elsewhere; never early is a promise."""
    _, _, proxy = served
    seconds = [0.005 + 0.0007 * number for number in range(100)]

    def call(limit):
        own = proxy.__copy__()
        own._setTimeout(limit)
        began = time.monotonic()
        try:
            own.wait()
        except TimeoutError:
            return time.monotonic() - began - limit
        finally:
            own._release()

    over = [one.get() for one in [gevent.spawn(call, limit) for limit in seconds]]
    assert min(over) >= 0


def test_the_server_does_not_start_a_call_whose_time_is_over():
    class Serial(core.SynchronizedObjBase, Thing):
        def __init__(self):
            core.SynchronizedObjBase.__init__(self)
            Thing.__init__(self)

    obj = Serial()
    with serving(obj) as daemon:
        first, second = daemon.getProxyForObj(obj), daemon.getProxyForObj(obj)
        waiting = gevent.spawn(first.wait, "first")
        eventually(lambda: obj.began == ["first"])
        second._setTimeout(0.05)
        late(second.wait, "second")
        obj.go_on.set()
        assert waiting.get() == "first"
        second._setTimeout(None)
        assert second.echo(1) == 1
        assert obj.began == ["first"]


# Being stopped


def test_a_killed_caller_s_call_is_stopped_and_the_channel_stays(served):
    obj, daemon, proxy = served
    assert proxy.echo(0) == 0
    (channel,) = daemon.connections
    callers = [gevent.spawn(proxy.wait, number) for number in range(20)]
    eventually(lambda: len(obj.began) == 20)
    for caller in callers[::2]:
        caller.kill()
    eventually(lambda: len(obj.stopped) == 10)
    assert {number for number, _ in obj.stopped} == set(range(0, 20, 2))
    obj.go_on.set()
    assert [caller.get() for caller in callers[1::2]] == list(range(1, 20, 2))
    assert daemon.connections == [channel]
    assert not channel.closed


def test_a_shield_puts_it_off(served):
    obj, _, proxy = served
    caller = gevent.spawn(proxy.shielded)
    eventually(lambda: obj.began)
    caller.kill()
    turns(5)
    assert obj.ended == []
    obj.go_on.set()
    eventually(lambda: obj.ended == ["critical"])
    turns(5)
    assert obj.ended == ["critical"]
    assert proxy.echo(1) == 1


def test_a_shield_that_nobody_tests_does_nothing(served):
    obj, _, proxy = served
    obj.go_on.set()
    proxy.shielded()
    assert obj.ended == ["critical", "rest"]
    with gpyro.shield():
        pass


def test_a_method_may_end_in_its_own_way(served):
    obj, _, proxy = served
    caller = gevent.spawn(proxy.stubborn)
    eventually(lambda: obj.began)
    caller.kill()
    eventually(lambda: obj.stopped)
    assert proxy.echo(1) == 1


def test_greenlets_of_the_method_s_own_are_left_alone(served):
    obj, _, proxy = served
    helpers = []

    def help_out():
        helpers.append(gevent.spawn(obj.go_on.wait))
        obj.began.append("helped")
        helpers[0].join()

    obj.help_out = help_out
    type(obj).help_out = lambda self: help_out()
    caller = gevent.spawn(proxy.help_out)
    eventually(lambda: obj.began)
    caller.kill()
    turns(5)
    assert not helpers[0].ready()
    obj.go_on.set()
    assert helpers[0].get() is True
    del type(obj).help_out


def test_being_stopped_is_no_error_in_the_log(served, caplog):
    obj, _, proxy = served
    caller = gevent.spawn(proxy.wait)
    eventually(lambda: obj.began)
    caller.kill()
    eventually(lambda: obj.stopped)
    assert proxy.echo(1) == 1
    turns()
    assert not [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")]


def test_many_that_are_stopped_leave_nothing(served):
    obj, daemon, proxy = served
    for _ in range(20):
        callers = [gevent.spawn(proxy.wait, number) for number in range(50)]
        turns(2)
        gevent.killall(callers)
        assert proxy.echo(1) == 1
    eventually(lambda: len(obj.stopped) == len(obj.began))
    (channel,) = daemon.connections
    eventually(lambda: not channel.serving and not channel.in_calls)


# The context


class Asked(core.ObjBase):
    def __init__(self):
        super().__init__()
        self.next = None

    def context(self):
        context = gpyro.current_context()
        assert context is not None
        return {
            "id": context.correlation_id,
            "trace": context.traceparent,
            "annotations": context.annotations,
            "host": context.caller.addr[0],
            "left": context.time_left,
        }

    def in_a_greenlet(self):
        return gevent.spawn(self.context).get()

    def answer(self, **annotations):
        gpyro.current_context().answer_annotations.update(annotations)
        return "answer"

    def answer_and_fail(self):
        gpyro.current_context().answer_annotations["why"] = "because"
        raise KeyError("broken")

    def ask_next(self):
        return self.next.context()


TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def asked():
    obj = Asked()
    with serving(obj) as daemon:
        proxy = daemon.getProxyForObj(obj)
        yield obj, proxy
        proxy._release()


@pytest.mark.parametrize("method", ["context", "in_a_greenlet"])
def test_what_a_call_takes_along(asked, method):
    _, proxy = asked
    with gpyro.call_context(annotations={"tenant": "x", "n": 1}, correlation_id="order 5", traceparent=TRACE):
        seen = getattr(proxy, method)()
    assert seen == {
        "id": "order 5",
        "trace": TRACE,
        "annotations": {"tenant": "x", "n": 1},
        "host": "127.0.0.1",
        "left": None,
    }
    without = getattr(proxy, method)()
    assert (without["trace"], without["annotations"]) == (None, {})
    assert len(without["id"]) == 35  # one is made


def test_outside_of_calls_there_is_none():
    assert gpyro.current_context() is None


def test_blocks_add_to_each_other(asked):
    _, proxy = asked
    with gpyro.call_context(annotations={"a": 1, "b": 1}, correlation_id="outer"):
        with gpyro.call_context(annotations={"b": 2}, traceparent=TRACE), gpyro.deadline(20):
            seen = proxy.context()
        assert (seen["id"], seen["trace"], seen["annotations"]) == ("outer", TRACE, {"a": 1, "b": 2})
        assert seen["left"] > 10
        assert proxy.context()["annotations"] == {"a": 1, "b": 1}


def test_id_and_trace_go_on_and_annotations_do_not(asked):
    obj, proxy = asked
    other = Asked()
    with serving(other) as daemon:
        obj.next = daemon.getProxyForObj(other)
        with gpyro.call_context(annotations={"a": 1}, correlation_id="chain", traceparent=TRACE):
            seen = proxy.ask_next()
        assert (seen["id"], seen["trace"], seen["annotations"]) == ("chain", TRACE, {})
        obj.next._release()


def test_answers_bring_annotations_back(asked):
    _, proxy = asked
    with gpyro.call_context() as received:
        assert proxy.answer(a=1, b="text") == "answer"
        assert received == {"a": 1, "b": "text"}
        with pytest.raises(KeyError):
            proxy.answer_and_fail()
        assert received == {"a": 1, "b": "text", "why": "because"}
    assert proxy.answer(c=3) == "answer"
    assert "c" not in received


@pytest.mark.parametrize("bad", [{"a": "x" * 20_000}, {"a": object()}])
def test_annotations_that_cannot_travel(asked, bad, caplog):
    _, proxy = asked
    with pytest.raises(gpyro.errors.SerializationError), gpyro.call_context(annotations=bad):
        proxy.context()
    if isinstance(bad["a"], str):
        with gpyro.call_context() as received:
            assert proxy.answer(**bad) == "answer"
        assert received == {}
        turns()
        assert "the annotations of an answer" in caplog.text


@pytest.mark.parametrize(
    "wrong",
    [
        {"annotations": [1]},
        {"annotations": {1: 2}},
        {"correlation_id": ""},
        {"correlation_id": "x" * 129},
        {"correlation_id": "a\nb"},
        {"traceparent": "nonsense"},
        {"traceparent": TRACE.replace("b7ad6b7169203331", "0" * 16)},
        {"traceparent": TRACE + "\n"},
    ],
    ids=str,
)
def test_what_cannot_be_taken_along(wrong):
    with pytest.raises((TypeError, ValueError)), gpyro.call_context(**wrong):
        pass


@pytest.mark.parametrize(
    "fields", [{"id": 5}, {"id": "x" * 200}, {"traceparent": b"x"}, {"annotations": 5}, {"deadline": "x"}], ids=str
)
def test_a_peer_that_sends_nonsense(asked, monkeypatch, fields):
    _, proxy = asked
    proxy._setTimeout(20)
    monkeypatch.setattr(sessions, "with_deadline", lambda old, until: fields)
    seen = proxy.context()
    assert len(seen["id"]) == 35
    assert (seen["trace"], seen["annotations"], seen["left"]) == (None, {}, None)
