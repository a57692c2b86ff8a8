"""After each test nothing is left: no greenlet, no file descriptor, no pending call, no running daemon."""

from __future__ import annotations

import gc
import os
import sys
import time
from collections.abc import Iterator
from typing import Any

import gevent
import gevent.socket
import hypothesis
import pytest
from gevent.threadpool import _WorkerGreenlet
from greenlet import greenlet

from gpyro import hub_daemon
from gpyro.net.hub import hub_state
from gpyro.net.listener import Listener
from gpyro.net.workers import Worker
from tests.naming import env as env
from tests.naming import ns as ns
from tests.support import descriptors, turns

# How long an example takes says more of the machine than of the code.
hypothesis.settings.register_profile(
    "gpyro", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow], print_blob=True
)
hypothesis.settings.load_profile("gpyro")


def pytest_configure(config: pytest.Config) -> None:
    """The tests start hundreds of programs: where no bytecode is kept, each would have to compile all of gpyro."""
    if sys.dont_write_bytecode and config.pluginmanager.has_plugin("cacheprovider"):
        os.environ["PYTHONDONTWRITEBYTECODE"] = ""
        os.environ["PYTHONPYCACHEPREFIX"] = str(config.cache.mkdir("bytecode"))


@pytest.fixture(scope="session", autouse=True)
def _quick_ends() -> None:
    """Thousands of daemons end here, and each looks at least twice whether all has been said."""
    hub_daemon.DRAIN_INTERVAL = 0.001


@pytest.fixture(scope="session", autouse=True)
def _warm_up() -> None:
    """Make what lives as long as the process: the hub, and the threads of gevent's resolver."""
    gevent.get_hub()
    gevent.socket.getaddrinfo("localhost", 80)
    turns()


def _greenlets() -> dict[int, greenlet]:
    """The living greenlets of this thread; those of gevent's thread pool live as long as it likes."""
    hub = gevent.get_hub()
    mine = {}
    for thing in gc.get_objects():
        if (
            # By its type, since isinstance asks what a weak proxy stands for, and a dead one raises.
            issubclass(type(thing), greenlet)
            and thing
            and not thing.dead
            and thing.parent is not None
            and thing is not hub
            and not isinstance(thing, _WorkerGreenlet)
        ):
            mine[id(thing)] = thing
    return mine


def _unfinished() -> list[str]:
    found = []
    state = hub_state()
    for stream in state.streams:
        if getattr(stream, "pending", None):
            found.append(f"{stream}: {len(stream.pending)} calls out")  # type: ignore[attr-defined]
        if getattr(stream, "serving", None):
            found.append(f"{stream}: {len(stream.serving)} calls being served")  # type: ignore[attr-defined]
        if getattr(stream, "opened", None):
            found.append(f"{stream}: {len(stream.opened)} sessions open")  # type: ignore[attr-defined]
        if isinstance(getattr(stream, "owner", None), Listener):
            found.append(f"{stream}: accepted and not closed")
    found += [f"{listener} still listens" for listener in state.belongings]
    return found


def _poll() -> None:
    """As `turns`, but without its milliseconds: the thousands of tests that leave nothing wait for no clock."""
    with gevent.Timeout(1, False):
        for _ in range(3):
            gevent.idle()


@pytest.fixture(autouse=True)
def _nothing_left(request: pytest.FixtureRequest) -> Iterator[None]:
    # What is there already is set aside, so that looking for what is new stays quick however many tests there are.
    gc.collect()
    gc.freeze()
    descriptors_before, greenlets_before = descriptors(), _greenlets()
    process = os.getpid()
    yield
    if os.getpid() != process:
        os._exit(99)  # a forked child got out of its test
    until = time.monotonic() + 10
    gc.collect()
    while (unfinished := _unfinished()) and time.monotonic() < until:
        turns()
        gc.collect()
    hub_state().close()
    _poll()
    gc.collect()
    left: list[Any] = list(unfinished)
    while True:
        new = {number: what for number, what in descriptors().items() if number not in descriptors_before}
        alive = [thing for number, thing in _greenlets().items() if number not in greenlets_before]
        if not (new or alive) or time.monotonic() > until:
            break
        turns()
        gc.collect()
    if new or alive:
        left += [f"descriptor {number} {what}" for number, what in new.items()]
        left += [f"{thing!r}{' of a call' if isinstance(thing, Worker) else ''}" for thing in alive]
    if left:
        pytest.fail("left behind: " + "; ".join(map(str, left)))
