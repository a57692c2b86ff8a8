from __future__ import annotations

import time
from dataclasses import replace
from time import monotonic

import gevent
import gevent.event
import pytest

from gpyro.errors import (
    ConnectionLostError,
    MaybeExecutedError,
    NotSentError,
    PyroError,
    SerializationError,
    TimeoutError,
)
from gpyro.net.outgoing import HIGH_WATER
from gpyro.wire.frames import MAX_ID, Kind, Refusal, pack, pack_text
from tests.net.peers import (
    SERVING,
    Desk,
    answer_all,
    call,
    channel_and_raw,
    channel_pair,
    echo,
    meddle,
    results,
    spawn,
)
from tests.support import eventually, turns

MIB = 1 << 20


@pytest.fixture
def desk():
    return Desk()


# Calls


def test_ids_go_on_past_the_end_of_their_numbers_with_calls_and_sessions_out(desk):
    with channel_pair(desk) as (near, _):
        session = near.open_session(b"x")
        early = [spawn(call, near, session, b"early %d" % number) for number in range(3)]
        eventually(lambda: len(desk.calls) == 3)
        near.call_ids._last, near.session_ids._last = MAX_ID - 6, MAX_ID - 2
        sessions = [near.open_session(b"x") for _ in range(3)]
        assert sessions == [MAX_ID, 3, 5]  # 1 is in use
        late = [spawn(call, near, sessions[number % 3], b"late %d" % number) for number in range(10)]
        eventually(lambda: len(desk.calls) == 13)
        ids = [one.frame[2] for one in desk.calls]
        assert len(set(ids)) == 13
        assert ids[3:8] == [MAX_ID - 4, MAX_ID - 2, MAX_ID, 7, 9]
        for one in reversed(desk.calls):
            one.answer(one.frame[4])
        assert results(early + late) == [b"early %d" % number for number in range(3)] + [
            b"late %d" % number for number in range(10)
        ]
        assert near.pending == {}


def test_a_call_is_answered_and_calls_overlap():
    with channel_pair() as (near, _):
        session = near.open_session(b"x")
        assert call(near, session, b"one") == b"one"
        bodies = [b"%d" % number for number in range(200)]
        assert results([spawn(call, near, session, body) for body in bodies]) == bodies
        assert near.pending == {}


def test_both_ends_may_call():
    with channel_pair(near_desk=Desk(echo)) as (near, far):
        there, back = near.open_session(b"x"), far.open_session(b"y")
        assert there % 2 == 1
        assert back % 2 == 0
        assert call(far, back, b"back") == b"back"
        assert call(near, there, b"there") == b"there"


def test_calls_start_in_the_order_made_also_when_some_must_wait(desk):
    with channel_pair(desk, hello=replace(SERVING, calls=3)) as (near, _):
        session = near.open_session(b"x")
        order = []
        for number in range(20):
            spawn(call, near, session, b"%d" % number)
        while len(order) < 20:
            eventually(lambda: desk.calls)
            order += [int(one.frame[4]) for one in desk.calls]
            answer_all(desk)
        assert order == list(range(20))
        eventually(lambda: not near.pending)


def test_a_call_from_the_hub_is_refused_before_it_is_sent(desk):
    with channel_pair(desk) as (near, _):
        session = near.open_session(b"x")
        seen = []

        def in_hub():
            for function in (near.request, lambda kind, *rest: near.send_oneway(*rest)):
                try:
                    function(Kind.CALL, session, b"")
                except PyroError as error:
                    seen.append(str(error))

        gevent.get_hub().loop.run_callback(in_hub)
        turns(3)
        assert len(seen) == 2
        assert all("hub" in text for text in seen)
        assert near.pending == {}
        assert desk.calls == []


# Flow control at the sender


def test_no_more_calls_are_out_than_granted(desk):
    with channel_pair(desk, hello=replace(SERVING, calls=3)) as (near, _):
        session = near.open_session(b"x")
        callers = [spawn(call, near, session) for _ in range(10)]
        seen = 0
        while seen < 10:
            eventually(lambda: desk.calls)
            turns(3)
            assert len(near.pending) <= 3
            assert len(desk.calls) <= 3
            desk.calls[0].answer()
            desk.calls.pop(0)
            seen += 1
        results(callers)


def test_no_more_bytes_are_out_than_granted(desk):
    with channel_pair(desk, hello=replace(SERVING, size=10_000)) as (near, far):
        session = near.open_session(b"x")
        callers = [spawn(call, near, session, bytes(4000)) for _ in range(7)]
        seen = 0
        while seen < 7:
            eventually(lambda: desk.calls)
            turns(3)
            assert far.in_bytes <= 10_000
            seen += answer_all(desk)
        results(callers)
        assert far.in_bytes == far.in_calls == 0


