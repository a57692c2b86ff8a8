"""Where gpyro differs from Pyro 3 on purpose, as docs/porting.md says; what is not here is in the other tests."""

from __future__ import annotations

import contextlib
import copy
import pickle
import time

import gevent
import pytest
from gevent.event import Event

import gpyro
from gpyro import core, errors, protocol
from gpyro.guid import getGUID
from tests.porting.plays import served
from tests.programs import program
from tests.support import eventually, serving, turns, uri_of


class Thing(core.ObjBase):
    def __init__(self):
        super().__init__()
        self.seen = []
        self.value = 1

    def echo(self, value=None):
        return value

    def wait(self, seconds):
        gevent.sleep(seconds)
        self.seen.append(seconds)
        return seconds

    def quit(self):
        self.seen.append("quit")

    def itself(self):
        return self


@pytest.fixture
def thing():
    return Thing()


@pytest.fixture
def daemon(thing):
    with serving(thing, "thing") as daemon:
        yield daemon


@pytest.fixture
def proxy(daemon, thing):
    proxy = daemon.getProxyForObj(thing)
    yield proxy
    proxy._release()


# Objects


def test_ids_are_random_digits_in_four_groups(thing):
    assert len(getGUID()) == 35
    assert len(getGUID().replace("-", "")) == 32
    assert thing.GUID() != Thing().GUID()


def test_one_name_belongs_to_one_object(daemon):
    with pytest.raises(errors.DaemonError, match="'thing' is taken"):
        daemon.connect(Thing(), "thing")


def test_any_object_may_be_connected(daemon):
    class Plain:
        def hello(self):
            return "hello"

    plain = core.getProxyForURI(daemon.connect(Plain()))
    assert plain.hello() == "hello"
    plain._release()


def test_unknown_attributes_are_no_attributes(daemon, thing):
    proxy = core.getAttrProxyForURI(uri_of(daemon, thing))
    assert (hasattr(proxy, "value"), hasattr(proxy, "nothing"), proxy.findattr("nothing")) == (True, False, 0)
    thing.nothing = 2  # and it is looked at again each time
    proxy.value = 3
    assert (thing.value, proxy.nothing) == (3, 2)
    proxy._release()


def test_private_attributes_are_never_asked_for(daemon, thing):
    thing._hidden = 1
    proxy = core.getAttrProxyForURI(uri_of(daemon, thing))
    for name in ("_hidden", "__class__x", "objectGUID", "delegate", "lastUsed"):
        with pytest.raises(AttributeError):
            getattr(proxy, name)
    with pytest.raises(AttributeError, match="private"):
        proxy._hidden = 2
    proxy._release()


# URIs and proxies


def test_hosts_stay_as_they_are_given_until_a_connection_is_made():
    uri = core.PyroURI("PYRO://no-such-host.invalid/x")
    assert str(uri) == "PYRO://no-such-host.invalid:7766/x" or gpyro.config.PYRO_PORT != 7766
    with pytest.raises(errors.NotSentError, match="cannot resolve host"):
        uri.getProxy().echo()


def test_proxies_take_a_copy_of_their_uri(daemon, thing):
    uri = uri_of(daemon, thing)
    proxies = [core.getProxyForURI(uri) for _ in range(2)]
    uri.port = 1
    assert [proxy.echo(1) for proxy in proxies] == [1, 1]
    for proxy in proxies:
        proxy._release()


def test_proxies_for_a_name_are_equal_by_place_and_name(daemon, proxy):
    named = [core.getProxyForURI(f"PYROLOC://127.0.0.1:{daemon.port}/thing") for _ in range(2)]
    for _ in range(2):
        assert named[0] == named[1] != proxy
        assert hash(named[0]) == hash(named[1])
        named[0].echo(1)  # which finds out the id, and changes nothing of it
    assert named[0].URI == proxy.URI
    named[0]._release()


