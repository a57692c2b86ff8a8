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

from gpyro.batching import Batch, batch
from gpyro.callbacks import CallbackProxy, RemoteFunction
from gpyro.constants import VERSION as __version__
from gpyro.context import CallContext, call_context, current_context, deadline, shield, time_left
from gpyro.exposure import expose, oneway
from gpyro.futures import Future, submit
from gpyro.observing import CallInfo, Observer, observe
from gpyro.plugins import register_serializer
from gpyro.settings import config
from gpyro.thread_pool import threaded
from gpyro.values import register_class

__all__ = [
    "Batch",
    "CallContext",
    "CallbackProxy",
    "CallInfo",
    "Future",
    "Observer",
    "RemoteFunction",
    "__version__",
    "batch",
    "call_context",
    "config",
    "current_context",
    "deadline",
    "expose",
    "observe",
    "oneway",
    "register_class",
    "register_serializer",
    "shield",
    "submit",
    "threaded",
    "time_left",
]


def __getattr__(name: str) -> Any:
    # As in Pyro 3, and yet not imported before ``python -m gpyro.configuration`` runs it.
    if name == "configuration":
        return import_module("gpyro.configuration")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
