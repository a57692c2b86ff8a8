"""gpyro makes a Python object callable from another process as if it were local, on gevent.

import gpyro.core                                   # in the server

daemon = gpyro.core.Daemon()
print(daemon.connect(MyObject(), "mine"))
daemon.requestLoop()

proxy = gpyro.core.getProxyForURI(uri)              # in the client
proxy.method(1, 2)
"""

from __future__ import annotations

from gpyro.batch import Batch, batch
from gpyro.constants import VERSION as __version__
from gpyro.context import deadline, shield, time_left
from gpyro.exposure import expose, oneway
from gpyro.futures import Future, submit
from gpyro.plugins import register_serializer
from gpyro.settings import config
from gpyro.threaded import threaded
from gpyro.values import register_class

__all__ = [
    "Batch",
    "Future",
    "__version__",
    "batch",
    "config",
    "deadline",
    "expose",
    "oneway",
    "register_class",
    "register_serializer",
    "shield",
    "submit",
    "threaded",
    "time_left",
]
