from __future__ import annotations

import errno
import logging

import gevent
import pytest

from gpyro.errors import ConnectionLostError, MaybeExecutedError, ProtocolError
from gpyro.net import stream as streams
from gpyro.net.hub import hub_state
from gpyro.net.outgoing import GATHER_SIZE
from gpyro.wire.frames import Kind, pack
from tests.net.peers import Desk, channel_and_raw, channel_pair, echo, meddle
from tests.support import eventually, turns


class Turns:
    """Counts the turns of the loop."""

    def __init__(self):
        self.count = 0
        self._watcher = hub_state().loop.prepare(ref=False)
        self._watcher.start(self._turn)

    def _turn(self):
        self.count += 1

    def close(self):
        self._watcher.stop()
        self._watcher.close()


@pytest.fixture
def counted():
    made = Turns()
    yield made
    made.close()


def calls_out(channel, count=3):
    """Calls that nobody answers, each in a greenlet that gives its error."""
    session = channel.open_session(b"x")

    def call():
        try:
            channel.request(Kind.CALL, session, b"body")
        except Exception as error:
            return error

    made = [gevent.spawn(call) for _ in range(count)]
    eventually(lambda: len(channel.pending) == count)
    turns(2)
    return made


def outcomes(greenlets):
    gevent.joinall(greenlets, timeout=30)
    assert all(one.ready() for one in greenlets), "a caller hangs"
    return [one.value for one in greenlets]


# Reading


@pytest.mark.parametrize("most", [1, 7, 100])
def test_frames_may_arrive_in_any_pieces(most):
    with channel_pair() as (near, far):
        meddle(near).most = meddle(far).most = most
        session = near.open_session(b"x")
        for size in (0, 1, 500):
            assert near.request(Kind.CALL, session, b"y" * size)[4] == b"y" * size


def test_an_idle_stream_is_not_read():
    with channel_pair() as (near, _):
        sock = meddle(near)
        turns(5)
        assert sock.reads == 0


def test_a_stream_that_ends_tells_so():
    with channel_and_raw() as (channel, raw):
        raw.close()
        eventually(lambda: channel.closed)
        assert channel.reason == "the peer closed the connection"
        assert channel not in hub_state().streams


# Nothing escapes into the hub


ERRORS = [ValueError("injected"), gevent.Timeout(), RecursionError("injected"), MemoryError("injected")]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("where", ["read", "handler", "flush", "timer", "turn", "writable"])
def test_an_exception_in_a_callback_closes_with_a_reason_and_answers_every_waiter(
    where, error, caplog, capsys, monkeypatch
):
    desk = Desk()
    with channel_pair(desk) as (near, far):
        waiting = calls_out(near)

        def fail(*_):
            raise error.with_traceback(None)

        if where == "read":
            meddle(near).error = error
            desk.calls[0].answer(b"")
        elif where == "handler":
            monkeypatch.setattr(type(near), "handlers", [fail] * 256)
            far.send(pack(Kind.PONG))
        elif where == "flush":
            meddle(near).error = error
            near.send(pack(Kind.PONG))
        elif where == "timer":
            near.start_timer(0.001, fail)
        elif where == "turn":
            near.state.run_in_hub(lambda: near._work_later([(0xFF, 0, 0, 0, b"")]))
            monkeypatch.setattr(type(near), "handlers", [fail] * 256)
        else:
            sock = meddle(near)
            sock.room = 0
            near.send(pack(Kind.PONG))
            eventually(lambda: near.out.blocked)
            sock.error = error
        found = outcomes(waiting)
        assert all(isinstance(one, MaybeExecutedError) for one in found)
        assert near.closed
        assert "unexpected error" in near.reason
        eventually(lambda: caplog.records)
        assert [record.levelno for record in caplog.records] == [logging.ERROR]
        assert capsys.readouterr().err == ""
        if isinstance(error, gevent.Timeout):
            error.close()
        eventually(lambda: far.closed)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_what_stops_a_program_closes_too_and_reaches_the_main_greenlet(kind, monkeypatch):
    with channel_pair(Desk()) as (near, far):
        waiting = calls_out(near)

        def fail(*_):
            raise kind

        with monkeypatch.context() as patch:
            patch.setattr(type(near), "handlers", [fail] * 256)
            far.send(pack(Kind.PONG))
            with pytest.raises(kind):
                gevent.sleep(5)
        assert all(isinstance(one, ProtocolError) for one in outcomes(waiting))
        assert kind.__name__ in near.reason


