"""Serializers that programs add."""

from __future__ import annotations

import json

import pytest

import gpyro
from gpyro import core
from gpyro.errors import ConfigurationError
from gpyro.items import SERIALIZERS
from gpyro.values import JsonSerializer, Serializer, choice
from tests.support import serving


@pytest.fixture
def no_trace(monkeypatch):
    """What is added, and set, is gone after the test."""
    monkeypatch.setattr(choice, "_SERIALIZERS", dict(choice._SERIALIZERS))
    before, chosen = list(SERIALIZERS), gpyro.config.PYRO_SERIALIZER
    yield
    gpyro.config.PYRO_SERIALIZER = chosen
    SERIALIZERS[:] = before
    choice._instance.cache_clear()


class Counting(JsonSerializer):
    name = "counting"
    calls = 0

    def encode_call(self, method, args, kwargs):
        type(self).calls += 1
        return super().encode_call(method, args, kwargs)


def test_an_added_serializer_carries_calls(no_trace):
    class Echo(core.ObjBase):
        def echo(self, value):
            return value

    with pytest.raises(ConfigurationError, match="msgpack, json, pickle"):
        gpyro.config.PYRO_SERIALIZER = "counting"
    assert gpyro.register_serializer(Counting) is Counting
    assert gpyro.register_serializer(Counting) is Counting
    gpyro.config.PYRO_SERIALIZER = "counting,msgpack"
    obj = Echo()
    with serving(obj) as daemon:
        proxy = daemon.getProxyForObj(obj)
        assert proxy.echo((1, "two")) == (1, "two")
        (channel,) = daemon.connections
        assert type(channel.serializer) is Counting
        assert Counting.calls == 1
        proxy._release()


def test_what_is_no_serializer_is_refused(no_trace):
    class Halfway(Serializer):
        name = "halfway"

    class Badly(JsonSerializer):
        name = "two words"

    class Second(JsonSerializer):
        name = "json"

    for wrong in (json, Halfway, JsonSerializer()):
        with pytest.raises(TypeError, match="no complete subclass"):
            gpyro.register_serializer(wrong)
    with pytest.raises(ValueError, match="no name for a serializer"):
        gpyro.register_serializer(Badly)
    with pytest.raises(ValueError, match="taken by the serializer JsonSerializer"):
        gpyro.register_serializer(Second)
    assert SERIALIZERS == ["msgpack", "json", "pickle"]
