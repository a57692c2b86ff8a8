"""The event service as programs have it: publishers, subscribers and the server, over real connections."""

from __future__ import annotations

import contextlib
import gc
import signal
import threading
import time

import gevent
import pytest
from gevent import monkey
from gevent.event import Event as Wakeup

from gpyro import config, core
from gpyro.errors import ConnectionDeniedError, NamingError, ProtocolError, PyroError, SerializationError
from gpyro.event_link import Link
from gpyro.event_server import EventService
from gpyro.eventsvc import (
    Event,
    EventError,
    EventServiceStarter,
    PatternError,
    Publisher,
    SubjectError,
    Subscriber,
)
from gpyro.net.hub import hub_state
from tests.event_service import Recorder, event_server, listening, rows
from tests.naming import configured, environment, name_server
from tests.programs import program
from tests.support import eventually, turns

# Real ones, also in a patched process.
select = monkey.get_original("select", "select")
Thread, Flag = monkey.get_original("threading", "Thread"), monkey.get_original("threading", "Event")


@pytest.fixture(autouse=True)
def _configuration(tmp_path):
    with configured(environment(tmp_path, PYRO_ES_BLOCKTIME=0.2)):
        yield


@contextlib.contextmanager
def listening_elsewhere(subscriber):
    """Have it listen in another thread, which this gives."""
    thread = Thread(target=subscriber.listen, daemon=True)
    thread.start()
    try:
        yield thread
    finally:
        subscriber.abort()
        eventually(lambda: not thread.is_alive())
        thread.join()


# ---- what Pyro 3 documents


def test_subjects_patterns_and_both():
    events = []

    class Keeper(Recorder):
        def event(self, event):
            events.append((event.subject, event.msg, event.time))

    with event_server() as starter, listening(Keeper(esURI=starter.uri), "News", ["n.*s", "stock\\."]):
        before = time.time()
        publisher = Publisher(esURI=starter.uri)
        publisher.publish(["NEWS", "Stock.IBM", "other"], 17)
        publisher.publish([], "nobody")
        publisher.publish("", "nobody")
        eventually(lambda: len(events) == 3)
        assert [event[:2] for event in events] == [("NEWS", 17), ("NEWS", 17), ("Stock.IBM", 17)]
        assert len({event[2] for event in events}) == 1  # the time is that of the publish, on the server
        assert before - 1 <= events[0][2] <= time.time() + 1


def test_subscribing_again_changes_nothing_and_unsubscribing_ends_it():
    with event_server() as starter, listening(Recorder(esURI=starter.uri), ["a", "A", "b"], ["c.*"]) as subscriber:
        publisher = Publisher(esURI=starter.uri)
        subscriber.subscribe("a")
        subscriber.subscribe(("a", "b"))
        subscriber.subscribeMatch("c.*")
        subscriber.subscribe([])
        subscriber.unsubscribe("")
        subscriber.unsubscribe(["unknown", "B"])
        publisher.publish(["a", "b", "cd"], 1)
        eventually(lambda: len(subscriber.got) == 2)
        subscriber.unsubscribe(["A", "c.*"])
        publisher.publish(["a", "b", "cd"], 2)
        subscriber.subscribe("last")
        publisher.publish("last", 3)
        eventually(lambda: subscriber.got[-1] == 3)
        assert subscriber.got == [1, 1, 3]


def test_an_object_in_a_daemon_of_its_own():
    class Listener(core.ObjBase):
        def __init__(self):
            core.ObjBase.__init__(self)
            self.got = []

        def event(self, event):
            assert isinstance(event, Event)
            self.got.append((event.subject, event.msg))
            if event.msg == "bad":
                raise ValueError("bad")

    with event_server() as starter:
        daemon = core.Daemon(port=0, norange=1)
        listener = Listener()
        daemon.connect(listener)
        daemon.start()
        es = Publisher(esURI=starter.uri).getES()
        es.subscribe("a", listener.getProxy())
        es.subscribe("A", listener.getProxy())  # proxies of one object are one subscriber
        es.subscribeMatch("b.*", listener.getProxy())
        for msg in (1, "bad", 3):
            es.publish(["a", "bx"], msg)
        eventually(lambda: len(listener.got) == 6)
        assert listener.got == [("a", 1), ("bx", 1), ("a", "bad"), ("bx", "bad"), ("a", 3), ("bx", 3)]
        (row,) = eventually(lambda: rows(starter) if rows(starter)[0]["delivered"] == 6 else None)
        assert row["name"] == str(listener.getProxy().URI)
        es.unsubscribe(["a", "unknown"], listener.getProxy())
        es.publish(["a", "bx"], 4)
        eventually(lambda: len(listener.got) == 7)
        daemon.stop()  # gone at once, not with the next event
        eventually(lambda: not rows(starter))


