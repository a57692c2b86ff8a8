"""Buffers on the wire: announced, brought in pieces, claimed by a message, or dropped."""

from __future__ import annotations

from array import array
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpyro.errors import WireError
from gpyro.wire.buffers import (
    CHUNK_SIZE,
    LEAST,
    MAX_BUFFERS,
    NUMBER,
    chunk_header,
    cost,
    number_of,
    pack_announcement,
    pieces,
)
from gpyro.wire.connection import Connection, State
from gpyro.wire.frames import FLAG_BUFFERS, FLAG_METADATA, METADATA_LENGTH, SMALL_LIMIT, Kind, pack
from gpyro.wire.memory import BYTEARRAY, BYTES
from tests.wire.streams import HELLO, connection_at

OWN = replace(HELLO, buffers=100_000)


def accepting(limit: int = 100_000) -> Connection:
    return connection_at(False, State.ESTABLISHED, replace(HELLO, buffers=limit))


def claimed(connection: Connection, number: int) -> list[Any]:
    """The buffers that a message gets."""
    (frame,) = connection.feed(pack(Kind.RESULT, 1, 1, NUMBER.pack(number), FLAG_BUFFERS))
    return frame[4].buffers  # type: ignore[attr-defined,no-any-return]


def chunk(number: int, data: bytes) -> bytes:
    return chunk_header(number, len(data)) + data


def fed(connection: Connection, data: bytes, *cuts: int) -> list[int]:
    """The kinds of the frames that come out of data, cut at places."""
    kinds = []
    for start, stop in zip((0, *sorted(cuts)), (*sorted(cuts), len(data)), strict=True):
        kinds += [frame[0] for frame in connection.feed(data[start:stop])]
    return kinds


SENT = (
    pack_announcement(1, [(BYTES, 5), (BYTEARRAY, 3), (ord("H"), 4)])
    + chunk(1, b"ab")
    + pack(Kind.PING, body=b"12345678")
    + chunk(1, b"cde")
    + chunk(1, b"fgh")
    + pack_announcement(3, [(BYTES, 1)])
    + chunk(3, b"z")
    + chunk(1, b"\x01\x00\x02\x00")
    + pack(Kind.CALL, 1, 1, b"call")
)


@given(st.lists(st.integers(0, len(SENT)), max_size=12))
def test_they_are_put_together_however_they_are_cut(cuts: list[int]) -> None:
    connection = accepting()
    kinds = fed(connection, SENT, *cuts)
    assert kinds == [Kind.BUFFERS, Kind.PING, Kind.BUFFERS, Kind.CALL]
    found = claimed(connection, 1)
    assert found == [b"abcde", bytearray(b"fgh"), array("H", [1, 2])]
    assert [type(one) for one in found] == [bytes, bytearray, array]
    assert claimed(connection, 3) == [b"z"]


def test_byte_by_byte() -> None:
    connection = accepting()
    assert fed(connection, SENT, *range(1, len(SENT))) == [Kind.BUFFERS, Kind.PING, Kind.BUFFERS, Kind.CALL]
    assert claimed(connection, 1)[0] == b"abcde"


def test_a_reader_may_put_the_bytes_into_their_place_itself() -> None:
    connection = accepting()
    connection.feed(pack_announcement(1, [(BYTES, 6)]) + chunk_header(1, 6) + b"a")
    place = connection.place
    assert place is not None
    assert len(place) == 5
    place[:2] = b"bc"
    connection.filled(2)
    assert fed(connection, b"de") == []
    place = connection.place
    assert place is not None
    place[:] = b"f"
    connection.filled(1)
    assert connection.place is None
    assert claimed(connection, 1) == [b"abcdef"]


def breach(data: bytes, limit: int = 100_000) -> WireError:
    connection = accepting(limit)
    with pytest.raises(WireError) as caught:
        connection.feed(data)
    with pytest.raises(WireError):  # nothing is understood any more
        connection.feed(pack(Kind.PING))
    return caught.value


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        (chunk(1, b"x"), "D2"),
        (chunk(2, b"x"), "D2"),
        (pack_announcement(0, [(BYTES, 1)]), "D1"),
        (pack_announcement(2, [(BYTES, 1)]), "D1"),
        (pack_announcement(1, [(BYTES, 1)]) * 2, "D1"),
        (pack_announcement(1, [(BYTES, 1), (BYTES, 0)]), "D1"),
        (pack_announcement(1, [(9, 1)]), "D1"),
        (pack_announcement(1, [(ord("d"), 9)]), "D1"),
        (pack(Kind.BUFFERS, 1, 0, b"1234567"), "D1"),
        (pack_announcement(1, [(BYTES, 100_001)]), "D3"),
        (pack_announcement(1, [(BYTES, 60_000)]) + pack_announcement(3, [(BYTES, 60_000)]), "D3"),
        (pack_announcement(1, [(BYTES, 1)] * 25), "D3"),
        (pack_announcement(1, [(BYTES, (1 << 56) - 1)]), "D3"),
        (pack_announcement(1, []), "D5"),
        (pack_announcement(1, [(BYTES, 3)]) + chunk(1, b"abcd"), "D2"),
        (pack_announcement(1, [(BYTES, 3), (BYTES, 3)]) + chunk(1, b"abcd"), "D2"),
        (pack_announcement(1, [(BYTES, 3)]) + chunk(1, b"abc") + chunk(1, b"d"), "D2"),
        (pack_announcement(1, [(BYTES, 3)]) + chunk_header(1, 0), "D2"),
        (pack_announcement(1, [(BYTES, 3)]) + chunk(3, b"abc"), "D2"),
        (pack_announcement(1, [(BYTES, 3)]) + chunk_header(1, 2**32 - 1), "D2"),
    ],
)
def test_what_breaks_a_rule(data: bytes, rule: str) -> None:
    assert breach(data).rule == rule


