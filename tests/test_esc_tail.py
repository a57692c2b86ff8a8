from __future__ import annotations

import io
import json
import sys

import gevent
import pytest

from gpyro import config
from gpyro.control_output import Output
from gpyro.esc_tail import Tail
from gpyro.eventsvc import Event, EventServiceStarter, Gap, Publisher
from tests.naming import configured, environment, free_port, name_server
from tests.support import eventually


@pytest.fixture(autouse=True)
def _configuration(tmp_path):
    with configured(environment(tmp_path)):
        yield


@pytest.fixture
def es():
    starter = EventServiceStarter()
    starter.begin(port=0, useNameServer=0)
    yield starter
    starter.stop()


def tail(tail, subjects, patterns):
    tail.follow(subjects, patterns)
    tail.run()


class Told:
    """What `tail` wrote, as it comes."""

    def __init__(self, uri, subjects=(), patterns=(), most=None):
        self._stream = io.StringIO()
        self._read = 0
        self.tail = Tail(Output(True, self._stream), None, uri, most)
        self.greenlet = gevent.spawn(tail, self.tail, list(subjects), list(patterns))

    def next(self):
        lines = eventually(lambda: self._stream.getvalue().splitlines()[self._read :], 30)
        self._read += 1
        found = json.loads(lines[0])
        assert found.pop("time") > 0
        return found

    def __enter__(self):
        assert self.next()["event"] == "tailing"
        return self

    def __exit__(self, *_):
        self.tail.abort()
        self.greenlet.get(timeout=30)


def test_events(es):
    told = Told(es.uri, ["a", "B"], ["w.*"])
    assert told.next() == {"event": "tailing", "subjects": ["a", "B"], "patterns": ["w.*"]}
    es.server.publish(["A", "b", "c", "weather"], {"deep": [1, None]})
    for subject, number in (("A", 1), ("b", 2), ("weather", 4)):
        value = {"deep": [1, None]}
        assert told.next() == {"event": "published", "subject": subject, "number": number, "msg": value}
    es.server.publish("a", 1j)
    assert told.next()["msg"] == "1j"
    told.tail.abort()
    told.greenlet.get(timeout=30)


def test_the_time_is_that_of_the_event(es):
    stream = io.StringIO()
    greenlet = gevent.spawn(tail, Tail(Output(True, stream), None, es.uri, 1), ["a"], [])
    eventually(lambda: "tailing" in stream.getvalue())
    es.server.publish("a", 1)
    greenlet.get(timeout=30)
    assert json.loads(stream.getvalue().splitlines()[1])["time"] == es.server.topics()[0]["last"]


def test_it_ends_after_so_many(es):
    with Told(es.uri, ["a"], most=2) as told:
        for number in range(5):
            es.server.publish("a", number)
        told.greenlet.get(timeout=30)
        assert [told.next()["msg"] for _ in range(2)] == [0, 1]
        assert len(told._stream.getvalue().splitlines()) == 3


def test_it_goes_on_when_the_server_restarts():
    port = free_port()
    starter = EventServiceStarter()
    starter.begin(port=port, norange=1, useNameServer=0)
    with Told(f"PYROLOC://127.0.0.1:{port}/:Pyro.EventService", ["a"]) as told:
        starter.server.publish("a", 1)
        assert told.next()["msg"] == 1
        starter.stop()
        lost = told.next()
        assert lost["event"] == "lost"
        assert lost["reason"]
        starter.begin(port=port, norange=1, useNameServer=0)
        found = [told.next(), told.next()]
        assert {"event": "back"} in found
        assert {"event": "missed", "count": None, "reason": "the event server was restarted"} in found
        starter.server.publish("a", 2)
        assert told.next()["msg"] == 2
    starter.stop()


def test_it_finds_the_server_elsewhere():
    config.PYRO_NS_HOSTNAME = "127.0.0.1"
    with name_server(nobroadcast=True):
        starter = EventServiceStarter()
        starter.begin(port=0)
        with Told(None, ["a"]) as told:
            for _ in range(2):
                Publisher().publish("a", 1)
                while told.next()["event"] != "published":
                    pass
                starter.stop()
                assert told.next()["event"] == "lost"
                starter.begin(port=0)
                while told.next()["event"] != "missed":
                    pass
        starter.stop()


def test_what_was_missed_meanwhile_is_counted(es):
    with Told(es.uri, ["a"]) as told:
        es.server.publish("a", 1)
        assert told.next()["msg"] == 1
        told.tail._pyro_link._channel.close("cut")
        for number in range(3):
            es.server.publish(["a", "b"], number)
        found = told.next()
        assert (found["event"], found["count"]) == ("missed", 3)


def test_a_slow_one_holds_nobody_up(es):
    with Told(es.uri, ["a"]) as told:
        assert [row["policy"] for row in es.server.subscribers()] == ["oldest"]
        for number in range(2 * config.PYRO_ES_QUEUESIZE):
            es.server.publish("a", number)
        events, missed = 0, 0
        while events + missed < 2 * config.PYRO_ES_QUEUESIZE:
            found = told.next()
            if found["event"] == "missed":
                missed += found["count"]
            else:
                events += 1
        assert missed
        assert found["msg"] == 2 * config.PYRO_ES_QUEUESIZE - 1


@pytest.mark.parametrize("error", [BrokenPipeError, OSError])
def test_output_that_fails_ends_it(es, error):
    class Stream(io.StringIO):
        def write(self, text):
            if "published" in text:
                raise error("no more")
            return super().write(text)

    stream = Stream()
    greenlet = gevent.spawn(tail, Tail(Output(True, stream), None, es.uri), ["a"], [])
    eventually(lambda: "tailing" in stream.getvalue())
    es.server.publish("a", 1)
    es.server.publish("a", 2)
    with pytest.raises(error):
        greenlet.get(timeout=30)
    eventually(lambda: not es.server.subscribers())


def test_output_without_a_file(es, monkeypatch):
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    with Told(es.uri, ["a"]) as told:
        es.server.publish("a", 1)
        assert told.next()["msg"] == 1


def test_as_a_text():
    stream = io.StringIO()
    tail = Tail(Output(False, stream))
    tail._tell("tailing", {}, what="a, /b/")
    tail.event(Event("a\x1b", "text\n"))
    tail.event(Event("a", (1, b"x")))
    tail.missed(Gap(1, "it slept"))
    tail._pyro_lost(OSError("gone"))
    tail._pyro_back()
    assert [line[len("2026-01-01 00:00:00  ") :] for line in stream.getvalue().splitlines()] == [
        "tailing a, /b/",
        r"a\x1b  text\n",
        "a  (1, b'x')",
        "1 event missed: it slept",
        "event server lost: gone",
        "event server is back",
    ]