def test_functions_and_objects_by_reference():
    got = []

    class Listener(core.ObjBase):
        def event(self, event):
            got.append(("object", event.msg))

        def missed(self, gap):
            got.append(("missed", gap.count))

    listener = Listener()

    def function(event):
        got.append(("function", event.msg))

    with event_server() as starter:
        es = Publisher(esURI=starter.uri).getES()
        es.subscribe("a", function)
        es.subscribe("a", listener)
        es.set_queue(listener, "newest", 2)
        es.publish("a", 1)
        eventually(lambda: len(got) == 2)
        assert sorted(got) == [("function", 1), ("object", 1)]
        es.unsubscribe("a", function)
        starter.server.publish("a", 2)
        starter.server.publish("a", 3)
        starter.server.publish("a", 4)
        eventually(lambda: len(got) == 5)
        assert got[2:] == [("object", 2), ("object", 3), ("missed", 1)]
        es._release()
        eventually(lambda: not rows(starter))


@pytest.mark.parametrize("subscriber", [17, None, [1], {"event": 1}])
def test_what_is_no_subscriber(subscriber):
    with event_server() as starter, pytest.raises(TypeError, match="a subscriber is an object with a method 'event'"):
        Publisher(esURI=starter.uri).getES().subscribe("a", subscriber)


def test_by_the_name_server_and_with_a_passphrase(capsys):
    with name_server(identification="secret", nsport=config.PYRO_NS_PORT, nobroadcast=True):
        config.PYRO_NS_HOSTNAME = "127.0.0.1"
        with event_server("secret", useNameServer=1) as starter:
            out = capsys.readouterr().out
            assert "*** Pyro Event Server ***\n" in out
            assert f"URI= {starter.uri}\n" in out
            assert "WARNING" in out  # the loopback interface
            assert out.endswith("Event Server started.\n")
            with listening(Recorder("secret"), "a") as subscriber:
                Publisher("secret").publish("a", 1)
                eventually(lambda: subscriber.got == [1])
            with pytest.raises(ConnectionDeniedError):
                Publisher("wrong", esURI=starter.uri).publish("a", 1)
            with pytest.raises(ConnectionDeniedError):
                Publisher(esURI=starter.uri).publish("a", 1)
            with pytest.raises(NamingError, match="an event server is registered, and still there"):
                EventServiceStarter("secret").begin(port=0)
        with pytest.raises(NamingError, match="name not found"):
            Publisher("secret").publish("a", 1)


# ---- order and threads


@pytest.mark.parametrize("threads", [0, 1])
def test_each_publishers_events_on_a_subject_stay_in_order(threads):
    class Slow(Recorder):
        def event(self, event):
            if event.msg[1] % 7 == 0:
                gevent.sleep(0)
            self.got.append((event.subject, *event.msg))

    with event_server() as starter:
        subscriber = Slow(esURI=starter.uri)
        subscriber.setThreading(threads)
        with listening(subscriber, ["a", "b"]):

            def publish(who):
                publisher = Publisher(esURI=starter.uri)
                for number in range(60):
                    how = publisher.publish_soon if number % 3 else publisher.publish
                    how("ab"[number % 2], (who, number))

            gevent.joinall([gevent.spawn(publish, who) for who in range(5)], raise_error=True)
            eventually(lambda: len(subscriber.got) == 300)
        for subject in "ab":
            for who in range(5):
                numbers = [number for s, w, number in subscriber.got if (s, w) == (subject, who)]
                assert numbers == sorted(numbers)
                assert len(numbers) == 30


def test_with_threads_one_subject_does_not_wait_for_another():
    with event_server() as starter, listening(Recorder(esURI=starter.uri), ["slow", "quick"]) as subscriber:
        waits = Wakeup()

        def event(event):
            if event.msg == 1:
                waits.wait()
            subscriber.got.append(event.msg)

        subscriber.event = event
        publisher = Publisher(esURI=starter.uri)
        for subject, msg in (("slow", 1), ("slow", 2), ("quick", 3)):
            publisher.publish(subject, msg)
        eventually(lambda: subscriber.got == [3])
        waits.set()
        eventually(lambda: subscriber.got == [3, 1, 2])


def test_without_threads_events_come_strictly_one_after_the_other():
    with event_server() as starter:
        subscriber = Recorder(esURI=starter.uri)
        subscriber.setThreading(0)
        subscriber.open.clear()
        with listening(subscriber, ["a", "b"]):
            publisher = Publisher(esURI=starter.uri)
            for msg in range(6):
                publisher.publish("ab"[msg % 2], msg)
            eventually(lambda: subscriber.busy)
            turns()
            assert subscriber.busy == 1
            subscriber.open.set()
            eventually(lambda: subscriber.got == list(range(6)))


def test_what_event_raises_is_logged_and_the_next_comes(caplog):
    class Bad(Recorder):
        def event(self, event):
            super().event(event)
            raise ValueError("bad thing")

        def missed(self, gap):
            raise ValueError("worse")

    with event_server() as starter, listening(Bad(esURI=starter.uri), "a") as subscriber:
        publisher = Publisher(esURI=starter.uri)
        publisher.publish("a", 1)
        publisher.publish("a", 2)
        eventually(lambda: subscriber.got == [1, 2])
        eventually(lambda: len([r for r in caplog.records if "event raised" in r.getMessage()]) == 2)
        assert len(rows(starter)) == 1


