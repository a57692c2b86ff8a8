from __future__ import annotations

import gevent
import pytest
from gevent.event import Event as Wakeup

from gpyro import config, event_link
from gpyro.constants import DENIED_HOSTBLOCKED
from gpyro.context import deadline
from gpyro.errors import ConnectionDeniedError, MaybeExecutedError, NamingError, ProtocolError, TimeoutError
from gpyro.event_link import EventServer, Lanes
from gpyro.event_server import EventService
from gpyro.events import Event, Gap
from gpyro.eventsvc import EventServiceStarter, Subscriber
from gpyro.protocol import DefaultConnValidator
from tests.naming import configured, environment, name_server
from tests.support import eventually, serving, turns, uri_of


@pytest.fixture(autouse=True)
def _configuration(tmp_path):
    with configured(environment(tmp_path)):
        yield


def test_the_event_server_is_looked_for_where_it_is_now():
    with name_server(nsport=config.PYRO_NS_PORT, nobroadcast=True):
        config.PYRO_NS_HOSTNAME = "127.0.0.1"
        server = EventServer(None, None)
        with pytest.raises(NamingError):
            server.call("info")
        starter = EventServiceStarter()
        starter.begin(port=0)
        first = server.call("info")["identity"]
        starter.stop()
        starter.begin(port=0)
        assert server.call("info")["identity"] != first  # at another port, without an error in between
        starter.stop()
        with pytest.raises((ProtocolError, NamingError)):
            server.call("info")


def test_the_passphrase_is_for_the_name_server_too():
    with name_server(identification="secret", nsport=config.PYRO_NS_PORT, nobroadcast=True):
        config.PYRO_NS_HOSTNAME = "127.0.0.1"
        starter = EventServiceStarter("secret")
        starter.begin(port=0)
        for uri in (None, *(f"PYRONAME://{place}:Pyro.EventService" for place in ("", "127.0.0.1/"))):
            assert EventServer("secret", uri).call("info")["number"] == 0
        with pytest.raises(
            ConnectionDeniedError, match=r"^security reasons: an identification .*: by the name server$"
        ):
            EventServer(None, None).call("info")
        with pytest.raises(ConnectionDeniedError, match=r"^security reasons: an identification [^:]*$"):
            EventServer(None, starter.uri).call("info")
        starter.stop()


def test_what_may_have_been_done_is_not_done_again():
    hold = Wakeup()

    class Counting:
        calls = 0

        def publish(self):
            self.calls += 1
            if self.calls == 2:
                daemon.connections[0].close("as if the network had failed")
                hold.wait()

    counting = Counting()
    with serving(counting) as daemon:
        server = EventServer(None, uri_of(daemon, counting))
        server.call("publish")
        with pytest.raises(MaybeExecutedError):
            server.call("publish")
        hold.set()
        server.call("publish")
        assert counting.calls == 3


def test_who_is_refused_is_not_sent_a_second_time():
    service, asked = EventService(), []

    class Validator(DefaultConnValidator):
        def acceptHost(self, daemon, connection):
            asked.append(connection.addr)
            return (1, 0) if len(asked) == 1 else (0, DENIED_HOSTBLOCKED)

    with serving(service) as daemon:
        daemon.setNewConnectionValidator(Validator())
        server = EventServer(None, uri_of(daemon, service))
        server.call("info")
        (channel,) = [session.channel for session in server.proxy()._remote.sessions.values()]
        daemon.connections[0].close("as if the network had failed")
        eventually(lambda: not channel.usable)
        with pytest.raises(ConnectionDeniedError):
            server.call("info")
        assert len(asked) == 2


def no_gaps(gap):
    raise AssertionError(f"nobody spoke of {gap}")


def test_lanes_take_only_so_many(monkeypatch):
    monkeypatch.setattr(event_link, "MAX_RUNNING", 3)
    handled, go_on = [], Wakeup()

    def handle(event):
        go_on.wait()
        handled.append(event.msg)

    lanes = Lanes(handle, no_gaps)

    def put_all():
        for number in range(10):
            lanes.wait_for_room()
            lanes.put(Event("a" if number % 2 else "A", number))

    putting = gevent.spawn(put_all)
    turns()
    assert not putting.ready()
    go_on.set()
    putting.get(timeout=30)
    eventually(lambda: handled == list(range(10)))


def test_what_is_being_dealt_with_counts_for_lanes(monkeypatch):
    monkeypatch.setattr(event_link, "MAX_RUNNING", 3)
    begun, go_on = [], Wakeup()

    def handle(event):
        begun.append(event.msg)
        go_on.wait()

    lanes = Lanes(handle, no_gaps)

    def put_all():
        for number in range(10):
            lanes.wait_for_room()
            lanes.put(Event(f"subject {number}", number))

    putting = gevent.spawn(put_all)
    turns()
    assert begun == [0, 1, 2]
    go_on.set()
    putting.get(timeout=5)
    eventually(lambda: begun == list(range(10)))


