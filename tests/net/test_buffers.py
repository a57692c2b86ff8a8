"""Buffers on channels: sent in turns, within what the peer takes, and given up cleanly."""

from __future__ import annotations

from dataclasses import replace
from time import monotonic

import gevent
import pytest
from gevent.event import Event

from gpyro import oneway
from gpyro.dispatch import Dispatcher
from gpyro.errors import ConnectionLostError, SerializationError, TimeoutError
from gpyro.net.outgoing import HIGH_WATER
from gpyro.settings import config
from gpyro.values.buffers import Aside
from gpyro.wire.buffers import CHUNK_SIZE, NUMBER, chunk_header, pack_announcement
from gpyro.wire.frames import FLAG_BUFFERS, FLAG_METADATA, FLAG_REFERENCES, Kind, Refusal, Rejection, pack, unpack_text
from gpyro.wire.memory import BYTES
from gpyro.wire.metadata import prepend
from gpyro.wire.references import FUNCTION, pack_table, unpack_release
from tests.net.peers import CODEC, SERVING, Desk, channel_and_raw, channel_pair, echo
from tests.support import eventually, turns

BOTH = replace(SERVING, buffers=10_000_000)
KERNEL = 64 * 1024


def views(*sizes):
    return [(BYTES, memoryview(bytes(size))) for size in sizes]


def buffers(channel):
    return channel.attachments().buffers


def idle(channel):
    ours = buffers(channel)
    return not ours._under_way and not ours._taken and not ours._waiting.busy and not ours._room.busy


def test_they_arrive_while_small_calls_go_on():
    with channel_pair(hello=BOTH, near_hello=BOTH, size=KERNEL) as (near, far):
        session = near.open_session(b"")
        sending = gevent.spawn(buffers(near).send, views(9_000_000), None)
        answered = 0
        while not sending.dead:
            assert near.request(Kind.CALL, session, b"small")[4] == b"small"
            answered += 1
        number = sending.get()
        assert answered > 5
        eventually(lambda: far.wire._arriving._sets[number].complete)
        buffers(near).claimed(number)
        assert far.wire._arriving.claim(number) == [bytes(9_000_000)]
        assert idle(near)


def test_what_is_sent_at_a_time_is_bounded_by_the_peer():
    hello = replace(SERVING, buffers=100_000)
    with channel_pair(hello=hello, near_hello=hello) as (near, _):
        with pytest.raises(SerializationError, match=r"100,001 bytes are over the 100,000 .*PYRO_MAX_BUFFERS"):
            buffers(near).send(views(100_001), None)
        first = buffers(near).send(views(60_000), None)
        second = gevent.spawn(buffers(near).send, views(60_000), None)
        third = gevent.spawn(buffers(near).send, views(1), None)
        turns(20)
        assert not second.dead
        assert not third.dead  # nobody overtakes
        buffers(near).drop(first)
        buffers(near).drop(second.get(timeout=30))
        buffers(near).drop(third.get(timeout=30))
        assert idle(near)


def test_a_deadline_while_waiting_for_a_share_and_for_room():
    hello = replace(SERVING, buffers=1_000_000)
    with channel_and_raw(Desk(echo), hello=hello, size=KERNEL) as (channel, raw):
        channel.wire.peer = replace(channel.wire.peer, buffers=1_000_000)
        raw.wire.own = BOTH
        began = monotonic()
        with pytest.raises(TimeoutError):
            buffers(channel).send(views(1_000_000), began + 0.05)  # nobody reads
        assert monotonic() >= began + 0.05
        assert not buffers(channel)._taken
        kept = gevent.spawn(buffers(channel).send, views(1_000_000), None)
        turns()
        with pytest.raises(TimeoutError):
            buffers(channel).send(views(1), monotonic() + 0.02)
        kept.kill()
        assert idle(channel)
        # What was begun was also dropped.
        kinds = []
        while len(kinds) < 4:
            frame = raw.read()
            if frame[0] == Kind.BUFFERS:
                kinds.append((frame[0], frame[2], frame[4]))
        assert [(kind, number, bool(body)) for kind, number, body in kinds] == [
            (Kind.BUFFERS, 2, True),
            (Kind.BUFFERS, 2, False),
            (Kind.BUFFERS, 4, True),
            (Kind.BUFFERS, 4, False),
        ]


def test_the_end_of_the_channel_ends_the_sending():
    with channel_pair(hello=BOTH, near_hello=BOTH, size=KERNEL) as (near, far):
        far._read_watcher.stop()
        sending = gevent.spawn(buffers(near).send, views(9_000_000), None)
        waiting = gevent.spawn(buffers(near).send, views(9_000_000), None)
        turns()
        near.close("the end")
        for one in (sending, waiting):
            with pytest.raises(ConnectionLostError, match="the end"):
                one.get(timeout=30)