def test_a_timeout_that_was_forgotten_costs_no_other_event(caplog):
    class Forgetful(Recorder):
        def event(self, event):
            super().event(event)
            if event.msg == 1:
                raise gevent.Timeout(1)

    with event_server() as starter:
        subscriber = Forgetful(esURI=starter.uri)
        subscriber.setThreading(0)
        subscriber.subscribe("a")
        for msg in (1, 2, 3):
            starter.server.publish("a", msg)
        with listening(subscriber):
            eventually(lambda: subscriber.got == [1, 2, 3])
        assert any("event raised" in record.getMessage() for record in caplog.records)


# ---- listening


def test_events_that_come_before_listen_wait_for_it():
    with event_server() as starter:
        subscriber = Recorder(esURI=starter.uri)
        subscriber.subscribe("a")
        publisher = Publisher(esURI=starter.uri)
        publisher.publish("a", 1)
        publisher.publish("a", 2)
        turns(5)
        assert subscriber.got == []
        with listening(subscriber):
            eventually(lambda: subscriber.got == [1, 2])


def test_who_does_not_listen_any_more_misses_events_and_is_told_how_many():
    with event_server() as starter:
        subscriber = Recorder(esURI=starter.uri)
        publisher = Publisher(esURI=starter.uri)
        with listening(subscriber, "a", "b.*"):
            publisher.publish("a", 1)
            eventually(lambda: subscriber.got == [1])
        eventually(lambda: not rows(starter))
        publisher.publish(["a", "bx", "c"], 2)
        publisher.publish("a", 3)
        with listening(subscriber):
            publisher.publish("a", 4)
            eventually(lambda: 4 in subscriber.got)
            assert subscriber.got == [1, 3, 4]
            assert (subscriber.gaps[0].count, subscriber.gaps[0].reason) == (3, "it was not connected")
        with listening(subscriber):
            publisher.publish("a", 5)
            eventually(lambda: subscriber.got == [1, 3, 4, 5])


def test_abort_in_an_event_and_before_listening():
    class Once(Recorder):
        def event(self, event):
            super().event(event)
            self.abort()

    with event_server() as starter:
        subscriber = Once(esURI=starter.uri)
        subscriber.setThreading(0)
        subscriber.subscribe("a")
        publisher = Publisher(esURI=starter.uri)
        publisher.publish("a", 1)
        publisher.publish("a", 2)
        subscriber.listen()
        assert subscriber.got[0] == 1
        subscriber.abort()
        subscriber.listen()


def test_a_subscriber_without_subscriptions_can_get_them_while_it_listens():
    with event_server() as starter, listening(Recorder(esURI=starter.uri)) as subscriber:
        eventually(lambda: rows(starter))
        subscriber.subscribe("a")
        Publisher(esURI=starter.uri).publish("a", 1)
        eventually(lambda: subscriber.got == [1])


def test_it_listens_once_at_a_time():
    with event_server() as starter, listening(Recorder(esURI=starter.uri), "a") as subscriber:
        with pytest.raises(PyroError, match="listens already"):
            subscriber.listen()
        Publisher(esURI=starter.uri).publish("a", 1)
        eventually(lambda: subscriber.got == [1])


def test_its_daemon_is_for_the_programs_own_objects():
    class Thing(core.ObjBase):
        def ping(self):
            return "pong"

    config.PYRO_PORT = 0
    with event_server() as starter:
        subscriber = Recorder(esURI=starter.uri)
        uri = subscriber.getDaemon().connect(Thing())
        assert subscriber.getDaemon() is subscriber.getDaemon()
        with listening(subscriber, "a"):
            assert core.getProxyForURI(uri).ping() == "pong"
        with listening(subscriber):
            uri = subscriber.getDaemon().connect(Thing())
            assert core.getProxyForURI(uri).ping() == "pong"


def test_a_subscriber_that_nobody_has_is_gone():
    with event_server() as starter:
        subscriber = Recorder(esURI=starter.uri)
        subscriber.subscribe("a")
        assert len(rows(starter)) == 1
        del subscriber
        gc.collect()
        eventually(lambda: not rows(starter))


# ---- slow subscribers


def slow_one(starter, policy, events=3, size=None):
    slow = Recorder(esURI=starter.uri)
    slow.setThreading(0)
    slow.set_queue(policy, events, size)
    slow.open.clear()
    return slow


