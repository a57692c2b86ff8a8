"""Events are numbered and encoded; how they reach queues and subscribers is told in test_eventsvc.py."""

from __future__ import annotations

import gevent
import pytest

from gpyro import core, event_distribution
from gpyro.event_distribution import Distributor
from gpyro.event_routes import Parcel
from gpyro.event_server import EventService
from gpyro.eventsvc import EventError, Subscriber
from gpyro.settings import config
from gpyro.values import register_class
from tests.naming import configured, environment
from tests.support import eventually, serving, uri_of


@pytest.fixture(autouse=True)
def _configuration(tmp_path):
    with configured(environment(tmp_path)):
        yield


class Counted:
    """Counts how often it is encoded."""

    count = 0


def _counting(counted: Counted) -> int:
    Counted.count += 1
    return 1


register_class(Counted, name="tests.Counted", to_state=_counting, from_state=lambda state: Counted())


def test_a_message_on_many_subjects_is_encoded_once(monkeypatch):
    service = EventService()
    got, joined = [], []
    monkeypatch.setattr(Parcel, "joined", lambda *arguments, make=Parcel.joined: joined.append(1) or make(*arguments))
    with serving(service) as daemon:
        proxy = core.getProxyForURI(uri_of(daemon, service))
        proxy.subscribe(["s3", "s5"], lambda event: got.append((event.subject, type(event.msg), event.number)))
        Counted.count = 0
        service.publish([f"S{number}" for number in range(10)], Counted())
        assert Counted.count == 1
        eventually(lambda: got == [("S3", Counted, 4), ("S5", Counted, 6)])
        assert len(joined) == 3  # one to see how large they are; and those that somebody gets
        with pytest.raises(EventError, match="on 'a' cannot be given to others: msg"):
            service.publish(["a", "b"], [lambda: None])
        service._distributor._max_event = 100
        with pytest.raises(EventError, match="PYRO_ES_MAXEVENT") as caught:
            service.publish(["a", "b" * 100], 1)
        assert caught.value.path == "msg"
        assert service.info()["number"] == 10


class Slow:
    """Lets others run while it is encoded."""


def _slowly(slow: Slow) -> int:
    gevent.sleep(0.01)
    return 1


register_class(Slow, name="tests.Slow", to_state=_slowly, from_state=lambda state: Slow())


def test_numbers_are_given_once_whatever_happens_while_a_message_is_encoded():
    service = EventService()
    numbers = []

    class Keeper(Subscriber):
        def event(self, event):
            numbers.append(event.number)

    with serving(service) as daemon:
        keeper = Keeper(esURI=uri_of(daemon, service))
        keeper.subscribe("a")
        listening = gevent.spawn(keeper.listen)
        slow = [gevent.spawn(service.publish, "a", Slow()) for _ in range(3)]
        for _ in range(5):
            service.publish("a", 1)
            gevent.sleep(0.004)
        gevent.joinall(slow, raise_error=True)
        eventually(lambda: len(numbers) == 8)
        assert numbers == list(range(1, 9))
        keeper.abort()
        listening.get(timeout=30)


def receivers(names, delivered):
    """What looks like receivers, each with a name that it leaves in `delivered` when it is delivered to."""

    class Fake:
        due = False

    def make(name):
        receiver = Fake()
        receiver.route = Fake()
        receiver.route.deliver = lambda receiver: delivered.append(name)
        return receiver

    return [make(name) for name in names]


@pytest.mark.parametrize(("turn", "breaks"), [(0.0, 3), (60.0, 0)])
def test_delivering_to_many_lets_others_have_their_turn(monkeypatch, turn, breaks):
    monkeypatch.setattr(event_distribution, "TURN", turn)
    distributor = Distributor(config.snapshot(), dismiss=lambda receiver: None)
    state, delivered, before_breaks = distributor.state, [], []

    def run_after(seconds, function, original=state.run_after):
        before_breaks.append(len(delivered))
        original(seconds, function)

    monkeypatch.setattr(state, "run_after", run_after)
    everybody = receivers(range(100), delivered)
    for receiver in everybody:
        distributor.deliver_soon(receiver)
        distributor.deliver_soon(receiver)  # is due already
    eventually(lambda: len(delivered) == 100)
    assert delivered == list(range(100))
    assert before_breaks == [32, 64, 96][:breaks]
    assert not any(receiver.due for receiver in everybody)


def test_nothing_is_delivered_to_who_went_meanwhile():
    distributor = Distributor(config.snapshot(), dismiss=lambda receiver: None)
    delivered = []
    everybody = receivers("abc", delivered)
    for receiver in everybody:
        distributor.deliver_soon(receiver)
    everybody[1].route = None
    eventually(lambda: delivered == ["a", "c"])
    distributor.deliver_soon(everybody[1])
    assert not everybody[1].due