def test_copies_keep_all_settings_and_pickles_all_but_who_calls(daemon, thing):
    daemon.setAllowedIdentifications(["word"])
    proxy = core.getAttrProxyForURI(uri_of(daemon, thing))
    proxy._setTimeout(3)
    proxy._setOneway("note")
    proxy._setIdentification("word")
    proxy._setNewConnectionValidator(protocol.DefaultConnValidator())
    copied, pickled = copy.copy(proxy), pickle.loads(pickle.dumps(proxy))
    for one in (copied, pickled):
        assert isinstance(one, core.DynamicProxyWithAttrs)
        assert (one._remote.timeout, one._remote.oneway) == (3, {"note"})
    assert copied.echo(1) == 1
    assert copied._getNewConnectionValidator() is not None
    assert pickled._getNewConnectionValidator() is None
    with pytest.raises(errors.ConnectionDeniedError, match="an identification is needed"):
        pickled.echo(1)
    copied._release()


def test_a_proxy_is_no_place_to_keep_things(proxy):
    with pytest.raises(AttributeError, match="a plain proxy has no attributes"):
        proxy.mine = 1


def test_proxies_share_a_connection_unless_they_are_told_not_to(daemon, proxy):
    others = [copy.copy(proxy) for _ in range(3)]
    others[-1]._setPrivateChannel(True)
    for one in (proxy, *others):
        one.echo(1)
    assert len(daemon.connections) == 2
    for one in others:
        one._release()


def test_calls_of_one_proxy_overlap_and_start_in_the_order_made(thing, proxy):
    calls = [gevent.spawn(proxy.wait, seconds) for seconds in (0.1, 0.05, 0)]
    gevent.joinall(calls, raise_error=True)
    assert thing.seen == [0, 0.05, 0.1]


# Failures


def test_a_late_answer_costs_nobody_the_connection(daemon, proxy):
    proxy.echo(1)
    (connection,) = daemon.connections
    proxy._setTimeout(0.02)
    with pytest.raises(errors.TimeoutError):
        proxy.wait(0.1)
    proxy._setTimeout(None)
    with pytest.raises(gevent.Timeout), gevent.Timeout(0.02):
        proxy.wait(0.1)
    assert proxy.echo(2) == 2
    assert daemon.connections == [connection]


@pytest.mark.parametrize("shielded", [True, False])
@pytest.mark.parametrize("how", ["timeout", "killed", "oneway"])
def test_a_method_whose_caller_gave_up_is_stopped_unless_it_is_shielded(how, shielded):
    class Slow(core.ObjBase):
        def __init__(self):
            super().__init__()
            self.seen = []

        def work(self):
            self.seen.append("begun")
            try:
                with gpyro.shield() if shielded else contextlib.nullcontext():
                    go_on.wait()
                    self.seen.append("done")
            finally:
                self.seen.append("ended")

    slow, go_on = Slow(), Event()
    with serving(slow) as daemon:
        proxy = daemon.getProxyForObj(slow)
        if how == "oneway":
            proxy._setOneway("work")
        if how != "killed":
            proxy._setTimeout(0.5)
        calling = gevent.spawn(proxy.work)
        eventually(lambda: slow.seen)
        if how == "killed":
            calling.kill()
        elif how == "timeout":
            with pytest.raises(errors.TimeoutError):
                calling.get()
        else:
            gevent.sleep(0.6)  # longer than it has
        if shielded or how == "oneway":
            turns(20)
            assert slow.seen == ["begun"]
            go_on.set()
        eventually(lambda: "ended" in slow.seen)
        assert ("done" in slow.seen) == (shielded or how == "oneway")
        proxy._release()


def test_an_unknown_object_costs_nobody_the_connection(daemon, proxy):
    proxy.echo(1)
    unknown = core.getProxyForURI(core.PyroURI("127.0.0.1", getGUID(), daemon.port))
    for _ in range(2):
        with pytest.raises(errors.ProtocolError, match="unknown object ID"):
            unknown.echo(1)
    assert len(daemon.connections) == 1
    unknown._release()