def published(starter, slow, count):
    """Publish that much on a subject; the first event is under way before the others come."""
    publisher = Publisher(esURI=starter.uri)
    publisher.publish("a", 0)
    eventually(lambda: slow.busy)
    for msg in range(1, count):
        publisher.publish("a", msg)


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("oldest", [0, 6, 7, 8, 9]),  # of which 6 is how many were lost
        ("newest", [0, 1, 2, 3, 6]),
        ("block", [0, 1, 2, 3, 6]),
    ],
)
def test_the_slow_one_is_told_what_it_lost_and_others_get_all(policy, expected):
    with event_server() as starter:
        slow = slow_one(starter, policy)
        with listening(slow, "a"), listening(Recorder(esURI=starter.uri), "a") as quick:
            published(starter, slow, 10)
            eventually(lambda: quick.got == list(range(10)))
            row = next(row for row in rows(starter) if row["lost"])
            assert (row["waiting"], row["sent"], row["lost"], row["policy"]) == (3, 1, 6, policy)
            slow.open.set()
            eventually(lambda: len(slow.got) == 5)
            assert slow.got == expected
            assert slow.gaps[0].reason == "the subscriber was too slow, and its queue full"
            Publisher(esURI=starter.uri).publish("a", "after")
            eventually(lambda: slow.got[-1] == "after")


@pytest.mark.parametrize("threads", [0, 1])
def test_a_gap_is_told_in_its_place_with_threads_too(threads):
    with event_server() as starter:
        slow = Recorder(esURI=starter.uri)
        slow.set_queue("newest", events=3)
        slow.setThreading(threads)
        slow.subscribe("a")
        publisher = Publisher(esURI=starter.uri)
        for msg in range(10):
            publisher.publish("a", msg)
        slow.open.clear()
        with listening(slow):
            eventually(lambda: slow.busy)
            turns(5)
            assert slow.got == []
            slow.open.set()
            eventually(lambda: slow.got == [0, 1, 2, 7])
            publisher.publish("a", 10)
            eventually(lambda: slow.got[4:] == [10])


def test_a_publisher_waits_for_room_and_then_loses_nothing():
    with event_server() as starter:
        starter.server._distributor._patience = 30
        slow = slow_one(starter, "block", 2)
        with listening(slow, "a"), listening(Recorder(esURI=starter.uri), "a") as quick:
            publisher = gevent.spawn(published, starter, slow, 8)
            eventually(lambda: len(quick.got) == 4)
            turns(5)
            assert not publisher.ready()
            slow.open.set()
            publisher.get(timeout=30)
            eventually(lambda: slow.got == list(range(8)))
            assert slow.gaps == []


def test_a_publisher_waits_only_once_for_who_takes_nothing():
    with event_server() as starter:
        slow = slow_one(starter, "block", 1)
        with listening(slow, "a"):
            began = time.monotonic()
            published(starter, slow, 200)
            assert time.monotonic() - began < 200 * 0.2
            slow.open.set()
            eventually(lambda: slow.gaps)
            assert slow.gaps[0].count == 198


def test_disconnecting_the_slow_one():
    with event_server() as starter:
        slow = slow_one(starter, "disconnect", 2)
        with listening(slow, "a"):
            published(starter, slow, 3)
            assert len(rows(starter)) == 1
            Publisher(esURI=starter.uri).publish("a", 3)
            assert rows(starter) == []
            Publisher(esURI=starter.uri).publish("a", 4)
            slow.open.set()
            eventually(lambda: slow.gaps)
            assert (slow.gaps[0].count, slow.gaps[0].reason) == (4, "the subscriber was too slow, and disconnected")
            Publisher(esURI=starter.uri).publish("a", "after")
            eventually(lambda: slow.got == [0, 4, "after"])


def test_bytes_are_bounded_too():
    with event_server() as starter:
        slow = slow_one(starter, "newest", 0, 2500)
        with listening(slow, "a"):
            publisher = Publisher(esURI=starter.uri)
            publisher.publish("a", 0)
            eventually(lambda: slow.busy)
            for _ in range(5):
                publisher.publish("a", "x" * 1000)
            (row,) = rows(starter)
            assert (row["waiting"], row["lost"]) == (2, 3)
            assert 2000 < row["bytes"] <= 2500
            slow.open.set()
            eventually(lambda: slow.got[-1:] == [3])


@pytest.mark.parametrize("arguments", [("sometimes",), ("block", -1), ("block", "many"), ("", None, 1.5)])
def test_what_is_no_policy(arguments):
    with event_server() as starter:
        subscriber = Recorder(esURI=starter.uri)
        with listening(subscriber, "a"), pytest.raises(ValueError, match=r"is no policy|how much may wait is a number"):
            subscriber.set_queue(*arguments)


