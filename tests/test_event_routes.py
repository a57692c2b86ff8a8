"""How events travel: encoded once, many in a message, and over channels that are full."""

from __future__ import annotations

import contextlib

import gevent
import pytest
from gevent.event import Event as Wakeup

from gpyro import config, core, event_routes
from gpyro.event_routes import Outlet, Parcel
from gpyro.event_server import EventService
from gpyro.eventsvc import Event, EventError, Publisher, Subscriber
from gpyro.values import MsgpackSerializer, serializer_by_name
from tests.naming import configured, environment
from tests.support import eventually, serving, uri_of


@pytest.fixture(autouse=True)
def _configuration(tmp_path):
    with configured(environment(tmp_path)):
        yield


class Recorder(Subscriber):
    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.setThreading(0)
        self.got = []
        self.batches = []
        self.open = Wakeup()
        self.open.set()

    def event(self, event):
        self.open.wait()
        self.got.append(event.msg)


@contextlib.contextmanager
def listening(*subscribers):
    greenlets = [gevent.spawn(subscriber.listen) for subscriber in subscribers]
    eventually(lambda: all(subscriber._pyro_listening for subscriber in subscribers))
    try:
        yield
    finally:
        for subscriber in subscribers:
            subscriber.abort()
        gevent.joinall(greenlets, timeout=30, raise_error=True)


def test_a_parcel_is_encoded_as_the_ordinary_way_would():
    codec, other = serializer_by_name("msgpack"), serializer_by_name("json")
    parcel = Parcel(codec, "News", {"a": (1, 2)}, 1.5, 7)
    assert parcel.encoded(codec) == codec.encode(["News", {"a": (1, 2)}, 1.5, 7])
    assert parcel.encoded(other) == other.encode(["News", {"a": (1, 2)}, 1.5, 7])
    assert parcel.encoded(other) is parcel.encoded(other)
    assert parcel.as_event(other) is parcel.as_event(other)
    event = codec.decode(parcel.as_event(codec))
    assert isinstance(event, Event)
    assert (event.subject, event.msg, event.time, event.number) == ("News", {"a": (1, 2)}, 1.5, 7)
    with pytest.raises(EventError, match="the event on 'a' cannot be given to others: msg"):
        Parcel(codec, "a", object(), 1.5, 8)


def test_an_event_is_encoded_once_for_all_subscribers(monkeypatch):
    encoded = []
    encode = MsgpackSerializer.encode

    def counting(self, value, root="result"):
        if isinstance(value, list) and value[:1] == ["a"]:
            encoded.append(value)
        return encode(self, value, root)

    monkeypatch.setattr(MsgpackSerializer, "encode", counting)
    service = EventService()
    with serving(service) as daemon:
        subscribers = [Recorder(esURI=uri_of(daemon, service)) for _ in range(20)]
        for subscriber in subscribers:
            subscriber.subscribe("a")
        with listening(*subscribers):
            Publisher(esURI=uri_of(daemon, service)).publish("a", {"some": "thing"})
            eventually(lambda: all(subscriber.got for subscriber in subscribers))
        assert len(encoded) == 1


def test_what_waits_goes_in_one_message(monkeypatch):
    sent = []
    body = Outlet.body
    monkeypatch.setattr(Outlet, "body", lambda self, codec, items: sent.append(len(items)) or body(self, codec, items))
    service = EventService()
    with serving(service) as daemon:
        subscriber = Recorder(esURI=uri_of(daemon, service))
        subscriber.subscribe("a")
        subscriber.open.clear()
        with listening(subscriber):
            service.publish("a", 0)
            eventually(lambda: service.subscribers()[0]["sent"] == 1)
            for msg in range(1, 100):
                service.publish("a", msg)
            assert service.subscribers()[0]["waiting"] == 99
            subscriber.open.set()
            eventually(lambda: subscriber.got == list(range(100)))
        assert sent == [1, 99]


