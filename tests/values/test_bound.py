"""Registries for messages whose parts are bound to a connection."""

from __future__ import annotations

import functools
import io
from collections import deque
from typing import Any

import pytest

from gpyro.errors import SerializationError
from gpyro.values import JsonSerializer, MsgpackSerializer, PickleSerializer, Registry, serializer_by_name
from gpyro.values.bound import REFERENCE, STREAM, BoundRegistry, ByReference, check_number, is_streamed
from gpyro.values.refusal import Refused

SERIALIZERS = ["msgpack", "json", "pickle"]


class Message:
    """A message that keeps what it is asked about."""

    def __init__(self):
        self.met = []
        self.opened = []

    def refer(self, value):
        if value is print:
            raise Refused("print stays here")
        self.met.append(value)
        return len(self.met) - 1

    def resolve(self, number):
        if number >= len(self.met):
            raise SerializationError("unknown number")
        return self.met[number]

    def open_stream(self, source):
        if source not in self.opened:
            self.opened.append(source)
        return 2 * self.opened.index(source) + 3

    def aside(self, value):
        return None

    def remembered(self, value, to_state):
        return to_state(value)

    def stream(self, number):
        return "stream", check_number(number)


def bound(serializer, message):
    return serializer.over(BoundRegistry(serializer.registry, lambda: message))


def by_name(name: str, opened: list[Any]) -> Any:
    message = Message()
    message.opened = opened
    return bound(serializer_by_name(name), message)


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
    body = by_name(name, opened).encode({"x": [first, (5, second)], "y": first})
    assert opened == [first, second]
    expected = {"x": [("stream", 3), (5, ("stream", 5))], "y": ("stream", 3)}
    assert by_name(name, []).decode(body) == expected


@pytest.mark.parametrize("name", SERIALIZERS)
def test_calls_too(name: str) -> None:
    body = by_name(name, []).encode_call("upload", (iter("a"),), {"rest": iter("b")})
    method, arguments, keywords = by_name(name, []).decode_call(body)
    assert (method, [*arguments], keywords) == ("upload", [("stream", 3)], {"rest": ("stream", 5)})


def test_a_codec_that_tries_twice_opens_once() -> None:
    opened: list[Any] = []
    # A bytearray makes the walk follow.
    body = by_name("msgpack", opened).encode([iter("a"), bytearray(b"x" * 300)])
    assert len(opened) == 1
    assert by_name("msgpack", []).decode(body)[0] == ("stream", 3)


@pytest.mark.parametrize("name", ["msgpack", "json"])
def test_without_its_registry_a_reference_is_nothing(name: str) -> None:
    body = by_name(name, []).encode(iter("a"))
    with pytest.raises(SerializationError, match=STREAM):
        serializer_by_name(name).decode(body)


@pytest.mark.parametrize("state", [None, "1", 1.5, True, [1]])
def test_references_that_are_none(state: Any) -> None:
    with pytest.raises(SerializationError, match="is a number"):
        check_number(state)


class Thing:
    def __init__(self, value=None):
        self.value = value


def to_state(thing):
    if thing.value is None:
        raise ByReference("it has no value")
    return thing.value


@pytest.fixture
def base():
    registry = Registry()
    registry.register(Thing, name=REFERENCE, to_state=to_state, from_state=Thing, subclasses=True)
    return registry


@pytest.fixture(params=[MsgpackSerializer, JsonSerializer])
def codec(request, base):
    """A serializer with references, and what it has met."""
    return bound(request.param(base), Message())


def test_functions_and_methods_are_numbers_wherever_they_stand(codec):
    function, method = (lambda: None), [].append
    values = [function, {"key": (method, {1: codec.decode})}, functools.partial(function)]
    assert codec.decode(codec.encode(values)) == values
    method, args, _ = codec.decode_call(codec.encode_call("name", (function,), {"key": method}))
    assert (method, list(args)) == ("name", [function])


def test_a_value_goes_by_value_if_it_can(codec):
    thing = Thing()
    first, second = codec.decode(codec.encode([Thing([1]), thing]))
    assert first.value == [1]
    assert second is thing


def test_refusals_name_the_place_and_classes_without_entry_are_refused(codec):
    with pytest.raises(SerializationError, match=r"result\[0\]\['key'\]: print stays here"):
        codec.encode([{"key": print}])
    with pytest.raises(SerializationError, match="object: objects of this class cannot travel"):
        codec.encode(object())

    class Partial(functools.partial):
        pass

    with pytest.raises(SerializationError, match="Partial is not registered"):
        codec.encode(Partial(print))


def test_an_unknown_number_is_refused(codec, base):
    with pytest.raises(SerializationError, match="unknown number"):
        codec.decode(
            codec.encode([Thing()])
            .replace(b"\x00", b"\x07")
            .replace(b':["gpyro.reference",0]', b':["gpyro.reference",7]')
        )


def test_without_the_registry_nothing_goes_by_reference(codec, base):
    plain = type(codec)(base)
    for value in ([Thing()], [lambda: None]):
        with pytest.raises(SerializationError):
            plain.encode(value)
    # To the plain registry it is the state of an instance like any other.
    assert plain.decode(codec.encode([Thing()]))[0].value == 0


def test_classes_are_registered_in_the_registry_below(codec, base):
    class Other:
        pass

    codec.registry.register(Other, name="other")
    assert base.by_name("other") is not None
    assert isinstance(codec.decode(codec.encode(Other())), Other)


def test_a_registry_that_knows_no_references_refuses_what_is_no_number(base):
    codec = bound(MsgpackSerializer(Registry()), Message())
    with pytest.raises(SerializationError, match="a reference that is no number"):
        codec.decode(MsgpackSerializer(base).encode(Thing("text")))


def test_pickle_has_no_references():
    assert not PickleSerializer.passes_references
    assert MsgpackSerializer.passes_references
