"""An object for hostile callers, a daemon with a client that must not notice them, and the ways to them."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import Any

from gpyro import core
from tests.net.peers import Raw, connection
from tests.support import eventually, serving, turns


class Target(core.ObjBase):
    def __init__(self) -> None:
        super().__init__()
        self.calls = 0
        self.value = 7

    def echo(self, value: Any = None) -> Any:
        self.calls += 1
        return value

    def two(self, first: Any, second: Any) -> Any:
        return [first, second]

    def unsendable(self) -> Any:
        return object()

    def large(self) -> str:
        return "x" * (17 << 20)

    def _private(self) -> None:
        raise AssertionError("reached")


@contextlib.contextmanager
def unharmed(obj: Target) -> Iterator[core.Daemon]:
    """A daemon with a client whose connection must come through everything unharmed."""
    with serving(obj) as made:
        proxy = made.getProxyForObj(obj)
        assert proxy.echo("before") == "before"
        (good,) = made.connections
        yield made
        assert proxy.echo("after") == "after"
        assert good in made.connections
        assert not good.closed
        newcomer = made.getProxyForObj(obj)
        newcomer._setPrivateChannel(True)
        assert newcomer.echo("new") == "new"
        newcomer._release()
        eventually(lambda: len(made.connections) <= 1)


def plain(daemon: core.Daemon) -> Any:
    """A socket that is connected to the daemon."""
    return connection(daemon.port)


def session(daemon: core.Daemon, obj: Target) -> Raw:
    """A client by hand that said hello and opened session 1 to the object."""
    raw = Raw.connect(daemon.port)
    raw.open(1, daemon.getProxyForObj(obj).objectID)
    return raw


def lines(caplog: Any) -> list[str]:
    """The warnings and errors in the log."""
    turns(3)
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