def test_a_single_call_larger_than_the_grant_goes_when_it_is_alone(desk):
    with channel_pair(desk, hello=replace(SERVING, size=10_000)) as (near, far):
        session = near.open_session(b"x")
        small = spawn(call, near, session, b"small")
        eventually(lambda: desk.calls)
        large = spawn(call, near, session, bytes(50_000))
        behind = spawn(call, near, session, b"behind")
        turns(5)
        assert len(desk.calls) == 1
        for expected in (5, 50_000, 6):
            eventually(lambda: desk.calls)
            turns(3)
            assert [len(one.frame[4]) for one in desk.calls] == [expected]
            answer_all(desk)
        assert [len(body) for body in results([small, large, behind])] == [5, 50_000, 6]
        assert not far.closed


def test_the_wait_for_credit_is_within_the_deadline(desk):
    with channel_pair(desk, hello=replace(SERVING, calls=1)) as (near, _):
        session = near.open_session(b"x")
        first = spawn(call, near, session, b"first")
        turns(3)
        with pytest.raises(TimeoutError) as caught:
            call(near, session, b"late", 0.01)
        assert caught.value.phase == "queued"
        assert not caught.value.may_have_run
        second = spawn(call, near, session, b"second")
        for _ in range(2):
            eventually(lambda: desk.calls)
            answer_all(desk)
        assert results([first, second]) == [b"first", b"second"]


@pytest.mark.parametrize("leave", ["kill", "timeout"])
def test_who_leaves_the_queue_is_never_sent(desk, leave):
    with channel_pair(desk, hello=replace(SERVING, calls=1)) as (near, _):
        session = near.open_session(b"x")
        first = spawn(call, near, session, b"first")
        turns(2)

        def impatient():
            with gevent.Timeout(0.01, False):
                call(near, session, b"never")

        leaving = gevent.spawn(impatient)
        second = spawn(call, near, session, b"second")
        turns(2)
        if leave == "kill":
            leaving.kill()
        leaving.join()
        bodies = []
        for _ in range(2):
            eventually(lambda: desk.calls)
            bodies += [one.frame[4] for one in desk.calls]
            answer_all(desk)
        results([first, second])
        assert bodies == [b"first", b"second"]


def test_one_way_calls_take_from_the_grant_and_get_it_back():
    done = []
    go = gevent.event.Event()

    def work(one):
        go.wait()
        done.append(one.frame[4])
        one.channel.oneway_done(one.frame)

    desk = Desk(work)
    with channel_pair(desk, hello=replace(SERVING, calls=4, size=1000)) as (near, far):
        session = near.open_session(b"x")
        senders = [spawn(near.send_oneway, session, b"%d" % number) for number in range(20)]
        turns(5)
        assert len(desk.calls) == 4
        go.set()
        results(senders)
        eventually(lambda: len(done) == 20)
        assert done == [b"%d" % number for number in range(20)]
        eventually(lambda: near.window.calls == 4)
        assert near.window.bytes == 1000
        assert far.in_calls == far.in_bytes == 0


def test_a_call_larger_than_the_peer_takes_fails_where_it_is_sent():
    with channel_pair(hello=replace(SERVING, message=10_000)) as (near, far):
        session = near.open_session(b"x")
        for function in (call, lambda *rest: near.send_oneway(*rest[1:])):
            with pytest.raises(SerializationError, match=r"10[, ]?000"):
                function(near, session, bytes(10_001))
        assert call(near, session, bytes(10_000)) == bytes(10_000)
        assert not far.closed


def test_callers_wait_while_the_output_is_full(desk):
    with channel_pair(desk, size=8192) as (near, far):
        sock = meddle(far)
        session = near.open_session(b"x")
        far._read_watcher.stop()
        callers = [spawn(call, near, session, bytes(MIB)) for _ in range(8)]
        turns(5)
        assert near.out.size <= HIGH_WATER + MIB + 1000
        with pytest.raises(TimeoutError) as caught:
            call(near, session, b"", 0.01)
        assert caught.value.phase == "queued"
        far._read_watcher.start(far._on_readable, pass_events=True)
        sock.most = 8192
        eventually(lambda: len(desk.calls) == 8)
        answer_all(desk)
        results(callers)


# Callers who leave