@pytest.mark.parametrize("other", ["json", "pickle"])
def test_those_who_speak_another_serializer_get_the_same(other):
    config.PYRO_SERIALIZER = f"msgpack,{other}"
    service = EventService()
    with serving(service) as daemon:
        first = Recorder(esURI=uri_of(daemon, service))
        first.subscribe("a")
        config.PYRO_SERIALIZER = other
        second = Recorder(esURI=uri_of(daemon, service))
        second.subscribe("a")
        with listening(first, second):
            service.publish("a", {"x": (1, b"2")})
            Publisher(esURI=uri_of(daemon, service)).publish("a", 3)
            eventually(lambda: first.got == second.got == [{"x": (1, b"2")}, 3])


def test_more_subscribers_on_a_connection_than_calls_are_granted_to_it():
    service = EventService()
    with serving(service) as daemon:
        config.PYRO_MAX_CALLS = 4
        subscribers = [Recorder(esURI=uri_of(daemon, service)) for _ in range(30)]
        for subscriber in subscribers:
            subscriber.subscribe("a")
        with listening(*subscribers):
            for msg in range(20):
                service.publish("a", msg)
                if msg % 3 == 0:
                    gevent.sleep(0)
            eventually(lambda: all(subscriber.got == list(range(20)) for subscriber in subscribers))
            # Those that do not read take their calls, and the others the rest.
            for subscriber in subscribers[:3]:
                subscriber.open.clear()
            service.publish("a", 20)
            service.publish("a", 21)
            eventually(lambda: all(subscriber.got[-1] == 21 for subscriber in subscribers[3:]))
            daemon.connections[0].close("as if the network had failed")
            for subscriber in subscribers[:3]:
                subscriber.open.set()
            eventually(lambda: len(service.subscribers()) == 30)
            service.publish("a", 22)
            eventually(lambda: all(subscriber.got[-1] == 22 for subscriber in subscribers))
        eventually(lambda: not service.subscribers())
        assert not service._distributor.outlet.lines


def test_one_event_that_cannot_be_read_costs_no_other():
    class Odd:
        pass

    service = EventService()
    with serving(service) as daemon:
        subscriber = Recorder(esURI=uri_of(daemon, service))
        subscriber.gaps = []
        subscriber.missed = subscriber.gaps.append
        subscriber.subscribe("a")
        subscriber.open.clear()
        with listening(subscriber):
            service.publish("a", 0)
            eventually(lambda: service.subscribers()[0]["sent"] == 1)
            service.publish("a", 1)
            deep = []
            for _ in range(97):  # fits into an event, but not with what is around it
                deep = [deep]
            service.publish("a", deep)
            service.publish("a", 3)
            subscriber.open.set()
            eventually(lambda: subscriber.got[-1:] == [3])
        assert [msg for msg in subscriber.got if isinstance(msg, int)] == [0, 1, 3]
        assert len(subscriber.got) + len(subscriber.gaps) == 4


def test_an_object_whose_daemon_is_gone_is_dropped_at_once():
    class Listener(core.ObjBase):
        def event(self, event):
            """Nothing."""

    service = EventService()
    with serving(service) as daemon:
        listener = Listener()
        with serving(listener) as other:
            es = core.getProxyForURI(uri_of(daemon, service))
            es.subscribe("a", other.getProxyForObj(listener))
            es.publish("a", 1)
            eventually(lambda: service.subscribers()[0]["delivered"] == 1)
        eventually(lambda: not service.subscribers())
        es.subscribe("a", core.getProxyForURI("PYRO://127.0.0.1:1/nobody"))
        assert len(service.subscribers()) == 1
        es.publish("a", 2)
        eventually(lambda: not service.subscribers())


# ---- objects of others


class Slow(core.ObjBase):
    """Takes its time for the first event."""

    def __init__(self):
        super().__init__()
        self.got = []
        self.open = Wakeup()

    def event(self, event):
        self.open.wait()
        self.got.append(event.msg)

    def missed(self, gap):
        self.got.append((gap.count, gap.reason))


