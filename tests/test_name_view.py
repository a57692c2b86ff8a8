from __future__ import annotations

import random
import time

import gevent
import pytest

from gpyro import config
from gpyro.errors import NamingError, StoreError
from gpyro.naming import NameServerProxy
from gpyro.stores import MemoryStore
from tests.naming import configured, environment, name_server, proxy_of

URI, OTHER = "PYRO://host:7766/id", "PYRO://host:7767/other"


@pytest.fixture(autouse=True)
def _configuration(tmp_path):
    with configured(environment(tmp_path)):
        config.PYRO_BC_TIMEOUT = 0.02
        yield


def test_it_begins_with_all_names_and_goes_on():
    with name_server() as starter:
        ns = proxy_of(starter)
        with ns.view() as view:
            first = {event.name: event.type for event in view.next()}
            assert first == {":": 0, ":Default": 0, ":Pyro": 0, ":Pyro.NameServer": 1}
            assert view.next(0) == []
            ns.register("a", URI)
            assert view.next(5) == [(":Default.a", 1, URI)]
            waiting = gevent.spawn(view.next, 10)
            gevent.sleep(0.01)
            ns.unregister("a")
            assert waiting.get(timeout=30) == [(":Default.a", None, "")]
            ns.createGroup(":G")
            ns.register(":G.a", OTHER)
            ns.deleteGroup(":G")
            events = [event for _ in range(3) for event in view.next(5)]
            assert set(events[2:]) == {(":G", None, ""), (":G.a", None, "")}
            assert ":G" not in view.names
            assert view.names[":Pyro.NameServer"] == (1, str(starter.uri))
            begun = time.monotonic()
            assert view.next(0.05) == []
            assert time.monotonic() - begun >= 0.04


def _space(starter):
    return {node.name: (node.record.type, node.record.uri) for node in starter.server.space.walk()} | {":": (0, "")}


def _settle(view, starter):
    """Go on until there is nothing new."""
    while True:
        try:
            if not view.next(0):
                return
        except StoreError:
            gevent.sleep(0.01)


@pytest.mark.parametrize("seed", range(3))
def test_whatever_happens_on_the_way_it_ends_with_what_is_there(seed, monkeypatch):
    random_ = random.Random(seed)
    small = lambda *arguments, **keywords: MemoryStore(history=8)  # noqa: E731
    monkeypatch.setattr("gpyro.naming_server.MemoryStore", small)
    starting = name_server()
    starter = starting.__enter__()
    try:
        ns = NameServerProxy(starter.uri)
        with ns.view() as view:
            _settle(view, starter)
            highest = view.revision
            for _ in range(60):
                what = random_.random()
                name = f"n{random_.randrange(6)}"
                if what < 0.75:
                    for _ in range(random_.choice((1, 1, 12))):
                        try:
                            ns.register(name, random_.choice((URI, OTHER)))
                        except NamingError:
                            ns.unregister(name)
                elif what < 0.85:
                    view.close()
                elif what < 0.95:
                    ns._release()
                else:
                    starting.__exit__(None, None, None)
                    with pytest.raises(StoreError):
                        view.next(0)
                    starting = name_server()
                    starter = starting.__enter__()
                    highest = 0
                if random_.random() < 0.5:
                    _settle(view, starter)
                    assert view.names == _space(starter)
                    assert view.revision >= highest
                    highest = view.revision
            _settle(view, starter)
            assert view.names == _space(starter)
    finally:
        starting.__exit__(None, None, None)