class Target:
    def __init__(self):
        self.go_on = Event()
        self.began = 0

    def size(self, value):
        return len(value)

    def big(self, size):
        return bytes(size)

    def wait(self, value):
        self.began += 1
        self.go_on.wait()
        return bytes(1_000_000)

    @oneway
    def take(self, value):
        self.wait(value)


def served(target=None):
    """A channel that accepted, with a dispatcher, and its peer by hand."""
    dispatcher = Dispatcher(config.snapshot())
    dispatcher.add("target", None, target or Target())
    return channel_and_raw(dispatcher, hello=BOTH, size=KERNEL)


def brought(number, data):
    return pack_announcement(number, [(BYTES, len(data))]) + chunk_header(number, len(data)) + data


def call(method, number, call_id=1, flags=FLAG_BUFFERS, before=b""):
    value = CODEC.encode_call(method, (Reference(),), {}) if number else CODEC.encode_call(method, (), {})
    return pack(Kind.CALL, call_id, 1, before + NUMBER.pack(number) + value, flags)


class Reference:
    """Encoded as a reference to buffer 0."""


@pytest.fixture(autouse=True)
def references():
    registry = CODEC.registry
    registry.register(Reference, name="gpyro.buffer", to_state=lambda _: [0, "bytes"], from_state=Aside)
    yield
    del registry._by_class[Reference]
    del registry._by_name["gpyro.buffer"]


def test_a_request_claims_what_came_before_it():
    with served() as (channel, raw):
        raw.open(1, "target")
        raw.send(brought(1, b"x" * 100_000) + call("size", 1))
        assert CODEC.decode(raw.read()[4]) == 100_000
        metadata = prepend({"id": "x"}, b"")
        raw.send(brought(1, b"x" * 5) + call("size", 1, flags=FLAG_BUFFERS | FLAG_METADATA, before=metadata))
        assert CODEC.decode(raw.read()[4]) == 5
        assert not channel.wire._arriving._sets
        assert not channel.wire._arriving.cost


@pytest.mark.parametrize("before", [b"", pack_announcement(1, [(BYTES, 3)]), brought(1, b"abc")])
def test_a_request_that_claims_what_is_not_there_is_a_breach(before):
    with served() as (_, raw):
        raw.open(1, "target")
        raw.send(before + call("size", 3))
        code, text = unpack_text(raw.read()[4])
        assert code == Refusal.BROKEN_RULE
        assert "buffers 3, which are not there" in text


def test_a_request_with_no_room_for_the_number_is_a_breach():
    with served() as (_, raw):
        raw.open(1, "target")
        raw.send(pack(Kind.CALL, 1, 1, b"abc", FLAG_BUFFERS))
        assert unpack_text(raw.read()[4])[0] == Refusal.BROKEN_RULE


def test_a_reference_that_the_set_does_not_have_is_no_value():
    with served() as (channel, raw):
        raw.open(1, "target")
        for number, data in ((1, None), (0, b"abc")):
            registered = CODEC.registry._by_name["gpyro.buffer"]
            registered.to_state = lambda _, number=number: [number, "bytes"] if number else [True, "bytes"]
            raw.send(brought(1, data or b"x") + call("size", 1))
            frame = raw.read()
            assert frame[0] == Kind.REJECTED
            assert unpack_text(frame[4])[0] == Rejection.UNREADABLE
        raw.send(pack(Kind.CALL, 1, 1, CODEC.encode_call("size", ("abc",), {})))
        assert CODEC.decode(raw.read()[4]) == 3
        assert not channel.wire._arriving._sets


def test_who_takes_no_buffers_gets_none():
    with served() as (channel, raw):
        raw.open(1, "target")
        raw.send(pack(Kind.CALL, 1, 1, CODEC.encode_call("big", (50_000,), {})))
        frame = raw.read()
        assert (frame[0], frame[1]) == (Kind.RESULT, 0)
        assert len(CODEC.decode(frame[4])) == 50_000
        assert channel.attached is None


def test_a_cancelled_call_breaks_off_its_result():
    target = Target()
    with served(target) as (channel, raw):
        channel.wire.peer = replace(channel.wire.peer, buffers=10_000_000)
        raw.wire.own = BOTH
        raw.open(1, "target")
        raw.send(pack(Kind.CALL, 1, 1, CODEC.encode_call("wait", ("x",), {})))
        eventually(lambda: target.began)
        target.go_on.set()
        eventually(lambda: channel.out.size)  # more than the kernel holds
        raw.send(pack(Kind.CANCEL, 1))
        frames = []
        while not frames or frames[-1][0] not in (Kind.RESULT, Kind.REJECTED, Kind.ERROR):
            frames.append(raw.read())
        assert frames[-1][0] == Kind.REJECTED
        assert [frame[4] for frame in frames if frame[0] == Kind.BUFFERS][-1] == b""
        assert idle(channel)
        assert buffers(channel).results == 0