@pytest.mark.parametrize("code", [104, 110, 113, 32])
def test_a_system_error_is_the_reason_in_words(code, caplog):
    with channel_pair(Desk()) as (near, _):
        waiting = calls_out(near)
        meddle(near).error = OSError(code, "the words")
        near.send(pack(Kind.PONG))
        assert all("the words" in str(one) for one in outcomes(waiting))
        assert caplog.records == []


def test_calls_that_did_not_leave_are_told_apart():
    with channel_pair(Desk()) as (near, _):
        sent = calls_out(near, 2)
        sock = meddle(near)
        sock.room = 0
        session = near.open_session(b"y")
        kept = [gevent.spawn(lambda: near.request(Kind.CALL, session, b"z")) for _ in range(2)]
        eventually(lambda: len(near.pending) == 4)
        near.close("cut")
        assert [type(one) for one in outcomes(sent)] == [MaybeExecutedError] * 2
        gevent.joinall(kept, timeout=30)
        for one in kept:
            assert type(one.exception) is ConnectionLostError
            assert "cut" in str(one.exception)
            one._exc_info = None


def test_what_was_sent_is_known_when_the_peer_takes_no_more():
    with channel_pair(Desk(), Desk()) as (_, far):
        sent = calls_out(far, 2)
        sock = meddle(far)
        sock.room = 0
        kept = gevent.spawn(far.request, Kind.CALL, far.open_session(b"y"), b"z")
        eventually(lambda: len(far.pending) == 3)
        sock.error = OSError(errno.EPIPE, "the words")
        far.send(pack(Kind.PONG))
        eventually(lambda: far.mute)
        assert not far.closed  # what the peer sent before is still read
        far.close("cut")
        assert [type(one) for one in outcomes(sent)] == [MaybeExecutedError] * 2
        gevent.joinall([kept], timeout=30)
        assert type(kept.exception) is ConnectionLostError
        kept._exc_info = None


# Fairness


def test_a_crowd_of_calls_on_one_stream_does_not_hold_another(counted, monkeypatch):
    """By a clock on which every frame takes 1 ms; what another client waits is counted in turns of the loop."""
    now = [0.0]

    def clock():
        now[0] += 0.001
        return now[0]

    monkeypatch.setattr(streams, "monotonic", clock)
    crowd = Desk(echo)
    with channel_and_raw(crowd) as (channel, raw), channel_pair() as (near, _):
        session = near.open_session(b"x")
        raw.open(1, "x")
        near.request(Kind.CALL, session, b"warm")
        raw.send(b"".join(pack(Kind.CALL, 2 * number + 1, 1, b"busy") for number in range(1000)))
        for _ in range(5):
            eventually(lambda: crowd.calls)
            done, begin = len(crowd.calls), counted.count
            near.request(Kind.CALL, session, b"hello")
            assert counted.count - begin <= 6
            assert len(crowd.calls) - done <= 6 * 6
        assert len(crowd.calls) < 500, "the crowd is still waiting"
        eventually(lambda: len(crowd.calls) == 1000)
        eventually(lambda: not channel.serving)


def test_what_waits_for_its_turn_keeps_its_order(monkeypatch):
    now = [0.0]

    def clock():
        now[0] += 0.003
        return now[0]

    monkeypatch.setattr(streams, "monotonic", clock)
    desk = Desk(echo)
    with channel_and_raw(desk) as (_, raw):
        raw.open(1, "x")
        numbers = [2 * number + 1 for number in range(500)]
        for number in numbers:
            raw.send(pack(Kind.CALL, number, 1, str(number).encode()))
        assert [raw.read()[2] for _ in numbers] == numbers


