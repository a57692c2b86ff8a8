"""The serializers by their names."""

from __future__ import annotations

from functools import cache
from typing import Final

from gpyro.errors import ConfigurationError

from .json_ import JsonSerializer
from .msgpack_ import MsgpackSerializer
from .pickle_ import PickleSerializer
from .serializer import Serializer

_SERIALIZERS: Final[dict[str, type[Serializer]]] = {
    cls.name: cls for cls in (MsgpackSerializer, JsonSerializer, PickleSerializer)
}


def serializer_by_name(name: str) -> Serializer:
    """The serializer of that name, over the global registry; the same instance each time.

    Args:
        name: ``msgpack``, ``json`` or ``pickle``.

    Raises:
        ConfigurationError: there is none of that name.
    """
    if name not in _SERIALIZERS:
        raise ConfigurationError(f"unknown serializer {name!r}; known are {', '.join(_SERIALIZERS)}")
    return _instance(name)


@cache
def _instance(name: str) -> Serializer:
    return _SERIALIZERS[name]()