def test_what_was_kept_while_the_output_was_full_is_taken_up_once():
    target = Target()
    with served(target) as (channel, raw):
        raw.open(1, "target")
        table = pack_table(1, [(FUNCTION, "f")])
        for call_id in (1, 3):
            raw.send(pack(Kind.CALL, call_id, 1, CODEC.encode_call("big", (3 * HIGH_WATER,), {})))
        eventually(lambda: channel.out.size > HIGH_WATER)
        both = FLAG_BUFFERS | FLAG_REFERENCES
        value = table + CODEC.encode_call("size", (Reference(),), {})
        raw.send(brought(1, b"abc") + pack(Kind.CALL, 5, 1, NUMBER.pack(1) + value, both))
        eventually(lambda: channel._deferred)
        answers = {}
        while len(answers) < 3:
            frame = raw.read()
            answers[frame[2]] = frame
        assert CODEC.decode(answers[5][4]) == 3
        eventually(lambda: not channel.attachments()._in_requests)
        frame = raw.read()
        assert frame[0] == Kind.RELEASE
        assert unpack_release(frame[4]) == ("f", 1)


def test_what_was_kept_and_is_cancelled_counts_no_longer():
    with served() as (channel, raw):
        raw.open(1, "target")
        for call_id in (1, 3):
            raw.send(pack(Kind.CALL, call_id, 1, CODEC.encode_call("big", (3 * HIGH_WATER,), {})))
        eventually(lambda: channel.out.size > HIGH_WATER)
        raw.send(brought(1, b"x" * 50_000) + call("size", 1, 5))
        eventually(lambda: channel._deferred)
        raw.send(pack(Kind.CANCEL, 5))
        answers = {}
        while len(answers) < 3:
            frame = raw.read()
            answers[frame[2]] = frame
        assert answers[5][0] == Kind.REJECTED
        assert not channel.attachments()._in_requests
        eventually(lambda: not channel.in_bytes and not channel.in_calls)


def test_methods_that_are_one_way_are_bounded_as_others():
    target = Target()
    dispatcher = Dispatcher(config.snapshot())
    dispatcher.add("target", None, target)
    with channel_and_raw(dispatcher, hello=replace(SERVING, buffers=100_000)) as (channel, raw):
        raw.open(1, "target")
        raw.send(brought(1, b"x" * 60_000) + call("take", 1, 1))
        assert raw.read()[0] == Kind.RESULT  # at once
        eventually(lambda: target.began)
        raw.send(brought(1, b"x" * 60_000) + call("size", 1, 3))
        frame = raw.read()
        assert (frame[0], unpack_text(frame[4])[0]) == (Kind.REJECTED, Rejection.BUSY)
        target.go_on.set()
        eventually(lambda: not channel.attachments()._in_requests)
        raw.send(brought(1, b"x" * 60_000) + call("size", 1, 5))
        assert CODEC.decode(raw.read()[4]) == 60_000


def test_what_runs_at_a_time_is_bounded():
    target = Target()
    dispatcher = Dispatcher(config.snapshot())
    dispatcher.add("target", None, target)
    with channel_and_raw(dispatcher, hello=replace(SERVING, buffers=100_000)) as (channel, raw):
        raw.open(1, "target")
        raw.send(brought(1, b"x" * 60_000) + call("wait", 1, 1))
        eventually(lambda: target.began)
        raw.send(brought(1, b"x" * 60_000) + call("wait", 1, 3))
        frame = raw.read()
        assert (frame[0], frame[2]) == (Kind.REJECTED, 3)
        code, text = unpack_text(frame[4])
        assert code == Rejection.BUSY
        assert "PYRO_MAX_BUFFERS" in text
        raw.send(brought(1, b"x" * 40_000) + call("size", 1, 5))
        assert raw.read()[2] == 5
        raw.send(brought(1, b"x" * 60_000) + pack(Kind.ONEWAY, 0, 1, NUMBER.pack(1) + b"no call", FLAG_BUFFERS))
        credit = raw.read()
        assert credit[0] == Kind.CREDIT
        target.go_on.set()
        assert raw.read()[2] == 1
        assert target.began == 1
        assert not channel.attachments()._in_requests
        assert not channel.in_calls


def test_chunks_are_no_larger_than_lets_others_through():
    assert CHUNK_SIZE <= 1 << 20
