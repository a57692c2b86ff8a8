"""What a peer by hand can do to the streams of a channel."""

from __future__ import annotations

import gevent
import pytest

from gpyro.errors import SerializationError, StreamLostError
from gpyro.streams import CallersWork
from gpyro.testing.serializers import BoundMessage
from gpyro.values.bound import BoundRegistry
from gpyro.wire import metadata
from gpyro.wire.frames import CREDIT_BODY, FLAG_METADATA, Kind, Refusal, pack
from gpyro.wire.streams import pack_items
from tests.net.peers import CODEC, Desk, channel_and_raw, results, spawn
from tests.support import ROOT, eventually, turns

WINDOW = (4, 1000)


@pytest.fixture
def ends():
    """A channel at the accepting end, and its peer: streams of the channel are even, those of the peer odd."""
    with channel_and_raw(Desk()) as (channel, raw):
        raw.open(1, "x")
        yield channel, raw


def credit(number, items, size):
    return pack(Kind.CREDIT, number, 0, CREDIT_BODY.pack(items, size))


def items(number, *values):
    return pack(Kind.STREAM_ITEM, number, 0, pack_items(len(values), CODEC.encode(list(values))))


def end(number, why=b""):
    return pack(Kind.STREAM_END, number, 0, why)


def sender(channel, source):
    return channel.attachments().streams.open(1, source, CallersWork(channel, None), None)


def receiver(channel, number=1, limit=10):
    return channel.attachments().streams.accept(number, 1, WINDOW, limit, None)


def breach(raw, data, rule):
    """The data break a rule, and the peer is told which."""
    raw.send(data)
    frame = raw.rest()[-1]
    assert frame[0] == Kind.GOAWAY
    assert frame[4][0] == Refusal.BROKEN_RULE
    assert frame[4].endswith(f"[{rule}]".encode())


def read(receiver):
    """All that a receiver gives."""
    got = []
    while receiver.fill(None):
        got += receiver.ready
        receiver.ready.clear()
    return got


def test_the_example_of_the_document():
    document = (ROOT / "docs" / "wire.md").read_text()
    example = document.partition("a stream with two items:\n\n```\n")[2].partition("```")[0]
    data = bytes.fromhex("".join(line.partition("  ")[0] for line in example.splitlines()))
    message = BoundMessage()
    message.open_stream = lambda source: 2
    codec = CODEC.over(BoundRegistry(CODEC.registry, lambda: message))
    body = metadata.prepend({metadata.STREAMS: [2]}, codec.encode(iter([1, 2])))
    result = pack(Kind.RESULT, 1, 1, body, FLAG_METADATA)
    assert data == result + credit(2, 256, 1 << 20) + items(2, 1, 2) + end(2)


# A generator here, whose items the peer reads


def test_nothing_is_sent_beyond_the_credit(ends):
    channel, raw = ends
    opened = sender(channel, iter(range(100)))
    raw.send(credit(opened.number, 3, 1000))
    got = []
    while len(got) < 3:
        frame = raw.read()
        assert frame[:2] == (Kind.STREAM_ITEM, 0)
        got += CODEC.decode(frame[4][4:])
    assert got == [0, 1, 2]
    raw.send(credit(opened.number, 1, 0))
    frame = raw.read()
    assert CODEC.decode(frame[4][4:]) == [3]
    raw.send(end(opened.number))
    eventually(lambda: opened.ended)


def test_bytes_are_credited_too(ends):
    channel, raw = ends
    opened = sender(channel, iter([b"x" * 300] * 5))
    raw.send(credit(opened.number, 100, 1))
    assert len(CODEC.decode(raw.read()[4][4:])) == 1
    raw.send(credit(opened.number, 0, 700))
    sizes = [len(raw.read()[4]) for _ in range(2)]
    assert opened.credit.bytes <= 0
    assert all(size < 400 for size in sizes)
    raw.send(credit(opened.number, 0, 100_000))
    assert len(CODEC.decode(raw.read()[4][4:])) <= 2
    raw.send(end(opened.number))
    eventually(lambda: opened.ended)


def test_the_end_of_a_stream(ends):
    channel, raw = ends
    opened = sender(channel, iter([]))
    raw.send(credit(opened.number, 1, 1000))
    assert raw.read() == (Kind.STREAM_END, 0, opened.number, 0, b"")
    assert not channel.attachments().streams.senders


def test_credit_for_a_stream_that_is_over_is_answered_by_its_end(ends):
    channel, raw = ends
    opened = sender(channel, iter([]))
    opened.withdraw()
    raw.send(credit(opened.number, 1, 1000))
    assert raw.read() == (Kind.STREAM_END, 0, opened.number, 0, b"it is over")
    raw.send(end(opened.number))  # may have crossed the end
    raw.send(pack(Kind.PING))
    assert raw.read()[0] == Kind.PONG


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        (credit(1, 1, 1), "T4"),
        (credit(4, 1, 1), "T4"),
        (credit(2, 0xFFFF_FFFF, 1) + credit(2, 0xFFFF_FFFF, 1), "T4"),
        (pack(Kind.CREDIT, 2, 0, b"123"), "W2"),
        (items(2, 1), "T6"),
        (end(4), "T6"),
        (end(2, b"why"), "T6"),
        (pack(Kind.STREAM_ERROR, 2, 0, b""), "T6"),
    ],
    ids=["not ours", "never opened", "overflow", "short", "items", "end of none", "end with reason", "error"],
)
def test_breaches_of_a_reader(ends, data, rule):
    channel, raw = ends
    closed = []

    def generator():
        try:
            yield from range(10_000_000)
        finally:
            closed.append(True)

    source = generator()
    assert sender(channel, source).number == 2
    breach(raw, data, rule)
    eventually(lambda: source.gi_frame is None)
    assert not channel.attachments().streams.senders


