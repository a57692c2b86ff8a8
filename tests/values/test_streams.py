from __future__ import annotations

import io
from collections import deque
from typing import Any

import pytest

from gpyro.errors import SerializationError
from gpyro.values import serializer_by_name
from gpyro.values.streams import NAME, ArrivingStreams, LeavingStreams, check_number, is_streamed

SERIALIZERS = ["msgpack", "json", "pickle"]


def leaving(name: str, opened: list[Any]) -> Any:
    def open_stream(source: Any) -> int:
        opened.append(source)
        return 2 * len(opened) + 1

    serializer = serializer_by_name(name)
    return serializer.over(LeavingStreams(serializer.registry, open_stream))


def arriving(name: str) -> Any:
    serializer = serializer_by_name(name)
    return serializer.over(ArrivingStreams(serializer.registry, lambda number: ("stream", check_number(number))))


@pytest.mark.parametrize(
    ("value", "streams"),
    [
        (iter([1]), True),
        (iter({}), True),
        (map(str, "a"), True),
        ((number for number in "a"), True),
        ([1], False),
        (range(3), False),
        (deque([1]), False),
        ({}.keys(), False),
        (io.StringIO(), False),
        (5, False),
    ],
)
def test_what_streams(value: Any, streams: bool) -> None:
    assert is_streamed(type(value)) is streams


@pytest.mark.parametrize("name", SERIALIZERS)
def test_iterators_become_references_wherever_they_stand(name: str) -> None:
    opened: list[Any] = []
    first, second = (number for number in "a"), map(str, "b")
    body = leaving(name, opened).encode({"x": [first, (5, second)], "y": first})
    assert opened == [first, second]
    expected = {"x": [("stream", 3), (5, ("stream", 5))], "y": ("stream", 3)}
    assert arriving(name).decode(body) == expected


@pytest.mark.parametrize("name", SERIALIZERS)
def test_calls_too(name: str) -> None:
    body = leaving(name, []).encode_call("upload", (iter("a"),), {"rest": iter("b")})
    method, arguments, keywords = arriving(name).decode_call(body)
    assert (method, [*arguments], keywords) == ("upload", [("stream", 3)], {"rest": ("stream", 5)})


def test_a_codec_that_tries_twice_opens_once() -> None:
    opened: list[Any] = []
    # A bytearray makes the walk follow.
    body = leaving("msgpack", opened).encode([iter("a"), bytearray(b"x" * 300)])
    assert len(opened) == 1
    assert arriving("msgpack").decode(body)[0] == ("stream", 3)


@pytest.mark.parametrize("name", ["msgpack", "json"])
def test_without_its_registry_a_reference_is_nothing(name: str) -> None:
    body = leaving(name, []).encode(iter("a"))
    with pytest.raises(SerializationError, match=NAME):
        serializer_by_name(name).decode(body)


@pytest.mark.parametrize("state", [None, "1", 1.5, True, [1]])
def test_references_that_are_none(state: Any) -> None:
    with pytest.raises(SerializationError, match="is a number"):
        check_number(state)
