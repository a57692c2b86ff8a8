"""References on channels, and peers that break the rules about them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from gevent.event import Event

from gpyro.callbacks import acceptor_of
from gpyro.dispatch import Dispatcher
from gpyro.errors import SerializationError
from gpyro.net.messages import OutgoingMessage
from gpyro.net.references import Received
from gpyro.settings import config
from gpyro.values.codes import OBJECT as OBJECT_CODE
from gpyro.wire.frames import FLAG_REFERENCES, Kind, Refusal, Rejection, pack, unpack_text
from gpyro.wire.hello import REFERENCES
from gpyro.wire.references import FUNCTION, OBJECT, OWN, pack_release, pack_table, unpack_release
from tests.net.peers import CODEC, SERVING, channel_and_raw, channel_pair
from tests.support import eventually, turns

BOTH = replace(SERVING, capabilities=(REFERENCES,))


class Target:
    def work(self):
        return "worked"

    def echo(self, value=None):
        return value


def pair():
    """Two channels with a dispatcher each."""
    return channel_pair(Dispatcher(config.snapshot()), acceptor_of(config.snapshot()), hello=BOTH, near_hello=BOTH)


def export(channel, value, scope=0):
    """Something passed as if in a message that was sent."""
    message = OutgoingMessage(channel, scope)
    message.made_by(lambda codec: codec.encode(value), SerializationError("refused"))
    message.sent = True
    flags, body = message.whole(b"")
    message.done()
    assert flags == FLAG_REFERENCES
    return body


def only(mapping):
    (value,) = mapping.values()
    return value


def served():
    """A channel that accepted, with a dispatcher, and its peer by hand."""
    dispatcher = Dispatcher(config.snapshot())
    dispatcher.add("target", None, Target())
    return channel_and_raw(dispatcher, hello=BOTH)


def breach(raw):
    """What the peer is told before it is sent away."""
    frame = raw.read()
    while frame[0] != Kind.GOAWAY:
        frame = raw.read()
    code, text = unpack_text(frame[4])
    assert code == Refusal.BROKEN_RULE
    return text


def test_the_same_thing_has_one_id_until_it_is_let_go():
    with pair() as (near, _):
        function = Target().work
        first = export(near, [function, function])
        assert first == export(near, function)
        one = only(near.attachments().references.exports)
        assert one.counts == {0: 2}
        near.attachments().references.subtract(one, 0, 2)
        assert not near.attachments().references.exports
        assert export(near, function) != first


def test_a_message_that_was_not_sent_takes_its_counts_back():
    with pair() as (near, _):
        message = OutgoingMessage(near, 0)
        message.made_by(lambda codec: codec.encode([print, len]), SerializationError("refused"))
        assert len(near.attachments().references.exports) == 2
        message.done()
        assert not near.attachments().references.exports
        with pytest.raises(SerializationError):
            message.made_by(lambda codec: codec.encode([print, object()]), SerializationError("refused"))
        message.done()
        assert not near.attachments().references.exports


def test_nothing_is_passed_to_those_who_do_not_know_it():
    with channel_pair(Dispatcher(config.snapshot()), Dispatcher(config.snapshot())) as (near, _):
        message = OutgoingMessage(near, 0)
        with pytest.raises(SerializationError, match="refused"):
            message.made_by(lambda codec: codec.encode(print), SerializationError("refused"))


def test_nothing_is_passed_for_a_session_that_ended():
    with pair() as (near, _):
        message = OutgoingMessage(near, 77)
        with pytest.raises(SerializationError, match="the session has ended"):
            message.made_by(lambda codec: codec.encode(print), SerializationError("refused"))


def test_release_says_how_often_it_came():
    with served() as (_, raw):
        raw.open(1, "target")
        table = pack_table(1, [(FUNCTION, "f")])
        for number in (1, 3):
            raw.send(pack(Kind.CALL, number, 1, table + CODEC.encode_call("work", (), {}), FLAG_REFERENCES))
            assert raw.read()[0] == Kind.RESULT
            assert raw.read() == (Kind.RELEASE, 0, 0, 1, pack_release(1, "f", 1)[16:])
        # Unknown methods and unreadable arguments leave nothing, either.
        for body in (CODEC.encode_call("missing", (), {}), b"\xc1"):
            raw.send(pack(Kind.CALL, 5, 1, table + body, FLAG_REFERENCES))
            assert raw.read()[0] == Kind.REJECTED
            frame = raw.read()
            assert (frame[0], unpack_release(frame[4])) == (Kind.RELEASE, ("f", 1))
        raw.send(pack(Kind.ONEWAY, 0, 99, b""))
        assert "session 99" in breach(raw)


def test_two_messages_before_a_release_are_released_together():
    with served() as (channel, raw):
        raw.open(1, "target")
        turns()
        body = pack_table(1, [(OBJECT, "o")])
        first = channel.take_attached((int(Kind.CALL), FLAG_REFERENCES, 1, 1, body))
        second = channel.take_attached((int(Kind.CALL), FLAG_REFERENCES, 3, 1, body))
        assert first[4].things[0] is second[4].things[0]
        assert isinstance(first[4].things[0], Received)
        del first
        turns()
        assert channel.attachments().references._records
        del second
        frame = raw.read()
        assert (frame[0], unpack_release(frame[4])) == (Kind.RELEASE, ("o", 2))
        assert not channel.attachments().references._records


@pytest.mark.parametrize(
    "frame",
    [
        pack_release(1, "unknown", 1),
        pack_release(0, "unknown", 1),
        pack(Kind.RELEASE, 0, 1, b"\0\0"),
        pack(Kind.CALL, 1, 1, b"", FLAG_REFERENCES),
        pack(Kind.CALL, 1, 1, pack_table(3, []), FLAG_REFERENCES),
        pack(Kind.CALL, 1, 1, pack_table(1, [(OBJECT, "x"), (FUNCTION, "x")]), FLAG_REFERENCES),
        pack(Kind.ONEWAY, 0, 1, b"\xff" * 10, FLAG_REFERENCES),
    ],
)
def test_breaches_end_the_connection(frame):
    with served() as (channel, raw):
        raw.open(1, "target")
        raw.send(frame)
        assert "[R" in breach(raw)
        eventually(lambda: channel.deaf)


@pytest.mark.parametrize("connecting", [False, True])
def test_releasing_more_than_came_is_a_breach(connecting):
    hello = replace(BOTH)
    with channel_and_raw(acceptor_of(config.snapshot()), connecting=connecting, hello=hello) as (channel, raw):
        channel.wire.peer = BOTH
        export(channel, print)
        export(channel, print)
        one = only(channel.attachments().references.exports)
        raw.send(pack_release(0, one.id, 1))
        eventually(lambda: one.counts == {0: 1})
        raw.send(pack_release(0, one.id, 2))
        assert "released 2 times that was passed 1 times [R4]" in breach(raw)
        assert not channel.attachments().references.exports


def test_a_release_of_nothing_is_a_breach():
    with served() as (channel, raw):
        channel.wire.peer = BOTH
        export(channel, print)
        raw.send(pack_release(0, only(channel.attachments().references.exports).id, 0))
        assert "[R4]" in breach(raw)


def test_a_release_that_crosses_the_end_of_its_session_is_ignored():
    with served() as (_, raw):
        raw.open(1, "target")
        raw.send(pack(Kind.CLOSE, 0, 1))
        raw.send(pack_release(1, "gone", 1))
        raw.open(3, "target")
        raw.call(1, 3, "work")
        assert raw.read()[0] == Kind.RESULT


def number(place):
    """A value that stands for an entry of the table, as msgpack."""
    state = b"\x92\xafgpyro.reference" + bytes((place,))
    return b"\xc7" + bytes((len(state), OBJECT_CODE)) + state


@pytest.mark.parametrize(("place", "text"), [(0, "passed back is gone"), (1, "not in the table")])
def test_what_is_gone_or_not_in_the_table_makes_the_call_unreadable(place, text):
    with served() as (_, raw):
        raw.open(1, "target")
        table = pack_table(1, [(OWN, "gone")])
        raw.send(pack(Kind.CALL, 1, 1, table + b"\x93\xa4echo\x91" + number(place) + b"\x80", FLAG_REFERENCES))
        answer = raw.read()
        assert answer[0] == Kind.REJECTED
        assert unpack_text(answer[4])[0] == Rejection.UNREADABLE
        assert text in unpack_text(answer[4])[1]


def test_a_number_in_a_message_without_table_makes_the_call_unreadable():
    with served() as (_, raw):
        raw.open(1, "target")
        raw.send(pack(Kind.CALL, 1, 1, b"\x93\xa4echo\x91" + number(0) + b"\x80"))
        assert raw.read()[0] == Kind.REJECTED


def test_a_session_for_an_id_of_another_channel_finds_nothing():
    with pair() as (near, _), pair() as (other, far):
        export(near, print)
        reference = only(near.attachments().references.exports).id
        session = far.open_session(reference.encode())
        answer = far.request(Kind.CALL, session, CODEC.encode_call("call", (), {}))
        assert answer[0] == Kind.REJECTED
        assert unpack_text(answer[4])[0] == Rejection.UNKNOWN_OBJECT
        assert other.attached is None


def test_sessions_of_a_server_are_limited_like_a_clients():
    hello = replace(BOTH, sessions=2)
    with channel_and_raw(acceptor_of(config.snapshot()), connecting=True, hello=hello) as (channel, raw):
        for number in (2, 4, 6):
            raw.open(number, "x")
        assert "granted 2 sessions" in breach(raw)
        eventually(lambda: channel.deaf)


def test_calls_of_a_server_are_limited_like_a_clients():
    hello, gate = replace(BOTH, calls=2), Event()
    with channel_and_raw(acceptor_of(config.snapshot()), connecting=True, hello=hello) as (channel, raw):
        channel.wire.peer = BOTH
        export(channel, gate.wait)
        raw.open(2, only(channel.attachments().references.exports).id)
        for number in (2, 4, 6):
            raw.call(number, 2, "call")
        assert "granted 2 calls" in breach(raw)
        eventually(lambda: channel.deaf)
        gate.set()
