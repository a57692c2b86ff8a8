"""Observers of calls."""

from __future__ import annotations

import gevent
import pytest
from gevent.event import Event

import gpyro
from gpyro import core
from gpyro.errors import NotSentError, TimeoutError
from tests.support import eventually, serving, turns


class Thing(core.ObjBase):
    def __init__(self):
        super().__init__()
        self.value = 5
        self.go_on = Event()

    def echo(self, value):
        return value

    def fail(self):
        raise KeyError("broken")

    def wait(self):
        self.go_on.wait()

    def ask(self, proxy):
        return proxy.echo("nested")


class Notes(gpyro.Observer):
    def __init__(self):
        self.began, self.ended = [], []

    def call_began(self, call):
        assert call.outcome is None
        assert call.duration is None
        call.data["mark"] = len(self.began)
        self.began.append((call.side, call.method))

    def call_ended(self, call):
        assert call.duration >= 0
        self.ended.append((call.side, call.method, call.outcome))
        self.last = call, call.error, call.data.get("mark")

    def of(self, side):
        return [rest for which, *rest in self.ended if which == side]


@pytest.fixture
def watched():
    obj, notes = Thing(), Notes()
    with serving(obj) as daemon:
        proxy = daemon.getProxyForObj(obj)
        proxy.adapter.rebindURI(1)
        end = gpyro.observe(notes)
        yield obj, proxy, notes
        end()
        obj.go_on.set()
        proxy._release()


def test_both_ends_see_a_call(watched):
    _, proxy, notes = watched
    assert proxy.echo(1) == 1
    assert notes.began == [("client", "echo"), ("server", "echo")]
    assert notes.ended == [("server", "echo", "ok"), ("client", "echo", "ok")]
    call, error, mark = notes.last
    assert (call.target, error, mark) == (str(proxy.URI), None, 0)


def test_errors(watched):
    _, proxy, notes = watched
    with pytest.raises(KeyError):
        proxy.fail()
    assert notes.ended == [("server", "fail", "error"), ("client", "fail", "error")]
    assert isinstance(notes.last[1], KeyError)
    with pytest.raises(AttributeError):
        proxy.nothing()
    assert notes.of("client")[1:] == [["nothing", "error"]]


def test_deadlines_and_cancelled_calls(watched):
    _, proxy, notes = watched
    with pytest.raises(TimeoutError), gpyro.deadline(2):
        proxy.wait()
    eventually(lambda: notes.of("server") == [["wait", "cancelled"]])
    assert notes.of("client") == [["wait", "late"]]
    caller = gevent.spawn(proxy.wait)
    turns(5)
    caller.kill()
    eventually(lambda: notes.of("server") == [["wait", "cancelled"]] * 2)
    assert notes.of("client")[1:] == [["wait", "cancelled"]]


def test_no_server():
    notes = Notes()
    end = gpyro.observe(notes)
    with pytest.raises(NotSentError):
        core.getProxyForURI("PYRO://127.0.0.1:1/x").echo(1)
    end()
    assert notes.ended == [("client", "echo", "refused")]


def test_an_unknown_object(watched):
    _, proxy, notes = watched
    other = core.getProxyForURI(f"PYRO://127.0.0.1:{proxy.URI.port}/unknown")
    with pytest.raises(gpyro.errors.ProtocolError):
        other.echo(1)
    assert notes.of("client") == [["echo", "refused"]]
    assert [outcome for _, outcome in notes.of("server")] == ["error"]
    other._release()


def test_attributes_batches_and_one_way_calls(watched):
    _obj, proxy, notes = watched
    attributes = core.getAttrProxyForURI(proxy.URI)
    assert attributes.value == 5
    attributes.value = 6
    batch = gpyro.batch(proxy)
    batch.echo(1)
    assert batch() == [1]
    assert notes.of("client") == notes.of("server") == [["(get)", "ok"], ["(set)", "ok"], ["(batch)", "ok"]]
    proxy._setOneway("echo")
    proxy.echo(1)
    assert notes.of("client")[3:] == [["echo", "ok"]]
    eventually(lambda: notes.of("server")[3:] == [["echo", "ok"]])
    attributes._release()


def test_nested_calls(watched):
    _, proxy, notes = watched
    assert proxy.ask(proxy) == "nested"
    assert notes.began == [("client", "ask"), ("server", "ask"), ("client", "echo"), ("server", "echo")]
    assert [method for _, method, _ in notes.ended] == ["echo", "echo", "ask", "ask"]


def test_an_observer_that_fails_is_logged_and_nothing_to_the_call(watched, caplog):
    _, proxy, notes = watched

    class Broken(gpyro.Observer):
        def call_began(self, call):
            raise KeyError("broken observer")

        def call_ended(self, call):
            raise KeyError("broken observer")

    end = gpyro.observe(Broken())
    assert proxy.echo(1) == 1
    end()
    assert "an observer of calls failed" in caplog.text
    assert len(notes.ended) == 2


def test_one_that_comes_or_goes_in_the_middle_sees_whole_calls(watched):
    obj, proxy, notes = watched
    calling = gevent.spawn(proxy.wait)
    turns(5)
    late = Notes()
    end = gpyro.observe(late)
    obj.go_on.set()
    calling.get(timeout=30)
    assert late.ended == []
    assert len(notes.ended) == 2
    end()
    end()
    assert proxy.echo(1) == 1
    assert late.began == []


def test_only_observers():
    with pytest.raises(TypeError, match=r"derived from gpyro\.Observer"):
        gpyro.observe(print)  # type: ignore[arg-type]
