from __future__ import annotations

import random
import tracemalloc
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpyro.errors import WireError
from gpyro.wire import connection as module
from gpyro.wire.connection import Connection, State, limits_for
from gpyro.wire.foreign import ForeignProtocolError
from gpyro.wire.frames import (
    BODY_LIMITS,
    HEADER,
    HEADER_SIZE,
    MAGIC,
    MAX_ID,
    REFUSAL_TEXTS,
    SMALL_LIMIT,
    Frame,
    Kind,
    Refusal,
    pack,
    pack_text,
    unpack_text,
)
from gpyro.wire.frames import MESSAGE as MESSAGE_LIMIT
from gpyro.wire.hello import Hello
from tests.wire.streams import (
    EXPECTED,
    HELLO,
    MESSAGE,
    PLACE_NAMES,
    PLACES,
    SAME_CASES,
    attempt,
    connection_at,
    feed_all,
    frames_of_all_kinds,
    pieces,
    to_bytes,
)

in_every_place = pytest.mark.parametrize(("connecting", "state"), PLACES, ids=PLACE_NAMES)
either_end = pytest.mark.parametrize("connecting", [False, True], ids=["accepting", "connecting"])


def body_for(kind: int) -> bytes:
    """A body with which a kind is right where it may come."""
    return HELLO.to_bytes() if kind in (Kind.HELLO, Kind.WELCOME) else b""


def beside(state: State) -> set[int]:
    """Kinds that are right or not by what came before; they have tests of their own."""
    return {Kind.BUFFERS, Kind.CHUNK} if state is State.ESTABLISHED else set()


def header(kind: int, length: int) -> bytes:
    return HEADER.pack(kind, 0, 0, 1, 1, length)


def rule_broken(connection: Connection, data: bytes) -> str:
    with pytest.raises(WireError) as caught:
        connection.feed(data)
    assert str(caught.value).endswith(f"[{caught.value.rule}]")
    return caught.value.rule


# ---- opening


def test_the_whole_opening() -> None:
    client, server = Connection(True, Hello(agent="c")), Connection(False, Hello(calls=5, agent="s"))
    assert client.state is server.state is State.HELLO
    (hello,) = server.feed(client.hello())
    assert hello[0] == Kind.HELLO
    assert server.state is State.DECIDING
    assert server.peer == client.own
    answer = Hello(calls=7, agent="s")
    (welcome,) = client.feed(server.welcome(answer))
    assert welcome[0] == Kind.WELCOME
    assert client.state is server.state is State.ESTABLISHED
    assert client.peer == answer == server.own


def test_frames_that_come_together_with_the_welcome() -> None:
    client, server = Connection(True, HELLO), connection_at(False, State.DECIDING)
    data = server.welcome(HELLO) + pack(Kind.PING, body=b"1") + pack(Kind.CALL, 2, 2, b"x")
    assert [frame[0] for frame in client.feed(data)] == [Kind.WELCOME, Kind.PING, Kind.CALL]


def test_nothing_may_follow_a_hello_at_once() -> None:
    server = Connection(False, HELLO)
    assert rule_broken(server, Connection(True, HELLO).hello() + pack(Kind.PING)) == "S2"
    server = Connection(False, HELLO)
    server.feed(Connection(True, HELLO).hello())
    assert rule_broken(server, pack(Kind.OPEN, 0, 1, b"id")) == "S2"


def test_what_the_accepting_end_says_decides_what_it_takes_later() -> None:
    server = connection_at(False, State.DECIDING, Hello(message=10))
    server.welcome(Hello(message=20))
    assert len(server.feed(pack(Kind.CALL, 1, 1, bytes(20)))) == 1
    assert rule_broken(server, pack(Kind.CALL, 3, 1, bytes(21))) == "F3"


def test_a_refusal() -> None:
    client, server = Connection(True, HELLO), connection_at(False, State.DECIDING)
    (frame,) = client.feed(server.refuse(Refusal.VERSION))
    assert frame[0] == Kind.REFUSED
    assert unpack_text(frame[4]) == (Refusal.VERSION, REFUSAL_TEXTS[Refusal.VERSION])
    assert client.state is server.state is State.ENDED
    assert client.peer is None


def test_a_refusal_before_any_hello() -> None:
    client, server = Connection(True, HELLO), Connection(False, HELLO)
    (frame,) = client.feed(server.refuse(99, "full"))
    assert unpack_text(frame[4]) == (99, "full")