def test_one_of_fifty_stops_reading():
    """What it costs the others is measured elsewhere; here: they get all, and the server's memory is bounded."""
    with event_server() as starter:
        stuck = slow_one(starter, "oldest", 100, 20_000)
        quick = [Recorder(esURI=starter.uri) for _ in range(49)]
        with contextlib.ExitStack() as stack:
            stack.enter_context(listening(stuck, "a"))
            for one in quick:
                stack.enter_context(listening(one, "a"))
            published(starter, stuck, 1)
            publisher = Publisher(esURI=starter.uri)
            for number in range(300):
                publisher.publish("a", "x" * 500)
                if number % 50 == 0:
                    row = max(rows(starter), key=lambda row: row["bytes"])
                    assert row["bytes"] <= 20_000
            eventually(lambda: all(len(one.got) == 301 for one in quick))
            assert all(one.gaps == [] for one in quick)
            stuck.open.set()
            eventually(lambda: stuck.gaps and len(stuck.got) > 2)
            eventually(lambda: len(stuck.got) - 1 + stuck.gaps[0].count == 301)


STOPPED = """
    import sys
    from gpyro.eventsvc import Subscriber
    class Printer(Subscriber):
        def event(self, event):
            print(event.number, flush=True)
        def missed(self, gap):
            print("missed", gap.count, flush=True)
    printer = Printer(esURI=sys.argv[1])
    printer.setThreading(0)
    printer.set_queue("oldest", 5)
    printer.subscribe("a")
    print("ready", flush=True)
    printer.listen()
"""


def test_a_process_that_is_stopped_holds_up_nobody_and_is_told_later():
    with event_server() as starter, program(STOPPED, str(starter.uri)) as stopped:
        assert stopped.line() == "ready"
        with listening(Recorder(esURI=starter.uri), "a") as quick:
            starter.server.publish("a", 0)
            assert stopped.line() == "1"
            stopped.send_signal(signal.SIGSTOP)
            for msg in range(1, 300):
                starter.server.publish("a", "x" * 10_000)
                if msg % 30 == 0:
                    gevent.sleep(0.001)
            eventually(lambda: len(quick.got) == 300)
            row = next(row for row in rows(starter) if row["lost"])
            assert row["waiting"] == 5
            assert all(channel.out.size < 1 << 20 for channel in starter.daemon.connections)
            stopped.send_signal(signal.SIGCONT)
            told = []
            while not told or told[-1] != "300":
                told.append(stopped.line())
            numbers = [int(line) for line in told if not line.startswith("missed")]
            missed = sum(int(line.split()[1]) for line in told if line.startswith("missed"))
            assert missed > 0
            assert len(numbers) + missed == 299
            assert numbers == sorted(numbers)
            stopped.kill()
            eventually(lambda: len(rows(starter)) == 1)  # gone at once


# ---- coming back


def test_a_restarted_server_has_the_subscriptions_again(caplog):
    with event_server() as starter:
        port = starter.uri.port
        subscriber = Recorder(esURI=starter.uri)
        publisher = Publisher(esURI=starter.uri)
        with listening(subscriber, "a", "b.*"):
            publisher.publish("a", 1)
            eventually(lambda: subscriber.got == [1])
            starter.stop()
            with pytest.raises(ProtocolError):
                publisher.publish("a", 2)
            eventually(lambda: any("lost the event server" in r.getMessage() for r in caplog.records))
            starter.begin(port=port, norange=1, useNameServer=0)
            eventually(lambda: rows(starter))
            publisher.publish(["a", "bc"], 3)
            eventually(lambda: subscriber.got == [1, None, 3, 3])
            assert (subscriber.gaps[0].count, subscriber.gaps[0].reason) == (None, "the event server was restarted")


def test_a_lost_connection_is_made_again_and_what_was_missed_is_counted():
    with event_server() as starter:
        subscriber = Recorder(esURI=starter.uri)
        with listening(subscriber, "a"):
            Publisher(esURI=starter.uri).publish("a", 1)
            eventually(lambda: subscriber.got == [1])
            for channel in starter.daemon.connections:
                channel.close("as if the network had failed")
            assert rows(starter) == []  # gone at once
            for msg in (2, 3):
                starter.server.publish("a", msg)
            eventually(lambda: rows(starter))
            starter.server.publish("a", 4)
            eventually(lambda: 4 in subscriber.got)
            assert subscriber.got == [1, 2, 4]
            assert subscriber.gaps[0].count == 2


def test_many_subscriptions_come_back():
    with event_server() as starter:
        subscriber = Recorder(esURI=starter.uri)
        for start in (0, 1000):
            subscriber.subscribe([f"s{start + number}" for number in range(1000)])
        subscriber.subscribeMatch("p.*")
        with listening(subscriber):
            starter.daemon.connections[0].close("as if the network had failed")
            (row,) = eventually(lambda: rows(starter))
            assert row["subscriptions"] == 2001
            starter.server.publish(["s1999", "px"], 1)
            eventually(lambda: subscriber.got == [1, 1])
        subscriber.unsubscribe([f"s{number}" for number in range(1000)])
        with listening(subscriber):
            (row,) = rows(starter)
            assert row["subscriptions"] == 1001


