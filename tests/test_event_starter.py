from __future__ import annotations

import select
import signal
import threading

import gevent
import pytest
from gevent import monkey

from gpyro import config
from gpyro.errors import DaemonError, NamingError, PyroError
from gpyro.eventsvc import EventServiceStarter, Publisher
from tests.event_service import Recorder
from tests.naming import free_port, name_server, proxy_of
from tests.programs import program
from tests.support import eventually

START = """
    import sys
    from gpyro.eventsvc import EventServiceStarter
    arguments = eval(sys.argv[1]) if len(sys.argv) > 1 else {}
    starter = EventServiceStarter(arguments.pop("identification", None))
    starter.start(**{"port": 0, "useNameServer": 0, **arguments})
"""


pytestmark = pytest.mark.usefixtures("env")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_it_prints_from_start_to_end(env, number):
    with program(START, environment=env) as server:
        lines = [server.line() for _ in range(4)]
        assert lines[0] == "*** Pyro Event Server ***"
        assert lines[1].startswith("URI= PYRO://127.0.0.1:")
        assert lines[2].startswith("WARNING: URIs of this server are of no use on other machines")
        assert lines[3] == "Event Server started."
        Publisher(esURI=lines[1].split()[1]).publish("a", 1)
        server.send_signal(number)
        broken_off = ["Shutting down on user break signal."] if number == signal.SIGINT else []
        assert server.ended_well().splitlines() == [*broken_off, "Event Server gracefully stopped."]


def test_a_server_that_is_killed_comes_back_with_all_subscriptions(env):
    port = free_port()
    arguments = repr({"port": port, "norange": 1})
    with program(START, arguments, environment=env) as server:
        uri = [server.line() for _ in range(4)][1].split()[1]
        subscriber, publisher = Recorder(esURI=uri), Publisher(esURI=uri)
        subscriber.subscribe("a")
        listening = gevent.spawn(subscriber.listen)
        publisher.publish("a", 1)
        eventually(lambda: subscriber.got == [1])
        server.kill()
    with program(START, arguments, environment=env) as server:
        assert [server.line() for _ in range(4)][1].split()[1] == uri
        eventually(lambda: subscriber.got == [1, None])
        publisher.publish("a", 2)
        eventually(lambda: subscriber.got == [1, None, 2])
        subscriber.abort()
        listening.get(timeout=30)


def test_it_is_registered_as_long_as_it_runs():
    with name_server(nsport=config.PYRO_NS_PORT, nobroadcast=True) as names:
        config.PYRO_NS_HOSTNAME = "127.0.0.1"
        starter = EventServiceStarter()
        starter.begin(port=0)
        ns = proxy_of(names)
        assert ns.resolve(":Pyro.EventService") == starter.uri
        publisher, subscriber = Publisher(), Recorder()
        subscriber.subscribe("a")
        listening = gevent.spawn(subscriber.listen)
        publisher.publish("a", 1)
        eventually(lambda: subscriber.got == [1])
        starter.stop()
        with pytest.raises(NamingError, match="name not found"):
            ns.resolve(":Pyro.EventService")
        starter.begin(port=0)  # elsewhere now
        eventually(lambda: subscriber.got == [1, None])
        publisher.publish("a", 2)
        eventually(lambda: subscriber.got == [1, None, 2])
        subscriber.abort()
        listening.get(timeout=30)
        starter.stop()


def test_without_a_name_server_it_says_so():
    config.PYRO_BC_TIMEOUT = 0.02
    with pytest.raises(NamingError, match="could not find NameServer"):
        EventServiceStarter().begin(port=0)


def test_a_port_that_is_taken_and_a_bind_that_is_open_to_all():
    first = EventServiceStarter()
    first.begin(port=0, useNameServer=0)
    with pytest.raises(DaemonError, match="in use"):
        EventServiceStarter().begin(port=first.uri.port, norange=1, useNameServer=0)
    open_to_all = EventServiceStarter()
    with pytest.raises(DaemonError, match="PYRO_ALLOW_OPEN"):
        open_to_all.begin(hostname="0.0.0.0", port=0, useNameServer=0)
    assert not open_to_all.mustContinueRunning()
    first.stop()


def test_it_can_be_started_again_but_not_twice():
    starter = EventServiceStarter()
    starter.begin(port=0, useNameServer=0)
    assert starter.mustContinueRunning()
    with pytest.raises(PyroError, match="runs an event server already"):
        starter.begin(port=0, useNameServer=0)
    starter.stop()
    starter.stop()
    assert not starter.mustContinueRunning()
    with pytest.raises(PyroError, match="the event server was not begun, or is stopped"):
        starter.handleRequests(0)
    starter.begin(port=0, useNameServer=0)
    Publisher(esURI=starter.uri).publish("a", 1)
    starter.stop()


def test_driven_by_a_foreign_loop():
    starter = EventServiceStarter()
    starter.initialize(port=0, useNameServer=0)
    assert not starter.waitUntilStarted(0)
    subscriber = Recorder(esURI=starter.uri)

    def client():
        subscriber.subscribe("a")
        publisher = Publisher(esURI=starter.uri)
        for msg in range(3):
            publisher.publish("a", msg)
        subscriber.event = lambda event: event.msg == 2 and subscriber.abort()
        subscriber.listen()

    thread = monkey.get_original("threading", "Thread")(target=client)
    thread.start()
    for _ in range(2000):
        select.select(starter.getServerSockets(), [], [], 0.05)
        starter.handleRequests(0)
        if not thread.is_alive():
            break
    thread.join(30)
    assert not thread.is_alive()
    starter.stop()


def test_other_threads_wait_until_it_is_started():
    starter = EventServiceStarter()
    seen = []

    def run():
        starter.start(port=0, useNameServer=0)
        seen.append("ended")

    assert not starter.waitUntilStarted(0.01)
    thread = threading.Thread(target=run)
    thread.start()
    assert starter.waitUntilStarted(10)
    Publisher(esURI=starter.uri).publish("a", 1)
    starter.shutdown(None)
    eventually(lambda: seen)
    thread.join(30)
    assert not starter.waitUntilStarted(0)
