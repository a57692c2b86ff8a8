from __future__ import annotations

import enum
import io
import socket
import sys
import threading
from typing import Any

import pytest

from gpyro.errors import SerializationError
from gpyro.values import JsonSerializer, MsgpackSerializer, Registry, Serializer
from gpyro.values.refusal import brief, quoted


class Remote:
    def getProxy(self) -> object:
        return None


class Text(str):
    pass


async def coroutine() -> None:
    pass


@pytest.fixture(params=[MsgpackSerializer, JsonSerializer])
def codec(request: pytest.FixtureRequest) -> Serializer:
    return request.param(Registry())


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Remote(), "Remote is a remote object, which stays where it is; pass its proxy instead: obj.getProxy()"),
        (lambda: 1, "functions cannot travel"),
        (len, "functions cannot travel"),
        ([].append, "functions cannot travel"),
        (str.join, "functions cannot travel"),
        (int, "classes cannot travel"),
        (sys, "modules cannot travel"),
        (iter([]), "generators and iterators cannot travel"),
        ((x for x in ()), "generators and iterators cannot travel"),
        (io.BytesIO(), "open files cannot travel"),
        ({}.keys(), "views of a dict cannot travel"),
        (threading.Lock(), "locks, events and queues cannot travel"),
        (threading.Event(), "locks, events and queues cannot travel"),
        (Text("x"), r"add: gpyro\.register_class\(Text\), or pass a plain str"),
        (object(), r"object: objects of this class cannot travel"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_reasons(codec: Serializer, value: Any, text: str) -> None:
    with pytest.raises(SerializationError, match=text) as caught:
        codec.encode_call("m", (), {"key": [value]})
    assert caught.value.path == "kwargs['key'][0]"
    assert str(caught.value).startswith("kwargs['key'][0]: ")


def test_sockets_and_coroutines(codec: Serializer) -> None:
    with socket.socket() as open_socket, pytest.raises(SerializationError, match="sockets cannot travel"):
        codec.encode(open_socket)
    waiting = coroutine()
    with pytest.raises(SerializationError, match="coroutines cannot travel"):
        codec.encode(waiting)
    waiting.close()


class Silent(Exception):
    def __str__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("why"), "ValueError: why"),
        (KeyError("\x1b[31m" * 100), "KeyError: '" + "\\x1b[31m" * 10 + "...'"),
        (ValueError("x" * 1_000), "ValueError: " + "x" * 300),
        (ValueError("x" * 1_000, 1), "ValueError: ('" + "x" * 286),
        (Silent("why"), "Silent: why"),
        (Silent(1, 2), "Silent"),
    ],
    ids=lambda value: str(value)[:20] if isinstance(value, str) else "",
)
def test_errors_that_bytes_cause_are_told_briefly(error: Exception, text: str) -> None:
    assert brief(error) == text


def test_texts_of_a_peer_are_quoted_briefly() -> None:
    assert quoted("name") == "'name'"
    assert quoted("ü\n\x1b") == "'\\xfc\\n\\x1b'"
    assert len(quoted("\U0001f600" * 1_000_000)) < 1_000


class Colour(enum.Enum):
    RED = 1


class Flags(enum.Flag):
    ONE = 1


class Slotted:
    __slots__ = ("x",)


class Picky:
    pass


def refuse(state: Any) -> Any:
    raise LookupError(state)


LONG = "\x01" * 100_000


@pytest.mark.parametrize(
    ("cls", "state"),
    [
        (Colour, LONG),
        (Flags, 1 << 1_000_000),
        (Flags, LONG),
        (Slotted, {LONG: 1}),
        (Slotted, {f"__{LONG}__": 1}),
        (Picky, LONG),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_what_a_peer_sent_is_not_repeated_at_length(codec: Serializer, cls: type, state: Any) -> None:
    there, here = type(codec)(Registry()), codec
    there.registry.register(cls, name="app.Thing", to_state=lambda value: state, from_state=refuse)
    if cls is Picky:
        here.registry.register(cls, name="app.Thing", to_state=refuse, from_state=refuse)
    else:
        here.registry.register(cls, name="app.Thing")
    body = there.encode(object.__new__(cls))
    with pytest.raises(
        SerializationError, match=r"app\.Thing: no instance could be made of its state: \w+Error: "
    ) as caught:
        here.decode(body)
    assert len(str(caught.value)) < 1_000


@pytest.mark.parametrize("name", [f"app.{LONG}", LONG, "app.\x1b[31mThing"], ids=["dot", "no dot", "escape"])
def test_the_name_of_an_unknown_class_is_shown_briefly(codec: Serializer, name: str) -> None:
    there = type(codec)(Registry())
    there.registry.register(Picky, name=name)
    with pytest.raises(SerializationError, match="is not registered in the receiving process") as caught:
        codec.decode(there.encode(Picky()))
    assert len(str(caught.value)) < 1_000
    assert str(caught.value).isprintable()
