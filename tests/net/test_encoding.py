"""The limits on values are those of the end's configuration, for daemons and for proxies."""

from __future__ import annotations

from typing import Any

import pytest

from gpyro import core
from gpyro.errors import ConfigurationError, SerializationError
from gpyro.net.encoding import serializer_for
from gpyro.settings import Settings, config
from tests.support import serving, uri_of

SERIALIZERS = ["msgpack", "json"]


def settings(**items: object) -> Settings:
    return config.snapshot().replace(**items)


def nested(levels: int, kind: str = "list") -> Any:
    value: Any = 0
    for _ in range(levels):
        value = {"list": [value], "tuple": (value,), "dict": {"a": value}, "keys": {1: value}}[kind]
    return value


def test_the_limits_are_those_of_the_settings() -> None:
    made = serializer_for("msgpack", settings(PYRO_MAX_MESSAGE=5000, PYRO_MAX_CONTAINERS=2000, PYRO_MAX_DEPTH=20))
    assert (made.limits.max_bytes, made.limits.max_containers, made.limits.max_depth) == (5000, 2000, 20)
    assert made is serializer_for(
        "msgpack", settings(PYRO_MAX_MESSAGE=5000, PYRO_MAX_CONTAINERS=2000, PYRO_MAX_DEPTH=20)
    )
    assert made is not serializer_for("msgpack", settings())
    with pytest.raises(ConfigurationError, match="unknown serializer"):
        serializer_for("xml", settings())


@pytest.mark.parametrize("name", SERIALIZERS)
@pytest.mark.parametrize("kind", ["list", "tuple", "dict", "keys"])
@pytest.mark.parametrize("depth", [10, 30, 99, 100, 200])
def test_values_of_the_greatest_depth_travel_and_deeper_ones_do_not(name: str, kind: str, depth: int) -> None:
    codec = serializer_for(name, settings(PYRO_MAX_DEPTH=depth))
    deepest = nested(depth, kind)
    assert codec.decode(codec.encode(deepest)) == deepest
    assert codec.decode_call(codec.encode_call("f", (nested(depth - 1, kind),), {}))[1][0] == nested(depth - 1, kind)
    too_deep = nested(depth + 1, kind)
    if depth >= 100 and kind in ("list", "dict") and name == "msgpack":
        assert codec.decode(codec.encode(too_deep)) == too_deep  # as far as the codec goes by itself
        return
    said = rf"nested more than {depth} levels deep \(PYRO_MAX_DEPTH, on both sides\)"
    with pytest.raises(SerializationError, match=said):
        codec.encode(too_deep)
    with pytest.raises(SerializationError, match=said):
        codec.encode_call("f", (), {"k": too_deep})


@pytest.mark.parametrize("name", SERIALIZERS)
def test_a_receiver_that_allows_less_depth_refuses(name: str) -> None:
    sender = serializer_for(name, settings())
    receiver = serializer_for(name, settings(PYRO_MAX_DEPTH=20))
    for kind in ("list", "tuple", "dict", "keys"):
        assert receiver.decode(sender.encode(nested(20, kind))) == nested(20, kind)
        with pytest.raises(SerializationError, match=r"more than 20 levels deep \(PYRO_MAX_DEPTH"):
            receiver.decode(sender.encode(nested(21, kind)))
        assert receiver.decode_call(sender.encode_call("f", (nested(19, kind),), {}))[0] == "f"
        with pytest.raises(SerializationError, match=r"more than 20 levels deep \(PYRO_MAX_DEPTH"):
            receiver.decode_call(sender.encode_call("f", (nested(20, kind),), {}))


def test_what_cannot_be_sent_back_can_arrive_where_depth_is_limited() -> None:
    """Only the depth of what arrives is looked at."""
    receiver = serializer_for("msgpack", settings(PYRO_MAX_DEPTH=20))
    sender = serializer_for("msgpack", settings())
    error = ValueError("x", [1, [2]])
    error.__cause__ = KeyError("y")
    arrived = receiver.decode_error(sender.encode_error(error, ["far\n"]))
    assert (type(arrived), arrived.args, type(arrived.__cause__)) == (ValueError, ("x", [1, [2]]), KeyError)


