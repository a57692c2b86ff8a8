"""What travels between processes, and how: serializers, and the registry of classes.

This package knows no sockets and no gevent: values go in, bytes come out.
"""

from __future__ import annotations

from .choice import serializer_by_name
from .classes import Registry, register_class, registry
from .guard import Limits
from .json_ import JsonSerializer
from .msgpack_ import MsgpackSerializer
from .packing import pack_plain, unpack_plain
from .pickle_ import PickleSerializer
from .serializer import Serializer

__all__ = [
    "JsonSerializer",
    "Limits",
    "MsgpackSerializer",
    "PickleSerializer",
    "Registry",
    "Serializer",
    "pack_plain",
    "register_class",
    "registry",
    "serializer_by_name",
    "unpack_plain",
]