# A generator of the peer's, whose items are read here


def test_items_come_in_order_and_give_credit_back(ends):
    channel, raw = ends
    reader = receiver(channel)
    reading = gevent.spawn(read, reader)
    assert raw.read() == (Kind.CREDIT, 0, 1, 0, CREDIT_BODY.pack(*WINDOW))
    raw.send(items(1, "a", "b") + items(1, "c"))
    assert raw.read()[0] == Kind.CREDIT
    raw.send(end(1))
    assert reading.get(timeout=30) == ["a", "b", "c"]


def test_items_before_the_end_of_the_channel_are_read(ends):
    channel, raw = ends
    reader = receiver(channel)
    reading = gevent.spawn(reader.fill, None)
    raw.read()
    raw.send(items(1, "a"))
    assert reading.get(timeout=30)
    raw.send(items(1, "b"))
    turns()
    raw.close()
    eventually(lambda: channel.closed)
    assert reader.fill(None)
    reader.ready.clear()
    with pytest.raises(StreamLostError, match=r"connection lost: .*; the stream broke off after 2 items") as caught:
        read(reader)
    assert caught.value.items == 2


def test_a_stream_that_the_other_end_gives_up(ends):
    channel, raw = ends
    reader = receiver(channel)
    raw.send(end(1, b"no time"))
    with pytest.raises(StreamLostError, match="gave it up: no time; the stream broke off after 0 items"):
        read(reader)
    assert read(reader) == []


def test_what_comes_after_it_was_left_is_ignored(ends):
    channel, raw = ends
    reader = receiver(channel)
    reading = gevent.spawn(reader.fill, None)
    raw.read()
    raw.send(items(1, "a"))
    reading.get(timeout=30)
    reader.close()
    assert raw.read() == (Kind.STREAM_END, 0, 1, 0, b"")
    raw.send(items(1, "b") + pack(Kind.STREAM_ERROR, 1, 0, b"x") + end(1) + end(9, b"of a call that never began"))
    raw.send(pack(Kind.PING))
    assert raw.read()[0] == Kind.PONG


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        (items(1, *range(5)), "T5"),
        (items(1, 1, 2, "x" * 1000), "T5"),
        (items(1, "x" * 2000) + items(1, 1), "T5"),
        (items(3, 1), "T5"),
        (pack(Kind.STREAM_ITEM, 1, 0, pack_items(0, b"\x90")), "T3"),
        (pack(Kind.STREAM_ITEM, 1), "T3"),
    ],
    ids=["items", "bytes", "overdrawn", "never referred to", "no items", "empty"],
)
def test_breaches_of_a_sender(ends, data, rule):
    channel, raw = ends
    reader = receiver(channel)
    reader._grant(*WINDOW)
    assert raw.read()[0] == Kind.CREDIT
    breach(raw, data, rule)
    eventually(lambda: not channel.attachments().streams.receivers)


def test_items_before_any_credit(ends):
    channel, raw = ends
    receiver(channel)
    breach(raw, items(1, 1), "T5")


@pytest.mark.parametrize(
    "body",
    [pack_items(2, CODEC.encode([1])), pack_items(1, CODEC.encode("x")), pack_items(1, b"\xc1")],
    ids=["count", "no list", "no value"],
)
def test_items_that_are_none(ends, body):
    channel, raw = ends
    reader = receiver(channel)
    reading = spawn(reader.fill, None)
    raw.read()
    raw.send(pack(Kind.STREAM_ITEM, 1, 0, body))
    assert isinstance(results([reading])[0], SerializationError)
    assert reader.fill(None) is False
    while raw.read()[0] != Kind.STREAM_END:
        pass


@pytest.mark.parametrize("number", [1, 2, 0, -1])
def test_references_to_no_stream(ends, number):
    channel, _ = ends
    receiver(channel, 1)
    with pytest.raises(SerializationError, match="open already or of the wrong direction"):
        receiver(channel, number)


def test_the_readers_own_limit(ends):
    channel, _ = ends
    receiver(channel, 1, limit=1)
    with pytest.raises(SerializationError, match="PYRO_MAX_STREAMS"):
        receiver(channel, 3, limit=1)


def test_the_end_of_the_session_ends_its_streams_only(ends):
    channel, raw = ends
    reader, other = receiver(channel), channel.attachments().streams.accept(3, 5, WINDOW, 10, None)
    raw.send(pack(Kind.CLOSE, 0, 1))
    with pytest.raises(StreamLostError, match="released"):
        read(reader)
    assert not other.ended