# Sending


def test_calls_of_one_turn_leave_together():
    with channel_pair() as (near, _):
        session = near.open_session(b"x")
        near.request(Kind.CALL, session, b"")
        sock = meddle(near)
        callers = [gevent.spawn(near.request, Kind.CALL, session, b"body") for _ in range(100)]
        gevent.joinall(callers, timeout=30)
        assert sock.sends <= 3  # the first one alone, at once; the others in one piece


def test_answers_of_one_read_leave_in_few_pieces():
    with channel_and_raw(Desk(echo)) as (channel, raw):
        raw.open(1, "x")
        sock = meddle(channel)
        raw.send(b"".join(pack(Kind.CALL, 2 * number + 1, 1, b"body") for number in range(200)))
        for _ in range(200):
            raw.read()
        assert sock.sends <= 20


def test_a_lone_call_leaves_at_once():
    with channel_pair() as (near, _):
        session = near.open_session(b"x")
        near.request(Kind.CALL, session, b"")
        turns(1)  # out of the read that brought the answer
        sock, sent = meddle(near), []
        gevent.get_hub().loop.run_callback(lambda: sent.append(sock.sends))
        near.request(Kind.CALL, session, b"")
        assert sent == [1]


def test_output_leaves_when_enough_has_gathered(monkeypatch):
    with channel_and_raw(Desk(echo)) as (channel, raw):
        raw.open(1, "x")
        sock = meddle(channel)
        flushes = []
        flush = sock.send

        def send(data):
            flushes.append(len(data))
            return flush(data)

        sock.send = send
        raw.send(b"".join(pack(Kind.CALL, 2 * number + 1, 1, bytes(4096)) for number in range(60)))
        for _ in range(60):
            raw.read()
        assert max(flushes) <= GATHER_SIZE + 8192


# Ending


def test_closing_twice_keeps_the_first_reason():
    with channel_pair() as (near, _):
        near.close("first")
        near.close("second")
        assert near.reason == "first"
        assert near.owner.ended == ["first"]


def test_who_is_sent_away_can_read_why():
    with channel_and_raw(Desk(echo)) as (channel, raw):
        raw.send(pack(Kind.RESULT, 77) + pack(Kind.PONG) * 10_000)
        frames = raw.rest()
        assert frames[-1][0] == Kind.GOAWAY
        assert b"call 77" in frames[-1][4]
        raw.close()
        eventually(lambda: channel.closed)


def test_who_is_sent_away_and_stays_is_closed_soon(monkeypatch):
    monkeypatch.setattr(streams, "GOODBYE", 0.02)
    with channel_and_raw(Desk(echo)) as (channel, raw):
        raw.send(pack(Kind.RESULT, 77))
        eventually(lambda: channel.dismissed)
        assert channel.owner.ended, "who waits is told at once"
        eventually(lambda: channel.closed)


def test_nobody_is_sent_away_twice():
    with channel_and_raw(Desk(echo)) as (channel, raw):
        raw.send(pack(Kind.RESULT, 77) + pack(Kind.RESULT, 78))
        assert [frame[0] for frame in raw.rest()] == [Kind.GOAWAY]
        assert len(channel.owner.ended) == 1


def test_an_answer_after_the_farewell_is_dropped():
    """A call was under way when its client broke a rule: its answer finds nobody, and disturbs nothing."""
    desk = Desk()
    with channel_and_raw(desk) as (channel, raw):
        raw.open(1, "x")
        raw.send(pack(Kind.CALL, 1, 1, b""))
        eventually(lambda: desk.calls)
        raw.send(pack(Kind.RESULT, 77))
        eventually(lambda: channel.dismissed)
        reason = channel.reason
        desk.calls[0].answer(b"late")
        turns(3)
        assert not channel.closed, "the peer still has its moment to read why"
        assert [frame[0] for frame in raw.rest()] == [Kind.GOAWAY]
        raw.close()
        eventually(lambda: channel.closed)
        assert channel.reason == reason
