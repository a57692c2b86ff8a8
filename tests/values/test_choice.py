from __future__ import annotations

import pytest

from gpyro.errors import ConfigurationError
from gpyro.values import JsonSerializer, MsgpackSerializer, PickleSerializer, registry, serializer_by_name


def test_serializers_by_name() -> None:
    for name, cls in (("msgpack", MsgpackSerializer), ("json", JsonSerializer), ("pickle", PickleSerializer)):
        serializer = serializer_by_name(name)
        assert type(serializer) is cls
        assert serializer is serializer_by_name(name)
        assert serializer.registry is registry
        assert serializer.trusted_only == (name == "pickle")


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ConfigurationError, match="unknown serializer 'xml'; known are msgpack, json, pickle"):
        serializer_by_name("xml")