def test_an_object_that_returns_itself_returns_a_proxy(proxy):
    assert proxy.itself() == proxy


def test_what_stands_in_several_places_arrives_as_copies_and_circles_not_at_all(proxy):
    shared = [1]
    first, second = proxy.echo([shared, shared])
    assert first == second
    assert first is not second
    shared.append(shared)
    with pytest.raises(errors.SerializationError, match="circular"):
        proxy.echo(shared)


def test_a_message_has_a_greatest_size(proxy):
    with pytest.raises(errors.SerializationError, match="PYRO_MAX_MESSAGE"):
        proxy.echo("x" * (17 << 20))


def test_errors_of_gpyro_are_not_pythons():
    assert not issubclass(errors.TimeoutError, TimeoutError)
    assert not issubclass(errors.ConnectionClosedError, ConnectionError)


def test_pyro_3s_classes_catch_what_they_caught():
    for cls, caught_by in (
        (errors.NotSentError, errors.ProtocolError),
        (errors.ConnectionLostError, errors.ConnectionClosedError),
        (errors.MaybeExecutedError, errors.ConnectionClosedError),
        (errors.TimeoutError, errors.ConnectionClosedError),
        (errors.CallRefusedError, errors.ProtocolError),
        (errors.ConnectionDeniedError, errors.ProtocolError),
        (errors.SerializationError, errors.PyroError),
        (errors.RemoteError, errors.PyroError),
    ):
        assert issubclass(cls, caught_by)
    assert not issubclass(errors.CallRefusedError, errors.ConnectionClosedError)


# Daemons


def test_what_daemons_no_longer_take():
    with pytest.raises(TypeError, match="prtcol"):
        core.Daemon(prtcol="PYRO")
    with pytest.raises(errors.ProtocolError, match="unsupported protocol: 'PYROSSL'"):
        core.Daemon("PYROSSL")
    with pytest.raises(errors.DaemonError, match="cannot resolve host"):
        core.Daemon(host="no-such-host.invalid")


def test_there_is_no_storage_outside_of_calls(daemon, thing):
    for where in (daemon, thing):
        with pytest.raises(errors.PyroError, match="no remote call is running"):
            where.getLocalStorage()


@pytest.mark.parametrize("ident", [3, {"user": "ann"}, ("ann", "apple", "more"), "", ("ann", "")])
def test_identifications_are_passphrases_or_pairs_with_a_user(proxy, ident):
    with pytest.raises((TypeError, ValueError)):
        proxy._setIdentification(ident)


def test_an_identification_may_be_given_at_any_time(daemon, proxy):
    proxy.echo(1)
    daemon.setAllowedIdentifications(["word"])
    assert proxy.echo(2) == 2, "connections that are open stay"
    proxy._setIdentification("word")  # ends the session, and the next one says who it is
    assert proxy.echo(3) == 3
    proxy._setIdentification(None)


def test_an_empty_list_of_passphrases_lets_nobody_in(daemon, proxy):
    daemon.setAllowedIdentifications([])
    with pytest.raises(errors.ConnectionDeniedError, match="security reasons"):
        proxy.echo(1)


def test_the_limit_of_connections_holds_whatever_a_validator_says():
    class Generous(protocol.DefaultConnValidator):
        def acceptHost(self, daemon, connection):
            return 1, 0

    before, gpyro.config.PYRO_MAXCONNECTIONS = gpyro.config.PYRO_MAXCONNECTIONS, 1
    try:
        thing = Thing()
        with serving(thing) as daemon:
            daemon.setNewConnectionValidator(Generous())
            first, second = daemon.getProxyForObj(thing), daemon.getProxyForObj(thing)
            second._setPrivateChannel(True)
            assert first.echo(1) == 1  # and the last one that is allowed is
            with pytest.raises(errors.ConnectionDeniedError, match="server too busy"):
                second.echo(2)
            first._release()
    finally:
        gpyro.config.PYRO_MAXCONNECTIONS = before