def test_the_largest_refusal_arrives() -> None:
    client = Connection(True, HELLO)
    (frame,) = client.feed(Connection(False, HELLO).refuse(1, "ü" * 9000))
    assert len(frame[4]) > SMALL_LIMIT - 8


@pytest.mark.parametrize(
    ("answer", "rule"),
    [
        (Hello(versions=(2, 2)), "H3"),
        (Hello(versions=(1, 2)), "H3"),
        (Hello(serializers=("json",)), "H4"),
        (Hello(serializers=()), "H4"),
        (Hello(serializers=("msgpack", "msgpack")), "H4"),
    ],
)
def test_an_answer_that_chooses_what_was_not_offered(answer: Hello, rule: str) -> None:
    client = Connection(True, Hello(serializers=("msgpack", "pickle")))
    assert rule_broken(client, MAGIC + pack(Kind.WELCOME, body=answer.to_bytes())) == rule
    assert client.state is State.HELLO
    assert client.goodbye(Refusal.BROKEN_RULE) == b""


@either_end
@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"\xff", b"[" * 4096, HELLO.to_bytes()[:-1]])
def test_a_malformed_hello(connecting: bool, body: bytes) -> None:
    kind = Kind.WELCOME if connecting else Kind.HELLO
    for cut in (0, 1, 10, 20):
        connection = Connection(connecting, HELLO)
        data = MAGIC + pack(kind, body=body)
        with pytest.raises(WireError) as caught:
            feed_all(connection, [data[:cut], data[cut:]])
        assert caught.value.rule == "H2"
        assert connection.state is State.HELLO


@either_end
def test_a_hello_over_4_kib_is_refused_by_its_header(connecting: bool) -> None:
    kind = Kind.WELCOME if connecting else Kind.HELLO
    assert rule_broken(connection_at(connecting, State.HELLO), header(kind, 4097)) == "F3"
    padded = HELLO.to_bytes() + b" " * (4096 - len(HELLO.to_bytes()))
    assert len(connection_at(connecting, State.HELLO).feed(pack(kind, body=padded))) == 1


# ---- the first four bytes


@either_end
@pytest.mark.parametrize(
    "first", [b"GET / HTTP/1.1\r\n", b"\x16\x03\x01\x02\x00\x01", b"gpyr", b"PYRO\x01", b"\0\0\0\0"]
)
def test_a_foreign_protocol(connecting: bool, first: bytes) -> None:
    for parts in ([first], [first[:1], first[1:]], [bytes((byte,)) for byte in first[:4]]):
        connection = Connection(connecting, HELLO)
        with pytest.raises(ForeignProtocolError) as caught:
            feed_all(connection, parts)
        assert caught.value.rule == "P1"


@either_end
def test_nothing_is_said_before_four_bytes_have_come(connecting: bool) -> None:
    connection = Connection(connecting, HELLO)
    assert feed_all(connection, [b"G", b"", b"E", b"T"]) == []
    assert connection.state is State.HELLO


@either_end
def test_after_a_foreign_protocol_nothing_is_understood(connecting: bool) -> None:
    connection = Connection(connecting, HELLO)
    with pytest.raises(ForeignProtocolError):
        connection.feed(b"abcd")
    kind = Kind.WELCOME if connecting else Kind.HELLO
    assert rule_broken(connection, pack(kind, body=HELLO.to_bytes())) == "S2"


# ---- what may come when


@in_every_place
def test_every_kind_in_every_state(connecting: bool, state: State) -> None:
    expected = EXPECTED.get((connecting, state), frozenset())
    for kind in sorted(set(range(256)) - beside(state)):
        data = pack(kind, 1, 1, body_for(kind), 0)
        for parts in ([data], [data[:5], data[5:]], [bytes((byte,)) for byte in data]):
            connection = connection_at(connecting, state)
            if kind in expected:
                assert feed_all(connection, parts) == [(kind, 0, 1, 1, body_for(kind))]
                continue
            with pytest.raises(WireError) as caught:
                feed_all(connection, parts)
            known = kind in set(Kind)
            assert caught.value.rule == ("S2" if known else "K2")
            assert (Kind(kind).name if known else f"kind 0x{kind:02x}") in str(caught.value)
            assert connection.state is state


@in_every_place
def test_a_kind_that_may_not_come_is_refused_by_its_header(connecting: bool, state: State) -> None:
    for kind in set(range(256)) - EXPECTED.get((connecting, state), frozenset()) - beside(state):
        connection = connection_at(connecting, state)
        head = header(kind, 1)
        assert connection.feed(head[:-1]) == []
        with pytest.raises(WireError):
            connection.feed(head[-1:])