def test_an_end_that_takes_none() -> None:
    assert breach(pack_announcement(1, [(BYTES, 1)]), limit=0).rule == "D3"


def test_there_may_be_more_than_there_is_memory() -> None:
    connection = accepting(2**32 - 1)
    connection.feed(pack_announcement(1, [(BYTES, 2**31)]))  # only what is written to is taken
    assert connection.place is None


@pytest.mark.parametrize("part", [b"", chunk(1, b"a"), chunk(1, b"abc")])
def test_what_is_dropped_is_forgotten(part: bytes) -> None:
    connection = accepting()
    for _ in range(3):
        connection.feed(pack_announcement(1, [(BYTES, 3), (BYTES, 90_000)]) + part + pack_announcement(1, []))
    with pytest.raises(WireError, match="which are not there") as caught:
        claimed(connection, 1)
    assert caught.value.rule == "D4"


@pytest.mark.parametrize("before", [b"", pack_announcement(1, [(BYTES, 3)]) + chunk(1, b"ab")])
def test_only_what_is_complete_can_be_claimed(before: bytes) -> None:
    assert breach(before + pack(Kind.CALL, 1, 1, NUMBER.pack(1), FLAG_BUFFERS)).rule == "D4"


def test_each_set_is_claimed_once_and_its_share_is_free_for_what_comes_behind() -> None:
    connection = accepting()
    call = pack(Kind.CALL, 1, 1, NUMBER.pack(1), FLAG_BUFFERS)
    both = pack_announcement(1, [(BYTES, 60_000)]) + chunk(1, bytes(60_000)) + call
    assert fed(connection, both * 3) == [Kind.BUFFERS, Kind.CALL] * 3
    with pytest.raises(WireError) as caught:
        connection.feed(call)
    assert caught.value.rule == "D4"


def test_on_other_kinds_the_flag_means_nothing() -> None:
    connection = accepting()
    assert fed(connection, pack(Kind.PING, body=b"12345678", flags=FLAG_BUFFERS)) == [Kind.PING]


def test_the_other_end_has_the_other_numbers() -> None:
    connection = connection_at(True, State.ESTABLISHED, OWN)
    connection.feed(pack_announcement(2, [(BYTES, 1)]) + chunk(2, b"x"))
    assert claimed(connection, 2) == [b"x"]
    with pytest.raises(WireError):
        connection.feed(pack_announcement(1, [(BYTES, 1)]))


@pytest.mark.parametrize("state", [State.HELLO, State.PROVING, State.DECIDING])
@pytest.mark.parametrize("data", [pack_announcement(1, [(BYTES, 1)]), chunk(1, b"x")])
def test_nobody_sends_any_before_the_connection_is_established(state: State, data: bytes) -> None:
    with pytest.raises(WireError) as caught:
        connection_at(False, state, OWN).feed(data)
    assert caught.value.rule == "S2"


def test_the_number_stands_behind_the_metadata() -> None:
    metadata = METADATA_LENGTH.pack(3) + b"abc"
    frame = (int(Kind.CALL), FLAG_BUFFERS | FLAG_METADATA, 1, 1, metadata + NUMBER.pack(7) + b"value")
    assert number_of(frame) == 7
    assert number_of((int(Kind.CALL), FLAG_BUFFERS, 1, 1, NUMBER.pack(7))) == 7


@pytest.mark.parametrize("body", [b"", b"123", METADATA_LENGTH.pack(3) + b"abc1"])
def test_a_number_that_is_cut_off(body: bytes) -> None:
    flags = FLAG_BUFFERS | (FLAG_METADATA if len(body) > 4 else 0)
    with pytest.raises(WireError) as caught:
        number_of((int(Kind.CALL), flags, 1, 1, body))
    assert caught.value.rule == "D4"


def test_pieces_are_views_of_what_is_sent() -> None:
    data = bytearray(2 * CHUNK_SIZE + 3)
    cut = list(pieces([memoryview(data), memoryview(b"xyz")]))
    assert [len(piece) for piece in cut] == [CHUNK_SIZE, CHUNK_SIZE, 3, 3]
    data[CHUNK_SIZE] = 7
    assert cut[1][0] == 7


def test_what_they_count_for() -> None:
    assert cost([1, LEAST, LEAST + 1]) == 3 * LEAST + 1
    assert 8 * MAX_BUFFERS == SMALL_LIMIT