@pytest.mark.parametrize("name", SERIALIZERS)
def test_too_many_containers(name: str) -> None:
    codec = serializer_for(name, settings(PYRO_MAX_CONTAINERS=1000))
    roomy = serializer_for(name, settings())
    assert len(codec.decode(codec.encode([[1]] * 900))) == 900
    said = r"more than 1,000 lists, maps and other containers \(PYRO_MAX_CONTAINERS, on both sides\)"
    with pytest.raises(SerializationError, match=said):
        codec.encode([[1]] * 1001)
    with pytest.raises(SerializationError, match=said):
        codec.decode(roomy.encode([[1]] * 1001))


@pytest.mark.parametrize("name", SERIALIZERS)
def test_errors_travel_within_the_narrowest_limits(name: str) -> None:
    codec = serializer_for(name, settings(PYRO_MAX_CONTAINERS=1000, PYRO_MAX_DEPTH=10))
    error = ValueError(nested(9), [[1]] * 2000)
    error.__cause__ = KeyError("why")
    arrived = codec.decode_error(codec.encode_error(error, ["line\n"] * 50))
    assert type(arrived) is ValueError
    assert "line" in arrived.__notes__[0]


class Echo(core.ObjBase):
    def echo(self, value: Any) -> Any:
        return value

    def make(self, levels: int) -> Any:
        return nested(levels)

    def many(self, count: int) -> Any:
        return [[1]] * count


def restricted(monkeypatch: pytest.MonkeyPatch, items: dict[str, int]) -> None:
    """The configuration for what is made from now on."""
    for name, value in items.items():
        monkeypatch.setattr(config, name, value)


LIMITS = {"PYRO_MAX_DEPTH": 15, "PYRO_MAX_CONTAINERS": 1000}


def test_a_daemons_limits_hold_for_what_clients_send(monkeypatch: pytest.MonkeyPatch) -> None:
    echo = Echo()
    with monkeypatch.context() as patch:
        restricted(patch, LIMITS)
        running = serving(echo)
        daemon = running.__enter__()
    try:
        proxy = core.getProxyForURI(uri_of(daemon, echo))
        assert proxy.echo(nested(14)) == nested(14)
        with pytest.raises(SerializationError, match=r"PYRO_MAX_DEPTH"):
            proxy.echo(nested(15))
        with pytest.raises(SerializationError, match=r"PYRO_MAX_DEPTH"):
            proxy.make(16)
        with pytest.raises(SerializationError, match=r"PYRO_MAX_CONTAINERS"):
            proxy.echo([[1]] * 1500)
        with pytest.raises(SerializationError, match=r"PYRO_MAX_CONTAINERS"):
            proxy.many(1500)
    finally:
        running.__exit__(None, None, None)


def test_a_proxys_limits_hold_for_what_it_sends_and_gets(monkeypatch: pytest.MonkeyPatch) -> None:
    echo = Echo()
    with serving(echo) as daemon:
        uri = uri_of(daemon, echo)
        with monkeypatch.context() as patch:
            restricted(patch, LIMITS)
            proxy = core.getProxyForURI(uri)
        with pytest.raises(SerializationError, match=r"args\[0\].*PYRO_MAX_DEPTH"):
            proxy.echo(nested(15))
        with pytest.raises(SerializationError, match=r"PYRO_MAX_DEPTH"):
            proxy.make(16)
        with pytest.raises(SerializationError, match=r"PYRO_MAX_CONTAINERS"):
            proxy.echo([[1]] * 1500)
        with pytest.raises(SerializationError, match=r"PYRO_MAX_CONTAINERS"):
            proxy.many(1500)
        assert proxy.make(15) == nested(15)
        assert core.getProxyForURI(uri).make(90) == nested(90)
