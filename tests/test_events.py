from __future__ import annotations

import time

import pytest

from gpyro.events import Event, EventError, Gap
from gpyro.topics import PatternError, SubjectError
from gpyro.values import serializer_by_name


def test_an_event_says_what_it_is():
    event = Event("News", {"a": 1}, 0.0)
    assert str(event) == f"<EVENT SUBJ News ({time.ctime(0)}): {{'a': 1}}>"
    assert (event.subject, event.msg, event.time, event.number) == ("News", {"a": 1}, 0.0, None)
    assert abs(Event("a", 1).time - time.time()) < 5
    assert repr(Event("a", 1, 2.0, 3)) == "Event('a', 1, 2.0, 3)"
    assert str(Gap(1, "why")) == "1 event missed: why"
    assert str(Gap(None, "why")) == "an unknown number of events missed: why"
    assert repr(Gap(2, "why")) == "Gap(2, 'why')"
    assert repr(Gap(2, "why").and_then(Gap(3, "since"))) == "Gap(5, 'since')"
    assert Gap(2, "why").and_then(Gap(None, "since")).count is Gap(None, "why").and_then(Gap(3, "since")).count is None


@pytest.mark.parametrize("name", ["msgpack", "json"])
def test_they_travel(name):
    codec = serializer_by_name(name)
    event, gap = codec.decode(codec.encode([Event("a", (1, 2), 3.5, 4), Gap(None, "why")]))
    assert (event.subject, event.msg, event.time, event.number) == ("a", (1, 2), 3.5, 4)
    assert (gap.count, gap.reason) == (None, "why")


@pytest.mark.parametrize(
    "error", [EventError("text", "msg"), PatternError("(a+)+", "why"), SubjectError("no subject")], ids=repr
)
def test_their_errors_arrive_as_what_they_were(error):
    codec = serializer_by_name("msgpack")
    arrived = codec.decode_error(codec.encode_error(error, []))
    assert type(arrived) is type(error)
    assert str(arrived) == str(error)
    assert arrived.args == error.args
