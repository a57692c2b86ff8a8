"""The serializers by their names."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Final

from gpyro.errors import ConfigurationError

from .guard import DEFAULT_LIMITS
from .json_ import JsonSerializer
from .msgpack_ import MsgpackSerializer
from .pickle_ import PickleSerializer
from .serializer import Serializer

_SERIALIZERS: Final[dict[str, type[Serializer]]] = {
    cls.name: cls for cls in (MsgpackSerializer, JsonSerializer, PickleSerializer)
}


def serializer_by_name(name: str, max_bytes: int = DEFAULT_LIMITS.max_bytes) -> Serializer:
    """The serializer of that name, over the global registry; the same instance each time.

    Args:
        name: ``msgpack``, ``json`` or ``pickle``.
        max_bytes: largest encoded value, both ways.

    Raises:
        ConfigurationError: there is none of that name.
    """
    if name not in _SERIALIZERS:
        raise ConfigurationError(f"unknown serializer {name!r}; known are {', '.join(_SERIALIZERS)}")
    return _instance(name, max_bytes)


@cache
def _instance(name: str, max_bytes: int) -> Serializer:
    return _SERIALIZERS[name](limits=replace(DEFAULT_LIMITS, max_bytes=max_bytes))
