from __future__ import annotations

import time

import gevent
import pytest

from gpyro import event_census
from gpyro.event_census import SUBSCRIBERS_TOGETHER, TOPICS_TOGETHER, all_pages
from gpyro.event_receiver import SHOWN
from gpyro.event_routes import place_of
from gpyro.event_server import EventService
from gpyro.eventsvc import EventServiceStarter, Publisher, SubjectError, Subscriber
from tests.naming import configured, environment


@pytest.fixture
def service():
    service = EventService()
    yield service
    service.close()


@pytest.fixture
def es(tmp_path):
    with configured(environment(tmp_path)):
        starter = EventServiceStarter()
        starter.begin(port=0, useNameServer=0)
        yield starter
        starter.stop()


def test_topics_come_in_pages(service):
    names = sorted(f"Topic {number}" for number in range(2 * TOPICS_TOGETHER + 5))
    for name in reversed(names):
        service.publish(name, None)
    first = service.topics()
    assert [row["subject"] for row in first] == names[:TOPICS_TOGETHER]
    second = service.topics("tOPIC " + first[-1]["subject"].split()[1])  # case does not count
    assert [row["subject"] for row in second] == names[TOPICS_TOGETHER : 2 * TOPICS_TOGETHER]
    assert [row["subject"] for row in all_pages(service.topics, "subject", "")] == names
    assert service.topics("zzz") == []


def test_topics_that_are_published_on_or_subscribed_to(es):
    subscriber = Subscriber(esURI=es.uri)
    subscriber.subscribe(["Only Subscribed", "both"])
    subscriber.subscribeMatch("b")
    Publisher(esURI=es.uri).publish(["Both", "Beside", "nobody"], 1)
    rows = {row.pop("subject"): row for row in es.server.topics()}
    assert list(rows) == ["Beside", "Both", "nobody", "Only Subscribed"]
    assert [(row["published"], row["subscribers"]) for row in rows.values()] == [(1, 1), (1, 1), (1, 0), (0, 1)]
    assert rows["Only Subscribed"]["last"] is None
    assert abs(rows["Both"]["last"] - time.time()) < 600


def test_subscribers_come_in_pages(es):
    proxy = Publisher(esURI=es.uri).getES()
    count = SUBSCRIBERS_TOGETHER + 5
    kept = [lambda event, number=number: number for number in range(count)]
    for number, function in enumerate(kept):
        proxy.subscribe(f"subject {number}", function)
    first = proxy.subscribers()
    assert len(first) == SUBSCRIBERS_TOGETHER
    found = list(all_pages(proxy.subscribers, "number", 0))
    assert [row["subjects"] for row in found] == [[f"subject {number}"] for number in range(count)]
    assert proxy.subscribers(found[-1]["number"]) == []
    proxy._release()


def test_a_row_has_only_so_many_names(es):
    subscriber = Subscriber(esURI=es.uri)
    subscriber.subscribe([f"s{number}" for number in range(100)])
    subscriber.subscribeMatch([f"p{number}" for number in range(50)])
    (row,) = es.server.subscribers()
    assert row["subjects"] == [f"s{number}" for number in range(SHOWN)]
    assert row["patterns"] == [f"p{number}" for number in range(SHOWN)]
    assert row["subscriptions"] == 150


@pytest.mark.parametrize(("arguments", "error"), [((["a", "b"],), SubjectError), ((5,), SubjectError)])
def test_topics_after_what_is_no_subject(service, arguments, error):
    with pytest.raises(error):
        service.topics(*arguments)


@pytest.mark.parametrize("after", ["a", 1.5, None, True])
def test_subscribers_after_what_is_no_number(service, after):
    with pytest.raises(ValueError, match="a subscriber has a whole number"):
        service.subscribers(after)


def test_others_have_their_turn_while_topics_are_looked_at(service, monkeypatch):
    monkeypatch.setattr(event_census, "TURN", 0.0)
    for number in range(50):
        service.publish(f"a{number}", None)
    seen = []

    def count():
        while True:
            seen.append(True)
            gevent.sleep(0)

    counting = gevent.spawn(count)
    service.topics()
    counting.kill()
    assert len(seen) >= 10


def test_places():
    assert place_of(("127.0.0.1", 80)) == "127.0.0.1:80"
    assert place_of(("::1", 80, 0, 0)) == "[::1]:80"
    assert place_of("PYRO://a:1/b") == "PYRO://a:1/b"
    assert place_of("") == ""