def test_a_late_answer_is_dropped_and_takes_its_entry_along(desk):
    with channel_pair(desk) as (near, _):
        session = near.open_session(b"x")
        with pytest.raises(TimeoutError) as caught:
            call(near, session, b"late", 0.01)
        assert caught.value.phase == "running"
        assert caught.value.may_have_run
        assert len(near.pending) == 1
        eventually(lambda: desk.calls[0].cancelled)
        late = desk.calls[:]
        other = spawn(call, near, session, b"next")
        eventually(lambda: len(desk.calls) == 2)
        late[0].answer(b"late")
        eventually(lambda: len(near.pending) == 1)
        turns(2)
        assert not other.ready()
        desk.calls[1].answer(b"next")
        assert results([other]) == [b"next"]
        assert near.pending == {}
        assert near.window.calls == SERVING.calls


@pytest.mark.parametrize("how", ["kill", "timeout", "deadline"])
def test_a_late_answer_does_not_disturb_what_the_caller_does_next(desk, how):
    with channel_pair(desk) as (near, _):
        session = near.open_session(b"x")
        slept = []

        def caller():
            try:
                with gevent.Timeout(0.01 if how == "timeout" else None):
                    call(near, session, b"late", 0.01 if how == "deadline" else None)
            except (gevent.Timeout, TimeoutError, gevent.GreenletExit):
                pass
            begin = monotonic()
            gevent.sleep(0.05)
            slept.append(monotonic() - begin)

        greenlet = gevent.spawn(caller)
        eventually(lambda: desk.calls)
        if how == "kill":
            greenlet.kill(block=False)
        eventually(lambda: desk.calls[0].cancelled)
        answer_all(desk)
        eventually(lambda: slept)
        assert slept[0] >= 0.045


def test_an_answer_that_comes_in_the_moment_of_leaving_is_no_harm(desk):
    with channel_pair(desk) as (near, _):
        session = near.open_session(b"x")
        for _ in range(20):
            caller = spawn(call, near, session, b"x")
            eventually(lambda: desk.calls)
            answer_all(desk)
            caller.kill(block=False)
            caller.join(30)
        last = spawn(call, near, session, b"last")
        eventually(lambda: desk.calls)
        answer_all(desk)
        assert results([last]) == [b"last"]
        eventually(lambda: not near.pending)


# The end


def test_the_end_answers_who_waits_for_credit(desk):
    with channel_pair(desk, hello=replace(SERVING, calls=1)) as (near, _):
        session = near.open_session(b"x")
        out = spawn(call, near, session)
        eventually(lambda: desk.calls)
        waiting = [spawn(call, near, session) for _ in range(3)]
        turns(2)
        near.close("cut")
        assert isinstance(results([out])[0], MaybeExecutedError)
        for error in results(waiting):
            assert type(error) is ConnectionLostError
            assert "cut" in str(error)


@pytest.mark.parametrize("end", ["broken rule", "closed", "go away"])
def test_the_end_comes_in_the_moment_when_one_was_let_through(end):
    """The answer that makes room and what ends the channel arrive together."""
    with channel_and_raw(connecting=True) as (channel, raw):
        channel.window.calls = channel.window.granted_calls = 1
        session = channel.open_session(b"x")
        first = spawn(call, channel, session)
        turns(2)
        waiting = [spawn(call, channel, session) for _ in range(2)]
        turns(2)
        assert raw.read()[0] == Kind.OPEN
        number = raw.read()[2]
        last = {"broken rule": pack(Kind.RESULT, 99), "closed": b"", "go away": pack_text(Kind.GOAWAY, 7, "bye")}[end]
        raw.send(pack(Kind.RESULT, number, body=b"done") + last)
        if end == "closed":
            raw.sock.shutdown(1)
            channel.state.run_in_hub(lambda: (channel._on_readable(), channel._on_readable()))
        assert results([first]) == [b"done"]
        for error in results(waiting, 3):
            assert isinstance(error, NotSentError), error


def test_go_away_lets_running_calls_finish_and_no_new_ones_begin(desk):
    with channel_pair(desk) as (near, far):
        session = near.open_session(b"x")
        running = spawn(call, near, session, b"running")
        eventually(lambda: desk.calls)
        far.send(far.wire.goodbye(Refusal.DRAINING))
        eventually(lambda: near.draining)
        assert near.owner.said
        with pytest.raises(NotSentError, match="shutting down"):
            call(near, session)
        with pytest.raises(NotSentError, match="shutting down"):
            near.open_session(b"y")
        answer_all(desk)
        assert results([running]) == [b"running"]


