"""Publishers and subscribers whose connection, server or `event` fails them."""

from __future__ import annotations

import signal

import gevent
import pytest

from gpyro.errors import ProtocolError
from gpyro.eventsvc import Publisher, SubjectError
from tests.event_service import Recorder, came_back, cut, event_server, listening, rows
from tests.naming import configured, environment
from tests.programs import program
from tests.support import eventually, turns


@pytest.fixture(autouse=True)
def _configuration(tmp_path):
    with configured(environment(tmp_path, PYRO_ES_BLOCKTIME=0.2)):
        yield


def restart(starter):
    port = starter.uri.port
    starter.stop()
    starter.begin(port=port, norange=1, useNameServer=0)


# ---- what was missed


def test_what_was_missed_twice_before_anybody_listens_is_added_up():
    with event_server() as starter:
        subscriber = Recorder(esURI=starter.uri)
        subscriber.subscribe("a")
        for missed in ((1, 2), (3,)):
            cut(starter)
            for msg in missed:
                starter.server.publish("a", msg)
            came_back(starter)
            eventually(lambda last=missed[-1]: subscriber._pyro_seen == last)
        starter.server.publish("a", 4)
        with listening(subscriber):
            eventually(lambda: subscriber.got == [3, 4])


def test_what_was_published_before_it_subscribed_was_not_missed():
    with event_server() as starter:
        subscriber = Recorder(esURI=starter.uri)
        with listening(subscriber, "a"):
            for msg in range(5):
                starter.server.publish("b", msg)
            subscriber.subscribe("b")
            subscriber.subscribeMatch("b.*")
            cut(starter)
            came_back(starter)
            starter.server.publish("a", "last")
            eventually(lambda: subscriber.got == ["last"])
        for msg in range(5):
            starter.server.publish(["c", "a"], msg)
        subscriber.subscribe("c")
        with listening(subscriber):
            eventually(lambda: subscriber.got == ["last", 5])


def test_what_had_been_taken_and_not_begun_with_at_abort_is_missed():
    with event_server() as starter:
        subscriber = Recorder(esURI=starter.uri)
        subscriber.open.clear()
        with listening(subscriber, ["a", "b"]):
            for msg in range(4):
                starter.server.publish("a", msg)
            starter.server.publish("b", 4)
            eventually(lambda: subscriber.busy == 2)
        subscriber.open.set()
        eventually(lambda: not subscriber.busy)
        assert subscriber.got == [0, 4]
        with listening(subscriber):
            eventually(lambda: subscriber.got == [0, 4, 3])
            assert subscriber.gaps[0].reason == "it did not listen any more"


def test_both_copies_of_an_event_are_dealt_with_before_it_listens_no_more():
    with event_server() as starter:
        subscriber = Recorder(esURI=starter.uri)
        subscriber.setThreading(0)

        def event(event):
            subscriber.got.append(event.msg)
            if len(subscriber.got) == 1:
                subscriber.abort()
                eventually(lambda: not subscriber._pyro_listening)

        subscriber.event = event
        subscriber.subscribe("a")
        subscriber.subscribeMatch("a")
        listens = gevent.spawn(subscriber.listen)
        starter.server.publish("a", 1)
        starter.server.publish("a", 2)
        listens.get(timeout=5)
        eventually(lambda: subscriber.got == [1, 1])
        with listening(subscriber):
            eventually(lambda: subscriber.got[:3] == [1, 1, 2])  # missed: both copies of the second


def test_what_was_missed_between_two_copies_of_an_event_counts_once():
    with event_server() as starter:
        subscriber = Recorder(esURI=starter.uri)
        subscriber.setThreading(0)
        subscriber.open.clear()
        with listening(subscriber, "a", ["a"]):
            starter.server.publish("a", 1)
            eventually(lambda: subscriber.busy)
            cut(starter)
            starter.server.publish("a", 2)
            came_back(starter)
            eventually(lambda: subscriber._pyro_gap)
            subscriber.open.set()
            eventually(lambda: subscriber.got == [1, 1, 2])
            cut(starter)
            came_back(starter)
            starter.server.publish("a", 3)
            eventually(lambda: subscriber.got == [1, 1, 2, 3, 3])