def test_of_much_that_was_missed_the_number_is_not_known():
    with event_server() as starter:
        subscriber = Recorder(esURI=starter.uri)
        with listening(subscriber, "a"):
            starter.server.publish("a", 1)
            eventually(lambda: subscriber.got == [1])
        eventually(lambda: not rows(starter))
        for _ in range(10_001):
            starter.server.publish("b", 0)
        with listening(subscriber):
            eventually(lambda: subscriber.gaps)
            assert subscriber.gaps[0].count is None


def test_listening_in_another_thread_takes_the_events_along():
    with event_server() as starter:
        subscriber = Recorder(esURI=starter.uri)
        subscriber.setThreading(0)
        subscriber.event = lambda event: subscriber.got.append(event.msg)
        subscriber.subscribe("a")
        publisher = Publisher(esURI=starter.uri)
        publisher.publish("a", 1)
        turns(5)
        publisher.publish("a", 2)
        with listening_elsewhere(subscriber):
            eventually(lambda: subscriber.got == [1, 2])
            publisher.publish("a", 3)
            subscriber.subscribe("b")  # from here, while it listens there
            publisher.publish("b", 4)
            eventually(lambda: subscriber.got == [1, 2, 3, 4])
            assert subscriber.gaps == []


def test_what_comes_while_another_thread_takes_over_is_not_lost(monkeypatch):
    with event_server() as starter:
        subscriber = Recorder(esURI=starter.uri)
        subscriber.event = lambda event: subscriber.got.append(event.msg)
        subscriber.subscribe("a")
        first = subscriber._pyro_link
        attach, take = Link.attach, subscriber._pyro_take
        about_to, go_on, taken = Flag(), Flag(), []

        def late(link, *arguments):
            about_to.set()
            go_on.wait(10)
            return attach(link, *arguments)

        def taking(link, items):
            taken.append(link)
            take(link, items)

        monkeypatch.setattr(Link, "attach", late)
        subscriber._pyro_take = taking
        with listening_elsewhere(subscriber):
            eventually(about_to.is_set)
            Publisher(esURI=starter.uri).publish("a", 1)
            turns(5)
            assert taken == []  # it waits at the event server
            go_on.set()
            eventually(lambda: subscriber.got == [1])
            assert first not in taken


def test_a_gap_is_told_in_the_thread_that_listens():
    with event_server() as starter:
        subscriber = Recorder(esURI=starter.uri)
        with listening(subscriber, "a"):
            starter.server.publish("a", 1)
            eventually(lambda: subscriber.got == [1])
        eventually(lambda: not rows(starter))
        starter.server.publish("a", 2)
        subscriber.subscribe("b")  # back, in this thread
        subscriber.missed = lambda gap: subscriber.gaps.append((gap.count, threading.get_ident()))
        with listening_elsewhere(subscriber) as thread:
            eventually(lambda: subscriber.gaps)
            assert subscriber.gaps == [(1, thread.ident)]


# ---- in a loop that runs anyway


def test_listening_without_blocking():
    with event_server() as starter:
        subscriber = Recorder(esURI=starter.uri)
        subscriber.subscribe("a")
        subscriber.begin()
        publisher = Publisher(esURI=starter.uri)
        publisher.publish("a", 1)
        eventually(lambda: subscriber.got == [1])
        with pytest.raises(PyroError, match="listens already"):
            subscriber.begin()
        subscriber.abort()
        subscriber.begin()  # at once again
        turns()
        publisher.publish("a", 2)
        eventually(lambda: subscriber.got == [1, 2])
        subscriber.abort()
        eventually(lambda: not rows(starter))
        subscriber.abort()  # nothing more to end: what is begun next ends at once
        subscriber.begin()
        eventually(lambda: not subscriber._pyro_listening and not rows(starter))
        subscriber.begin()
        publisher.publish("a", 3)
        eventually(lambda: subscriber.got[-1] == 3)
        subscriber.abort()
        eventually(lambda: not rows(starter))


def test_what_was_begun_goes_on_although_nobody_has_the_subscriber():
    got = []

    class Keeper(Subscriber):
        def event(self, event):
            got.append(event.msg)
            if event.msg == "last":
                self.abort()

    with event_server() as starter:
        subscriber = Keeper(esURI=starter.uri)
        subscriber.subscribe("a")
        subscriber.begin()
        del subscriber
        gc.collect()
        publisher = Publisher(esURI=starter.uri)
        publisher.publish("a", 1)
        eventually(lambda: got == [1])
        before = rows(starter)[0]["address"]
        for stream in list(hub_state().streams):
            stream.close("a wire was cut")
        eventually(lambda: rows(starter) and rows(starter)[0]["address"] != before)
        gc.collect()
        publisher.publish("a", "last")
        eventually(lambda: got == [1, "last"])
        eventually(lambda: not rows(starter))