def test_lanes_that_are_closed_begin_with_nothing_and_may_go_on():
    begun, go_on = [], Wakeup()

    def handle(event):
        begun.append(event.msg)
        go_on.wait()

    lanes = Lanes(handle, no_gaps)
    for number in range(4):
        lanes.put(Event("a", number))
    eventually(lambda: begun)
    assert [str(gap) for gap in lanes.close()] == ["3 events missed: it did not listen any more"]
    assert lanes.reopen()
    lanes.put(Event("a", 5))
    turns()
    assert begun == [0]  # which goes on
    go_on.set()
    eventually(lambda: begun == [0, 5])


class Handled:
    """What lanes had dealt with; a message of another kind than numbers is waited for."""

    def __init__(self):
        self.all = []
        self.lanes = Lanes(self.handle, lambda gap: self.all.append(str(gap)))

    def handle(self, event):
        if isinstance(event.msg, Wakeup):
            event.msg.wait()
        self.all.append(event.msg)


def test_a_gap_in_lanes_is_told_behind_what_came_before_it():
    handled, hold = Handled(), Wakeup()
    handled.lanes.put_gap(Gap(1, "first"))
    assert handled.all == ["1 event missed: first"]  # nothing came before it
    for number in range(3):
        handled.lanes.put(Event("a", number))
    handled.lanes.put_gap(Gap(2, "then"))
    handled.lanes.put(Event("a", 3))
    eventually(lambda: handled.all[1:] == [0, 1, 2, "2 events missed: then", 3])
    # Of several subjects the last one counts, and nothing waits for it.
    del handled.all[:]
    handled.lanes.put(Event("a", hold))
    handled.lanes.put(Event("b", 5))
    handled.lanes.put_gap(Gap(None, "at last"))
    handled.lanes.put(Event("a", 6))
    handled.lanes.put(Event("b", 7))
    handled.lanes.put(Event("c", 8))
    eventually(lambda: handled.all == [5, 7, 8])
    hold.set()
    eventually(lambda: handled.all[3:] == [hold, "an unknown number of events missed: at last", 6])


def test_gaps_in_lanes_are_added_up_where_there_are_many(monkeypatch):
    monkeypatch.setattr(event_link, "MAX_GAPS", 2)
    handled, hold = Handled(), Wakeup()
    handled.lanes.put(Event("a", hold))
    for number in range(1, 5):
        handled.lanes.put_gap(Gap(number, f"reason {number}"))
    hold.set()
    eventually(lambda: handled.all[1:] == ["1 event missed: reason 1", "9 events missed: reason 4"])


def test_gaps_that_lanes_have_not_told_of_are_not_lost_when_they_are_closed():
    handled, hold = Handled(), Wakeup()
    handled.lanes.put(Event("a", hold))
    handled.lanes.put(Event("a", 1))
    turns()  # the first one is being dealt with
    handled.lanes.put_gap(Gap(7, "it was slow"))
    assert [(gap.count, gap.reason) for gap in handled.lanes.close()] == [
        (7, "it was slow"),
        (1, "it did not listen any more"),
    ]
    hold.set()
    eventually(lambda: handled.all == [hold])
    assert handled.lanes.reopen()
    handled.lanes.put(Event("a", 2))
    handled.lanes.put_gap(Gap(1, "again"))
    eventually(lambda: handled.all == [hold, 2, "1 event missed: again"])


def test_coming_back_goes_on_until_it_works(caplog):
    service = EventService()
    got = []

    class Keeper(Subscriber):
        def event(self, event):
            got.append(event.msg)

    with serving(service) as daemon:
        uri = uri_of(daemon, service)
        keeper = Keeper(esURI=uri)
        keeper.subscribe("a")
        listening = gevent.spawn(keeper.listen)
        eventually(lambda: keeper._pyro_listening)
        refused = []
        attach = service.attach

        def refusing(*arguments):
            refused.append(arguments)
            if len(refused) < 3:
                raise NamingError("not now")
            return attach(*arguments)

        service.attach = refusing
        daemon.connections[0].close("as if the network had failed")
        eventually(lambda: service.subscribers())
        assert len(refused) == 3
        service.publish("a", 1)
        eventually(lambda: got == [1])
        assert len([record for record in caplog.records if "goes on trying" in record.getMessage()]) == 1
        keeper.abort()
        listening.get(timeout=30)


def test_who_aborts_while_it_tries_to_come_back_is_done():
    service = EventService()
    with serving(service) as daemon:
        keeper = Subscriber(esURI=uri_of(daemon, service))
        keeper.subscribe("a")
        listening = gevent.spawn(keeper.listen)
        eventually(lambda: keeper._pyro_listening)
    turns()
    keeper.abort()
    listening.get(timeout=30)


def test_a_server_that_does_not_take_a_subscriber_in_is_given_up():
    class Hanging:
        def attach(self, *arguments):
            gevent.sleep(600)

    hanging = Hanging()
    with serving(hanging) as daemon:
        subscriber = Subscriber(esURI=uri_of(daemon, hanging))
        with deadline(0.2), pytest.raises(TimeoutError):
            subscriber.subscribe("a")
        assert subscriber._pyro_link is None
