"""The event server's object: what it promises to those who do not keep to the rules, and what it remembers."""

from __future__ import annotations

import gevent
import pytest
from gevent.event import Event as Wakeup

from gpyro import core
from gpyro.errors import PyroError
from gpyro.event_server import EventService
from gpyro.events import SubscriptionError, UnknownSubscriberError
from gpyro.eventsvc import Subscriber
from tests.naming import configured, environment
from tests.support import eventually, serving, uri_of


@pytest.fixture(autouse=True)
def _configuration(tmp_path):
    with configured(environment(tmp_path)):
        yield


@pytest.mark.parametrize(
    "arguments",
    [
        *(("", "inbox"), (17, "inbox"), ("t" * 101, "inbox"), ("token", 17), ("token", "x" * 101), ("token", "ü")),
        *(("token", "inbox", (), (), (), 5), ("token", "inbox", (), (), (), "", "7")),
    ],
)
def test_attaching_with_nonsense(arguments):
    service = EventService()
    with serving(service) as daemon, pytest.raises(PyroError, match="only a client can attach"):
        core.getProxyForURI(uri_of(daemon, service)).attach(*arguments)
    assert service.subscribers() == []
    with pytest.raises(PyroError, match="only a client can attach"):
        service.attach("token", "inbox")


def test_an_inbox_that_is_not_there_is_dropped():
    service = EventService()
    with serving(service) as daemon:
        proxy = core.getProxyForURI(uri_of(daemon, service))
        proxy.attach("token", "inbox", ["a"])
        with pytest.raises(KeyError):
            proxy.subscribe("a", "another token")
        proxy.publish("a", 1)
        eventually(lambda: not service.subscribers())


def test_many_functions_by_one_proxy_end_together():
    service = EventService()
    got = []
    with serving(service) as daemon:
        proxy = core.getProxyForURI(uri_of(daemon, service))
        functions = [lambda event, number=number: got.append(number) for number in range(1500)]
        for function in functions:
            service_side = proxy.subscribe("a", function)
            assert service_side is None
        proxy.publish("a", 1)
        eventually(lambda: len(got) == 1500)
        proxy._release()
        eventually(lambda: not service.subscribers())
        assert not service._of_session


def test_a_closed_one_takes_no_subscribers():
    service = EventService()
    with serving(service) as daemon:
        subscriber = Subscriber(esURI=uri_of(daemon, service))
        service.close()
        with pytest.raises(PyroError, match="the event server is closed"):
            subscriber.subscribe("a")
        with pytest.raises(PyroError, match="the event server is closed"):
            core.getProxyForURI(uri_of(daemon, service)).subscribe("a", print)
        service.publish("a", 1)


def test_who_is_gone_before_its_turn_came_is_not_taken_in():
    class Service(EventService):
        def subscribe(self, subjects, subscriber):
            begun.append(1)
            go_on.wait()
            try:
                super().subscribe(subjects, subscriber)
            except PyroError as error:
                said.append(str(error))

    begun, said, go_on = [], [], Wakeup()
    service = Service()
    with serving(service) as daemon:
        proxy = core.getProxyForURI(uri_of(daemon, service))
        calling = gevent.spawn(proxy.subscribe, "a", print)
        eventually(lambda: begun)
        daemon.connections[0].close("as if the network had failed")
        go_on.set()
        eventually(lambda: said == ["the subscriber is gone"])
        assert service.subscribers() == []
        calling.join(30)
        assert calling.exception is not None


def test_many_patterns_let_others_have_their_turn():
    service = EventService()
    turns_had = []

    def others():
        while True:
            turns_had.append(1)
            gevent.sleep(0)

    beside = gevent.spawn(others)
    with serving(service) as daemon:
        subscriber = Subscriber(esURI=uri_of(daemon, service))
        subscriber.subscribeMatch("first")
        before = len(turns_had)
        service.subscribeMatch([f"a{number}.*" for number in range(1000)], print_proxy(daemon))
        assert len(turns_had) - before >= 20
    beside.kill()


def print_proxy(daemon):
    return core.getProxyForURI(f"PYRO://127.0.0.1:{daemon.port}/nobody")


# ---- who comes back before it was noticed to be gone


def attached(proxy, identity="", seen=0):
    """Attach without listening; gives the identity, the position, and what was missed."""
    _, *found = proxy.attach("token", "inbox", ["a"], (), (), identity, seen, False)
    return found[:3]


def test_what_was_missed_is_told_again_when_the_answer_was_lost():
    service = EventService()
    with serving(service) as daemon:
        proxy = core.getProxyForURI(uri_of(daemon, service))
        identity, position, missed = attached(proxy)
        assert (position, missed) == (0, 0)
        proxy.publish("a", 1)
        assert attached(proxy) == [identity, 0, 0]  # the first event is among those to come
        assert service.subscribers()[0]["waiting"] == 1
        proxy.detach("token")
        proxy.publish("a", 2)
        assert attached(proxy, identity, 1) == [identity, 2, 1]
        proxy.publish("a", 3)
        assert attached(proxy, identity, 1) == [identity, 3, 2]  # it does not know of the answer before
        proxy.publish("a", 4)
        assert attached(proxy, identity, 3) == [identity, 3, 0]
        assert service.subscribers()[0]["waiting"] == 1
        assert attached(proxy, "of another event server", 3) == [identity, 4, None]
        assert service.subscribers()[0]["waiting"] == 0
        proxy._release()


# ---- what cannot be


@pytest.mark.parametrize("ask", ["subscribe", "subscribeMatch", "set_queue"])
def test_unknown_subscribers_are_an_answer_and_no_trouble_of_the_server(ask, caplog):
    service = EventService()
    with serving(service) as daemon:
        proxy = core.getProxyForURI(uri_of(daemon, service))
        arguments = (print, "oldest") if ask == "set_queue" else ("a", "nobody")
        with pytest.raises(UnknownSubscriberError, match="this event server"):
            getattr(proxy, ask)(*arguments)
        proxy._release()
    assert caplog.records == []


def test_a_server_that_is_closed_says_so(caplog):
    service = EventService()
    with serving(service) as daemon:
        proxy = core.getProxyForURI(uri_of(daemon, service))
        service.close()
        with pytest.raises(SubscriptionError, match="the event server is closed"):
            proxy.subscribe("a", print)
        proxy._release()
    assert caplog.records == []
