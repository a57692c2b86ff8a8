from __future__ import annotations

import io
import json
import os
import time

import gevent
import pytest

from gpyro import config
from gpyro.control_output import Output
from gpyro.naming import NameEvent, NameServerLocator
from gpyro.nsc_watch import Watch
from tests.naming import name_server, proxy_of
from tests.support import eventually

URI = "PYRO://host:7766/id"
OTHER = "PYRO://host:7766/other"


class Told:
    """What `watch` wrote, as it comes."""

    def __init__(self, ns, group=":", with_all=False):
        self._stream = io.StringIO()
        self._read = 0
        self._greenlet = gevent.spawn(Watch(ns, group, with_all, Output(True, self._stream)).run)

    def next(self):
        lines = eventually(lambda: self._stream.getvalue().splitlines()[self._read :], 30)
        self._read += 1
        found = json.loads(lines[0])
        assert abs(found.pop("time") - time.time()) < 600
        return found

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._greenlet.kill()


def test_watch(ns):
    ns.register("there", URI)
    with Told(ns) as told:
        assert told.next() == {"event": "watching", "name": ":", "names": 5}
        ns.createGroup(":g")
        assert told.next() == {"event": "group_created", "name": ":g"}
        ns.enrol(":g.a", URI)
        assert told.next() == {"event": "registered", "name": ":g.a", "uri": URI}
        ns.setMeta(":g.a", "of no interest")
        ns.unregister("there")
        assert told.next() == {"event": "removed", "name": ":Default.there", "was": URI}
        ns.enrol(":g.a", OTHER, replacing=URI)
        assert told.next() == {"event": "replaced", "name": ":g.a", "uri": OTHER, "was": URI}
        ns.deleteGroup(":g")
        gone = sorted((told.next() for _ in range(2)), key=lambda found: found["name"])
        assert gone == [{"event": "group_deleted", "name": ":g"}, {"event": "removed", "name": ":g.a", "was": OTHER}]
        ns.register(":g", URI)
        assert told.next() == {"event": "registered", "name": ":g", "uri": URI}


def test_watch_of_a_group(ns):
    with Told(ns, ":g", with_all=True) as told:
        assert told.next() == {"event": "watching", "name": ":g", "names": 0}
        ns.register("elsewhere", URI)
        ns.register(":gg", URI)
        ns.createGroup(":g")
        ns.register(":g.a", URI)
        assert told.next() == {"event": "group_created", "name": ":g"}
        assert told.next() == {"event": "registered", "name": ":g.a", "uri": URI}
    with Told(ns, ":g", with_all=True) as told:
        assert told.next() == {"event": "watching", "name": ":g", "names": 2}
        assert told.next() == {"event": "group_present", "name": ":g"}
        assert told.next() == {"event": "present", "name": ":g.a", "uri": URI}


@pytest.mark.parametrize("persistent", [0, 1])
def test_watch_survives_a_restart(env, persistent):
    with name_server(persistent=persistent) as starter:
        ns = proxy_of(starter)
        with Told(ns, ":Default") as told:
            assert told.next() == {"event": "watching", "name": ":Default", "names": 1}
            ns.register("a", URI)
            assert told.next() == {"event": "registered", "name": ":Default.a", "uri": URI}
            starter.stop()
            lost = told.next()
            assert lost["event"] == "lost"
            assert lost["reason"]
            with name_server(persistent=persistent) as again:
                assert told.next() == {"event": "back", "uri": str(ns.URI)}
                if not persistent:
                    assert told.next() == {"event": "removed", "name": ":Default.a", "was": URI}
                proxy_of(again).register("b", URI)
                assert told.next() == {"event": "registered", "name": ":Default.b", "uri": URI}


def test_watch_finds_it_elsewhere(env):
    config.PYRO_NS_URIFILE = os.path.join(config.PYRO_STORAGE, "where")
    with name_server(nsport=0):
        ns = NameServerLocator().getNS()
        with Told(ns) as told:
            assert told.next()["event"] == "watching"
    with Told(ns) as told:
        assert told.next()["event"] == "lost"
        with name_server(nsport=0) as again:
            back = told.next()
            assert back["event"] == "back"
            assert f":{again.uri.port}/" in back["uri"]
            assert told.next()["event"] == "watching"


def test_watch_in_a_text():
    class Proxy:
        URI = URI

    stream = io.StringIO()
    watch = Watch(Proxy(), ":", True, Output(False, stream))
    watch._begin([NameEvent(":a", 1, URI), NameEvent(":", 0, "")])
    watch._show([NameEvent(":a", 1, "PYRO://h:1/\x1b[0m"), NameEvent(":g", 0, "")])
    watch._show([NameEvent(":a", None, ""), NameEvent(":g", None, "")])
    lines = [line[len("2026-01-01 00:00:00  ") :] for line in stream.getvalue().splitlines()]
    assert lines == [
        "watching :, 2 names",
        "group present :",
        f"present :a  -->  {URI}",
        rf"replaced :a  -->  PYRO://h:1/\x1b[0m  (was {URI})",
        "group created :g",
        r"removed :a  (was PYRO://h:1/\x1b[0m)",
        "group deleted :g",
    ]