def test_after_abort_in_an_event_no_other_comes():
    with event_server() as starter:
        subscriber = Recorder(esURI=starter.uri)
        subscriber.setThreading(0)
        subscriber.set_queue(events=0)
        subscriber.subscribe("a")

        def event(event):
            subscriber.got.append(event.msg)
            if event.msg == 2:
                subscriber.abort()

        subscriber.event = event
        for msg in range(6):
            starter.server.publish("a", msg)
        subscriber.listen()
        assert subscriber.got == [0, 1, 2]
        subscriber.begin()
        eventually(lambda: [gap.count for gap in subscriber.gaps] == [3])
        subscriber.abort()
        eventually(lambda: not rows(starter))


def driven(subscriber, drive, condition, publisher):
    """Drive a subscriber by a foreign loop in a thread of its own, until `condition`; the server is in this one."""
    problems = []

    def run():
        try:
            subscriber.subscribe("a")
            source = drive(subscriber)
            publisher(1)
            publisher(2)
            for _ in range(1000):
                if condition():
                    break
                readable, _, _ = select(source.getServerSockets(), [], [], 0.05)
                if readable:
                    source.handleRequests(0)
            subscriber.abort()
            with contextlib.suppress(PyroError):
                for _ in range(1000):  # an own daemon is stopped in one of the next turns
                    source.getServerSockets()
                    source.handleRequests(0.01)
                problems.append("it goes on")
        except BaseException as error:
            problems.append(error)

    thread = Thread(target=run)
    thread.start()
    eventually(lambda: not thread.is_alive(), 20)
    thread.join()
    assert problems == []


def by_itself(subscriber):
    subscriber.begin()
    return subscriber


def by_its_daemon(subscriber):
    """As in programs for Pyro 3."""
    config.PYRO_PORT = 0
    return subscriber.getDaemon()


@pytest.mark.parametrize("drive", [by_itself, by_its_daemon])
def test_in_a_foreign_loop(drive):
    with event_server() as starter:
        subscriber = Recorder(esURI=starter.uri)
        publisher = Publisher(esURI=starter.uri)
        driven(subscriber, drive, lambda: subscriber.got == [1, 2], lambda msg: publisher.publish("a", msg))
        eventually(lambda: not rows(starter))


def test_its_daemons_loop_serves_events_too():
    config.PYRO_PORT = 0
    with event_server() as starter:
        subscriber = Recorder(esURI=starter.uri)
        subscriber.subscribe("a")
        starter.server.publish("a", 1)
        with gevent.Timeout(10):
            subscriber.getDaemon().requestLoop(lambda: not subscriber.got, None)
        assert subscriber.got == [1]
        subscriber.abort()
        eventually(lambda: not rows(starter))


def test_a_round_takes_what_came_and_waits_no_longer():
    with event_server() as starter:
        subscriber = Recorder(esURI=starter.uri)
        for nothing in (subscriber.getServerSockets, subscriber.handleRequests):
            with pytest.raises(PyroError, match="was not begun"):
                nothing()
        subscriber.subscribe("a")
        subscriber.begin()
        subscriber.handleRequests(0)
        gevent.spawn(starter.server.publish, "a", 1)
        subscriber.handleRequests(30)
        assert subscriber.got == [1]
        said = []

        def elsewhere():
            try:
                subscriber.handleRequests(0)
            except PyroError as error:
                said.append(str(error))

        thread = Thread(target=elsewhere)
        thread.start()
        eventually(lambda: not thread.is_alive())
        thread.join()
        assert said == [f"{subscriber!r} listens in another thread"]
        subscriber.abort()
        eventually(lambda: not rows(starter))


def test_an_event_may_outlast_what_began(caplog):
    with event_server() as starter:
        subscriber = Recorder(esURI=starter.uri)
        subscriber.subscribe("a")
        subscriber.begin()
        subscriber.getServerSockets()

        def event(event):
            subscriber.abort()
            eventually(lambda: not subscriber._pyro_listening)
            subscriber.got.append(event.msg)

        subscriber.event = event
        starter.server.publish("a", 1)
        eventually(lambda: subscriber.got == [1])
        eventually(lambda: not rows(starter))
        turns()
    assert [record.getMessage() for record in caplog.records if record.levelname != "INFO"] == []


def test_what_began_in_a_thread_that_is_gone_may_begin_again():
    with event_server() as starter:
        subscriber = Recorder(esURI=starter.uri)
        subscriber.subscribe("a")
        thread = Thread(target=subscriber.begin)
        thread.start()
        eventually(lambda: not thread.is_alive())
        thread.join()
        eventually(lambda: not rows(starter))
        subscriber.begin()
        starter.server.publish("a", 1)
        eventually(lambda: subscriber.got == [1])
        subscriber.abort()
        eventually(lambda: not rows(starter))


def test_its_daemon_serves_in_the_thread_that_listens():
    class Thing(core.ObjBase):
        def thread(self):
            return threading.get_ident()

    config.PYRO_PORT = 0
    with event_server() as starter:
        subscriber = Recorder(esURI=starter.uri)
        with listening_elsewhere(subscriber) as thread:
            eventually(lambda: rows(starter))
            uri = subscriber.getDaemon().connect(Thing())
            assert core.getProxyForURI(uri).thread() == thread.ident