# ---- one after the other


def test_after_coming_back_events_still_come_one_after_the_other():
    with event_server() as starter:
        subscriber = Recorder(esURI=starter.uri)
        subscriber.setThreading(0)
        subscriber.open.clear()
        with listening(subscriber, "a"):
            starter.server.publish("a", 1)
            eventually(lambda: subscriber.busy)
            cut(starter)
            came_back(starter)
            starter.server.publish("a", 2)
            eventually(lambda: rows(starter)[0]["sent"])
            turns(10)
            assert subscriber.busy == 1
            subscriber.open.set()
            eventually(lambda: subscriber.got == [1, 2])


# ---- threads


def test_the_thread_that_subscribed_may_end_before_another_one_listens():
    from gevent import monkey

    thread_class = monkey.get_original("threading", "Thread")
    with event_server() as starter:
        subscriber = Recorder(esURI=starter.uri)
        subscriber.event = lambda event: subscriber.got.append(event.msg)
        thread = thread_class(target=subscriber.subscribe, args=("a",))
        thread.start()
        eventually(lambda: not thread.is_alive())
        eventually(lambda: not rows(starter))  # it had nobody to take its events
        starter.server.publish("a", 1)
        thread = thread_class(target=subscriber.listen)
        thread.start()
        came_back(starter)
        starter.server.publish("a", 2)
        eventually(lambda: subscriber.got == [1, 2])
        assert subscriber.gaps[0].count == 1
        subscriber.abort()
        eventually(lambda: not thread.is_alive())


# ---- changing subscriptions


def test_unsubscribing_counts_for_every_spelling_also_after_coming_back():
    with event_server() as starter:
        subscriber = Recorder(esURI=starter.uri)
        with listening(subscriber, ["A", "a", "b"], ["a"]):
            subscriber.unsubscribe(["a", "a"])  # the subject, then the pattern
            subscriber.unsubscribe("x" * 300)
            cut(starter)
            row = came_back(starter)
            assert (row["subjects"], row["patterns"]) == (["b"], [])


def test_subscribing_in_many_greenlets_at_once():
    with event_server() as starter:
        subscriber = Recorder(esURI=starter.uri)
        with listening(subscriber, "a"):
            gevent.joinall([gevent.spawn(subscriber.subscribe, f"s{number}") for number in range(10)], raise_error=True)
            cut(starter)
            assert len(came_back(starter)["subjects"]) == 11


def test_subscribing_before_listening_to_a_server_that_was_restarted():
    with event_server() as starter:
        subscriber = Recorder(esURI=starter.uri)
        subscriber.subscribe("a")
        restart(starter)
        subscriber.subscribe("b")
        restart(starter)
        subscriber.set_queue("oldest", 7)
        with listening(subscriber):
            row = came_back(starter)
            assert (row["subjects"], row["policy"]) == (["a", "b"], "oldest")
            starter.server.publish("b", 1)
            eventually(lambda: subscriber.got == [None, 1])


def test_what_is_wrong_is_refused_while_there_is_no_server_too():
    with event_server() as starter:
        port = starter.uri.port
        subscriber = Recorder(esURI=starter.uri)
        with listening(subscriber, "a"):
            starter.stop()
            with pytest.raises(ProtocolError):
                Publisher(esURI=subscriber.getES().URI).publish("a", 1)
            with pytest.raises(SubjectError, match="300 characters"):
                subscriber.subscribe("x" * 300)
            with pytest.raises(ValueError, match="is no policy"):
                subscriber.set_queue("sometimes")
            subscriber.subscribe("b")
            starter.begin(port=port, norange=1, useNameServer=0)
            assert came_back(starter)["subjects"] == ["a", "b"]


def test_it_goes_on_trying_when_the_server_does_not_like_what_it_asks_for(caplog):
    with event_server() as starter:
        subscriber = Recorder(esURI=starter.uri)
        with listening(subscriber, "a"):
            subscriber._pyro_subjects["wrong"] = "x" * 300
            cut(starter)
            eventually(lambda: any("goes on trying: the subject" in r.getMessage() for r in caplog.records))
            del subscriber._pyro_subjects["wrong"]
            assert came_back(starter)["subjects"] == ["a"]