# Loops: what Pyro 3 left to the threads of its connections, the one loop does here

WORKING = """
import sys, time
if sys.argv[1] == "patched":
    from gevent import monkey
    monkey.patch_all()
import gevent
import gpyro.core
class Thing(gpyro.core.ObjBase):
    def sleep(self):
        print("sleeping", flush=True)
        if sys.argv[1] == "gevent":
            gevent.sleep(60)
        time.sleep(60 if sys.argv[1] == "patched" else 0.5)
    def echo(self, value):
        return value
daemon = gpyro.core.Daemon()
print(daemon.connect(Thing(), "thing"), flush=True)
daemon.requestLoop()
"""

SLEEPER = "import sys, gpyro.core; gpyro.core.getProxyForURI(sys.argv[1]).sleep()"

ECHO = "import sys, gpyro.core; print(gpyro.core.getProxyForURI(sys.argv[1]).echo(1))"


@pytest.mark.parametrize("how", ["patched", "gevent", "unpatched"])
def test_a_method_that_sleeps_holds_the_others_unless_it_is_gevents_sleep(how):
    with served(WORKING, how) as running, program(SLEEPER, running.uri) as sleeper:
        assert running.server.line() == "sleeping"
        echo = core.getProxyForURI(running.uri)
        assert echo.echo(1) == 1
        echo._release()
        if how == "unpatched":
            sleeper.ended_well()
        else:
            assert sleeper.process.poll() is None, "it still sleeps"


def test_a_daemon_serves_only_while_its_loop_runs():
    server = """
    import sys
    import gpyro.core
    class Thing(gpyro.core.ObjBase):
        def echo(self, value):
            print("called", flush=True)
            return value
    daemon = gpyro.core.Daemon()
    print(daemon.connect(Thing(), "thing"), flush=True)
    while True:
        daemon.handleRequests(0.01)
        if not sys.stdin.readline(): break      # the program does something else
        print("goes on", flush=True)
    """
    with served(server) as running, program(ECHO, running.uri) as client:
        lines = []
        while "called" not in lines:
            running.server.say("")
            lines.append(running.server.line())
        assert lines[0] == "goes on", "it was in no round before"
        assert set(lines[:-1]) <= {"goes on"}
        while client.process.poll() is None:
            running.server.say("")
            running.server.line()
        assert client.ended_well() == "1\n"


def test_the_condition_is_looked_at_when_something_arrived(thing):
    daemon = core.Daemon(host="127.0.0.1", norange=1)
    uri = daemon.connect(thing)
    serving_it = gevent.spawn(daemon.requestLoop, lambda: not thing.seen, 3600)
    proxy = core.getProxyForURI(uri)
    began = time.monotonic()
    proxy.quit()
    eventually(serving_it.ready)
    assert time.monotonic() - began < 60, "long before the timeout"
    proxy._release()
    daemon.stop()


def test_shutdown_lets_running_calls_end_and_begins_no_new_ones(thing):
    daemon = core.Daemon(host="127.0.0.1", norange=1)
    proxy = core.getProxyForURI(daemon.connect(thing))
    loop = gevent.spawn(daemon.requestLoop)
    running = gevent.spawn(proxy.wait, 0.1)
    eventually(lambda: daemon.connections and daemon.connections[0].serving)
    daemon.shutdown()
    eventually(lambda: not daemon.connections or not proxy.adapter.connected())
    with pytest.raises(errors.ProtocolError):
        proxy.echo(1)
    assert running.get(timeout=30) == 0.1
    loop.get(timeout=30)
    with pytest.raises(errors.DaemonError, match="closed"):
        daemon.handleRequests(0)
    proxy._release()