@in_every_place
def test_the_longest_body_of_every_kind(connecting: bool, state: State) -> None:
    for kind in EXPECTED.get((connecting, state), ()):
        limit = MESSAGE if kind >= 0x80 else BODY_LIMITS[Kind(kind)]
        limit = MESSAGE if limit == MESSAGE_LIMIT else limit
        if kind >= Kind.OPEN:
            connection = connection_at(connecting, state)
            assert connection.feed(pack(kind, body=bytes(limit))) == [(kind, 0, 0, 0, bytes(limit))]
        for length in (limit + 1, limit + 2**16, 2**31, 2**32 - 1):
            for cut in (0, 1, 15, 16):
                connection = connection_at(connecting, state)
                data = header(kind, length) + b"x"
                with pytest.raises(WireError, match=f"of {length} bytes is over the limit of {limit} ") as caught:
                    feed_all(connection, [data[:cut], data[cut:]])
                assert caught.value.rule == "F3"


@either_end
def test_a_message_limit_of_nothing(connecting: bool) -> None:
    connection = connection_at(connecting, State.ESTABLISHED, Hello(message=0))
    assert len(connection.feed(pack(Kind.CALL) + pack(Kind.GET, body=bytes(SMALL_LIMIT)))) == 2
    assert rule_broken(connection, header(Kind.CALL, 1)) == "F3"


@either_end
def test_reserved_bits_are_ignored_and_flags_handed_on(connecting: bool) -> None:
    connection = connection_at(connecting, State.ESTABLISHED)
    for flags in range(256):
        for reserved in (0, 1, 0xFFFF):
            data = HEADER.pack(Kind.PING, flags, reserved, MAX_ID, MAX_ID, 0)
            assert connection.feed(data) == [(Kind.PING, flags, MAX_ID, MAX_ID, b"")]


def test_the_tables_are_shared() -> None:
    first, second = connection_at(False, State.ESTABLISHED), connection_at(False, State.ESTABLISHED)
    assert first._limits is second._limits is limits_for(False, State.ESTABLISHED, MESSAGE)


# ---- after a breach


@in_every_place
def test_after_a_breach_nothing_is_understood(connecting: bool, state: State) -> None:
    valid = b"".join(pack(kind, 1, 1, body_for(kind)) for kind in EXPECTED.get((connecting, state), ()))
    for breach in (header(0x7F, 0), header(Kind.STREAM_OPEN, 0), header(Kind.CALL, MAX_ID), header(Kind.HELLO, 5000)):
        for cut in (16, 3):
            connection = connection_at(connecting, state)
            with pytest.raises(WireError):
                feed_all(connection, [breach[:cut], breach[cut:]])
            for data in (valid, breach, pack(Kind.PING), bytes(100), MAGIC * 10):
                if len(data) >= HEADER_SIZE:
                    with pytest.raises(WireError):
                        connection.feed(data)


@either_end
def test_what_came_before_a_breach_comes_out_when_it_comes_alone(connecting: bool) -> None:
    frames = frames_of_all_kinds()
    connection = connection_at(connecting, State.ESTABLISHED)
    out: list[Frame] = []
    for byte in to_bytes(frames) + header(Kind.STREAM_OPEN, 3)[:-1]:
        out += connection.feed(bytes((byte,)))
    assert out == frames
    assert rule_broken(connection, header(Kind.STREAM_OPEN, 3)[-1:]) == "S2"


# ---- what to say in the end


@in_every_place
def test_goodbye(connecting: bool, state: State) -> None:
    connection = connection_at(connecting, state)
    data = connection.goodbye(Refusal.BROKEN_RULE, "why")
    if state is State.ESTABLISHED:
        assert data == pack_text(Kind.GOAWAY, Refusal.BROKEN_RULE, "why")
        assert connection.state is State.ESTABLISHED
    elif connecting or state is State.ENDED:
        assert data == b""
    else:
        assert data == MAGIC + pack_text(Kind.REFUSED, Refusal.BROKEN_RULE, "why")
        assert connection.state is State.ENDED


@in_every_place
def test_goodbye_after_a_breach(connecting: bool, state: State) -> None:
    connection = connection_at(connecting, state)
    with pytest.raises(WireError):
        connection.feed(header(0x7F, 0))
    assert connection.goodbye(Refusal.BROKEN_RULE) == connection_at(connecting, state).goodbye(Refusal.BROKEN_RULE)


