from __future__ import annotations

import time
from time import monotonic

import gevent
import pytest
from greenlet import getcurrent

from gpyro.errors import NotSentError, TimeoutError
from gpyro.net.calls import OutgoingCall, Turnstile
from tests.support import turns


class Gate:
    """Room for so many bytes, and who went through in which order."""

    def __init__(self, room=0):
        self.room = room
        self.passed = []
        self.turnstile = Turnstile(gevent.get_hub(), lambda size: size <= self.room)

    def enter(self, name, size=1, seconds=None):
        deadline = None if seconds is None else monotonic() + seconds
        self.turnstile.wait(getcurrent(), size, deadline)
        self.room -= size
        self.passed.append(name)
        self.turnstile.passed()

    def spawn(self, *arguments, **keywords):
        made = gevent.spawn(self.enter, *arguments, **keywords)
        turns(1)
        return made

    def give(self, room):
        self.room += room
        self.turnstile.advance()
        turns(3)


@pytest.fixture
def gate():
    return Gate()


def test_who_may_goes_at_once(gate):
    gate.room = 1
    gate.enter("a")
    assert gate.passed == ["a"]
    assert not gate.turnstile.busy


def test_all_pass_in_the_order_of_arrival(gate):
    for name in range(20):
        gate.spawn(name)
    gate.give(5)
    assert gate.passed == [0, 1, 2, 3, 4]
    gate.give(100)
    assert gate.passed == list(range(20))
    assert not gate.turnstile.busy


def test_a_small_one_does_not_overtake_a_large_one(gate):
    gate.spawn("large", 10)
    gate.spawn("small", 1)
    gate.give(5)
    assert gate.passed == []
    gate.give(6)
    assert gate.passed == ["large", "small"]


def test_the_deadline_ends_the_wait_in_its_phase(gate):
    with pytest.raises(TimeoutError) as caught:
        gate.enter("late", seconds=0.01)
    assert caught.value.phase == "queued"
    assert not caught.value.may_have_run
    gate.give(1)
    assert gate.passed == []
    assert gate.room == 1


def test_who_leaves_lets_the_next_through(gate):
    first = gate.spawn("large", 10)
    gate.spawn("small", 1)
    gate.give(1)
    first.kill()
    turns(3)
    assert gate.passed == ["small"]


def test_who_is_killed_when_its_turn_has_come_hands_it_on(gate):
    first = gate.spawn("first")
    gate.spawn("second")
    gate.room = 1
    gate.turnstile.advance()  # the first one's turn is under way
    first.kill(block=False)
    turns(3)
    assert len(gate.passed) == 1
    gate.give(1)
    assert gate.passed in (["second"], ["first", "second"])
    assert not gate.turnstile.busy


def test_what_is_thrown_into_a_waiting_one_comes_out(gate):
    with pytest.raises(gevent.Timeout), gevent.Timeout(0.01):
        gate.enter("a")
    assert not gate.turnstile.busy


def test_a_wake_up_by_somebody_else_is_no_turn(gate):
    waiting = gate.spawn("a")
    gevent.get_hub().loop.run_callback(waiting.switch)
    turns(3)
    assert gate.passed == []
    gate.give(1)
    assert gate.passed == ["a"]


def test_closing_sends_everybody_away(gate):
    waiting = [gate.spawn(name) for name in range(3)]
    gate.turnstile.close(NotSentError("lost"))
    gevent.joinall(waiting, timeout=30)
    for one in waiting:
        assert isinstance(one.exception, NotSentError)
        one._exc_info = None  # it was looked at
    assert gate.passed == []


def test_an_answer_wakes_the_caller_once():
    call = OutgoingCall(getcurrent(), 5, 7)
    assert (call.size, call.position) == (5, 7)
    loop = gevent.get_hub().loop
    loop.run_callback(call.settle, NotSentError("first"))
    loop.run_callback(call.settle, NotSentError("second"))
    gevent.get_hub().switch()
    assert str(call.answer) == "first"
    turns(2)
    assert str(call.answer) == "first"


def test_nobody_is_woken_who_left():
    call = OutgoingCall(getcurrent(), 0, 0)
    call.caller = None
    gevent.get_hub().loop.run_callback(call.settle, NotSentError("late"))
    gevent.get_hub().loop.run_callback(call.expire)
    turns(2)
    assert call.answer is None


def test_the_deadline_of_a_running_call():
    call = OutgoingCall(getcurrent(), 0, 0)
    gevent.get_hub().loop.run_callback(call.expire)
    gevent.get_hub().switch()
    assert isinstance(call.answer, TimeoutError)
    assert call.answer.phase == "running"
    assert call.answer.may_have_run


def test_a_deadline_counts_from_now_though_the_loop_has_not_looked_at_the_clock_for_long(gate):
    gevent.spawn_later(0.05, gate.give, 1)
    time.sleep(1.2)
    gate.enter("in time", seconds=1.1)
    assert gate.passed == ["in time"]