# ---- bad input


def test_what_cannot_travel_is_the_publishers_matter():
    with event_server() as starter, listening(Recorder(esURI=starter.uri), ["a", "b"]) as subscriber:
        publisher = Publisher(esURI=starter.uri)

        class Unknown:
            pass

        for message in (Unknown(), [{"x": open}]):
            with pytest.raises(SerializationError):
                publisher.publish("a", message)
        with pytest.raises(EventError, match="the event on 'a' cannot be given to others: msg"):
            publisher.publish("a", lambda: 0)
        with pytest.raises(EventError, match=r"msg.*iterators cannot travel"):
            publisher.publish(["b", "a"], iter([1]))
        with pytest.raises(EventError, match=r"over the 4,194,304 that the event server takes \(its PYRO_ES_MAXEVENT"):
            publisher.publish(["b", "a"], "x" * config.PYRO_ES_MAXEVENT)
        publisher.publish("b", b"x" * 100_000)
        eventually(lambda: subscriber.got == [b"x" * 100_000])  # and nothing of the others


@pytest.mark.parametrize("pattern", ["(a+)+", "[", "(?=a)", "x" * 1000])
def test_a_broken_pattern(pattern):
    with event_server() as starter, listening(Recorder(esURI=starter.uri), "a") as subscriber:
        with pytest.raises(PatternError):
            subscriber.subscribeMatch(["fine.*", pattern])
        with pytest.raises(PatternError, match="the pattern"):
            subscriber.getES().subscribeMatch(["fine.*", pattern], lambda event: None)
        (row,) = rows(starter)
        assert row["patterns"] == []


@pytest.mark.parametrize("subject", [17, ["a", 1], "x" * 256, [""]])
def test_what_is_no_subject(subject):
    with event_server() as starter, listening(Recorder(esURI=starter.uri), "a") as subscriber:
        for call in (subscriber.subscribe, lambda subject: Publisher(esURI=starter.uri).publish(subject, 1)):
            with pytest.raises(SubjectError):
                call(subject)
        (row,) = rows(starter)
        assert row["subjects"] == ["a"]


def test_an_event_that_the_subscriber_cannot_take_is_a_gap():
    with event_server() as starter:
        config.PYRO_MAX_MESSAGE = 8192
        subscriber = Recorder(esURI=starter.uri)
        with listening(subscriber, "a"):
            config.PYRO_MAX_MESSAGE = 16 << 20
            starter.server.publish("a", 1)
            starter.server.publish("a", "x" * 20_000)
            starter.server.publish("a", 3)
            eventually(lambda: 3 in subscriber.got)
            assert subscriber.got == [1, 1, 3]
            assert "the subscriber cannot take it" in subscriber.gaps[0].reason


def test_an_object_without_event_is_dropped(caplog):
    class Nothing(core.ObjBase):
        def other(self):
            """Nothing."""

    nothing = Nothing()
    with event_server() as starter:
        es = Publisher(esURI=starter.uri).getES()
        es.subscribe("a", nothing)
        es.publish("a", 1)
        eventually(lambda: not rows(starter))


def test_a_publisher_without_server():
    with event_server() as starter:
        uri = str(starter.uri)
    with pytest.raises(ProtocolError):
        Publisher(esURI=uri).publish("a", 1)
    with pytest.raises(ProtocolError):
        Subscriber(esURI=uri).subscribe("a")
    with pytest.raises(NamingError):
        Publisher().publish("a", 1)


# ---- looking on


def test_topics_and_subscribers_are_listed():
    with event_server() as starter, listening(Recorder(esURI=starter.uri), "News", "n.*"):
        publisher = Publisher(esURI=starter.uri)
        publisher.publish(["news", "Other"], 1)
        es = publisher.getES()
        es.subscribe("nobody wrote", lambda event: None)
        topics = {row["subject"]: row for row in es.topics()}
        assert {name: (row["published"], row["subscribers"]) for name, row in topics.items()} == {
            "news": (1, 1),
            "nobody wrote": (0, 2),
            "Other": (1, 0),
        }
        assert topics["nobody wrote"]["last"] is None
        assert abs(topics["news"]["last"] - time.time()) < 10
        row = eventually(lambda: next((row for row in es.subscribers() if row["delivered"] == 2), None))
        assert (row["subjects"], row["patterns"], row["waiting"], row["lost"]) == (["News"], ["n.*"], 0, 0)
        assert es.info()["number"] == 2
        assert es.info()["identity"]


def test_in_the_process_itself_without_any_starter():
    daemon = core.Daemon(port=0, norange=1)
    service = EventService()
    uri = daemon.connect(service, "myES")
    daemon.start()
    with listening(Recorder(esURI=uri), "a") as subscriber:
        service.publish("a", 1)
        eventually(lambda: subscriber.got == [1])
    service.close()
    daemon.stop()