def test_goodbye_has_a_text_for_every_code() -> None:
    for code in Refusal:
        frame = connection_at(False, State.ESTABLISHED).goodbye(code)
        assert unpack_text(frame[HEADER_SIZE:]) == (code, REFUSAL_TEXTS[code])
    assert unpack_text(connection_at(False, State.ESTABLISHED).goodbye(200)[HEADER_SIZE:]) == (200, "")


# ---- cut anywhere


@either_end
def test_frames_come_out_the_same_however_they_are_cut(connecting: bool) -> None:
    frames = frames_of_all_kinds()
    data = to_bytes(frames)

    def out(parts: Any) -> list[Frame]:
        return feed_all(connection_at(connecting, State.ESTABLISHED), parts)

    assert out([data]) == frames
    assert out(bytes((byte,)) for byte in data) == frames
    for size in (2, 3, 15, 16, 17, 1000):
        assert out(data[at : at + size] for at in range(0, len(data), size)) == frames
    chance = random.Random(2)
    for _ in range(100):
        assert out(pieces(data, [chance.randrange(len(data)) for _ in range(chance.randrange(50))])) == frames


@either_end
def test_every_place_to_cut_once(connecting: bool) -> None:
    frames: list[Frame] = [(Kind.PING, 0, 0, 0, b"12"), (Kind.CANCEL, 0, 7, 0, b""), (Kind.CALL, 0, 9, 1, b"body")]
    data = to_bytes(frames)
    for cut in range(len(data) + 1):
        connection = connection_at(connecting, State.ESTABLISHED)
        assert feed_all(connection, [data[:cut], b"", data[cut:]]) == frames


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, lambda data: memoryview(bytearray(data))])
def test_any_buffer_is_taken_and_none_kept(kind: Any) -> None:
    connection = connection_at(False, State.ESTABLISHED)
    data = pack(Kind.CALL, 1, 1, b"body")
    frames = connection.feed(kind(data + data[:7])) + connection.feed(kind(data[7:] + b"junk"), len(data) - 7)
    assert frames == [(Kind.CALL, 0, 1, 1, b"body")] * 2
    assert all(type(frame[4]) is bytes for frame in frames)


def test_the_opening_byte_by_byte() -> None:
    client, server = Connection(True, HELLO), Connection(False, HELLO)
    (frame,) = feed_all(server, (bytes((byte,)) for byte in client.hello()))
    assert frame[0] == Kind.HELLO
    answer = server.welcome(HELLO) + pack(Kind.PING)
    assert [frame[0] for frame in feed_all(client, (bytes((byte,)) for byte in answer))] == [Kind.WELCOME, Kind.PING]


# ---- time and memory


def copied_while(
    monkeypatch: pytest.MonkeyPatch, connection: Connection, parts: list[bytes]
) -> tuple[int, list[Frame]]:
    """How many bytes are copied into, and out of, what the connection keeps."""
    copied = 0

    class Counting(bytearray):
        def __iadd__(self, other: Any) -> Any:
            nonlocal copied
            copied += len(other)
            return super().__iadd__(other)

        def __add__(self, other: Any) -> Any:
            nonlocal copied
            copied += len(self) + len(other)
            return Counting(super().__add__(other))

        extend = __iadd__

    def counting_bytes(data: Any = b"") -> bytes:
        nonlocal copied
        copied += len(data)
        return bytes(data)

    monkeypatch.setattr(module, "bytearray", Counting, raising=False)
    monkeypatch.setattr(module, "bytes", counting_bytes, raising=False)
    connection._body = Counting()
    frames = []
    for part in parts:
        kept = connection._body
        frames += connection.feed(part)
        assert connection._body is kept or not connection._body, "the body was made anew"
    return copied, frames


@pytest.mark.parametrize("piece", [1, 64, 1000, 2**18])
def test_a_large_body_in_small_pieces_is_copied_twice(monkeypatch: pytest.MonkeyPatch, piece: int) -> None:
    size = 2**16 if piece == 1 else 2**20
    body = random.Random(3).randbytes(size)
    data = pack(Kind.CALL, 1, 1, body)
    connection = connection_at(False, State.ESTABLISHED, Hello(message=size))
    parts = [data[at : at + piece] for at in range(0, len(data), piece)]
    copied, frames = copied_while(monkeypatch, connection, parts)
    assert frames == [(Kind.CALL, 0, 1, 1, body)]
    assert size <= copied <= 2 * size


