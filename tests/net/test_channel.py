from __future__ import annotations

from dataclasses import replace

import gevent
import gevent.event
import pytest

from gpyro.net.outgoing import HIGH_WATER
from gpyro.wire.frames import CREDIT_BODY, Kind, Refusal, pack
from tests.net.peers import (
    SERVING,
    Desk,
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


# Flow control at the receiver


@pytest.mark.parametrize(
    ("calls", "size", "text"), [(5, 1, "granted 4 calls"), (2, 600, "granted 1000 bytes")], ids=["calls", "bytes"]
)
def test_who_takes_more_than_granted_is_sent_away(desk, calls, size, text):
    with channel_and_raw(desk, hello=replace(SERVING, calls=4, size=1000)) as (_channel, raw):
        raw.open(1, "x")
        raw.send(b"".join(pack(Kind.CALL, 2 * number + 1, 1, bytes(size)) for number in range(calls)))
        (frame,) = raw.rest()
        assert frame[0] == Kind.GOAWAY
        assert frame[4][0] == Refusal.BROKEN_RULE
        assert text in frame[4].decode()
        assert len(desk.calls) == calls - 1


def test_a_single_large_call_is_no_breach():
    with channel_and_raw(Desk(echo), hello=replace(SERVING, calls=4, size=1000)) as (_, raw):
        raw.open(1, "x")
        raw.send(pack(Kind.CALL, 1, 1, bytes(5000)))
        assert len(raw.read()[4]) == 5000


@pytest.mark.parametrize("given", [(1, 0), (0, 1)])
def test_more_credit_than_was_taken_is_a_breach(given):
    with channel_and_raw(connecting=True) as (channel, raw):
        raw.send(pack(Kind.CREDIT, body=CREDIT_BODY.pack(*given)))
        eventually(lambda: channel.deaf)
        assert "credit" in channel.reason


# What breaks the rules


@pytest.mark.parametrize(
    ("frames", "text"),
    [
        (pack(Kind.CLOSE, 0, 9), "session 9 is not open"),
        (pack(Kind.OPEN, 0, 2, b"x"), "session id 2 is in use or of the wrong direction"),
        (pack(Kind.OPEN, 0, 1, b"x") * 2, "session id 1 is in use"),
        (pack(Kind.OPEN, 0, 1, b"x") + pack(Kind.CALL, 1, 1) * 2, "call id 1 is in use"),
        (pack(Kind.RESULT, 3), "call 3, which is not out"),
        (pack(Kind.ERROR, 3), "call 3, which is not out"),
        (pack(Kind.CREDIT, body=b"xx"), "CREDIT"),
        (pack(Kind.HELLO, body=b"{}"), "HELLO"),
        (pack(Kind.STREAM_OPEN, 1, 1), "STREAM_OPEN"),
        (pack(0x7F), "0x7f"),
        (b"".join(pack(Kind.OPEN, 0, 2 * n + 1, b"x") for n in range(4)), "granted 3 sessions"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_broken_rule_is_named_and_ends_the_channel(frames, text):
    with channel_and_raw(Desk(), hello=replace(SERVING, sessions=3)) as (channel, raw):
        raw.send(frames)
        frame = raw.rest()[-1]
        assert frame[0] == Kind.GOAWAY
        assert text in frame[4].decode()
        assert text in channel.reason


def test_calls_to_an_end_that_serves_none_are_a_breach():
    with channel_and_raw(None, connecting=True) as (channel, raw):
        raw.send(pack(Kind.OPEN, 0, 2, b"x"))
        eventually(lambda: channel.deaf)
    with channel_and_raw(None, connecting=True, hello=replace(SERVING, calls=0)) as (channel, raw):
        raw.send(pack(Kind.CALL, 2, 2, b"x"))
        eventually(lambda: channel.deaf)


def test_unknown_kinds_that_may_be_ignored_are(desk):
    with channel_and_raw(desk) as (_, raw):
        raw.send(pack(0x80) + pack(0xFF, body=b"x" * 100) + pack(Kind.PING, body=b"12345678"))
        assert raw.read() == (Kind.PONG, 0, 0, 0, b"12345678")


def test_pings_of_a_peer_that_does_not_read_do_not_pile_up(desk):
    with channel_and_raw(desk, size=4096) as (channel, raw):
        for _ in range(40):
            raw.send(pack(Kind.PING, body=b"12345678") * 5000)
        turns(5)
        assert channel.out.size <= HIGH_WATER + 1000


# Output


def test_results_wait_while_the_output_is_full():
    most = [0]

    def work(one):
        one.channel.answer(one.frame, Kind.RESULT, bytes(MIB))
        most[0] = max(most[0], one.channel.out.size)

    desk = Desk(work)
    with channel_and_raw(desk, size=8192) as (channel, raw):
        raw.open(1, "x")
        raw.send(b"".join(pack(Kind.CALL, 2 * number + 1, 1) for number in range(40)))
        turns(10)
        assert channel.out.size <= HIGH_WATER + MIB + 1000
        assert len(desk.calls) < 40, "calls are not started for which there is no room"
        answered = sorted(raw.read()[2] for _ in range(40))
        assert answered == [2 * number + 1 for number in range(40)]
        assert most[0] <= HIGH_WATER + MIB + 1000
        eventually(lambda: not channel.in_calls)


@pytest.mark.parametrize("slow", ["neither", "near", "far", "both"])
def test_both_ends_call_each_other_with_much_at_once(slow):
    highest = {"out": 0, "in": 0}

    with channel_pair(Desk(echo), Desk(echo), size=65536) as (near, far):
        for name, channel in (("near", near), ("far", far)):
            if slow in (name, "both"):
                meddle(channel).most = 16384

        def look():
            highest["out"] = max(highest["out"], near.out.size, far.out.size)
            highest["in"] = max(highest["in"], near.in_bytes, far.in_bytes)

        watcher = near.loop.check(ref=False)
        watcher.start(look)
        body = bytes(MIB)
        there, back = near.open_session(b"x"), far.open_session(b"y")
        callers = [spawn(call, near, there, body) for _ in range(32)]
        callers += [spawn(call, far, back, body) for _ in range(32)]
        assert all(answer == body for answer in results(callers, 60))
        watcher.stop()
        watcher.close()
        assert highest["out"] <= HIGH_WATER + 2 * MIB + 10_000
        assert highest["in"] <= SERVING.size
        assert near.in_calls == far.in_calls == 0


def test_the_end_answers_workers_that_wait_for_room():
    ended = []
    go = gevent.event.Event()

    def work(one):
        go.wait()
        one.channel.answer(one.frame, Kind.RESULT, bytes(2 * MIB))
        ended.append(one.frame[2])

    with channel_and_raw(Desk(work), size=8192) as (channel, raw):
        raw.open(1, "x")
        raw.send(b"".join(pack(Kind.CALL, number, 1) for number in (1, 3, 5)))
        eventually(lambda: len(channel.serving) == 3)
        go.set()
        eventually(lambda: channel.out.size > HIGH_WATER)
        assert ended == [1]
        raw.close()
        eventually(lambda: len(ended) == 3)
        assert channel.closed
        assert channel.in_calls == 0


def test_sessions_end_with_the_channel_and_their_own_end(desk):
    with channel_pair(desk) as (near, far):
        first, second = near.open_session(b"x"), near.open_session(b"y")
        near.send(b"")
        eventually(lambda: len(far.served) == 2)
        near.close_session(first)
        eventually(lambda: desk.closed == [first])
        assert near.owner.idle == 0
        near.close("over")
        eventually(lambda: desk.closed == [first, second])


def test_what_it_says_of_itself():
    with channel_pair() as (near, _):
        assert "far" in repr(near)
        near.close("why")
        assert "why" in repr(near)


def test_what_is_cancelled_while_it_is_kept_back_never_starts():
    """The server's output is full, so a call that arrives is kept; its caller leaves before there is room."""
    with channel_and_raw(Desk(echo), size=8192) as (channel, raw):
        desk = channel.acceptor
        raw.open(1, "x")
        raw.send(pack(Kind.CALL, 1, 1, bytes(4 * MIB)))
        eventually(lambda: channel.out.size > HIGH_WATER)
        raw.send(pack(Kind.CALL, 3, 1, b"cancelled") + pack(Kind.CALL, 5, 1, b"kept") + pack(Kind.CANCEL, 3))
        turns(5)
        answers = {frame[2]: frame for frame in (raw.read() for _ in range(3))}
        assert answers[5][4] == b"kept"
        assert answers[3][0] == Kind.REJECTED
        assert b"cancelled" not in [one.frame[4] for one in desk.calls]
        assert channel.in_calls == channel.in_bytes == 0


def test_a_session_may_end_while_a_call_of_it_is_kept_back():
    with channel_and_raw(Desk(echo), size=8192) as (channel, raw):
        raw.open(1, "x")
        raw.send(pack(Kind.CALL, 1, 1, bytes(4 * MIB)))
        eventually(lambda: channel.out.size > HIGH_WATER)
        raw.send(pack(Kind.CALL, 3, 1, b"last") + pack(Kind.CLOSE, 0, 1))
        turns(5)
        assert [raw.read()[2] for _ in range(2)] == [1, 3]
        turns(3)
        assert not channel.deaf, channel.reason
        assert channel.served == {}
        assert channel.acceptor.closed == [1]


def test_what_a_method_left_behind_does_not_lose_its_answer():
    """A forgotten Timeout fires while the answer waits for room in the output."""

    go = gevent.event.Event()

    def work(one):
        go.wait()
        gevent.Timeout(0.01).start()
        one.channel.answer(one.frame, Kind.RESULT, bytes(2 * MIB))

    with channel_and_raw(Desk(work), size=8192) as (channel, raw):
        raw.open(1, "x")
        raw.send(pack(Kind.CALL, 1, 1) + pack(Kind.CALL, 3, 1))
        eventually(lambda: len(channel.serving) == 2)
        go.set()
        eventually(lambda: channel.out.size > HIGH_WATER)
        gevent.sleep(0.03)  # the time of the Timeout
        assert sorted(raw.read()[2] for _ in range(2)) == [1, 3]
        assert channel.in_calls == 0


def test_output_that_empties_amid_a_read_loses_no_calls_and_keeps_their_order(desk, monkeypatch):
    # So low that the system takes it all in one go.
    monkeypatch.setattr("gpyro.net.channel.HIGH_WATER", 10_000)
    monkeypatch.setattr("gpyro.net.stream.LEAST_WATER", 5_000)
    with channel_and_raw(desk) as (channel, raw):
        raw.open(1, "x")
        eventually(lambda: channel.served)
        # Full, and with nothing on its way that would empty it but what comes of the next read.
        channel.out.add(bytes(10_001))
        raw.send(b"".join(pack(Kind.CALL, 2 * number + 1, 1) for number in range(200)))
        eventually(lambda: len(desk.calls) == 200)
        assert [one.frame[2] for one in desk.calls] == [2 * number + 1 for number in range(200)]


def test_those_who_want_to_know_of_the_end_are_told_once():
    told = []
    with channel_pair(Desk()) as (near, far):
        for number in range(2):
            near.when_over(lambda number=number: told.append(number))
        turns()
        assert told == []
        far.close("the end")
        eventually(lambda: told)
        assert told == [0, 1]
        near.when_over(lambda: told.append("late"))
        eventually(lambda: told[-1] == "late")
