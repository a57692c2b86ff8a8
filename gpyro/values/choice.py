"""The serializers by their names."""

from __future__ import annotations

import inspect
import re
from functools import cache
from typing import Final

from gpyro.errors import ConfigurationError

from .guard import DEFAULT_LIMITS, Limits
from .json_ import JsonSerializer
from .msgpack_ import MsgpackSerializer
from .pickle_ import PickleSerializer
from .serializer import Serializer

_SERIALIZERS: Final[dict[str, type[Serializer]]] = {
    cls.name: cls for cls in (MsgpackSerializer, JsonSerializer, PickleSerializer)
}
_NAME: Final = re.compile("[A-Za-z0-9_-]{1,40}")


def add_serializer(cls: type[Serializer]) -> None:
    """Add a serializer to those that `serializer_by_name` knows; see `gpyro.plugins.register_serializer`."""
    if not (isinstance(cls, type) and issubclass(cls, Serializer)) or inspect.isabstract(cls):
        raise TypeError(f"{cls!r} is no complete subclass of gpyro.values.Serializer")
    name = getattr(cls, "name", None)
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name for a serializer: letters, digits, - and _, at most 40")
    if _SERIALIZERS.setdefault(name, cls) is not cls:
        raise ValueError(f"the name {name!r} is taken by the serializer {_SERIALIZERS[name].__qualname__}")


def serializer_by_name(name: str, limits: Limits = DEFAULT_LIMITS) -> Serializer:
    """The serializer of that name, over the global registry; the same instance each time.

    Args:
        name: ``msgpack``, ``json``, ``pickle``, or that of one that was added.
        limits: how large and how deep values may be, both ways.

    Raises:
        ConfigurationError: there is none of that name.
    """
    if name not in _SERIALIZERS:
        raise ConfigurationError(f"unknown serializer {name!r}; known are {', '.join(_SERIALIZERS)}")
    return _instance(name, limits)


@cache
def _instance(name: str, limits: Limits) -> Serializer:
    return _SERIALIZERS[name](limits=limits)