@pytest.mark.parametrize("by", ["proxy", "reference"])
def test_a_slow_object_that_is_sent_away_is_told_and_so_is_the_log(by, caplog):
    service, slow = EventService(), Slow()
    with serving(service) as daemon, serving(Slow()) as theirs:
        es = core.getProxyForURI(uri_of(daemon, service))
        subscriber = slow
        if by == "proxy":
            theirs.connect(slow)
            subscriber = slow.getProxy()
        es.subscribe("a", subscriber)
        es.set_queue(subscriber, "disconnect", 3)
        name = service.subscribers()[0]["name"]
        es.publish("a", 0)
        eventually(lambda: service.subscribers()[0]["sent"] == 1)
        for number in range(1, 5):
            es.publish("a", number)
        assert service.subscribers() == []
        es.publish("a", 5)
        slow.open.set()
        eventually(lambda: len(slow.got) == 2)
        assert slow.got == [0, (4, "the subscriber was too slow, and disconnected")]
        text = f"{name}: the subscriber was too slow, and disconnected; with this event 4 are lost"
        eventually(lambda: text in caplog.messages)
        if by == "proxy":
            eventually(lambda: not theirs.connections or all(not one.served for one in theirs.connections))
        es._release()


def test_a_slow_object_that_is_sent_away_has_only_so_long_for_its_last_events(monkeypatch):
    monkeypatch.setattr(event_routes, "LAST_WORDS", 0.01)
    service, slow = EventService(), Slow()
    with serving(service) as daemon, serving(slow) as theirs:
        es = core.getProxyForURI(uri_of(daemon, service))
        es.subscribe("a", slow.getProxy())
        es.set_queue(slow.getProxy(), "disconnect", 1)
        es.publish("a", 0)
        eventually(lambda: service.subscribers()[0]["sent"] == 1)
        for number in (1, 2):
            es.publish("a", number)
        eventually(lambda: all(not one.served for one in theirs.connections))
        assert slow.got == []
        slow.open.set()
        es._release()


def test_an_object_whose_method_raises_is_named_in_the_log_once_a_second(caplog):
    class Bad(core.ObjBase):
        raised = 0

        def event(self, event):
            Bad.raised += 1
            raise ValueError(f"not {event.msg}\nand more")

    service, bad = EventService(), Bad()
    with serving(service) as daemon, serving(bad):
        es = core.getProxyForURI(uri_of(daemon, service))
        es.subscribe("a", bad.getProxy())
        for number in range(20):
            es.publish("a", number)
        eventually(lambda: service.subscribers()[0]["delivered"] == 20)
        assert Bad.raised == 20
        uri = bad.getProxy().URI
        eventually(lambda: f"{uri}: raised on an event: ValueError: not 0 and more" in caplog.messages)
        assert sum("raised on an event" in line for line in caplog.messages) < 20
        es._release()


# ---- more subscribers than calls


def test_those_who_do_not_listen_leave_room_for_those_who_do():
    config.PYRO_MAX_CALLS = 2
    service = EventService()
    with serving(service) as daemon:
        idle = [Recorder(esURI=uri_of(daemon, service)) for _ in range(5)]
        last = Recorder(esURI=uri_of(daemon, service))
        for one in [*idle, last]:
            one.subscribe("a")
        publisher = Publisher(esURI=uri_of(daemon, service))
        with listening(last):
            publisher.publish("a", 1)
            eventually(lambda: last.got == [1])
            assert [row["waiting"] for row in service.subscribers()] == [1, 1, 1, 1, 1, 0]
            assert all(one.got == [] for one in idle)
            with listening(*idle):
                publisher.publish("a", 2)
                eventually(lambda: all(one.got == [1, 2] for one in [*idle, last]))


def test_as_many_busy_ones_as_there_may_be_calls_are_told_of_in_the_log(caplog):
    config.PYRO_MAX_CALLS = 2
    service = EventService()
    with serving(service) as daemon:
        subscribers = [Recorder(esURI=uri_of(daemon, service)) for _ in range(4)]
        for one in subscribers:
            one.subscribe("a")
            one.open.clear()
        with listening(*subscribers):
            service.publish("a", 1)
            text = "get no events: as many others there as its PYRO_MAX_CALLS are busy with theirs"
            eventually(lambda: any(text in line for line in caplog.messages))
            for one in subscribers:
                one.open.set()
            eventually(lambda: all(one.got == [1] for one in subscribers))