@pytest.mark.parametrize("end", ["closed", "go away"])
def test_what_came_while_the_loop_could_not_run_is_noticed(end):
    with channel_and_raw(connecting=True) as (channel, raw):
        channel.read_up_to = 0.0
        assert not channel.has_unread()
        # Past gevent, which might let the loop run.
        if end == "closed":
            raw.sock._sock.shutdown(1)
        else:
            raw.sock._sock.send(pack_text(Kind.GOAWAY, 7, "bye"))
        channel.read_up_to = monotonic() + 60
        assert not channel.has_unread(), "nobody looks so soon after an answer"
        channel.read_up_to = 0.0
        assert channel.has_unread()
        assert channel.usable
        turns()
        assert not channel.usable


def test_the_last_session_makes_it_idle(desk):
    with channel_pair(desk) as (near, _):
        near.close_session(near.open_session(b"x"))
        assert near.owner.idle == 1


def test_no_more_sessions_than_granted():
    with channel_pair(hello=replace(SERVING, sessions=2)) as (near, far):
        for _ in range(2):
            near.open_session(b"x")
        with pytest.raises(NotSentError, match="grants 2 sessions"):
            near.open_session(b"x")
        assert not far.closed


def test_a_deadline_counts_from_now_though_the_loop_has_not_looked_at_the_clock_for_long():
    """As in a program that computes for a while, or whose foreign loop did something else."""
    with channel_pair() as (near, _):
        session = near.open_session(b"x")
        turns(1)
        time.sleep(1.2)
        assert call(near, session, b"in time", seconds=1.1) == b"in time"


def test_a_released_sessions_calls_are_not_sent(desk):
    with channel_pair(desk, hello=replace(SERVING, calls=1)) as (near, far):
        kept, released = near.open_session(b"x"), near.open_session(b"y")
        first = spawn(call, near, kept, b"first")
        eventually(lambda: desk.calls)
        waiting = spawn(call, near, released, b"never")
        last = spawn(call, near, kept, b"last")
        turns(2)
        near.close_session(released)
        answer_all(desk)
        eventually(lambda: desk.calls)
        answer_all(desk)
        assert results([first, last]) == [b"first", b"last"]
        assert isinstance(results([waiting])[0], NotSentError)
        assert not far.closed


def test_only_calls_that_are_out_keep_the_loop_alive(desk):
    with channel_pair(desk) as (near, _):
        session = near.open_session(b"x")
        turns(2)
        assert not near._read_watcher.ref
        caller = spawn(call, near, session)
        eventually(lambda: desk.calls)
        assert near._read_watcher.ref
        answer_all(desk)
        results([caller])
        eventually(lambda: not near._read_watcher.ref)


# Calls that nobody waits for


def test_who_is_told_the_answer_needs_no_greenlet(desk):
    told = []
    with channel_pair(Desk(echo)) as (near, _):
        session = near.open_session(b"x")
        assert near.request_soon(session, b"small", told.append)
        assert near.request_soon(session, b"x" * 100_000, told.append)
        eventually(lambda: len(told) == 2)
        assert [frame[4] for frame in told] == [b"small", b"x" * 100_000]
        assert not near.pending
        assert near.window.calls == SERVING.calls
        assert not near.request_soon(session + 2, b"", told.append)  # no such session
        assert not near.request_soon(session, b"x" * (near.peer_limit + 1), told.append)
        with pytest.raises(SerializationError, match="over the"):
            near.wait_for_room(session, near.peer_limit + 1)
        near.close("the end")
        assert not near.request_soon(session, b"", told.append)
        with pytest.raises(ConnectionLostError):
            near.wait_for_room(session, 1)
    assert len(told) == 2


def test_who_is_told_hears_of_the_end(desk):
    told = []
    with channel_pair(desk) as (near, _):
        session = near.open_session(b"x")
        assert near.request_soon(session, b"a", told.append)
        eventually(lambda: desk.calls)
        assert near.request_soon(session, b"b", told.append)
        near.close("the end")
        eventually(lambda: len(told) == 2)
        assert [type(error) for error in told] == [MaybeExecutedError, ConnectionLostError]


def test_without_room_in_the_window_one_can_wait_for_it(desk):
    told = []
    with channel_pair(desk) as (near, _):
        session = near.open_session(b"x")
        count = 0
        while near.request_soon(session, b"x", told.append):
            count += 1
        assert count == SERVING.calls
        waiting = gevent.spawn(near.wait_for_room, session, 1)
        eventually(lambda: len(desk.calls) == count)
        assert not waiting.ready()
        desk.calls.pop(0).answer(b"")
        waiting.get(timeout=30)
        assert near.request_soon(session, b"x", told.append)
        eventually(lambda: len(desk.calls) == count)
        answer_all(desk)
        eventually(lambda: len(told) == count + 1)
