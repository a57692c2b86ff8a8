from __future__ import annotations

import socket
from time import monotonic

import gevent
import gevent.socket
import pytest
from gevent.event import Event

from gpyro.errors import NotSentError, TimeoutError
from gpyro.net import resolve
from gpyro.net.hub import hub_state
from gpyro.net.resolve import Resolver
from tests.support import eventually, turns

FOUND = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 0))]


class Directory:
    """Stands for the system's look-up."""

    def __init__(self):
        self.asked = []
        self.open = Event()
        self.open.set()
        self.outcome = FOUND

    def __call__(self, host, *arguments):
        self.asked.append(host)
        self.open.wait()
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.outcome


@pytest.fixture
def directory(monkeypatch):
    directory = Directory()
    monkeypatch.setattr(resolve.gevent.socket, "getaddrinfo", directory)
    return directory


@pytest.fixture
def resolver():
    return Resolver(hub_state())


def ask(resolver, host="some.host", port=80, seconds=5.0, remember=5.0):
    return resolver.endpoints(host, port, monotonic() + seconds, remember)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_literals_are_not_looked_up(resolver, directory, host):
    ((_, address),) = ask(resolver, host)
    assert address[:2] == (host, 80)
    assert directory.asked == []


def test_the_port_stands_in_every_address(resolver, directory):
    directory.outcome = [*FOUND, (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("2001:db8::1", 0, 0, 2))]
    assert ask(resolver, port=81) == [
        (socket.AF_INET, ("192.0.2.1", 81)),
        (socket.AF_INET6, ("2001:db8::1", 81, 0, 2)),
    ]


def test_one_look_up_at_a_time_serves_all_who_ask(resolver, directory):
    directory.open.clear()
    askers = [gevent.spawn(ask, resolver) for _ in range(50)] + [gevent.spawn(ask, resolver, "other.host")]
    eventually(lambda: len(directory.asked) == 2)
    turns()
    assert sorted(directory.asked) == ["other.host", "some.host"]
    directory.open.set()
    gevent.joinall(askers, timeout=30, raise_error=True)
    assert all(asker.value == [(socket.AF_INET, ("192.0.2.1", 80))] for asker in askers)


def test_an_answer_is_remembered_for_the_set_time_only(resolver, directory, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(resolve, "monotonic", lambda: now[0])
    for moment, asked in ((100.0, 1), (104.9, 1), (105.1, 2)):
        now[0] = moment
        resolver.endpoints("some.host", 80, moment + 5, 5.0)
        assert len(directory.asked) == asked


def test_without_memory_every_call_asks(resolver, directory):
    ask(resolver, remember=0)
    ask(resolver, remember=0)
    assert len(directory.asked) == 2


def test_the_memory_is_bounded(resolver, directory):
    for number in range(resolve.MAX_REMEMBERED + 10):
        ask(resolver, f"host{number}")
    assert len(resolver._known) <= resolve.MAX_REMEMBERED


@pytest.mark.parametrize(
    ("outcome", "text"),
    [
        (socket.gaierror(-2, "Name or service not known"), "Name or service not known"),
        (UnicodeError("label too long"), "label too long"),
        ([], "no address"),
        (RuntimeError("odd"), "odd"),
    ],
)
def test_a_failure_names_host_and_reason_and_is_not_remembered(resolver, directory, outcome, text):
    directory.outcome = outcome
    with pytest.raises(NotSentError, match=f"cannot resolve host 'some.host'.*{text}"):
        ask(resolver)
    directory.outcome = FOUND
    assert ask(resolver)


def test_the_deadline_ends_the_wait_and_the_next_who_asks_gets_the_answer(resolver, directory):
    directory.open.clear()
    with pytest.raises(TimeoutError, match=r"looking up host 'some\.host'") as caught:
        ask(resolver, seconds=0.02)
    assert caught.value.phase == "connecting"
    asker = gevent.spawn(ask, resolver)
    gevent.sleep(0.001)
    directory.open.set()
    assert asker.get(timeout=30)
    assert directory.asked == ["some.host"]


def test_who_leaves_early_does_not_take_the_answer_from_the_others(resolver, directory):
    directory.open.clear()
    first, second = gevent.spawn(ask, resolver), gevent.spawn(ask, resolver)
    gevent.sleep(0.01)
    first.kill()
    directory.open.set()
    assert second.get(timeout=30)
    assert len(directory.asked) == 1
