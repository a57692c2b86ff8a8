"""What tests of the name server need: a configuration of their own, and name servers in this process."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gpyro import config
from gpyro.naming import NameServerProxy, NameServerStarter
from tests.programs import Program
from tests.support import free_port as free_port

BROADCAST = "127.255.255.255"
"""The address of broadcasts on the loopback interface: nothing of these tests gets out."""


def environment(directory: Path, **items: object) -> dict[str, str]:
    """The configuration of these tests for other processes, with a name server's port that nobody has."""
    found = {
        "PYRO_STORAGE": directory,
        "PYRO_NS_PORT": free_port(),
        "PYRO_NS_BC_ADDR": BROADCAST,
        "PYRO_NS_BC_PORT": free_port(socket.SOCK_DGRAM),
        "PYRO_BC_TIMEOUT": 0.15,
        "PYRO_NS_LEASE": 2.0,
        **items,
    }
    return {f"G{name}": str(value) for name, value in found.items()}


@contextlib.contextmanager
def configured(items: dict[str, str]) -> Iterator[None]:
    """This process's configuration, for a while; items as `environment` gives them."""
    before = config.snapshot()
    try:
        for name, text in items.items():
            value: Any = text
            with contextlib.suppress(ValueError):
                value = float(text) if "." in text and "/" not in text else int(text)
            setattr(config, name[1:], value)
        yield
    finally:
        object.__setattr__(config, "_settings", before)


@pytest.fixture
def env(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The configuration of a test, which is this process's, too, while it runs."""
    items = environment(tmp_path)
    with configured(items):
        yield items


@contextlib.contextmanager
def name_server(**arguments: Any) -> Iterator[NameServerStarter]:
    """A name server in this loop, where the configuration says unless the arguments do."""
    identification = arguments.pop("identification", None)
    starter = NameServerStarter(identification)
    starter.begin(**{"dontlookupother": 1, **arguments})
    try:
        yield starter
    finally:
        starter.stop()


def started(server: Program) -> list[str]:
    """The lines that a name server prints until it serves."""
    lines = [server.line()]
    while lines[-1] != "Name Server started.":
        lines.append(server.line())
    return lines


def proxy_of(starter: NameServerStarter, *arguments: Any) -> NameServerProxy:
    assert starter.uri is not None
    return NameServerProxy(starter.uri, *arguments)


@pytest.fixture
def ns(env: dict[str, str]) -> Iterator[NameServerProxy]:
    """A name server in this loop, as its clients have it."""
    with name_server() as starter:
        proxy = proxy_of(starter)
        yield proxy
        proxy._release()
