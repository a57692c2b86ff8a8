from __future__ import annotations

import io
import socket
import sys
import threading
from typing import Any

import pytest

from gpyro.errors import SerializationError
from gpyro.values import JsonSerializer, MsgpackSerializer, Registry, Serializer


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
