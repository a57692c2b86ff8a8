"""Who is taken in by the event server, with how much."""

from __future__ import annotations

import gc

import pytest

from gpyro import core, event_admission
from gpyro.errors import PyroError
from gpyro.event_server import EventService
from gpyro.eventsvc import PatternError, SubjectError, Subscriber
from gpyro.topics import Pattern
from tests.naming import configured, environment
from tests.support import serving, uri_of


@pytest.fixture(autouse=True)
def _configuration(tmp_path):
    with configured(environment(tmp_path)):
        yield


def test_a_subscriber_has_no_more_than_so_many_subscriptions(monkeypatch):
    monkeypatch.setattr(event_admission, "MAX_SUBSCRIPTIONS", 5)
    service = EventService()
    with serving(service) as daemon:
        subscriber = Subscriber(esURI=uri_of(daemon, service))
        subscriber.subscribe(["a", "b", "c"])
        subscriber.subscribeMatch("d")
        with pytest.raises(SubjectError, match="5 subjects and patterns"):
            subscriber.subscribe(["e", "f"])
        other = Subscriber(esURI=uri_of(daemon, service))
        with pytest.raises(SubjectError):
            other.subscribe(list("abcdef"))
        (row,) = service.subscribers()
        assert (row["subjects"], row["patterns"]) == (["a", "b", "c"], ["d"])
        del other
        gc.collect()


def test_dear_patterns_are_taken_only_as_far_as_a_server_can_bear_them(monkeypatch):
    dear, another = ".*a.*b.*c", ".*a.*b.*d"
    monkeypatch.setattr("gpyro.topics.index.MAX_WORK_TOGETHER", Pattern(dear).work)
    service = EventService()
    with serving(service) as daemon:
        subscriber, other = (Subscriber(esURI=uri_of(daemon, service)) for _ in range(2))
        subscriber.subscribeMatch(dear)
        for refused in (subscriber, other):  # who has a subscription, and who has none yet
            with pytest.raises(PatternError, match="would take too much time, with those that others have"):
                refused.subscribeMatch([another, "cheap"])
        assert [row["patterns"] for row in service.subscribers()] == [[dear]]
        other.subscribeMatch([dear, "cheap"])
        subscriber.unsubscribe(dear)
        other.unsubscribe(dear)
        other.subscribeMatch(another)


def test_what_is_there_already_does_not_count_again(monkeypatch):
    monkeypatch.setattr(event_admission, "MAX_SUBSCRIPTIONS", 3)
    service = EventService()
    with serving(service) as daemon:
        proxy = core.getProxyForURI(uri_of(daemon, service))
        function = lambda event: None  # noqa: E731
        for _ in range(2):
            proxy.subscribe(["a", "b"], function)
            proxy.subscribeMatch("c", function)
        with pytest.raises(SubjectError):
            proxy.subscribe("d", function)


def test_a_server_takes_only_so_many_subscribers_and_subscriptions(monkeypatch):
    monkeypatch.setattr(event_admission, "MAX_SUBSCRIBERS", 2)
    monkeypatch.setattr(event_admission, "MAX_TOGETHER", 5)
    service = EventService()
    with serving(service) as daemon:
        proxy = core.getProxyForURI(uri_of(daemon, service))
        functions = [lambda event, number=number: number for number in range(3)]
        with pytest.raises(PyroError, match="has 5 subscriptions, and takes no more"):
            proxy.subscribe(list("abcdef"), functions[0])
        assert service.subscribers() == []  # nothing is left of what was refused
        assert not service._of_session
        subscriber = Subscriber(esURI=proxy.URI)
        with pytest.raises(PyroError, match="has 5 subscriptions"):
            subscriber.subscribe(list("abcdef"))
        subscriber.subscribe("a")
        proxy.subscribe("a", functions[0])
        with pytest.raises(PyroError, match="has 2 subscribers, and takes no more"):
            proxy.subscribe("a", functions[1])
        with pytest.raises(PyroError, match="has 2 subscribers"):
            Subscriber(esURI=proxy.URI).subscribe("a")
        proxy.unsubscribe("a", functions[0])
        proxy.subscribe("b", functions[1])
        proxy._release()
        del subscriber
        gc.collect()