def test_events_of_one_subject_come_one_after_the_other_also_when_it_listens_again():
    with event_server() as starter:
        recorder, publisher = Recorder(esURI=starter.uri), Publisher(esURI=starter.uri)
        recorder.open.clear()
        with listening(recorder, "a"):
            publisher.publish("a", 1)
            eventually(lambda: recorder.busy == 1)
        with listening(recorder):
            publisher.publish("a", 2)
            turns(10)
            assert recorder.busy == 1  # the first one still is
            recorder.open.set()
            eventually(lambda: recorder.got == [1, 2])


def test_a_link_that_another_one_took_the_place_of_tells_of_nothing():
    with event_server() as starter:
        recorder = Recorder(esURI=starter.uri)
        with listening(recorder, "a"):
            before = recorder._pyro_link
            recorder._pyro_attach(before)
            eventually(lambda: before.closed and before.gate.is_set())
            recorder._pyro_miss(1, "it is said in the thread that listens now")
            recorder._pyro_take(before, [])
            assert not recorder.gaps
            Publisher(esURI=starter.uri).publish("a", 2)
            eventually(lambda: recorder.got == [1, 2])


LISTENS = """
import gevent, sys
from gpyro.eventsvc import Subscriber

ticker = Subscriber(esURI=sys.argv[1])
ticker.subscribe("stocks")
timer = gevent.get_hub().loop.timer(0.001, 0.001)
def tell():
    if ticker._pyro_link.gate.is_set():
        timer.stop()
        print("listening", flush=True)
timer.start(tell)
try:
    ticker.listen()
except KeyboardInterrupt:
    print("Ctrl-C")
ticker.abort()
ticker.listen()
print("the end")
"""


@pytest.mark.parametrize("patched", [False, True], ids=["unpatched", "patched"])
def test_ctrl_c_leaves_listen_and_nothing_else_is_told_of_it(patched):
    with event_server() as starter, program(LISTENS, str(starter.uri), patched=patched) as listens:
        assert listens.line() == "listening"
        eventually(lambda: starter.server.subscribers())
        listens.send_signal(signal.SIGINT)
        assert listens.end() == (0, "Ctrl-C\nthe end\n", "")


ENDS = """
import sys
from gpyro.eventsvc import Publisher, Subscriber

class Ending(Subscriber):
    def event(self, event):
        raise {"exit": SystemExit(3), "break": KeyboardInterrupt}[event.msg]

uri, how, threads = sys.argv[1:]
ending = Ending(esURI=uri)
ending.setThreading(int(threads))
ending.subscribe("a")
Publisher(esURI=uri).publish("a", how)
try:
    ending.listen()
except KeyboardInterrupt:
    sys.exit(4)
"""


@pytest.mark.parametrize("threads", ["0", "1"])
@pytest.mark.parametrize(("how", "code"), [("exit", 3), ("break", 4)])
def test_an_event_may_end_the_program(how, code, threads):
    with event_server() as starter, program(ENDS, str(starter.uri), how, threads) as ends:
        assert ends.end() == (code, "", "")


# ---- listening later


def test_who_begins_to_listen_while_the_event_server_is_gone_waits_for_it():
    with event_server() as starter:
        port = starter.uri.port
        subscriber = Recorder(esURI=starter.uri)
        subscriber.subscribe("a")
        link = subscriber._pyro_link  # another one may be in its place at times, which is only tried
        starter.stop()
        eventually(lambda: link.lost)
        with listening(subscriber):
            starter.begin(port=port, norange=1, useNameServer=0)
            came_back(starter)
            starter.server.publish("a", 1)
            eventually(lambda: subscriber.got == [None, 1])


def test_who_begins_to_listen_and_was_taken_off_meanwhile_attaches_anew():
    with event_server() as starter:
        subscriber = Recorder(esURI=starter.uri)
        subscriber.subscribe("a")
        starter.server.publish("a", "lost")
        starter.server.detach(subscriber._pyro_token)
        with listening(subscriber):
            starter.server.publish("a", "last")
            eventually(lambda: subscriber.got == [1, "last"])