def peak_of(connection: Connection, data: bytes, piece: int) -> int:
    view = memoryview(data)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for at in range(0, len(data), piece):
            assert connection.feed(view[at : at + piece]) == []
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("piece", [1, 16, 17, 26])
def test_an_announced_body_takes_no_memory(piece: int) -> None:
    connection = connection_at(False, State.ESTABLISHED, Hello(message=2**24))
    assert peak_of(connection, header(Kind.CALL, 2**24) + b"ten bytes!", piece) < 10_000


@pytest.mark.parametrize("piece", [2, 100])
def test_tiny_pieces_take_no_more_memory_than_the_body(piece: int) -> None:
    connection = connection_at(False, State.ESTABLISHED, Hello(message=2**24))
    assert peak_of(connection, header(Kind.CALL, 2**24) + bytes(40_000), piece) < 60_000


def test_a_refused_length_takes_no_memory() -> None:
    connection = connection_at(False, State.ESTABLISHED)
    tracemalloc.start()
    try:
        with pytest.raises(WireError):
            connection.feed(header(Kind.CALL, MAX_ID) + b"x")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 20_000


# ---- whatever the bytes


def check_invariant(connection: Connection, parts: list[bytes]) -> None:
    """Frames or one WireError, nothing else; and after the error no frame any more."""
    message = connection.own.message
    for at, part in enumerate(parts):
        frames, error = attempt(connection.feed, part)
        if error is not None:
            assert error.rule
            assert isinstance(connection.goodbye(Refusal.BROKEN_RULE, str(error)), bytes)
            for late in parts[at:]:
                frames, second = attempt(connection.feed, late)
                assert second.rule if second is not None else frames == []
            return
        for kind, flags, call_id, session_id, body in frames:
            assert 0 <= kind <= 255
            assert 0 <= flags <= 255
            assert 0 <= call_id <= MAX_ID
            assert 0 <= session_id <= MAX_ID
            assert type(body) is bytes
            assert len(body) <= max(message, SMALL_LIMIT)
    assert len(connection._head) < HEADER_SIZE


CUTS = st.lists(st.integers(0, 2**20), max_size=8)


@in_every_place
@given(data=st.binary(max_size=200), cuts=CUTS)
@settings(SAME_CASES, max_examples=60)
def test_random_bytes(connecting: bool, state: State, data: bytes, cuts: list[int]) -> None:
    check_invariant(connection_at(connecting, state), list(pieces(data, cuts)))


@either_end
@given(data=st.binary(max_size=100), magic=st.booleans(), cuts=CUTS)
@settings(SAME_CASES, max_examples=60)
def test_random_bytes_from_the_first_on(connecting: bool, data: bytes, magic: bool, cuts: list[int]) -> None:
    check_invariant(Connection(connecting, HELLO), list(pieces(MAGIC * magic + data, cuts)))


KINDS = st.sampled_from([*Kind, 0x00, 0x7F, 0x80, 0xFF])
IDS = st.sampled_from([0, 1, 2, 3, MAX_ID, MAX_ID - 1])
FRAMES = st.builds(pack, KINDS, IDS, IDS, st.binary(max_size=40) | st.just(HELLO.to_bytes()), st.integers(0, 255))


@in_every_place
@given(
    frames=st.lists(FRAMES, max_size=6),
    changes=st.lists(st.tuples(st.integers(0, 2**16), st.binary(min_size=1, max_size=4)), max_size=3),
    cuts=CUTS,
)
@settings(SAME_CASES, max_examples=80)
def test_frames_with_changes(
    connecting: bool, state: State, frames: list[bytes], changes: list[tuple[int, bytes]], cuts: list[int]
) -> None:
    data = bytearray(b"".join(frames))
    for place, new in changes:
        place %= len(data) + 1
        data[place : place + len(new)] = new
    check_invariant(connection_at(connecting, state), list(pieces(bytes(data), cuts)))


@in_every_place
@given(frames=st.lists(FRAMES, max_size=6), cuts=CUTS)
@settings(SAME_CASES, max_examples=60)
def test_cuts_change_neither_frames_nor_error(
    connecting: bool, state: State, frames: list[bytes], cuts: list[int]
) -> None:
    def outcome(parts: list[bytes]) -> tuple[list[Frame], str]:
        connection = connection_at(connecting, state)
        out: list[Frame] = []
        try:
            for part in parts:
                out += connection.feed(part)
        except WireError as error:
            return out, str(error)
        return out, ""

    data = b"".join(frames)
    slowly, error = outcome([bytes((byte,)) for byte in data])
    cut, same_error = outcome(list(pieces(data, cuts)))
    assert same_error == error
    # Frames in one piece with a breach may be lost, none may change.
    assert cut == slowly[: len(cut)]
    if not error:
        assert cut == slowly
