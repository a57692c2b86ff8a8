"""gpyro makes a Python object callable from another process as if it were local, on gevent.

import gpyro.core                                   # in the server

daemon = gpyro.core.Daemon()
print(daemon.connect(MyObject(), "mine"))
daemon.requestLoop()

proxy = gpyro.core.getProxyForURI(uri)              # in the client
proxy.method(1, 2)
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from gpyro.constants import VERSION as __version__
from gpyro.exposure import expose, oneway
from gpyro.plugins import register_serializer
from gpyro.settings import config
from gpyro.values import register_class

__all__ = ["__version__", "config", "expose", "oneway", "register_class", "register_serializer"]


def __getattr__(name: str) -> Any:
    # As in Pyro 3, and yet not imported before ``python -m gpyro.configuration`` runs it.
    if name == "configuration":
        return import_module("gpyro.configuration")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
